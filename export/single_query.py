"""Attention of one query without projecting keys and values.

With one query q (the pooled position of the last layer), q (x W_k)^T = (q W_k^T) x^T and
p (x W_v) = (p x) W_v: the head's part of the weight is applied to the one query, or to the one
weighted sum of positions, instead of to every position. The key's bias adds the same number to
every score, which softmax takes out again; the probabilities sum to one, so the value's bias is
added once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .attention import Attention, find_attention
from .graph import Array, Graph, is_op
from .shapes import Shapes, infer_shapes


@dataclass(frozen=True, slots=True, kw_only=True)
class _Projection:
    """x W + b: the name of x, W [inputs, outputs] and b [outputs] (zeros if there is none)."""

    x: str
    weight: Array
    bias: Array


def apply_projections_to_query(graph: Graph) -> int:
    """Rewrite the attention blocks that have one query; return how many there were."""
    shapes = infer_shapes(graph)
    blocks = [b for b in find_attention(graph, shapes) if _has_one_query(shapes, b)]
    done = 0
    for block in blocks:
        key, value = _projection(graph, shapes, block.key), _projection(graph, shapes, block.value)
        if key is None or value is None:
            continue
        _score_by_query(graph, block, key)
        _project_context(graph, block, value)
        done += 1
    graph.prune()
    return done


def _has_one_query(shapes: Shapes, block: Attention) -> bool:
    shape = shapes.shape.get(block.query)
    return shape is not None and len(shape) == 3 and shape[1] == 1


def _projection(graph: Graph, shapes: Shapes, name: str) -> _Projection | None:
    node, bias = graph.producers.get(name), None
    if is_op(node, "Add"):
        constants = [i for i in (0, 1) if graph.constant(node.input[i]) is not None]
        if len(constants) != 1 or graph.sole_consumer(name) is None:
            return None
        bias = graph.constant(node.input[constants[0]])
        node = graph.producers.get(node.input[1 - constants[0]])
    if not is_op(node, "MatMul") or graph.sole_consumer(node.output[0]) is None:
        return None
    weight = graph.constant(node.input[1])
    if weight is None or weight.ndim != 2 or len(shapes.shape.get(node.input[0], ())) != 3:
        return None
    if bias is None:
        bias = np.zeros(weight.shape[1], weight.dtype)
    if bias.shape != weight.shape[1:]:
        return None
    return _Projection(x=node.input[0], weight=weight, bias=bias)


def _score_by_query(graph: Graph, block: Attention, key: _Projection) -> None:
    """Scores [batch, heads, 1, keys] as (q W_k^T) x^T."""
    heads, size, hidden = block.num_heads, block.head_size, len(key.weight)
    stem = block.scores.output[0]
    by_head = key.weight.reshape(hidden, heads, size).transpose(1, 2, 0)
    weight = graph.add_constant(f"{stem}/key_weight", by_head)
    (projected,) = graph.add_node("MatMul", [block.scores.input[0], weight], f"{stem}/query")
    (query,) = _drop_axis(graph, projected, f"{stem}/query_rows")
    (turned,) = graph.add_node("Transpose", [key.x], f"{stem}/x", attributes={"perm": [0, 2, 1]})
    (scores,) = graph.add_node("MatMul", [query, turned], f"{stem}/rows")
    (result,) = graph.add_node("Unsqueeze", [scores, _axis(graph)], f"{stem}/single")
    graph.replace(block.scores, result)


def _project_context(graph: Graph, block: Attention, value: _Projection) -> None:
    """Context [batch, heads, 1, head_size] as (p x) W_v + b_v."""
    heads, size, hidden = block.num_heads, block.head_size, len(value.weight)
    stem = block.context.output[0]
    by_head = value.weight.reshape(hidden, heads, size).transpose(1, 0, 2)
    (rows,) = _drop_axis(graph, block.probabilities.output[0], f"{stem}/probabilities")
    (mixed,) = graph.add_node("MatMul", [rows, value.x], f"{stem}/mixed")
    (split,) = graph.add_node("Unsqueeze", [mixed, _axis(graph)], f"{stem}/mixed_rows")
    weight = graph.add_constant(f"{stem}/value_weight", by_head)
    (context,) = graph.add_node("MatMul", [split, weight], f"{stem}/projected")
    bias = graph.add_constant(f"{stem}/value_bias", value.bias.reshape(heads, 1, size))
    (result,) = graph.add_node("Add", [context, bias], f"{stem}/single")
    graph.replace(block.context, result)


def _drop_axis(graph: Graph, name: str, stem: str) -> list[str]:
    return graph.add_node("Squeeze", [name, _axis(graph)], stem)


def _axis(graph: Graph) -> str:
    """Name of a constant that names the query axis of [batch, heads, queries, keys]."""
    return graph.add_constant("query_axis", np.array([2], np.int64))
