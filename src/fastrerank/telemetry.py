"""ONNX Runtime's telemetry, switched off: nothing of this process is reported to anyone.

Its official builds send events to their maker from version 1.31 on (Linux and macOS too), and keep
a device id in the user's cache directory: see Privacy.md in its package.
"""

import os
import sys

VARIABLE = "ORT_DISABLE_TELEMETRY"


def switch_off() -> None:
    """Switch it off, before ONNX Runtime is imported; a value that the user has set stays.

    Where the program has imported it already, its first event is out, and the rest is stopped.
    """
    if os.environ.setdefault(VARIABLE, "1") == "1" and "onnxruntime" in sys.modules:
        sys.modules["onnxruntime"].disable_telemetry_events()
