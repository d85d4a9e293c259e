"""Outlier channels taken out of activations before they are quantized.

One scale serves the whole activation tensor, so one channel with values up to 28 leaves the
others, within 3, a tenth of the 256 steps. x W = (x / s) (s W) for any positive vector s: a
channel with outliers is divided by its s, and the weights that read it are multiplied
(SmoothQuant, Xiao et al. 2023, arXiv:2211.10438). The division is a node of its own and costs
time, so it is added only where the product would otherwise be inexact; the vector is the one that
leaves the smallest error in the product on real inputs, among a few candidates.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import ModelProto, NodeProto, helper

from .graph import Array, Graph

# A product is equalized if its mean squared error, relative to its mean square, falls by more than
# this. On a 6-layer BERT that takes the feed-forward products (errors of 1e-3 to 4e-3, without
# which the scores' error doubles) and leaves most attention projections (below 8e-4), where the
# scores gain nothing.
_WORTHWHILE_GAIN = 5e-4
_ROWS_PER_PAIR = 64
_POWERS = (0.5, 0.6, 0.7, 0.8, 0.9)
_QUANTILES = (0.5, 0.8, 0.9, 0.95)
_EXTERNAL_DATA_BYTES = 1 << 30  # protobuf cannot write 2 GiB in one piece

WeightQuantizer = Callable[[Array], tuple[Array, Array]]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Activation:
    """A sample of an activation: rows [rows, channels] and the pair that each comes from.

    `low` and `high` [pairs, channels] are the extremes over all rows of a pair: dynamic
    quantization takes its scale from them.
    """

    rows: Array
    pair: Array
    low: Array
    high: Array


def equalize(
    graph: Graph,
    groups: Mapping[str, Sequence[NodeProto]],
    calibration: Sequence[Mapping[str, Array]],
    quantize_weight: WeightQuantizer,
) -> None:
    """Divide activations by a vector, and multiply the weights by it, where the error falls."""
    for name, activation in _collect(graph, list(groups), calibration):
        nodes = groups[name]
        weights = [graph.constant(node.input[1]) for node in nodes]
        scale = _best_scale(
            activation,
            np.concatenate([w for w in weights if w is not None], axis=1),
            quantize_weight,
        )
        if scale is None:
            continue
        inverse = graph.add_constant(f"{name}/inverse_scale", 1 / scale)
        (divided,) = graph.add_node("Mul", [name, inverse], f"{name}/equalized")
        for node, weight in zip(nodes, weights, strict=True):
            if weight is not None:
                node.input[0] = divided
                node.input[1] = graph.add_constant(
                    f"{node.input[1]}/equalized", weight * scale[:, np.newaxis]
                )
    graph.reindex()


def _best_scale(
    activation: _Activation, weight: Array, quantize_weight: WeightQuantizer
) -> Array | None:
    """Return the vector with the smallest error, or None where none is worth its time."""
    exact = activation.rows @ weight

    def error(scale: Array) -> float:
        values, weight_scale = quantize_weight(weight * scale[:, np.newaxis])
        product = _quantized_rows(activation, scale) @ (values * weight_scale)
        return float(np.square(product - exact).mean() / max(np.square(exact).mean(), 1e-20))

    plain = error(np.ones(len(weight), np.float32))
    if plain <= _WORTHWHILE_GAIN:
        return None
    best = min(_candidates(activation, weight), key=error)
    return best if plain - error(best) > _WORTHWHILE_GAIN else None


def _candidates(activation: _Activation, weight: Array) -> Iterator[Array]:
    peak = np.maximum(np.maximum(np.abs(activation.low), np.abs(activation.high)).max(axis=0), 1e-5)
    weight_peak = np.maximum(np.abs(weight).max(axis=1), 1e-5)
    for power in _POWERS:  # the difficulty is shared between activation and weight
        scale = peak**power / weight_peak ** (1 - power)
        yield (scale / np.exp(np.log(scale).mean())).astype(np.float32)
    for quantile in _QUANTILES:  # the outliers alone are brought down to the others
        yield np.maximum(1, peak / np.quantile(peak, quantile)).astype(np.float32)


def _quantized_rows(activation: _Activation, scale: Array) -> Array:
    """Return the sampled rows over `scale`, as DynamicQuantizeLinear would round them."""
    low = np.minimum((activation.low / scale).min(axis=1), 0)[activation.pair, np.newaxis]
    high = np.maximum((activation.high / scale).max(axis=1), 0)[activation.pair, np.newaxis]
    step = np.maximum((high - low) / 255, 1e-20)
    zero_point = np.rint(-low / step)
    rounded = np.clip(np.rint(activation.rows / scale / step) + zero_point, 0, 255)
    return np.asarray((rounded - zero_point) * step, np.float32)


def _collect(
    graph: Graph, names: Sequence[str], calibration: Sequence[Mapping[str, Array]]
) -> Iterator[tuple[str, _Activation]]:
    """Run the pairs and yield a sample of every named activation."""
    model = graph.to_model()
    known = {output.name for output in model.graph.output}
    model.graph.output.extend(
        helper.make_empty_tensor_value_info(name) for name in names if name not in known
    )
    rng = np.random.default_rng(0)
    rows: dict[str, list[Array]] = {name: [] for name in names}
    extremes: dict[str, list[tuple[Array, Array]]] = {name: [] for name in names}
    with tempfile.TemporaryDirectory() as folder:
        session = _open(model, Path(folder) / "model.onnx")
        inputs = [item.name for item in session.get_inputs()]
        for feeds in calibration:
            results = session.run(list(names), {name: feeds[name] for name in inputs})
            for name, value in zip(names, results, strict=True):
                flat = value.reshape(-1, value.shape[-1])
                extremes[name].append((flat.min(axis=0), flat.max(axis=0)))
                rows[name].append(rng.permutation(flat)[:_ROWS_PER_PAIR])
    for name in names:
        counts = [len(part) for part in rows[name]]
        low, high = zip(*extremes[name], strict=True)
        yield (
            name,
            _Activation(
                rows=np.concatenate(rows[name]),
                pair=np.repeat(np.arange(len(counts)), counts),
                low=np.stack(low),
                high=np.stack(high),
            ),
        )


def _open(model: ModelProto, path: Path) -> onnxruntime.InferenceSession:
    size = sum(len(tensor.raw_data) for tensor in model.graph.initializer)
    onnx.save(model, path, save_as_external_data=size > _EXTERNAL_DATA_BYTES)
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
