"""The model's outputs to logits, relevance in 0-1, and a ranking."""

import numpy as np
from numpy.typing import NDArray

from .errors import InferenceError


def ranking_logits(outputs: NDArray[np.float32], label_column: int) -> NDArray[np.float32]:
    """Return one logit a pair, float32 [pairs], from the model's outputs, [pairs, labels].

    One label: its logit. Two labels: the log-odds of `label_column`, that is the difference of the
    two logits, because softmax over two logits is the sigmoid of their difference.

    :raises InferenceError: if a logit is not finite.
    """
    if outputs.shape[1] == 1:
        logits = outputs[:, 0]
    else:
        logits = outputs[:, label_column] - outputs[:, 1 - label_column]
    broken = logits[~np.isfinite(logits)]
    if broken.size:
        raise InferenceError(
            f"the model returned {broken[0]}: its weights or its precision are broken; check it"
            " with `fastrerank verify BUNDLE`"
        )
    return logits


def relevance(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the sigmoid of each logit, float64 of the same shape, without overflow."""
    z = logits.astype(np.float64)
    exp = np.exp(-np.abs(z))
    return np.where(z >= 0, 1.0, exp) / (1.0 + exp)


def ranking(scores: NDArray[np.float64], top_n: int | None) -> NDArray[np.int64]:
    """Return the positions of the best `top_n` scores (all if None), best first, ties in order."""
    return np.argsort(-scores, kind="stable")[:top_n]
