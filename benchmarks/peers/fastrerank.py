"""fastrerank: this library, from a bundle."""

from collections.abc import Sequence

from fastrerank import Reranker

WHOLE = 1 << 20  # a window as large as any model


class FastRerank:
    """Logits, so that calibration of the relevance does not enter the comparison."""

    def __init__(self, model_dir: str, **options: object) -> None:
        self.reranker = Reranker(model_dir, **options)

    def score(self, query: str, documents: Sequence[str]) -> list[float]:
        """Return the logit of each document."""
        pairs = [(query, document) for document in documents]
        return self.reranker.score(pairs, raw=True).tolist()


def load(
    model_dir: str, threads: int, precision: str, runtime: str, documents: str = "whole"
) -> FastRerank:
    """Return the bundle in this precision, on this runtime.

    It reads documents as a whole, as the peers do, or `documents="as shipped"`: in the bundle's
    windows.
    """
    window = WHOLE if documents == "whole" else None
    return FastRerank(
        model_dir, threads=threads, precision=precision, runtime=runtime, window=window
    )
