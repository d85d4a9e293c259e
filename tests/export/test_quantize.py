from collections import Counter

import numpy as np
import pytest
from encoders import HIDDEN, VOCABULARY, Encoder, encoder, feeds
from fastrerank.export.graph import Graph
from fastrerank.export.optimize import optimize
from fastrerank.export.pooled import compute_pooled_position_only
from fastrerank.export.quantize import quantize_channels, quantize_int8, quantize_rows
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from onnx import TensorProto

weights = npst.arrays(
    np.float32,
    st.tuples(st.integers(1, 9), st.integers(1, 5)),
    elements=st.floats(-4, 4, width=32),
)


@given(weights)
def test_no_pair_of_weights_can_saturate_16_bits(weight):
    """vpmaddubsw adds two neighbouring products of uint8 and int8 in 16 bits."""
    values, _ = quantize_channels(weight)
    wide = np.zeros((len(values) + len(values) % 2, values.shape[1]), np.int64)
    wide[: len(values)] = values
    pairs = wide.reshape(-1, 2, values.shape[1])
    # Activations are 0 to 255, each on its own: the extremes take one, the other or both.
    largest = 255 * np.maximum(pairs, 0).sum(axis=1)
    smallest = 255 * np.minimum(pairs, 0).sum(axis=1)
    assert largest.max(initial=0) <= 32767
    assert smallest.min(initial=0) >= -32768


@given(weights)
def test_weights_are_within_two_steps(weight):
    values, scale = quantize_channels(weight)
    assert values.dtype == np.int8
    assert np.all(np.abs(values * scale - weight) <= 1.5001 * scale)
    assert np.all(scale <= np.maximum(2 * np.abs(weight).max(axis=0) / 128, 1))


@given(weights)
def test_table_rows_are_within_half_a_step(table):
    values, scale = quantize_rows(table)
    assert np.all(np.abs(values * scale - table) <= 0.5001 * scale)


@pytest.fixture(scope="module")
def fp32():
    return compute_pooled_position_only(optimize(encoder()))[0]


def test_products_and_embeddings_become_int8(fp32):
    """Square projections of this small model are too small to gain."""
    model = quantize_int8(fp32)
    found = Counter(node.op_type for node in model.graph.node)
    assert found["MatMulInteger"] == 0
    table = [t for t in model.graph.initializer if tuple(t.dims) == (VOCABULARY, HIDDEN)]
    assert [t.data_type for t in table] == [3]


def wide_encoder(outlier=1.0):
    """One product of 64 x 96; one channel of its input is `outlier` times larger."""
    build = Encoder()
    x = build.node("Tanh", build.linear(build.embeddings(), HIDDEN, 64))
    stretch = np.ones(64)
    stretch[5] = outlier
    x = build.node("Mul", x, build.constant(stretch))
    weight = build.rng.normal(0, 0.3, (64, 96)) / stretch[:, np.newaxis]
    return build.model(build.node("MatMul", x, build.constant(weight)))


def error(model, quantized, run):
    inputs = feeds(1, 20, seed=5, padded=False)
    exact = run(model, inputs)
    return np.square(run(quantized, inputs) - exact).mean() / np.square(exact).mean()


def test_int8_is_close(run):
    model = wide_encoder()
    quantized = quantize_int8(model)
    assert [n.op_type for n in quantized.graph.node].count("MatMulInteger") == 1
    assert error(model, quantized, run) < 1e-3


def test_equalizing_takes_the_error_of_an_outlier_channel_away(run):
    model = wide_encoder(outlier=40)
    pairs = [feeds(1, 12, seed, padded=False) for seed in range(8)]
    plain, equalized = quantize_int8(model), quantize_int8(model, pairs)
    assert error(model, equalized, run) < error(model, plain, run) / 3


def heavy_tailed_encoder():
    """A product with its bias; one channel of its input is large, in a few rows only."""
    build = Encoder()
    x = build.node("Tanh", build.linear(build.embeddings(), HIDDEN, 64))
    shift, stretch = np.zeros(64), np.ones(64)
    shift[5], stretch[5] = -0.9, 8000
    x = build.node("Mul", build.node("Add", x, build.constant(shift)), build.constant(stretch))
    product = build.node("MatMul", build.node("Relu", x), build.random(64, 96))
    return build.model(build.node("Tanh", build.node("Add", product, build.random(96))))


def test_a_channel_that_dividing_cannot_tame_is_multiplied_apart(run):
    model = heavy_tailed_encoder()
    pairs = [feeds(1, 12, seed, padded=False) for seed in range(8)]
    plain, apart = quantize_int8(model), quantize_int8(model, pairs)
    by_name = {tuple(t.dims): t.name for t in apart.graph.initializer}
    assert (4, 96) in by_name
    assert error(model, apart, run) < error(model, plain, run) / 20


def test_a_product_that_feeds_another_loses_nothing(run):
    """As ELECTRA's projection of the embeddings feeds queries, keys and values."""
    build = Encoder()
    x = build.node("Tanh", build.linear(build.embeddings(), HIDDEN, 64))
    shift, stretch, bias = np.zeros(64), np.ones(64), build.rng.normal(0, 1, 96)
    shift[5], stretch[5], bias[7] = -0.9, 8000, 400
    x = build.node("Mul", build.node("Add", x, build.constant(shift)), build.constant(stretch))
    product = build.node("MatMul", build.node("Relu", x), build.random(64, 96))
    x = build.node("Add", product, build.constant(bias))
    model = build.model(build.node("MatMul", x, build.random(96, 64)))
    pairs = [feeds(1, 12, seed, padded=False) for seed in range(8)]
    quantized = quantize_int8(model, pairs)
    stored = {tuple(tensor.dims): tensor.name for tensor in quantized.graph.initializer}
    assert (4, 96) in stored  # channels of the first are apart
    assert "equalized" in stored[96, 64]  # and those of the second divided
    assert error(model, quantized, run) < 1e-3


def test_a_product_without_outliers_is_not_equalized():
    pairs = [feeds(1, 12, seed, padded=False) for seed in range(8)]
    model = wide_encoder()
    assert len(quantize_int8(model, pairs).graph.node) == len(quantize_int8(model).graph.node)


def test_products_of_one_activation_share_its_quantization(run):
    build = Encoder()
    x = build.linear(build.embeddings(), HIDDEN, 64)
    parts = [build.node("MatMul", x, build.random(64, 96)) for _ in range(3)]
    model = build.model(build.node("Sum", *parts))
    quantized = quantize_int8(model)
    found = Counter(node.op_type for node in quantized.graph.node)
    assert (found["MatMulInteger"], found["DynamicQuantizeLinear"]) == (3, 1)
    assert error(model, quantized, run) < 1e-3


def test_a_shared_weight_is_stored_once():
    build = Encoder()
    x = build.linear(build.embeddings(), HIDDEN, 64)
    shared = build.random(64, 64)
    for _ in range(2):
        x = build.node("Tanh", build.node("MatMul", x, shared))
    quantized = Graph(quantize_int8(build.model(x)))
    stored = [name for name, t in quantized.initializers.items() if tuple(t.dims) == (64, 64)]
    assert len(stored) == 1


def test_layers_that_share_their_weights_share_the_remedy(run):
    """As those of an ALBERT do."""
    build = Encoder()
    x = build.linear(build.embeddings(), HIDDEN, 64)
    stretch = np.ones(64)
    stretch[5] = 40
    stretched = build.constant(stretch)
    weight = build.rng.normal(0, 0.3, (64, 64)) / stretch[:, np.newaxis]
    for _ in range(3):  # exporters give each layer a copy
        x = build.node("Mul", build.node("Tanh", x), stretched)
        x = build.node("MatMul", x, build.constant(weight))
    model = build.model(x)
    pairs = [feeds(1, 12, seed, padded=False) for seed in range(8)]
    plain, equalized = quantize_int8(model), quantize_int8(model, pairs)
    stored = [t.data_type for t in equalized.graph.initializer if tuple(t.dims) == (64, 64)]
    assert stored == [TensorProto.INT8]
    assert error(model, equalized, run) < error(model, plain, run) / 3
