"""Losses over lists: what people marked, and what the teachers say."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - torch's own name for it

# all-MiniLM-L6-v2 was trained with this factor on its cosines, so it makes logits of them.
COSINE_SCALE = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LossWeights:
    """Shares of the three terms."""

    supervision: float
    distillation: float = 1.0
    regression: float = 0.1


def list_loss(
    logits: Tensor, teacher: Tensor, judged: Tensor, supervised: Tensor, weights: LossWeights
) -> dict[str, Tensor]:
    """Return the terms and their weighted sum, ``loss``, as means over lists.

    ``logits`` and ``teacher`` are [lists, candidates], the positive first; ``judged`` marks
    candidates that people marked as wrong; ``supervised`` [lists] whether the positive is known.

    - supervision: cross-entropy of the positive among all candidates;
    - distillation: KL divergence from the softmax of ``teacher``, which a judged candidate
      leaves (its teacher logit is minus infinity) in supervised lists;
    - regression: squared error of the logits, both sides centred by list, over the candidates
      of which only the teacher knows. It carries the order of the tail, where a softmax is flat.
    """
    known = judged & supervised[:, None]
    target = torch.softmax(teacher.masked_fill(known, -torch.inf), -1)
    log_p = F.log_softmax(logits, -1)
    distillation = F.kl_div(log_p, target, reduction="none").sum(-1).mean()
    supervision = (-log_p[:, 0] * supervised).mean()
    free = ~known
    free[:, 0] &= ~supervised
    difference = logits - teacher
    count = free.sum(-1, keepdim=True).clamp(min=1)
    centre = (difference * free).sum(-1, keepdim=True) / count
    squares = ((difference - centre) ** 2) * free
    regression = (squares.sum(-1, keepdim=True) / count).mean()
    loss = (
        weights.supervision * supervision
        + weights.distillation * distillation
        + weights.regression * regression
    )
    return {
        "loss": loss,
        "supervision": supervision,
        "distillation": distillation,
        "regression": regression,
    }
