"""One adapter a library: `load(model_dir, threads, **options)` returns a Scorer.

An adapter is imported in the environment of its library and nowhere else, so it imports nothing of
the benchmark. It uses the library as its documentation says, with its own defaults for batches.
"""

from collections.abc import Sequence
from typing import Protocol


class Scorer(Protocol):
    """A loaded model."""

    def score(self, query: str, documents: Sequence[str]) -> list[float]:
        """Return one logit a document, in input order."""
        ...
