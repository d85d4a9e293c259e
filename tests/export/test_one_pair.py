from collections import Counter

import numpy as np
import pytest
from encoders import LAYERS, encoder, feeds
from fastrerank.export.one_pair import specialize_for_one_pair
from fastrerank.export.optimize import optimize
from fastrerank.export.padding import assume_no_padding
from fastrerank.export.pooled import compute_pooled_position_only

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
