"""Which operators work position by position, and what of their inputs one position needs.

A rule answers for one node whose result is cut to one position of an axis: which inputs must be
cut along which of their axes, so that the node gives the cut result. None means not proven. The
rules hold for operator set 13 and up.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from onnx import NodeProto

from .dims import Shape, dim_factors
from .elementwise import BROADCAST, UNARY
from .graph import Array, int_attribute
from .shapes import permutation

Axes = list[tuple[int, int]] | None  # (input, axis) of every input to cut


class Cut(NamedTuple):
    """A node, the shapes of its first result and of its inputs, and the axis that is cut."""

    node: NodeProto
    output: Shape
    inputs: list[Shape]
    axis: int


def reshape_to_one(data: Shape, own: int, result: Shape, axis: int) -> Array:
    """Return the shape for a Reshape of `data`, cut at `own`, to `result`, cut at `axis`."""
    target = []
    for i, dim in enumerate(result):
        if i == axis:
            target.append(1)
        elif isinstance(dim, int):
            target.append(dim)
        else:
            target.append(0 if i < len(data) and i != own and data[i] == dim else -1)
    return np.array(target, np.int64)


def _elementwise(cut: Cut) -> Axes:
    axes = []
    for i, shape in enumerate(cut.inputs):
        own = cut.axis - (len(cut.output) - len(shape))
        if own < 0 or shape[own] == 1:
            continue
        if shape[own] != cut.output[cut.axis]:
            return None
        axes.append((i, own))
    return axes


def _softmax(cut: Cut) -> Axes:
    worked = int_attribute(cut.node, "axis", -1) % len(cut.output)
    return None if cut.axis == worked else [(0, cut.axis)]


def _layer_norm(cut: Cut) -> Axes:
    first_worked = int_attribute(cut.node, "axis", -1) % len(cut.output)
    return None if cut.axis >= first_worked else [(0, cut.axis)]


def _matmul(cut: Cut) -> Axes:
    a, b = cut.inputs
    if len(a) < 2 or len(b) < 2:
        return None
    if cut.axis == len(cut.output) - 2:
        return [(0, len(a) - 2)]
    if cut.axis == len(cut.output) - 1:
        return [(1, len(b) - 1)]
    return _elementwise(cut)


def _gemm(cut: Cut) -> Axes:
    bias = cut.inputs[2] if len(cut.inputs) > 2 else ()
    if cut.axis != 0 or (len(bias) == 2 and bias[0] != 1):
        return None
    return [(0, 1 if int_attribute(cut.node, "transA", 0) else 0)]


def _transpose(cut: Cut) -> Axes:
    return [(0, permutation(cut.node, len(cut.output))[cut.axis])]


def _reshape(cut: Cut) -> Axes:
    """Cut a Reshape that leaves the axis whole: the same elements before it and behind it."""
    data, output, axis = cut.inputs[0], cut.output, cut.axis
    if int_attribute(cut.node, "allowzero", 0):
        return None
    for own, dim in enumerate(data):
        same_before = dim_factors(data[:own]) == dim_factors(output[:axis])
        same_behind = dim_factors(data[own + 1 :]) == dim_factors(output[axis + 1 :])
        if dim == output[axis] and same_before and same_behind:
            inferred = list(reshape_to_one(data, own, output, axis)).count(-1)
            return [(0, own)] if inferred <= 1 else None
    return None


def _concat(cut: Cut) -> Axes:
    axis = cut.axis
    if axis == int_attribute(cut.node, "axis", 0) % len(cut.output):
        return None
    if any(shape[axis] != cut.output[axis] for shape in cut.inputs):
        return None
    return [(i, axis) for i in range(len(cut.inputs))]


def _gather(cut: Cut) -> Axes:
    data, indices = cut.inputs
    worked = int_attribute(cut.node, "axis", 0) % len(data)
    if cut.axis < worked:
        return [(0, cut.axis)]
    if cut.axis < worked + len(indices):
        return [(1, cut.axis - worked)]
    return [(0, cut.axis - len(indices) + 1)]


def _gather_elements(cut: Cut) -> Axes:
    data, indices = cut.inputs
    if cut.axis == int_attribute(cut.node, "axis", 0) % len(data):
        return [(1, cut.axis)]
    same = data[cut.axis] == indices[cut.axis]
    return [(0, cut.axis), (1, cut.axis)] if same else None


def _unsqueeze(cut: Cut) -> Axes:
    """Follow the axis by what stands before it: only ones are added or taken away."""
    data, before = cut.inputs[0], _without_ones(cut.output[: cut.axis])
    fits = [
        own
        for own, dim in enumerate(data)
        if dim == cut.output[cut.axis] and _without_ones(data[:own]) == before
    ]
    return [(0, fits[0])] if len(fits) == 1 else None


def _without_ones(dims: Shape) -> Shape:
    return tuple(dim for dim in dims if dim != 1)


def _split(cut: Cut) -> Axes:
    worked = int_attribute(cut.node, "axis", 0) % len(cut.output)
    return None if cut.axis == worked else [(0, cut.axis)]


def _slice(cut: Cut) -> Axes:
    """Cut a Slice of other axes: one of this axis would have given it another symbol."""
    same = cut.inputs[0][cut.axis] == cut.output[cut.axis]
    return [(0, cut.axis)] if same else None


def _reduce(cut: Cut) -> Axes:
    data, axis = cut.inputs[0], cut.axis
    if len(data) != len(cut.output) or data[axis] != cut.output[axis]:
        return None
    return [(0, axis)]


POSITION_RULES: dict[str, Callable[[Cut], Axes]] = {
    **dict.fromkeys(UNARY | BROADCAST, _elementwise),
    **dict.fromkeys(("LogSoftmax", "Softmax"), _softmax),
    "LayerNormalization": _layer_norm,
    "MatMul": _matmul,
    "Gemm": _gemm,
    "Transpose": _transpose,
    "Reshape": _reshape,
    "Concat": _concat,
    "Gather": _gather,
    "GatherElements": _gather_elements,
    "Slice": _slice,
    "Split": _split,
    **dict.fromkeys(("Squeeze", "Unsqueeze"), _unsqueeze),
    **dict.fromkeys(("ReduceL2", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceSum"), _reduce),
}
