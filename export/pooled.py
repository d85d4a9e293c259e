"""The last layer for the pooled position only.

A ranking head reads one position of the last hidden state ([CLS], or the last token). Keys and
values of the last layer need every position; its queries, attention output, feed-forward block
and norms need that one only. This pass finds the Gather (or Slice) that picks the position and
moves it towards the inputs through every operator that works position by position, so that the
operators behind it run on one position. It is exact: each step rests on a rule below that holds
for all inputs, and where no rule holds the position is cut out at that point.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from onnx import ModelProto, NodeProto

from .dims import Dim
from .graph import Graph, int_attribute, is_op
from .macs import count_macs
from .position_rules import POSITION_RULES, Cut, reshape_to_one
from .shapes import Shapes, infer_shapes
from .single_query import apply_projections_to_query

_COUNTED_TOKENS = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class PooledReport:
    """What the pass did, and why.

    `nodes_moved` counts the nodes that now run on one position, `position` is that position (0,
    or -1 for the last). `macs_before` and `macs_after` are the multiply-accumulates of the whole
    graph for one pair of 128 tokens.
    """

    applied: bool
    reason: str
    position: int | None = None
    nodes_moved: int = 0
    macs_before: int = 0
    macs_after: int = 0


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

    The model is returned as it is, with the reason in the report, if the graph picks no position,
    or if no matrix product can be proven to work position by position.
    """
    graph = Graph(model)
    if graph.has_subgraphs:
        return model, PooledReport(
            applied=False, reason="the graph holds subgraphs (If, Loop or Scan)"
        )
    if graph.opset < 13:
        reason = f"operator set {graph.opset} is older than 13"
        return model, PooledReport(applied=False, reason=reason)
    graph.prune()
    shapes = infer_shapes(graph)
    picks = _find_picks(graph, shapes)
    if not picks:
        return model, PooledReport(applied=False, reason="no node picks one position of a sequence")
    if len({pick.cut.index for pick in picks}) > 1:
        return model, PooledReport(applied=False, reason="several positions are picked")
    before = count_macs(graph, tokens=_COUNTED_TOKENS)
    moved = _Mover(graph, shapes, picks).move()
    graph.prune()
    rewritten = apply_projections_to_query(graph)
    after = count_macs(graph, tokens=_COUNTED_TOKENS)
    if sum(after.values()) >= sum(before.values()):
        reason = "no matrix product before the pooled position is proven to work by position"
        return model, PooledReport(applied=False, reason=reason)
    queries = ", one attention without keys and values" if rewritten else ""
    report = PooledReport(
        applied=True,
        reason=f"{len(moved)} nodes run on one position{queries}",
        position=picks[0].cut.index,
        nodes_moved=len(moved),
        macs_before=sum(before.values()),
        macs_after=sum(after.values()),
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
            cut = self._common_cut(node)
            operands = None if cut is None else self._operands(node, cut)
            if cut is not None and operands is not None:
                self._cut_node(node, cut, operands)
        self._insert_slices()
        return self._moved

    def _want(self, node: NodeProto, index: int, cut: _Cut) -> None:
        uses = self._cuts.setdefault(node.input[index], {}).setdefault(cut, [])
        uses.append((node, index))

    def _common_cut(self, node: NodeProto) -> _Cut | None:
        """Return the cut that everything which reads the node's results asks for, or None."""
        graph = self._graph
        wanted: set[_Cut] = set()
        for name in node.output:
            cuts = self._cuts.get(name, {})
            reads = sum(list(reader.input).count(name) for reader in graph.consumers.get(name, []))
            if name in graph.outputs or sum(len(uses) for uses in cuts.values()) != reads:
                return None
            wanted.update(cuts)
        return wanted.pop() if len(wanted) == 1 else None

    def _operands(self, node: NodeProto, cut: _Cut) -> list[tuple[int, _Cut]] | None:
        """Return the inputs to cut so that the node yields its cut result, or None."""
        output = self._shapes.shape.get(node.output[0])
        inputs = [self._shapes.shape.get(name) for name in node.input]
        if output is None or any(s is None and n for s, n in zip(inputs, node.input, strict=True)):
            return None
        if output[cut.axis] not in self._dims or node.domain not in ("", "ai.onnx"):
            return None
        rule = POSITION_RULES.get(node.op_type)
        if rule is None:
            return None
        axes = rule(Cut(node, output, [s or () for s in inputs], cut.axis))
        return None if axes is None else [(i, _Cut(axis, cut.index)) for i, axis in axes]

    def _cut_node(self, node: NodeProto, cut: _Cut, operands: list[tuple[int, _Cut]]) -> None:
        for name in node.output:
            self._cuts.pop(name, None)
        if node.op_type == "Reshape":
            data, result = (self._shapes.shape[n] for n in (node.input[0], node.output[0]))
            target = reshape_to_one(data, operands[0][1].axis, result, cut.axis)
            node.input[1] = self._graph.add_constant(f"{node.output[0]}/pooled_shape", target)
        for index, operand in operands:
            self._want(node, index, operand)
        self._moved.append(node)

    def _insert_slices(self) -> None:
        for name, cuts in self._cuts.items():
            for cut, uses in cuts.items():
                if all(node.output[0] in self._picks for node, _ in uses):
                    continue  # nothing moved: the pick itself takes the position from here
                short = self._slice(name, cut)
                for node, index in uses:
                    node.input[index] = short

    def _slice(self, name: str, cut: _Cut) -> str:
        stop = np.iinfo(np.int64).max if cut.index == -1 else cut.index + 1
        fields = [("start", cut.index), ("stop", stop), ("axis", cut.axis)]
        inputs = [
            self._graph.add_constant(f"{name}/pooled_{f}", np.array([v], np.int64))
            for f, v in fields
        ]
        return self._graph.add_node("Slice", [name, *inputs], f"{name}/pooled")[0]
