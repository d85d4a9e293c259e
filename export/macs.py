"""Multiply-accumulates of a graph, counted from its shapes."""

from __future__ import annotations

from .dims import dim_factors
from .graph import Graph, int_attribute, is_op
from .shapes import infer_shapes


def count_macs(graph: Graph, *, tokens: int, batch: int = 1) -> dict[str, int]:
    """Return the multiply-accumulates of each matrix product, by the name of its result.

    Symbols that stand for the batch (the first axis of an input) count as `batch`, every other
    as `tokens`.
    """
    shapes = infer_shapes(graph).shape
    batches = {shape[0] for shape in graph.input_shapes.values() if shape}
    counts: dict[str, int] = {}
    for node in graph.nodes:
        output, data = shapes.get(node.output[0]), shapes.get(node.input[0]) if node.input else None
        if not is_op(node, "MatMul", "Gemm", "MatMulInteger") or output is None or data is None:
            continue
        inner = data[0] if int_attribute(node, "transA", 0) else data[-1]
        number, symbols = dim_factors((*output, inner))
        for symbol in symbols.elements():
            number *= batch if symbol in batches else tokens
        counts[node.output[0]] = number
    return counts
