"""The runtimes' telemetry, switched off: nothing of this process is reported to anyone."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

VARIABLE = "ORT_DISABLE_TELEMETRY"
_OPENVINO = "openvino_telemetry"


def silence_onnxruntime() -> None:
    """Switch off ONNX Runtime's, before it is imported; a value that the user has set stays.

    Its official builds send events from version 1.29 on, and keep a device id in the user's cache
    directory: Privacy.md in its package. Where the program has imported it already, the first
    event is out, and the rest is stopped.
    """
    if os.environ.setdefault(VARIABLE, "1") == "1" and "onnxruntime" in sys.modules:
        import onnxruntime  # waits where another thread is importing it

        onnxruntime.disable_telemetry_events()


@contextmanager
def openvino_silenced() -> Iterator[None]:
    """Hide `openvino_telemetry` while openvino is imported.

    openvino reports its import through it, and keeps an id in the user's home directory; where the
    package is not installed, it takes a stub that does nothing.
    """
    known = sys.modules.get(_OPENVINO)
    sys.modules[_OPENVINO] = None  # type: ignore[assignment]  # how an import is made to fail
    try:
        yield
    finally:
        if sys.modules.get(_OPENVINO) is None:  # else another thread has put it back already
            sys.modules.pop(_OPENVINO, None)
        if known is not None:
            sys.modules[_OPENVINO] = known
