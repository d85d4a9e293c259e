"""Pairs of many lengths to batches of few padding tokens."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray


def batches(
    lengths: NDArray[np.int64], token_budget: int, *, threads: int = 1
) -> Iterator[NDArray[np.int64]]:
    """Yield the positions of `lengths`, each at least 1, in batches, longest pairs first.

    A batch holds at most `token_budget` tokens, padding to its longest pair counted, and at least
    one pair: a pair above the budget is a batch of its own. Every position is in one batch. Equal
    lengths keep their order. Within the budget the batches are as many as give each of the
    `threads` the same number, and share the tokens out evenly, so that all finish together.
    """
    order = np.argsort(-lengths, kind="stable")
    ends = np.cumsum(lengths[order])
    total = int(lengths.sum())
    left = -(-total // (token_budget * threads)) * threads
    start = taken = 0
    while start < len(order):
        share = (total - taken) / max(left, 1)
        # As many pairs as come nearest to the share.
        wanted = int(np.searchsorted(ends - lengths[order] / 2, taken + share)) - start
        allowed = token_budget // int(lengths[order[start]])
        stop = start + max(min(wanted, allowed), 1)
        yield order[start:stop]
        start, taken, left = stop, int(ends[stop - 1]), left - 1
