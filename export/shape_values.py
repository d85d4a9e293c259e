"""Contents of the small integer tensors that hold shapes, followed without running the graph."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
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


def _broadcast(lists: list[Shape]) -> Iterator[tuple[Dim, ...]]:
    """Yield the elements of lists that belong together; one of length 1 is repeated."""
    width = max(map(len, lists))
    return zip(*(each * width if len(each) == 1 else each for each in lists), strict=True)


def _where_value(known: Known) -> Shape | None:
    if any(isinstance(condition, str) for condition in known.inputs[0]):
        return None
    return tuple(yes if condition else no for condition, yes, no in _broadcast(known.inputs))


def _equal_value(known: Known) -> Shape | None:
    pairs = list(_broadcast(known.inputs))
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
        results: list[Dim] = []
        for x, y in _broadcast(known.inputs):
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
