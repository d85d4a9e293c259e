"""The one place that runs openvino."""

import ctypes
import os
import threading
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from . import telemetry
from .errors import BundleError, InferenceError, MissingExtraError
from .packing import PACKED, packing

if TYPE_CHECKING:
    from openvino import CompiledModel, InferRequest


class OpenVinoSession:
    """A model in openvino, each run on one thread, `threads` at once.

    `precision` is the arithmetic, "bf16" or "fp32"; int8 weights are expanded as they are loaded.
    A forked child loads the model again when it first runs it: openvino's threads stay behind in
    the parent. `is_packed` tells if padding is left out of what works token by token.

    :raises MissingExtraError: if openvino is not installed.
    :raises BundleError: if openvino cannot load the file.
    """

    def __init__(self, path: Path, output: str, precision: str, threads: int) -> None:
        self._path = path
        self._output = output
        self._precision = precision
        self._options = {
            "INFERENCE_PRECISION_HINT": {"bf16": "bf16", "fp32": "f32"}[precision],
            "NUM_STREAMS": threads,
            "INFERENCE_NUM_THREADS": threads,
            # Two pinned models would share the first cores and leave the others idle.
            "ENABLE_CPU_PINNING": False,
        }
        self.is_packed = False
        self._model: CompiledModel | None = None
        self._idle: list[InferRequest] = []
        self._lock = threading.Lock()
        self._load()
        _all_sessions.add(self)

    def run(self, inputs: Mapping[str, NDArray[np.int64]]) -> NDArray[np.float32]:
        """Return the outputs of a batch, float32 [batch, labels], for int64 [batch, length].

        :raises InferenceError: if openvino fails.
        :raises BundleError: if the model, in a forked child, cannot be loaded again.
        """
        request = self._take_request()
        try:
            given: dict[str, NDArray[np.integer]] = dict(inputs)
            if self.is_packed:
                given |= packing(inputs["attention_mask"])
            outputs = request.infer(given, share_inputs=True)[self._output]
            return np.array(outputs, dtype=np.float32)  # the request's own memory is reused
        except Exception as error:  # openvino raises RuntimeError and TypeError alike
            shape = next(iter(inputs.values())).shape
            raise InferenceError(f"openvino failed on a batch of {shape}: {error}") from error
        finally:
            self._idle.append(request)

    def _take_request(self) -> "InferRequest":
        try:
            return self._idle.pop()
        except IndexError:
            with self._lock:
                if self._model is None:
                    self._load()
                assert self._model is not None  # noqa: S101  # _load sets it or raises
                return self._model.create_infer_request()

    def _load(self) -> None:
        try:
            with telemetry.openvino_silenced():
                import openvino

                from .openvino_graph import read_graph
        except ImportError as error:
            raise MissingExtraError.for_extra("openvino", "runtime 'openvino'") from error
        try:
            core = openvino.Core()
            graph = read_graph(core, self._path, self._precision)
            self.is_packed = any(PACKED in item.get_names() for item in graph.inputs)
            self._model = core.compile_model(graph, "CPU", self._options)
        except RuntimeError as error:
            raise BundleError(
                f"openvino {openvino.__version__} cannot load {self._path}: {error}"
            ) from error

    def _abandon_model(self) -> None:
        """Forget a parent's model without freeing it: that would wait for its threads for ever."""
        for item in (self._model, *self._idle):
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(item))
        self._model, self._idle, self._lock = None, [], threading.Lock()


_all_sessions: weakref.WeakSet[OpenVinoSession] = weakref.WeakSet()


def _after_fork() -> None:
    for session in _all_sessions:
        session._abandon_model()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
