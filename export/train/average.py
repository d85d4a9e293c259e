"""Weight averaging: checkpoints of one run or of several, made into one model."""

from collections.abc import Sequence
from pathlib import Path

import torch

from .model import Packed, base_folder, load


def averaged(checkpoints: Sequence[Path], exit_after: int | None) -> Packed:
    """Return the model whose weights are the mean of the checkpoints' running averages.

    All must come from the same start: averages of unrelated weights mean nothing
    (model soups, Wortsman et al. 2022, arXiv:2203.05482).
    """
    packed = Packed(load(base_folder()), exit_after)
    parameters = [p for p in packed.parameters() if p.requires_grad]
    sums = [torch.zeros_like(p) for p in parameters]
    for path in checkpoints:
        torch._foreach_add_(
            sums, torch.load(path, weights_only=True, map_location="cpu")["average"]
        )
    for parameter, total in zip(parameters, sums, strict=True):
        parameter.data.copy_(total / len(checkpoints))
    return packed
