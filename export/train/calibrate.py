"""Scale and offset of the logit, so that its sigmoid is a probability of relevance."""

import numpy as np
import torch
from transformers import BertForSequenceClassification

STEPS = 50


def fit(logits: np.ndarray, relevant: np.ndarray) -> tuple[float, float]:
    """Return scale and offset of the logistic regression of ``relevant`` on ``logits``.

    Platt scaling (1999) by Newton's method; ranking is unchanged, for the scale is positive.

    :raises ValueError: if the fitted scale is not positive: the logits do not rank.
    """
    x = np.stack([logits.astype(np.float64), np.ones(len(logits))], 1)
    weights = np.array([0.1, 0.0])
    for _ in range(STEPS):
        p = sigmoid(x @ weights)
        hessian = (x * (p * (1 - p))[:, None]).T @ x + 1e-9 * np.eye(2)
        weights = weights + np.linalg.solve(hessian, x.T @ (relevant - p))
    scale, offset = map(float, weights)
    if not scale > 0:
        raise ValueError(f"the scale fitted to the logits is {scale}: train the model first")
    return scale, offset


def sigmoid(x: np.ndarray) -> np.ndarray:
    """Return 1 / (1 + exp(-x)) without overflow."""
    return 0.5 * (1 + np.tanh(0.5 * x))


def apply(model: BertForSequenceClassification, scale: float, offset: float) -> None:
    """Fold scale and offset into the classifier's weights."""
    with torch.no_grad():
        model.classifier.weight.mul_(scale)
        model.classifier.bias.mul_(scale).add_(offset)


def undo(model: BertForSequenceClassification, scale: float, offset: float) -> None:
    """Take scale and offset out of the classifier's weights again: logits as they were trained."""
    apply(model, 1 / scale, -offset / scale)


def reliability(
    logits: np.ndarray, relevant: np.ndarray, bins: int = 10
) -> list[tuple[float, float, int]]:
    """Return (mean probability, share relevant, pairs) of each bin of the probability in use."""
    p = sigmoid(logits)
    bin_of = np.minimum((p * bins).astype(int), bins - 1)
    masks = [bin_of == b for b in range(bins)]
    return [(float(p[m].mean()), float(relevant[m].mean()), int(m.sum())) for m in masks if m.any()]
