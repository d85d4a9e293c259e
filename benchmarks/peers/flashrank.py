"""FlashRank: has no way to bring a model, so ours lies where a download of its own would."""

import functools
import math
from collections.abc import Sequence

import onnxruntime
from flashrank import Ranker, RerankRequest


class FlashRank:
    """FlashRank's answers as logits."""

    def __init__(self, model_dir: str, model: str) -> None:
        self.ranker = Ranker(model_name=model, cache_dir=model_dir, log_level="ERROR")

    def score(self, query: str, documents: Sequence[str]) -> list[float]:
        """Return the logit of each document: the inverse of the sigmoid that FlashRank applies."""
        passages = [{"id": i, "text": document} for i, document in enumerate(documents)]
        scores = [0.0] * len(passages)
        for result in self.ranker.rerank(RerankRequest(query=query, passages=passages)):
            p = min(max(float(result["score"]), 1e-12), 1 - 1e-7)
            scores[result["id"]] = math.log(p / (1 - p))
        return scores


def load(model_dir: str, threads: int, model: str) -> FlashRank:
    """Return the ranker of this one of FlashRank's model names.

    FlashRank takes no number of threads. ONNX Runtime would start one for each core of the machine
    and bind it to that core, also where this process may not use it.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession
    onnxruntime.InferenceSession = functools.partial(session, sess_options=options)
    try:
        return FlashRank(model_dir, model)
    finally:
        onnxruntime.InferenceSession = session
