"""FlashRank: has no way to bring a model, so ours lies where a download of its own would."""

import math
from collections.abc import Sequence

from flashrank import Ranker, RerankRequest


class FlashRank:
    """FlashRank takes no number of threads: the process is bound to its cores instead."""

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


def load(model_dir: str, threads: int, model: str) -> FlashRank:  # noqa: ARG001
    """Return the ranker of this one of FlashRank's model names."""
    return FlashRank(model_dir, model)
