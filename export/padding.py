"""Attention without a mask, for runs that hold one pair and so no padding."""

from __future__ import annotations

import numpy as np
from onnx import ModelProto, NodeProto

from .elementwise import BROADCAST, UNARY
from .folding import evaluate
from .graph import Array, Graph, is_op

_MASK = "attention_mask"
# Operators that move, repeat or leave out elements: what is the same everywhere stays so.
_REARRANGING = (
    "Expand",
    "Identity",
    "Reshape",
    "Slice",
    "Squeeze",
    "Tile",
    "Transpose",
    "Unsqueeze",
)


def assume_no_padding(model: ModelProto) -> ModelProto:
    """Return the model without the addition of its attention mask, or as it is.

    The mask is left out where it provably adds zero to every score when every token counts. The
    input stays declared, so that the same arrays feed both graphs; what it holds is not read.
    """
    graph = Graph(model)
    if graph.has_subgraphs or _MASK not in graph.inputs:
        return model
    graph.prune()
    for softmax in [n for n in graph.nodes if is_op(n, "Softmax")]:
        addition = graph.producers.get(softmax.input[0])
        if not is_op(addition, "Add"):
            continue
        for scores, mask in (addition.input, reversed(addition.input)):
            value = _uniform_value(graph, mask)
            if value is not None and value == 0:
                graph.replace(addition, scores)
                break
    return graph.to_model()


def _uniform_value(graph: Graph, name: str) -> Array | None:
    """Return the number that every element has for a mask of ones, as a 0-d array, or None."""
    if name == _MASK:
        return np.ones((), np.int64)
    constant = graph.constant(name)
    if constant is not None:
        same = constant.size > 0 and bool(np.all(constant == constant.flat[0]))
        return constant.reshape(-1)[0].reshape(()) if same else None
    node = graph.producers.get(name)
    if node is None:
        return None
    if is_op(node, *_REARRANGING):
        return _uniform_value(graph, node.input[0])
    return _elementwise_value(graph, node) if is_op(node, *UNARY, *BROADCAST) else None


def _elementwise_value(graph: Graph, node: NodeProto) -> Array | None:
    operands = [_uniform_value(graph, name) for name in node.input]
    if any(operand is None for operand in operands):
        return None
    (result,) = evaluate(graph, node, list(operands))
    return result
