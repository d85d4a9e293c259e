import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastrerank.activation import ranking, ranking_logits, relevance
from fastrerank.errors import InferenceError

logits = st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=50)


def test_known_values():
    scores = relevance(np.array([0, math.log(3), -math.log(3), 1e5, -1e5], dtype=np.float32))
    assert scores == pytest.approx([0.5, 0.75, 0.25, 1.0, 0.0])


@given(logits)
def test_relevance_lies_in_0_to_1_and_never_falls_as_the_logit_rises(values):
    scores = relevance(np.sort(np.array(values, dtype=np.float32)))
    assert ((scores >= 0) & (scores <= 1)).all()
    assert (np.diff(scores) >= 0).all()


@given(st.lists(st.tuples(st.floats(-50, 50, width=32), st.floats(-50, 50, width=32)), min_size=1))
def test_two_labels_score_as_softmax_does(rows):
    outputs = np.array(rows, dtype=np.float32)
    exp = np.exp(outputs.astype(np.float64) - outputs.max(axis=1, keepdims=True))
    softmax = exp / exp.sum(axis=1, keepdims=True)
    for column in (0, 1):
        scores = relevance(ranking_logits(outputs, column))
        assert scores == pytest.approx(softmax[:, column], abs=1e-5)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_logit_that_is_no_number_is_an_error(bad):
    with pytest.raises(InferenceError, match="the model returned"):
        ranking_logits(np.array([[0.0], [bad]], dtype=np.float32), 0)


@given(st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0]), max_size=40), st.integers(1, 50))
def test_ranking_is_stable_and_top_n_is_its_prefix(scores, top_n):
    order = ranking(np.array(scores), None).tolist()
    assert order == sorted(range(len(scores)), key=lambda i: -scores[i])
    assert ranking(np.array(scores), top_n).tolist() == order[:top_n]
