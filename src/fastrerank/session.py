"""The seam to the runtimes: arrays in, logits out."""

from collections.abc import Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from .bundle import Bundle
from .plan import OPENVINO, Plan, runs_single


class Session(Protocol):
    """A loaded model; many threads may call `run` at once."""

    def run(self, inputs: Mapping[str, NDArray[np.int64]]) -> NDArray[np.float32]:
        """Return the outputs of a batch, float32 [batch, labels], for int64 [batch, length].

        :raises InferenceError: if the runtime fails.
        """
        ...


def open_session(bundle: Bundle, plan: Plan) -> Session:
    """Return the bundle's model, its files checked, in the runtime of the plan.

    :raises BundleError: if a file is missing or changed, or the runtime cannot load it.
    :raises MissingExtraError: if the runtime is not installed.
    """
    one_pair = runs_single(bundle.manifest, plan.runtime, plan.weights)
    path, output = bundle.onnx_path(plan.weights, one_pair=one_pair), bundle.manifest.output
    if plan.runtime == OPENVINO:
        from .openvino_session import OpenVinoSession

        return OpenVinoSession(path, output, plan.precision, plan.threads)
    from .ort_session import OrtSession

    return OrtSession(path, output)
