"""Multi-head attention as torch exports it, found in a graph."""

from __future__ import annotations

from dataclasses import dataclass

from onnx import NodeProto

from .dims import Dim
from .graph import Graph, is_op
from .shapes import Shapes, permutation

_HEADS_FIRST = [0, 2, 1, 3]
_HEADS_FIRST_TRANSPOSED = [0, 2, 3, 1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Attention:
    """softmax(q k^T + mask) v, split into heads and merged again.

    `query`, `key` and `value` are the projections [batch, sequence, heads x head_size] (any scale
    is part of them), `mask` is what is added to the scores, if anything, `scores`, `probabilities`
    and `context` the nodes q k^T, softmax and p v, and `result` the context with its heads merged,
    [batch, queries, heads x head_size].
    """

    query: str
    key: str
    value: str
    mask: str | None
    scores: NodeProto
    probabilities: NodeProto
    context: NodeProto
    result: str
    num_heads: int
    head_size: int


def find_attention(graph: Graph, shapes: Shapes) -> list[Attention]:
    """Return the attention blocks whose every node is understood, in graph order."""
    found = [_match(graph, shapes, node) for node in graph.nodes if is_op(node, "Softmax")]
    return [block for block in found if block is not None]


def _match(graph: Graph, shapes: Shapes, softmax: NodeProto) -> Attention | None:
    scores, mask = graph.producers.get(softmax.input[0]), None
    if is_op(scores, "Add"):
        products = [i for i in (0, 1) if is_op(graph.producers.get(scores.input[i]), "MatMul")]
        if len(products) != 1 or graph.sole_consumer(scores.input[products[0]]) is not scores:
            return None
        mask = scores.input[1 - products[0]]
        scores = graph.producers[scores.input[products[0]]]
    context = graph.sole_consumer(softmax.output[0])
    if not is_op(scores, "MatMul") or not is_op(context, "MatMul"):
        return None
    if context.input[0] != softmax.output[0]:
        return None
    query = _split_heads(graph, scores.input[0], _HEADS_FIRST)
    key = _split_heads(graph, scores.input[1], _HEADS_FIRST_TRANSPOSED)
    value = _split_heads(graph, context.input[1], _HEADS_FIRST)
    result = _merged_heads(graph, context.output[0])
    if query is None or key is None or value is None or result is None:
        return None
    heads = _heads(shapes, scores.input[0])
    if heads is None or heads != _heads(shapes, context.input[1]):
        return None
    if {_hidden(shapes, name) for name in (query, key, value, result)} != {heads[0] * heads[1]}:
        return None
    return Attention(
        query=query,
        key=key,
        value=value,
        mask=mask,
        scores=scores,
        probabilities=softmax,
        context=context,
        result=result,
        num_heads=heads[0],
        head_size=heads[1],
    )


def _heads(shapes: Shapes, name: str) -> tuple[int, int] | None:
    """Return the number and size of the heads of a value [batch, heads, sequence, head_size]."""
    shape = shapes.shape.get(name, ())
    if len(shape) != 4 or not isinstance(shape[1], int) or not isinstance(shape[3], int):
        return None
    return shape[1], shape[3]


def _hidden(shapes: Shapes, name: str) -> Dim | None:
    """Return the last dimension of a value [batch, sequence, hidden]."""
    shape = shapes.shape.get(name, ())
    return shape[-1] if len(shape) == 3 else None


def _split_heads(graph: Graph, name: str, perm: list[int]) -> str | None:
    """Return the value [batch, sequence, hidden] that is split into heads as `name`, or None."""
    transpose = graph.producers.get(name)
    if not is_op(transpose, "Transpose") or permutation(transpose, 4) != perm:
        return None
    reshape = graph.producers.get(transpose.input[0])
    return reshape.input[0] if is_op(reshape, "Reshape") else None


def _merged_heads(graph: Graph, name: str) -> str | None:
    transpose = graph.sole_consumer(name)
    if not is_op(transpose, "Transpose") or permutation(transpose, 4) != _HEADS_FIRST:
        return None
    reshape = graph.sole_consumer(transpose.output[0])
    return reshape.output[0] if is_op(reshape, "Reshape") else None
