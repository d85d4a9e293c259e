"""Samples to figures."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .errors import BenchmarkError

# One timed request: its documents and its seconds.
Sample = tuple[int, float]


def quantile(values: Sequence[float], q: float) -> float:
    """Return the q-quantile, linear between neighbours, as numpy's default is."""
    return float(np.quantile(np.asarray(values, dtype=np.float64), q))


def summarize(rounds: Sequence[Sequence[Sample]]) -> dict[str, float]:
    """Return the figures of a system from its samples of each round.

    Documents per second are taken over each round as a whole: `docs_per_s` is the median of the
    rounds, `docs_per_s_low` and `_high` the slowest and the fastest. `p50_ms` and `p95_ms` are
    latencies of single requests, over all rounds.
    """
    rates = [sum(d for d, _ in r) / sum(s for _, s in r) for r in rounds]
    latencies = [seconds * 1000 for r in rounds for _, seconds in r]
    return {
        "docs_per_s": quantile(rates, 0.5),
        "docs_per_s_low": min(rates),
        "docs_per_s_high": max(rates),
        "p50_ms": quantile(latencies, 0.5),
        "p95_ms": quantile(latencies, 0.95),
    }


def sigmoid(logits: ArrayLike) -> NDArray[np.float64]:
    """Return logits as relevance in 0-1."""
    values = np.asarray(logits, dtype=np.float64)
    return 0.5 * (1 + np.tanh(values / 2))


def score_difference(
    reference: Sequence[Sequence[float]], other: Sequence[Sequence[float]]
) -> dict[str, float]:
    """Return how far the logits of one system are from another's, in relevance and in logits.

    :raises BenchmarkError: if they are not of the same requests, or one is not finite.
    """
    if [len(r) for r in reference] != [len(r) for r in other]:
        raise BenchmarkError("the systems scored different requests")
    a = np.concatenate([np.asarray(r, dtype=np.float64) for r in reference])
    b = np.concatenate([np.asarray(r, dtype=np.float64) for r in other])
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise BenchmarkError("a logit is not finite")
    relevance = np.abs(sigmoid(a) - sigmoid(b))
    logits = np.abs(a - b)
    return {
        "relevance_largest": float(relevance.max()),
        "relevance_mean": float(relevance.mean()),
        "logit_largest": float(logits.max()),
        "logit_mean": float(logits.mean()),
    }


def rounded(value: float, digits: int = 4) -> float:
    """Return the value with so many significant digits: what a result file keeps."""
    return float(f"{value:.{digits}g}")
