"""The seam to the runtimes: arrays in, arrays out."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from .bundle import Bundle
from .plan import OPENVINO, Plan, runs_single
from .workers import at_once


class Session(Protocol):
    """A loaded model; many threads may call `run` at once."""

    def run(self, inputs: Mapping[str, NDArray[np.int64]]) -> NDArray[np.float32]:
        """Return the outputs of a batch, float32 [batch, outputs], for int64 [batch, length].

        The outputs are a pair's logits, or a text's vector.

        :raises InferenceError: if the runtime fails.
        """
        ...


def open_session(bundle: Bundle, plan: Plan) -> Session:
    """Return the bundle's model, its files checked, in the runtime of the plan.

    :raises BundleError: if a file is missing or changed, or the runtime cannot load it.
    :raises MissingExtraError: if the runtime is not installed.
    """
    manifest = bundle.manifest
    one_pair = runs_single(manifest, plan.runtime, plan.weights)
    similarity = manifest.similarity
    outputs = [manifest.output, similarity.output] if similarity else [manifest.output]
    paths = bundle.onnx_paths(plan.weights, one_pair=one_pair)
    networks = list(zip(paths, outputs, strict=True))
    sessions = at_once(partial(_open, plan), networks, threads=len(networks))
    if similarity is None:
        return sessions[0]
    from .similarity import SimilaritySession

    pairs, vectors = sessions
    return SimilaritySession(pairs, vectors=vectors, weight=similarity.weight, padded=not one_pair)


def _open(plan: Plan, network: tuple[Path, str]) -> Session:
    path, output = network
    if plan.runtime == OPENVINO:
        from .openvino_session import OpenVinoSession

        return OpenVinoSession(path, output, plan.precision, plan.threads)
    from .ort_session import OrtSession

    return OrtSession(path, output)
