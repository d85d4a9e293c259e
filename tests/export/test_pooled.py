import numpy as np
import pytest
from encoders import HEADS, HIDDEN, INNER, LAYERS, Encoder, encoder, feeds, run_model
from fastrerank.export.graph import Graph
from fastrerank.export.macs import count_macs
from fastrerank.export.optimize import optimize
from fastrerank.export.pooled import compute_pooled_position_only
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper

LENGTH = 32


def products_at_run_time(model, run):
    """Multiply-accumulates of every matrix product, from the shapes of a run of one pair."""
    model = Graph(model).to_model()
    products = [node for node in model.graph.node if node.op_type in ("MatMul", "Gemm")]
    constants = {t.name: tuple(t.dims) for t in model.graph.initializer}
    names = sorted(
        {n for node in products for n in (*node.input[:2], node.output[0])} - constants.keys()
    )
    known = {output.name for output in model.graph.output}
    model.graph.output.extend(
        helper.make_empty_tensor_value_info(n) for n in names if n not in known
    )
    results = run(model, feeds(1, LENGTH), names)
    shape = constants | {n: r.shape for n, r in zip(names, results, strict=True)}
    return sum(int(np.prod(shape[node.output[0]])) * shape[node.input[0]][-1] for node in products)


@pytest.mark.parametrize("pool", ["first", "last", "first by slice"])
@pytest.mark.parametrize("opset", [17, 20])
@pytest.mark.parametrize(
    "prepare", [optimize, lambda model: model], ids=["optimized", "as exported"]
)
def test_logits_stay_the_same(pool, opset, prepare, assert_same):
    model = prepare(encoder(pool, opset))
    after, report = compute_pooled_position_only(model)
    assert report.applied
    assert report.position == (-1 if pool == "last" else 0)
    assert_same(model, after, feeds(), feeds(1, 1), feeds(3, 20, seed=1))


@settings(deadline=None, max_examples=15)
@given(batch=st.integers(1, 4), length=st.integers(1, 50), seed=st.integers(0, 99))
def test_logits_stay_the_same_for_all_inputs(batch, length, seed):
    model = encoder()
    after, _ = compute_pooled_position_only(optimize(model))
    inputs = feeds(batch, length, seed)
    np.testing.assert_allclose(
        run_model(after, inputs), run_model(model, inputs), atol=1e-5, rtol=0
    )


def test_work_of_the_last_layer_falls_to_that_of_one_position(run):
    model = optimize(encoder())
    after, report = compute_pooled_position_only(model)
    projections = 4 * HIDDEN * HIDDEN + 2 * HIDDEN * INNER
    layer = LENGTH * projections + 2 * LENGTH * LENGTH * HIDDEN
    head = HIDDEN * HIDDEN + HIDDEN
    assert products_at_run_time(model, run) == LAYERS * layer + head
    # One position passes through the projections; its scores and context are products with the
    # hidden states themselves, a row for each head.
    last = projections + 2 * HEADS * LENGTH * HIDDEN
    assert products_at_run_time(after, run) == (LAYERS - 1) * layer + last + head
    assert report.macs_after < report.macs_before


def test_counted_work_is_that_of_a_run(run):
    for model in (optimize(encoder()), compute_pooled_position_only(optimize(encoder()))[0]):
        counted = sum(count_macs(Graph(model), tokens=LENGTH).values())
        assert counted == products_at_run_time(model, run)


@pytest.mark.parametrize(
    ("pool", "reason"), [("mean", "no node picks"), ("second", "no node picks")]
)
def test_other_pooling_is_left_alone(pool, reason):
    model = encoder(pool)
    after, report = compute_pooled_position_only(model)
    assert after is model
    assert not report.applied
    assert reason in report.reason


def test_hidden_states_that_are_read_elsewhere_are_left_alone(assert_same):
    """A head that also reads the mean of all positions needs every position of the last layer."""
    build = Encoder()
    x = build.layer(build.embeddings(), build.mask())
    first = build.node("Gather", x, build.constant(0, np.int64), axis=1)
    mean = build.node("ReduceMean", x, build.integers(1), keepdims=0)
    both = build.node("Add", first, mean)
    model = build.model(build.node("Gemm", both, build.random(HIDDEN, 1)))
    after, report = compute_pooled_position_only(model)
    assert after is model
    assert not report.applied


def test_attention_with_a_window_keeps_its_mask(assert_same):
    model = encoder(window=True)
    after, report = compute_pooled_position_only(optimize(model))
    assert report.applied
    assert_same(model, after, feeds(2, 20), feeds(1, 3))
