from collections import Counter

import numpy as np
import pytest
from encoders import HIDDEN, LAYERS, Encoder, encoder, feeds, run_model
from fastrerank.export.dims import broadcast_dims, divide_dims
from fastrerank.export.graph import Graph
from fastrerank.export.optimize import optimize
from fastrerank.export.shapes import infer_shapes
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper


def operators(model):
    return Counter(node.op_type for node in model.graph.node)


def test_only_lists_of_numbers_are_followed_as_shapes():
    """Of more axes a flat tuple says too little: slices and sums of it would be wrong."""
    table = numpy_helper.from_array(np.arange(6).reshape(2, 3), "table")
    ends = [numpy_helper.from_array(np.array(v), n) for n, v in (("a", [0, 1]), ("b", [2, 3]))]
    row = numpy_helper.from_array(np.array([[7, 8, 9]]), "row")
    nodes = [
        helper.make_node("Slice", ["table", "a", "b"], ["part"]),
        helper.make_node("Add", ["table", "row"], ["sum"]),
        helper.make_node("Gather", ["list", "one"], ["number"]),
    ]
    numbers = [numpy_helper.from_array(np.array(v), n) for n, v in (("list", [5, 6]), ("one", 1))]
    outputs = [
        helper.make_tensor_value_info(n, TensorProto.INT64, None) for n in ("part", "sum", "number")
    ]
    graph = helper.make_graph(nodes, "g", [], outputs, [table, *ends, row, *numbers])
    opset = [helper.make_opsetid("", 17)]
    known = infer_shapes(Graph(helper.make_model(graph, opset_imports=opset)))
    assert known.value == {"number": (6,)}


def test_logits_stay_the_same(assert_same):
    model = encoder()
    assert_same(model, optimize(model), feeds(), feeds(1, 1), feeds(3, 20, seed=1))


def test_leaves_one_gelu_and_no_computed_shape_in_a_layer():
    found = operators(optimize(encoder()))
    assert found["Gelu"] == LAYERS
    assert found["Erf"] == found["Concat"] == found["Expand"] == 0
    # The scale of queries and keys went into their weights; the mask's factor is left.
    assert found["Mul"] == 1


def test_keeps_the_erf_where_the_operator_set_has_no_gelu(assert_same):
    model = encoder(opset=17)
    optimized = optimize(model)
    assert operators(optimized)["Erf"] == LAYERS
    assert_same(model, optimized, feeds())


def test_keeps_the_expansion_of_a_mask_that_differs_by_query(assert_same):
    model = encoder(window=True)
    assert_same(model, optimize(model), feeds(2, 20), feeds(1, 3))


def test_a_gelu_whose_input_is_scaled_otherwise_is_no_gelu(assert_same):
    build = Encoder()
    x = build.embeddings()
    inner = build.node("Erf", build.node("Div", x, build.constant(1.5)))
    outer = build.node("Mul", x, build.node("Add", inner, build.constant(1.0)))
    model = build.model(build.node("Mul", outer, build.constant(0.5)))
    assert operators(optimize(model))["Gelu"] == 0
    assert_same(model, optimize(model), feeds())


def test_a_graph_with_subgraphs_is_left_alone():
    value = helper.make_tensor("one", TensorProto.FLOAT, [1], [1.0])
    output = helper.make_tensor_value_info("branch", TensorProto.FLOAT, [1])
    branch = helper.make_graph(
        [helper.make_node("Constant", [], ["branch"], value=value)], "branch", [], [output]
    )
    node = helper.make_node("If", ["condition"], ["y"], then_branch=branch, else_branch=branch)
    condition = helper.make_tensor_value_info("condition", TensorProto.BOOL, [1])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])
    model = helper.make_model(helper.make_graph([node], "if", [condition], [y]))
    assert optimize(model) is model


def branching_encoder(first, second):
    """An encoder that doubles its embeddings where two lengths differ, and else keeps them."""
    build = Encoder()
    x = build.embeddings()
    same = build.node(
        "Equal", build.length("input_ids", first), build.length("attention_mask", second)
    )
    outputs = [
        helper.make_tensor_value_info(f"branch_{i}", TensorProto.FLOAT, None) for i in (0, 1)
    ]
    double = helper.make_graph(
        [helper.make_node("Add", [x, x], ["branch_0"])], "a", [], outputs[:1]
    )
    keep = helper.make_graph(
        [helper.make_node("Identity", [x], ["branch_1"])], "b", [], outputs[1:]
    )
    x = build.node("If", build.node("Not", same), then_branch=double, else_branch=keep)
    return build.model(build.linear(x, HIDDEN, 1))


def test_a_branch_on_equal_lengths_is_decided(assert_same):
    model = branching_encoder(1, 1)
    optimized = optimize(model)
    assert operators(optimized)["If"] == 0
    assert_same(model, optimized, feeds(), feeds(1, 3))


def test_a_branch_that_depends_on_the_input_stays(assert_same):
    """The batch is as large as the sequence is long for some inputs only."""
    model = branching_encoder(0, 1)
    assert optimize(model) is model


@settings(deadline=None, max_examples=25)
@given(batch=st.integers(1, 4), length=st.integers(1, 40))
def test_inferred_shapes_hold_at_run_time(batch, length):
    graph = Graph(encoder())
    shapes = infer_shapes(graph)
    model = graph.to_model()
    names = [
        node.output[0]
        for node in model.graph.node
        if node.op_type in ("MatMul", "Reshape", "Transpose", "Softmax", "Expand", "Slice")
    ]
    model.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in names)
    meaning = {"batch_size": batch, "sequence_length": length}
    results = run_model(model, feeds(batch, length), names)
    for name, result in zip(names, results, strict=True):
        assert tuple(meaning.get(dim, dim) for dim in shapes.shape[name]) == result.shape


@pytest.mark.parametrize(
    ("shapes", "expected"),
    [
        ([("b", "s", 4), (4,)], ("b", "s", 4)),
        ([("b", 1, "s"), (1, "s", 1)], ("b", "s", "s")),
        ([("b", 1), ("s", 1)], None),
        ([(1, 3), ("b", 3)], ("b", 3)),
        ([("b", 7), ("b", "s")], ("b", 7)),
    ],
)
def test_broadcast(shapes, expected):
    assert broadcast_dims(*shapes) == expected


@pytest.mark.parametrize(
    ("whole", "parts", "expected"),
    [
        (("b", "s", 12), ["b", 3, 4], "s"),
        (("b", 12), ["b", 3], 4),
        (("b", 12), ["b", 5], None),
        (("b", "s"), ["t"], None),
    ],
)
def test_divide_dims(whole, parts, expected):
    assert divide_dims(whole, parts) == expected


def test_folded_scale_is_that_of_attention():
    """Weights of queries and keys are multiplied once each, values and outputs are not."""
    before = {t.name: t for t in encoder().graph.initializer}
    scaled = [t.name for t in optimize(encoder()).graph.initializer if "/scaled" in t.name]
    assert len(scaled) == 4 * LAYERS
    factor = (HIDDEN // 4) ** -0.25
    graph = Graph(optimize(encoder()))
    for name in scaled:
        original = np.frombuffer(before[name.removesuffix("/scaled")].raw_data, np.float32)
        np.testing.assert_allclose(graph.constant(name).ravel(), original * np.float32(factor))
