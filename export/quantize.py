"""Dynamic int8: signed weights with a scale per output channel, activations quantized as they come.

Weights are symmetric int8 (the form that VNNI and AMX multiply at full speed), activations uint8
with one scale and zero point for the whole tensor, found at run time. That scale depends on all
rows of a run, so the runtime gives an int8 graph one pair a run: a score then depends on its pair
only. Embedding tables are int8 with a scale per row, which is an exact lookup and one product.
"""

from __future__ import annotations

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto

from .graph import Array, Graph, int_attribute, is_op

_MIN_WEIGHT_ELEMENTS = 1 << 12  # smaller products (a classifier) stay fp32: nothing to gain
_MIN_TABLE_ROWS = 1024


def quantize_int8(model: ModelProto) -> ModelProto:
    """Return the model with int8 matrix products and embedding tables."""
    graph = Graph(model)
    if graph.has_subgraphs:
        return model
    graph.prune()
    _quantize_products(graph)
    _quantize_tables(graph)
    return graph.to_model()


def quantize_channels(weight: Array, axis: int) -> tuple[Array, Array]:
    """Return int8 values and float32 scales, one for each index of `axis`, symmetric about zero."""
    others = tuple(i for i in range(weight.ndim) if i != axis)
    peak = np.abs(weight).max(axis=others, keepdims=True)
    scale = np.where(peak == 0, 1, peak / 127).astype(np.float32)
    values = np.clip(np.rint(weight / scale), -127, 127).astype(np.int8)
    return values, scale.reshape(-1)


class _Quantized:
    """Constants and activations that were quantized once, for all the nodes that share them."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._weights: dict[str, tuple[str, str, str]] = {}
        self._activations: dict[str, list[str]] = {}

    def weight(self, name: str) -> tuple[str, str, str]:
        """Names of the int8 values, scales and zero point of a weight [inputs, outputs]."""
        if name not in self._weights:
            weight = self._graph.constant(name)
            values, scale = quantize_channels(weight, 1)  # type: ignore[arg-type]
            self._weights[name] = (
                self._graph.add_constant(f"{name}/int8", values),
                self._graph.add_constant(f"{name}/scale", scale),
                self._graph.add_constant(f"{name}/zero_point", np.zeros((), np.int8)),
            )
        return self._weights[name]

    def activation(self, name: str) -> list[str]:
        """Names of the uint8 values, scale and zero point of an activation."""
        if name not in self._activations:
            self._activations[name] = self._graph.add_node(
                "DynamicQuantizeLinear", [name], f"{name}/uint8", outputs=3
            )
        return self._activations[name]


def _quantize_products(graph: Graph) -> None:
    quantized = _Quantized(graph)
    for node in [n for n in graph.nodes if is_op(n, "MatMul")]:
        weight = graph.constant(node.input[1])
        if weight is None or weight.ndim != 2 or weight.size < _MIN_WEIGHT_ELEMENTS:
            continue
        if weight.dtype != np.float32:
            continue
        _replace_product(graph, node, quantized)
    graph.reindex()


def _replace_product(graph: Graph, node: NodeProto, quantized: _Quantized) -> None:
    """Write x W as the int32 product of quantized x and W, times both scales."""
    result = node.output[0]
    values, scale, zero_point = quantized.activation(node.input[0])
    weight, weight_scale, weight_zero_point = quantized.weight(node.input[1])
    (product,) = graph.add_node(
        "MatMulInteger", [values, weight, zero_point, weight_zero_point], f"{result}/int32"
    )
    (as_float,) = graph.add_node(
        "Cast", [product], f"{result}/float", attributes={"to": TensorProto.FLOAT}
    )
    (scales,) = graph.add_node("Mul", [scale, weight_scale], f"{result}/scales")
    (scaled,) = graph.add_node("Mul", [as_float, scales], f"{result}/scaled")
    graph.remove([node])
    graph.replace_uses(result, scaled)


def _quantize_tables(graph: Graph) -> None:
    """Look up int8 rows and multiply them by their scales."""
    for node in [n for n in graph.nodes if is_op(n, "Gather")]:
        table = graph.constant(node.input[0])
        rows_first = int_attribute(node, "axis", 0) == 0
        if table is None or table.ndim != 2 or table.dtype != np.float32 or not rows_first:
            continue
        if table.shape[0] < _MIN_TABLE_ROWS or node.output[0] in graph.outputs:
            continue
        name, ids, result = node.input[0], node.input[1], node.output[0]
        values, scale = quantize_channels(table, 0)
        rows = graph.add_constant(f"{name}/int8", values)
        scales = graph.add_constant(f"{name}/scale", scale[:, np.newaxis])
        (row,) = graph.add_node("Gather", [rows, ids], f"{result}/int8")
        (as_float,) = graph.add_node("Cast", [row], f"{result}/float", attributes={"to": TensorProto.FLOAT})
        (row_scale,) = graph.add_node("Gather", [scales, ids], f"{result}/row_scale")
        (scaled,) = graph.add_node("Mul", [as_float, row_scale], f"{result}/scaled")
        graph.remove([node])
        graph.replace_uses(result, scaled)
    graph.reindex()
