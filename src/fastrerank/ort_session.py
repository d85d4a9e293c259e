"""The one place that runs ONNX Runtime."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from . import telemetry
from .errors import BundleError, InferenceError


class OrtSession:
    """A model in ONNX Runtime, each run on the thread that calls it.

    Parallelism comes from batches that run at the same time, not from threads inside an operator:
    the same cores score about twice as many pairs, nothing spins while idle, and there is no pool
    that a fork would lose.

    :raises BundleError: if ONNX Runtime cannot load the file.
    """

    def __init__(self, path: Path, output: str) -> None:
        telemetry.silence_onnxruntime()
        import onnxruntime as ort  # 100 ms that `import fastrerank` need not pay

        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # The arena keeps the memory of the largest batch for ever; without it runs are as fast.
        options.enable_cpu_mem_arena = False
        try:
            self._session = ort.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime's errors share no base class
            message = f"ONNX Runtime {ort.__version__} cannot load {path}: {error}"
            raise BundleError(message) from error
        self._output = [output]

    def run(self, inputs: Mapping[str, NDArray[np.int64]]) -> NDArray[np.float32]:
        """Return the outputs of a batch, float32 [batch, labels], for int64 [batch, length].

        :raises InferenceError: if ONNX Runtime fails.
        """
        try:
            (outputs,) = self._session.run(self._output, dict(inputs))
        except Exception as error:
            shape = next(iter(inputs.values())).shape
            raise InferenceError(f"ONNX Runtime failed on a batch of {shape}: {error}") from error
        return np.asarray(outputs, dtype=np.float32)
