"""rerankers' cross-encoder back end."""

from collections.abc import Sequence

import torch
from rerankers import Reranker


class Rerankers:
    """`rank` with its own batch size; the results come sorted and are put back in order."""

    def __init__(self, model_dir: str) -> None:
        self.model = Reranker(model_dir, model_type="cross-encoder", device="cpu", verbose=0)
        if self.model is None:
            raise RuntimeError("rerankers could not load its cross-encoder back end")

    def score(self, query: str, documents: Sequence[str]) -> list[float]:
        """Return the logit of each document."""
        ids = list(range(len(documents)))
        scores = [0.0] * len(ids)
        for result in self.model.rank(query, list(documents), doc_ids=ids).results:
            scores[result.document.doc_id] = float(result.score)
        return scores


def load(model_dir: str, threads: int) -> Rerankers:
    """Return the cross-encoder of the directory, in fp32 on the CPU."""
    torch.set_num_threads(threads)
    return Rerankers(model_dir)
