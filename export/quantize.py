"""Dynamic int8: signed weights with a scale per output channel, activations quantized as they come.

Weights are symmetric int8 (the form that VNNI and AMX multiply at full speed), activations uint8
with one scale and zero point for the whole tensor, found at run time. That scale depends on all
rows of a run, so the runtime gives an int8 graph one pair a run: a score then depends on its pair
only. Embedding tables are int8 with a scale per row.

Processors without VNNI add the products of two neighbouring inputs in 16 bits (vpmaddubsw), where
255 x 127 twice would saturate. `quantize_channels` keeps the sum of two such weights within 128,
so that no input can: one file serves every processor, without a slower mode.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto

from .equalize import equalize
from .graph import Array, Graph, int_attribute, is_op

MIN_WEIGHT_ELEMENTS = 1 << 12  # smaller products (a classifier) stay fp32: nothing to gain
_MIN_TABLE_ROWS = 1024
_LARGEST = 127
_LARGEST_PAIR = 128  # 255 x 128 = 32640 still fits in 16 bits
# A subnormal scale has lost its digits: channels of weights so small are zeros.
_SMALLEST_SCALE = np.finfo(np.float32).tiny


def quantize_int8(model: ModelProto, calibration: Sequence[Mapping[str, Array]] = ()) -> ModelProto:
    """Return the model with int8 matrix products and embedding tables.

    `calibration` holds the inputs of a few dozen real pairs, one pair each. With them, products
    whose inputs have outlier channels are rewritten first (see `equalize`): the error of the
    scores falls to a third, at the price of a few small nodes for each such product.
    """
    graph = Graph(model)
    if graph.has_subgraphs:
        return model
    graph.prune()
    groups = find_products(graph)
    if calibration and groups:
        equalize(graph, groups, calibration, quantize_channels)
    _quantize_products(graph, groups)
    _quantize_tables(graph)
    return graph.to_model()


def find_products(graph: Graph) -> dict[str, list[NodeProto]]:
    """Return the products by a constant matrix, grouped by the activation that they share."""
    groups: dict[str, list[NodeProto]] = {}
    for node in graph.nodes:
        weight = graph.constant(node.input[1]) if is_op(node, "MatMul") else None
        if weight is None or weight.ndim != 2 or weight.dtype != np.float32:
            continue
        if weight.size >= MIN_WEIGHT_ELEMENTS:
            groups.setdefault(node.input[0], []).append(node)
    return groups


def quantize_channels(weight: Array) -> tuple[Array, Array]:
    """Return int8 values [inputs, outputs] and float32 scales [outputs] of a weight.

    Inputs 2i and 2i + 1 of a channel add up to at most 128, or -128.
    """
    even, odd = weight[0 : len(weight) // 2 * 2 : 2], weight[1::2]
    peak = np.abs(weight).max(axis=0) / _LARGEST
    pair_peak = np.abs(even + odd).max(axis=0, initial=0) / _LARGEST_PAIR
    scale = np.maximum(peak, pair_peak).astype(np.float32)
    scale[scale < _SMALLEST_SCALE] = 1
    values = np.clip(np.rint(weight / scale), -_LARGEST, _LARGEST).astype(np.int32)
    # Two roundings up can pass the limit by one: take it from the larger of the two.
    first, second = values[0 : len(weight) // 2 * 2 : 2], values[1::2]
    total = first + second
    excess = np.sign(total) * np.maximum(np.abs(total) - _LARGEST_PAIR, 0)
    larger_first = np.abs(first) >= np.abs(second)
    first -= np.where(larger_first, excess, 0)
    second -= np.where(larger_first, 0, excess)
    return values.astype(np.int8), scale


def quantize_rows(table: Array) -> tuple[Array, Array]:
    """Return int8 values and float32 scales [rows, 1] of a lookup table."""
    scale = (np.abs(table).max(axis=1, keepdims=True) / _LARGEST).astype(np.float32)
    scale[scale < _SMALLEST_SCALE] = 1
    return np.rint(table / scale).astype(np.int8), scale


def _quantize_products(graph: Graph, groups: Mapping[str, Sequence[NodeProto]]) -> None:
    weights: dict[str, tuple[str, str, str]] = {}
    for nodes in groups.values():
        activation = nodes[0].input[0]
        quantized = graph.add_node(
            "DynamicQuantizeLinear", [activation], f"{activation}/uint8", outputs=3
        )
        for node in nodes:
            name = node.input[1]
            if name not in weights:
                weights[name] = _add_weight(graph, name)
            _replace_product(graph, node, quantized, weights[name])
    graph.reindex()


def _add_weight(graph: Graph, name: str) -> tuple[str, str, str]:
    """Add the int8 values, scales and zero point of a weight and return their names."""
    weight = graph.constant(name)
    assert weight is not None  # noqa: S101  # find_products took constants only
    values, scale = quantize_channels(weight)
    return (
        graph.add_constant(f"{name}/int8", values),
        graph.add_constant(f"{name}/scale", scale),
        graph.add_constant(f"{name}/zero_point", np.zeros((), np.int8)),
    )


def _replace_product(
    graph: Graph, node: NodeProto, activation: Sequence[str], weight: Sequence[str]
) -> None:
    """Write x W as the int32 product of quantized x and W, times both scales.

    ONNX Runtime fuses the five nodes, and the bias behind them, into one when it loads them.
    """
    result = node.output[0]
    values, scale, zero_point = activation
    weight_values, weight_scale, weight_zero_point = weight
    (product,) = graph.add_node(
        "MatMulInteger", [values, weight_values, zero_point, weight_zero_point], f"{result}/int32"
    )
    (as_float,) = _to_float(graph, product, result)
    (scales,) = graph.add_node("Mul", [scale, weight_scale], f"{result}/scales")
    (scaled,) = graph.add_node("Mul", [as_float, scales], f"{result}/scaled")
    graph.replace(node, scaled)


def _quantize_tables(graph: Graph) -> None:
    """Look up int8 rows and multiply them by their scales."""
    for node in [n for n in graph.nodes if is_op(n, "Gather")]:
        table = graph.constant(node.input[0])
        if table is None or table.ndim != 2 or table.dtype != np.float32:
            continue
        if table.shape[0] < _MIN_TABLE_ROWS or int_attribute(node, "axis", 0) != 0:
            continue
        name, ids, result = node.input[0], node.input[1], node.output[0]
        values, scales = quantize_rows(table)
        value_table = graph.add_constant(f"{name}/int8", values)
        scale_table = graph.add_constant(f"{name}/scale", scales)
        (row,) = graph.add_node("Gather", [value_table, ids], f"{result}/int8")
        (as_float,) = _to_float(graph, row, result)
        (scale,) = graph.add_node("Gather", [scale_table, ids], f"{result}/row_scale")
        (scaled,) = graph.add_node("Mul", [as_float, scale], f"{result}/scaled")
        graph.replace(node, scaled)
    graph.reindex()


def _to_float(graph: Graph, name: str, stem: str) -> list[str]:
    to_float = {"to": TensorProto.FLOAT}
    return graph.add_node("Cast", [name], f"{stem}/float", attributes=to_float)
