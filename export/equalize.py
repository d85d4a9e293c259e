"""Outlier channels taken out of activations before they are quantized.

One scale serves the whole activation tensor, so one channel with values up to 28 leaves the
others, within 3, a tenth of the 256 steps. There are two remedies, tried on real inputs:

- Divided: x W = (x / s) (s W) for any positive vector s. A channel with outliers is divided by its
  s, and the weights that read it are multiplied (SmoothQuant, Xiao et al. 2023, arXiv:2211.10438).
  The division is a node of its own, and the weights of a channel divided by much lose steps.
- Apart: a few channels are multiplied by their weights in fp32, beside the int8 product of all
  others (LLM.int8(), Dettmers et al. 2022, arXiv:2208.07339). Three small nodes, for a product with
  a bias of its own: those behind Gelus, mostly, whose largest channel is ten times the next.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import ModelProto, NodeProto, helper

from .graph import Array, Graph, is_op

# A remedy is taken if the product's mean squared error falls by more than this. Errors are those of
# a row over the row's mean square: the norm behind a layer brings all rows to one size, and a row
# that holds an outlier would hide the others. On a 6-layer BERT, norms come to 1e-4 and fall by
# 3e-5 or more if divided, attention and most Gelus come to 2e-4; the Gelus of the first half stay
# at 1e-3 to 3e-3 unless some channels are apart. A division takes 0.2 % of a run, and is taken for
# any gain above chance; with the norms left out the logits' error is a tenth larger.
_WORTH_DIVIDING = 2e-5
_WORTH_APART = 1e-3
_APART = 4  # of 1, 4 and 16 the best, by the error of the logits
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


@dataclass(frozen=True, slots=True)
class _Remedy:
    """`inverse` [channels] multiplies the activation: 1 / s, and 0 for the channels `apart`."""

    inverse: Array
    apart: Array

    @property
    def weight_factor(self) -> Array:
        """What multiplies the weights of each channel, [channels, 1]."""
        factor = np.zeros_like(self.inverse)
        np.divide(1, self.inverse, out=factor, where=self.inverse > 0)
        return factor[:, np.newaxis]


def equalize(
    graph: Graph,
    groups: Mapping[str, Sequence[NodeProto]],
    calibration: Sequence[Mapping[str, Array]],
    quantize_weight: WeightQuantizer,
) -> None:
    """Rewrite the products whose error falls by dividing channels or by keeping some apart.

    Products of equal weights, as those of all layers of an ALBERT, get the same remedy: what is
    stored once stays so.
    """
    samples = _Samples(graph, list(groups), calibration)
    alike: dict[tuple[object, ...], list[str]] = {}
    for name, nodes in groups.items():
        weights = _weights(graph, nodes)
        content = tuple((w.shape, hashlib.sha256(w.tobytes()).digest()) for w in weights)
        alike.setdefault(content, []).append(name)
    for names in alike.values():
        _equalize_alike(graph, [groups[n] for n in names], samples.of(names), quantize_weight)
    graph.reindex()


def _weights(graph: Graph, nodes: Sequence[NodeProto]) -> list[Array]:
    found = (graph.constant(node.input[1]) for node in nodes)
    return [weight for weight in found if weight is not None]


def _equalize_alike(
    graph: Graph,
    groups: Sequence[Sequence[NodeProto]],
    activation: _Activation,
    quantize_weight: WeightQuantizer,
) -> None:
    """Rewrite groups of products by equal weights, each group of an activation of its own."""
    weights = _weights(graph, groups[0])
    biased = [_biased(graph, nodes[0]) if len(nodes) == 1 else None for nodes in groups]
    remedy = _best_remedy(
        activation,
        np.concatenate(weights, axis=1),
        quantize_weight,
        may_part=None not in biased,
    )
    if remedy is None:
        return
    for nodes, output in zip(groups, biased, strict=True):
        if output is not None and len(remedy.apart):
            _multiply_apart(graph, nodes[0], weights[0], remedy.apart, output)
    # From here on an input is the whole, with what is apart in the product before it.
    inverse = graph.add_constant(f"{groups[0][0].input[0]}/inverse_scale", remedy.inverse)
    equalized = [
        graph.add_constant(f"{node.input[1]}/equalized", weight * remedy.weight_factor)
        for node, weight in zip(groups[0], weights, strict=True)
    ]
    for nodes in groups:
        whole = nodes[0].input[0]
        (divided,) = graph.add_node("Mul", [whole, inverse], f"{whole}/equalized")
        for node, weight_name in zip(nodes, equalized, strict=True):
            node.input[0], node.input[1] = divided, weight_name


def _biased(graph: Graph, product: NodeProto) -> str | None:
    """Return the name of the product with its bias, or None where something else reads it."""
    consumer = graph.sole_consumer(product.output[0])
    if not is_op(consumer, "Add") or consumer.output[0] in graph.outputs:
        return None
    constants = [graph.constant(name) for name in consumer.input]
    return consumer.output[0] if any(c is not None for c in constants) else None


def _multiply_apart(
    graph: Graph, product: NodeProto, weight: Array, channels: Array, biased: str
) -> None:
    """Add the part of these channels behind the bias, which the runtime fuses with the product."""
    activation = product.input[0]
    indices = graph.add_constant(f"{activation}/channels", channels)
    (chosen,) = graph.add_node(
        "Gather", [activation, indices], f"{activation}/apart", attributes={"axis": -1}
    )
    rows = graph.add_constant(f"{product.input[1]}/apart", weight[channels])
    (part,) = graph.add_node("MatMul", [chosen, rows], f"{biased}/apart")
    whole = graph.fresh(f"{biased}/whole")
    graph.replace_uses(biased, whole)
    graph.append(helper.make_node("Add", [biased, part], [whole], whole, domain=""))


def _best_remedy(
    activation: _Activation, weight: Array, quantize_weight: WeightQuantizer, *, may_part: bool
) -> _Remedy | None:
    """Return the remedy with the smallest error, or None where none is worth its time."""
    exact = activation.rows @ weight
    size = np.square(exact).mean(axis=1)
    size = np.maximum(size, max(float(np.median(size)), 1e-20))

    def error(remedy: _Remedy) -> float:
        values, scale = quantize_weight(weight * remedy.weight_factor)
        product = _quantized_rows(activation, remedy.inverse) @ (values * scale)
        product += activation.rows[:, remedy.apart] @ weight[remedy.apart]
        return float((np.square(product - exact).mean(axis=1) / size).mean())

    nothing = np.empty(0, np.int64)
    best, least = None, error(_Remedy(np.ones(len(weight), np.float32), nothing))
    peak = np.maximum(np.maximum(np.abs(activation.low), np.abs(activation.high)).max(axis=0), 1e-5)
    largest = np.sort(np.argsort(-peak, kind="stable")[: min(_APART, len(peak) // 2)])
    for apart, worth in ((nothing, _WORTH_DIVIDING), (largest, _WORTH_APART)):
        if len(apart) and (not may_part or least <= worth):
            continue
        remedies = [_Remedy(inverse, apart) for inverse in _inverses(peak, weight, apart)]
        errors = [error(remedy) for remedy in remedies]
        if least - min(errors) > worth:
            best, least = remedies[int(np.argmin(errors))], min(errors)
    return best


def _inverses(peak: Array, weight: Array, apart: Array) -> Iterator[Array]:
    """Yield candidates of 1 / s, which is 0 for the channels `apart`."""
    kept = np.ones(len(peak), bool)
    kept[apart] = False
    weight_peak = np.maximum(np.abs(weight).max(axis=1), 1e-5)
    if len(apart):
        yield kept.astype(np.float32)
    for power in _POWERS:  # the difficulty is shared between activation and weight
        scale = peak**power / weight_peak ** (1 - power)
        yield (np.exp(np.log(scale[kept]).mean()) / scale * kept).astype(np.float32)
    for quantile in _QUANTILES:  # the outliers alone are brought down to the others
        yield (kept / np.maximum(1, peak / np.quantile(peak[kept], quantile))).astype(np.float32)


def _quantized_rows(activation: _Activation, inverse: Array) -> Array:
    """Return the sampled rows times `inverse`, as DynamicQuantizeLinear would round them."""
    low = np.minimum((activation.low * inverse).min(axis=1), 0)[activation.pair, np.newaxis]
    high = np.maximum((activation.high * inverse).max(axis=1), 0)[activation.pair, np.newaxis]
    step = np.maximum((high - low) / 255, 1e-20)
    zero_point = np.rint(-low / step)
    rounded = np.clip(np.rint(activation.rows * inverse / step) + zero_point, 0, 255)
    return np.asarray((rounded - zero_point) * step, np.float32)


class _Samples:
    """Samples of every named activation, from a run of each pair."""

    def __init__(
        self, graph: Graph, names: Sequence[str], calibration: Sequence[Mapping[str, Array]]
    ) -> None:
        model = graph.to_model()
        known = {output.name for output in model.graph.output}
        model.graph.output.extend(
            helper.make_empty_tensor_value_info(name) for name in names if name not in known
        )
        rng = np.random.default_rng(0)
        self._rows: dict[str, list[Array]] = {name: [] for name in names}
        self._extremes: dict[str, list[tuple[Array, Array]]] = {name: [] for name in names}
        with tempfile.TemporaryDirectory() as folder:
            session = _open(model, Path(folder) / "model.onnx")
            inputs = [item.name for item in session.get_inputs()]
            for feeds in calibration:
                results = session.run(list(names), {name: feeds[name] for name in inputs})
                for name, value in zip(names, results, strict=True):
                    flat = value.reshape(-1, value.shape[-1])
                    self._extremes[name].append((flat.min(axis=0), flat.max(axis=0)))
                    self._rows[name].append(rng.permutation(flat)[:_ROWS_PER_PAIR])

    def of(self, names: Sequence[str]) -> _Activation:
        """Return the samples of these activations, those of one after those of the other."""
        parts = [part for name in names for part in self._rows[name]]
        low, high = zip(*(each for name in names for each in self._extremes[name]), strict=True)
        return _Activation(
            rows=np.concatenate(parts),
            pair=np.repeat(np.arange(len(parts)), [len(part) for part in parts]),
            low=np.stack(low),
            high=np.stack(high),
        )


def _open(model: ModelProto, path: Path) -> onnxruntime.InferenceSession:
    size = sum(len(tensor.raw_data) for tensor in model.graph.initializer)
    onnx.save(model, path, save_as_external_data=size > _EXTERNAL_DATA_BYTES)
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
