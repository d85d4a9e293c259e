"""The last layer for the pooled position only.

A ranking head reads one position of the last hidden state ([CLS], or the last token). Keys and
values of the last layer need every position; its queries, attention output, feed-forward block
and norms need that one only. This pass finds the Gather (or Slice) that picks the position and
moves it towards the inputs through every operator that works position by position, so that the
operators behind it run on one position. It is exact: each step rests on a rule below that holds
for all inputs, and where no rule holds the position is cut out at that point.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from onnx import ModelProto, NodeProto

from .graph import Array, Graph, int_attribute, is_op
from .shapes import BROADCAST, UNARY, Dim, Shape, Shapes, infer_shapes, permutation
from .work import count_macs

_COUNTED_TOKENS = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class PooledReport:
    """What the pass did; multiply-accumulates are for one pair of 128 tokens.

    `macs_before` and `macs_after` are those of the nodes that now run on the pooled position
    only, `model_macs_before` those of the whole graph.
    """

    applied: bool
    reason: str
    position: int | None = None
    nodes_moved: int = 0
    macs_before: int = 0
    macs_after: int = 0
    model_macs_before: int = 0


@dataclass(frozen=True, slots=True)
class _Cut:
    """One position of a value: `index` (0, or -1 for the last) along `axis`, rank kept."""

    axis: int
    index: int


@dataclass(slots=True)
class _Pick:
    node: NodeProto
    cut: _Cut
    dim: Dim


def compute_pooled_position_only(model: ModelProto) -> tuple[ModelProto, PooledReport]:
    """Return the model with the work after the last attention done for the pooled position only.

    The model is returned as it is, with the reason in the report, where the graph picks no
    position, or where no product of weight could be proven to commute with the pick.
    """
    graph = Graph(model)
    if graph.has_subgraphs:
        return model, PooledReport(applied=False, reason="the graph holds subgraphs (If, Loop or Scan)")
    graph.prune()
    shapes = infer_shapes(graph)
    picks = _find_picks(graph, shapes)
    if not picks:
        return model, PooledReport(applied=False, reason="no node picks one position of a sequence")
    if len({pick.cut.index for pick in picks}) > 1:
        return model, PooledReport(applied=False, reason="several positions are picked")
    before = count_macs(graph, tokens=_COUNTED_TOKENS)
    moved = _Mover(graph, shapes, picks).move()
    names = [node.output[0] for node in moved]
    graph.prune()
    after = count_macs(graph, tokens=_COUNTED_TOKENS)
    spent = sum(before.get(name, 0) for name in names)
    left = sum(after.get(name, 0) for name in names)
    if left >= spent:
        return model, PooledReport(
            applied=False, reason="no matrix product before the pooled position could be proven position-wise"
        )
    report = PooledReport(
        applied=True,
        reason=f"{len(names)} nodes run on one position",
        position=picks[0].cut.index,
        nodes_moved=len(names),
        macs_before=spent,
        macs_after=left,
        model_macs_before=sum(before.values()),
    )
    return graph.to_model(), report


def _find_picks(graph: Graph, shapes: Shapes) -> list[_Pick]:
    """Gathers and Slices that take one known position of an axis of unknown length."""
    picks = []
    for node in graph.nodes:
        cut = None
        if is_op(node, "Gather"):
            cut = _gathered_position(graph, shapes, node)
        elif is_op(node, "Slice"):
            cut = _sliced_position(graph, shapes, node)
        if cut is None or node.input[0] in graph.inputs or node.input[0] in shapes.value:
            continue
        dim = shapes.shape[node.input[0]][cut.axis]
        # The batch axis comes first: a pick from it is no pooling.
        if isinstance(dim, str) and cut.axis > 0 and cut.index in (0, -1):
            picks.append(_Pick(node, cut, dim))
    return picks


def _gathered_position(graph: Graph, shapes: Shapes, node: NodeProto) -> _Cut | None:
    index, data = graph.constant(node.input[1]), shapes.shape.get(node.input[0])
    if index is None or index.size != 1 or data is None:
        return None
    return _Cut(int_attribute(node, "axis", 0) % len(data), int(index.reshape(())))


def _sliced_position(graph: Graph, shapes: Shapes, node: NodeProto) -> _Cut | None:
    data = shapes.shape.get(node.input[0])
    fields = [graph.constant(name) if name else None for name in node.input[1:]]
    if data is None or len(fields) < 3 or any(f is None or f.size != 1 for f in fields):
        return None
    start, stop, axis, step = (*[int(f.reshape(())) for f in fields if f is not None], 1)[:4]
    if step != 1 or not (stop == start + 1 or (start == -1 and stop >= 2**31 - 1)):
        return None
    return _Cut(axis % len(data), start)


class _Mover:
    """Walks from the picks towards the inputs, last node first, and cuts what it can prove."""

    def __init__(self, graph: Graph, shapes: Shapes, picks: list[_Pick]) -> None:
        self._graph = graph
        self._shapes = shapes
        self._picks = {pick.node.output[0]: pick for pick in picks}
        self._dims = {pick.dim for pick in picks}
        self._cuts: dict[str, dict[_Cut, list[tuple[NodeProto, int]]]] = {}
        self._moved: list[NodeProto] = []

    def move(self) -> list[NodeProto]:
        """Rewrite the graph and return the nodes that now run on one position."""
        for node in reversed(self._graph.sorted_nodes()):
            pick = self._picks.get(node.output[0])
            if pick is not None and node.output[0] not in self._cuts:
                self._want(node, 0, pick.cut)
                continue
            wanted = self._cuts.get(node.output[0])
            if wanted and len(wanted) == 1 and self._all_uses_cut(node):
                ((cut, _),) = wanted.items()
                operands = self._operands(node, cut)
                if operands is not None:
                    self._cut_node(node, cut, operands)
        self._insert_slices()
        self._shorten_picks()
        return self._moved

    def _want(self, node: NodeProto, index: int, cut: _Cut) -> None:
        uses = self._cuts.setdefault(node.input[index], {}).setdefault(cut, [])
        uses.append((node, index))

    def _all_uses_cut(self, node: NodeProto) -> bool:
        """True if nothing reads the node's results at full length."""
        graph = self._graph
        if any(name in graph.consumers or name in graph.outputs for name in node.output[1:]):
            return False
        name = node.output[0]
        wanted = sum(len(uses) for uses in self._cuts[name].values())
        uses = sum(list(consumer.input).count(name) for consumer in graph.consumers.get(name, []))
        return wanted == uses and name not in graph.outputs

    def _operands(self, node: NodeProto, cut: _Cut) -> list[tuple[int, _Cut]] | None:
        """Inputs to cut so that the node yields its cut result, or None without a proof."""
        output = self._shapes.shape.get(node.output[0])
        inputs = [self._shapes.shape.get(name) for name in node.input]
        if output is None or any(s is None and n for s, n in zip(inputs, node.input, strict=True)):
            return None
        if output[cut.axis] not in self._dims or node.domain not in ("", "ai.onnx"):
            return None
        rule = _RULES.get(node.op_type)
        if rule is None:
            return None
        axes = rule(node, output, [s or () for s in inputs], cut.axis)
        return None if axes is None else [(i, _Cut(axis, cut.index)) for i, axis in axes]

    def _cut_node(self, node: NodeProto, cut: _Cut, operands: list[tuple[int, _Cut]]) -> None:
        del self._cuts[node.output[0]]
        if node.op_type == "Reshape":
            data = self._shapes.shape[node.input[0]]
            target = _reshape_target(data, self._shapes.shape[node.output[0]], cut.axis)
            node.input[1] = self._graph.add_constant(f"{node.output[0]}/pooled_shape", target)
        for index, operand in operands:
            self._want(node, index, operand)
        self._moved.append(node)

    def _insert_slices(self) -> None:
        for name, cuts in self._cuts.items():
            for cut, uses in cuts.items():
                if [node.output[0] in self._picks for node, _ in uses] == [True] * len(uses):
                    continue  # the pick itself takes the position from here
                short = self._slice(name, cut)
                for node, index in uses:
                    node.input[index] = short

    def _slice(self, name: str, cut: _Cut) -> str:
        stop = np.iinfo(np.int64).max if cut.index == -1 else cut.index + 1
        fields = [("start", cut.index), ("stop", stop), ("axis", cut.axis)]
        inputs = [self._graph.add_constant(f"{name}/pooled_{f}", np.array([v], np.int64)) for f, v in fields]
        return self._graph.add_node("Slice", [name, *inputs], f"{name}/pooled")[0]

    def _shorten_picks(self) -> None:
        """Read index 0 where the picked axis has length one now; -1 stays right."""
        # Position 0 and -1 of a single position are the same, so the nodes stay as they are.


def _reshape_target(data: Shape, result: Shape, axis: int) -> Array:
    """Constant shape for a Reshape whose result has length one at `axis`."""
    target = []
    for i, dim in enumerate(result):
        if i == axis:
            target.append(1)
        elif isinstance(dim, int):
            target.append(dim)
        else:
            target.append(0 if i < len(data) and data[i] == dim else -1)
    return np.array(target, np.int64)


# Rules: given a node, its shapes and the axis of its result that is cut to one position, which
# inputs must be cut along which axis. None: not proven.
_Axes = list[tuple[int, int]] | None
_Rule = Callable[[NodeProto, Shape, list[Shape], int], _Axes]


def _elementwise(node: NodeProto, output: Shape, inputs: list[Shape], axis: int) -> _Axes:
    axes = []
    for i, shape in enumerate(inputs):
        own = axis - (len(output) - len(shape))
        if own < 0 or shape[own] == 1:
            continue
        if shape[own] != output[axis]:
            return None
        axes.append((i, own))
    return axes


def _same_axis(*kept: int) -> _Rule:
    """Rule for a node that works within an axis given by attribute, by default the last."""

    def rule(node: NodeProto, output: Shape, inputs: list[Shape], axis: int) -> _Axes:
        worked = int_attribute(node, "axis", -1) % len(output)
        first_only = node.op_type == "LayerNormalization"
        blocked = axis >= worked if first_only else axis == worked
        return None if blocked else [(i, axis) for i in kept]

    return rule


def _matmul(node: NodeProto, output: Shape, inputs: list[Shape], axis: int) -> _Axes:
    a, b = inputs
    if len(a) < 2 or len(b) < 2:
        return None
    if axis == len(output) - 2:
        return [(0, len(a) - 2)]
    if axis == len(output) - 1:
        return [(1, len(b) - 1)]
    return _elementwise(node, output, inputs, axis)


def _gemm(node: NodeProto, output: Shape, inputs: list[Shape], axis: int) -> _Axes:
    if axis != 0 or (len(inputs) > 2 and len(inputs[2]) == 2 and inputs[2][0] != 1):
        return None
    return [(0, 1 if int_attribute(node, "transA", 0) else 0)]


def _transpose(node: NodeProto, output: Shape, inputs: list[Shape], axis: int) -> _Axes:
    return [(0, permutation(node, len(output))[axis])]


def _reshape(node: NodeProto, output: Shape, inputs: list[Shape], axis: int) -> _Axes:
    """Cut a Reshape that leaves the axis whole: the same elements before it and behind it."""
    data = inputs[0]
    if int_attribute(node, "allowzero", 0):
        return None
    for own, dim in enumerate(data):
        same_before = _factors(data[:own]) == _factors(output[:axis])
        same_behind = _factors(data[own + 1 :]) == _factors(output[axis + 1 :])
        if dim == output[axis] and same_before and same_behind:
            return [(0, own)] if list(_reshape_target(data, output, axis)).count(-1) <= 1 else None
    return None


def _factors(dims: Shape) -> tuple[int, list[str]]:
    product = 1
    for dim in dims:
        product *= dim if isinstance(dim, int) else 1
    return product, sorted(d for d in dims if isinstance(d, str))


def _concat(node: NodeProto, output: Shape, inputs: list[Shape], axis: int) -> _Axes:
    if axis == int_attribute(node, "axis", 0) % len(output):
        return None
    return [(i, axis) for i in range(len(inputs))] if all(s[axis] == output[axis] for s in inputs) else None


def _gather(node: NodeProto, output: Shape, inputs: list[Shape], axis: int) -> _Axes:
    data, indices = inputs
    worked = int_attribute(node, "axis", 0) % len(data)
    if axis < worked:
        return [(0, axis)]
    if axis < worked + len(indices):
        return [(1, axis - worked)]
    return [(0, axis - len(indices) + 1)]


def _gather_elements(node: NodeProto, output: Shape, inputs: list[Shape], axis: int) -> _Axes:
    data, indices = inputs
    worked = int_attribute(node, "axis", 0) % len(data)
    if axis == worked:
        return [(1, axis)]
    return [(0, axis), (1, axis)] if data[axis] == indices[axis] else None


def _unsqueeze(node: NodeProto, output: Shape, inputs: list[Shape], axis: int) -> _Axes:
    """Follow the axis by what stands before it: only ones are added or taken away."""
    data = inputs[0]
    fits = [
        own
        for own, dim in enumerate(data)
        if dim == output[axis] and [d for d in data[:own] if d != 1] == [d for d in output[:axis] if d != 1]
    ]
    return [(0, fits[0])] if len(fits) == 1 else None


def _reduce(node: NodeProto, output: Shape, inputs: list[Shape], axis: int) -> _Axes:
    data = inputs[0]
    if len(data) != len(output) or data[axis] != output[axis]:
        return None
    return [(0, axis)]


_RULES: dict[str, _Rule] = {
    **dict.fromkeys(UNARY - {"Trilu"}, _elementwise),
    **dict.fromkeys(BROADCAST, _elementwise),
    "Softmax": _same_axis(0),
    "LogSoftmax": _same_axis(0),
    "LayerNormalization": _same_axis(0),
    "MatMul": _matmul,
    "Gemm": _gemm,
    "Transpose": _transpose,
    "Reshape": _reshape,
    "Concat": _concat,
    "Gather": _gather,
    "GatherElements": _gather_elements,
    "Unsqueeze": _unsqueeze,
    "Squeeze": _unsqueeze,
    **dict.fromkeys(("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceL2"), _reduce),
}
