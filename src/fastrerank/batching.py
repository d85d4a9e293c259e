"""Pairs of many lengths to batches of few padding tokens."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray


def batches(lengths: NDArray[np.int64], token_budget: int) -> Iterator[NDArray[np.int64]]:
    """Yield the positions of `lengths`, each at least 1, in batches, longest pairs first.

    A batch holds at most `token_budget` tokens, padding to its longest pair counted, and at least
    one pair: a pair above the budget is a batch of its own. Every position is in one batch. The
    longest go first, so that the workers finish together. Equal lengths keep their order.
    """
    order = np.argsort(-lengths, kind="stable")
    start = 0
    while start < len(order):
        longest = int(lengths[order[start]])
        stop = start + max(token_budget // longest, 1)
        yield order[start:stop]
        start = stop
