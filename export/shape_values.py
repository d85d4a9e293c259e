"""Contents of the small integer tensors that hold shapes, followed without running the graph."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from onnx import NodeProto, TensorProto, numpy_helper

from .dims import Dim, Shape
from .graph import attribute

MAX_TRACKED_ELEMENTS = 16


class Known(NamedTuple):
    """A node and the contents of all its inputs, each as a flat tuple."""

    node: NodeProto
    inputs: list[Shape]


Rule = Callable[[Known], Shape | None]


def _gather_value(known: Known) -> Shape | None:
    data, indices = known.inputs
    if any(isinstance(i, str) or not -len(data) <= i < len(data) for i in indices):
        return None
    return tuple(data[int(i)] for i in indices)


def _slice_value(known: Known) -> Shape | None:
    data, starts, stops, *rest = known.inputs
    numbers = [*starts, *stops, *(rest[1] if len(rest) > 1 else (1,))]
    if any(isinstance(x, str) for x in numbers):
        return None
    start, stop, step = (int(x) for x in numbers)
    return data[start:stop:step]


def _concat_value(known: Known) -> Shape | None:
    return tuple(itertools.chain.from_iterable(known.inputs))


def _first(known: Known) -> Shape | None:
    return known.inputs[0]


def _cast_value(known: Known) -> Shape | None:
    return known.inputs[0] if attribute(known.node, "to") == TensorProto.INT64 else None


def _where_value(known: Known) -> Shape | None:
    condition, yes, no = known.inputs
    width = max(len(x) for x in known.inputs)
    rows = zip(*(x * width if len(x) == 1 else x for x in (condition, yes, no)), strict=True)
    return (
        tuple(y if c else n for c, y, n in rows)
        if all(isinstance(c, int) for c in condition)
        else None
    )


def _equal_value(known: Known) -> Shape | None:
    a, b = known.inputs
    width = max(len(a), len(b))
    pairs = list(zip(*(x * width if len(x) == 1 else x for x in (a, b)), strict=True))
    # A dimension is never negative, so a symbol differs from -1.
    if any(isinstance(x, str) != isinstance(y, str) and -1 not in (x, y) for x, y in pairs):
        return None
    if any(isinstance(x, str) and isinstance(y, str) and x != y for x, y in pairs):
        return None
    return tuple(int(x == y) for x, y in pairs)


def _constant_of_shape_value(known: Known) -> Shape | None:
    (count,) = known.inputs[0] if len(known.inputs[0]) == 1 else (None,)
    if not isinstance(count, int) or count > MAX_TRACKED_ELEMENTS:
        return None
    fill = attribute(known.node, "value")
    if fill is None:
        return None  # the default is a float
    array = numpy_helper.to_array(fill)  # type: ignore[arg-type]
    return (int(array.reshape(())),) * count if array.dtype == np.int64 else None


def _arithmetic(
    function: Callable[[int, int], int],
) -> Rule:
    def rule(known: Known) -> Shape | None:
        a, b = known.inputs
        width = max(len(a), len(b))
        if len(a) not in (1, width) or len(b) not in (1, width):
            return None
        results: list[Dim] = []
        for x, y in zip(*(v * width if len(v) == 1 else v for v in (a, b)), strict=True):
            if isinstance(x, str) or isinstance(y, str):
                if known.node.op_type == "Mul" and 1 in (x, y):
                    results.append(y if x == 1 else x)
                    continue
                return None
            if known.node.op_type == "Div" and (x < 0 or y <= 0):
                return None  # ONNX rounds towards zero, Python down
            results.append(function(x, y))
        return tuple(results)

    return rule


def _reduce_product(known: Known) -> Shape | None:
    if any(isinstance(d, str) for d in known.inputs[0]):
        return None
    return (int(np.prod([int(d) for d in known.inputs[0]])),)


VALUE_RULES: dict[str, Rule] = {
    "Gather": _gather_value,
    "Slice": _slice_value,
    "Concat": _concat_value,
    "Unsqueeze": _first,
    "Squeeze": _first,
    "Reshape": _first,
    "Identity": _first,
    "Cast": _cast_value,
    "Where": _where_value,
    "Equal": _equal_value,
    "ConstantOfShape": _constant_of_shape_value,
    "ReduceProd": _reduce_product,
    "Add": _arithmetic(lambda x, y: x + y),
    "Sub": _arithmetic(lambda x, y: x - y),
    "Mul": _arithmetic(lambda x, y: x * y),
    "Div": _arithmetic(lambda x, y: x // y),
}
