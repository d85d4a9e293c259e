from collections import Counter

import numpy as np
import onnxruntime as ort
import pytest
from encoders import LAYERS, encoder, feeds, run_model
from fastrerank.export.one_pair import specialize_for_one_pair
from fastrerank.export.optimize import optimize
from fastrerank.export.padding import assume_no_padding
from fastrerank.export.pooled import compute_pooled_position_only
from fastrerank.export.quantize import quantize_int8
from fastrerank.export.shared_data import save_sharing_data

ALONE = [feeds(1, length, seed=length, padded=False) for length in (1, 2, 9, 60)]


def operators(model):
    return Counter(node.op_type for node in model.graph.node)


@pytest.mark.parametrize("rewrite", [assume_no_padding, specialize_for_one_pair])
@pytest.mark.parametrize("window", [False, True])
def test_logits_of_one_pair_stay_the_same(rewrite, window, assert_same):
    model = encoder(window=window)
    for before in (optimize(model), compute_pooled_position_only(optimize(model))[0]):
        assert_same(model, rewrite(before), *ALONE)


def test_the_mask_is_left_out():
    before, after = optimize(encoder()), assume_no_padding(optimize(encoder()))
    assert operators(before)["Add"] - operators(after)["Add"] == LAYERS
    assert not any("attention_mask" in node.input for node in after.graph.node)
    assert [i.name for i in after.graph.input] == ["input_ids", "attention_mask"]


def test_a_mask_that_depends_on_distance_stays(run):
    """It is zero for short pairs, and only for those."""
    after = specialize_for_one_pair(optimize(encoder(window=True)))
    assert operators(after)["MultiHeadAttention"] == 0
    assert operators(after)["Softmax"] == LAYERS
    long = feeds(1, 40, padded=False)
    assert np.abs(run(after, long) - run(optimize(encoder()), long)).max() > 1e-4


def test_attention_becomes_one_node():
    after = specialize_for_one_pair(optimize(encoder()))
    assert operators(after)["MultiHeadAttention"] == LAYERS
    assert operators(after)["Softmax"] == operators(after)["Transpose"] == 0


def test_two_graphs_share_their_weights(tmp_path):
    portable = quantize_int8(compute_pooled_position_only(optimize(encoder()))[0])
    models = {"portable.onnx": portable, "one-pair.onnx": specialize_for_one_pair(portable)}
    save_sharing_data(models, tmp_path, "weights")
    large = sum(len(t.raw_data) for t in portable.graph.initializer if len(t.raw_data) >= 1024)
    assert large <= (tmp_path / "weights").stat().st_size < 1.5 * large
    for name, model in models.items():
        session = ort.InferenceSession(tmp_path / name, providers=["CPUExecutionProvider"])
        assert session.run(None, ALONE[2])[0] == run_model(model, ALONE[2])
