"""fastrerank: this library, from a bundle."""

from collections.abc import Sequence

from fastrerank import Reranker


class FastRerank:
    """Logits, so that calibration of the relevance does not enter the comparison."""

    def __init__(self, model_dir: str, threads: int, precision: str, runtime: str) -> None:
        self.reranker = Reranker(model_dir, precision=precision, runtime=runtime, threads=threads)

    def score(self, query: str, documents: Sequence[str]) -> list[float]:
        """Return the logit of each document."""
        pairs = [(query, document) for document in documents]
        return self.reranker.score(pairs, raw=True).tolist()


def load(model_dir: str, threads: int, precision: str, runtime: str) -> FastRerank:
    """Return the bundle in this precision, on this runtime."""
    return FastRerank(model_dir, threads, precision, runtime)
