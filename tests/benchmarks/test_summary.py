import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.errors import BenchmarkError
from benchmarks.summary import quantile, rounded, score_difference, sigmoid, summarize

SECONDS = st.floats(0.001, 100)
ROUNDS = st.lists(
    st.lists(st.tuples(st.integers(1, 1000), SECONDS), min_size=1, max_size=5),
    min_size=1,
    max_size=5,
)
LOGITS = st.lists(st.floats(-30, 30), min_size=1, max_size=20)


def test_figures_of_known_samples():
    figures = summarize([[(100, 1.0), (100, 3.0)], [(100, 1.0), (100, 1.0)], [(200, 8.0)]])
    assert figures == {
        "docs_per_s": 50.0,  # of 50, 100 and 25
        "docs_per_s_low": 25.0,
        "docs_per_s_high": 100.0,
        "p50_ms": 1000.0,  # of 1, 1, 1, 3, 8
        "p95_ms": pytest.approx(7000.0),
    }


@given(ROUNDS)
def test_the_median_lies_within_the_spread(rounds):
    figures = summarize(rounds)
    assert figures["docs_per_s_low"] <= figures["docs_per_s"] <= figures["docs_per_s_high"]
    assert figures["p50_ms"] <= figures["p95_ms"]


@given(ROUNDS, st.floats(0.5, 4))
def test_a_machine_of_another_speed_changes_every_figure_alike(rounds, factor):
    slow = summarize([[(d, s * factor) for d, s in r] for r in rounds])
    for key, value in summarize(rounds).items():
        ratio = factor if key.endswith("_ms") else 1 / factor
        assert slow[key] == pytest.approx(value * ratio)


@given(st.lists(SECONDS, min_size=1), st.floats(0, 1))
def test_a_quantile_lies_between_the_extremes(values, q):
    assert min(values) * (1 - 1e-12) <= quantile(values, q) <= max(values) * (1 + 1e-12)


@given(LOGITS)
def test_a_system_does_not_differ_from_itself(logits):
    assert set(score_difference([logits], [logits]).values()) == {0.0}


def test_difference_of_known_logits():
    difference = score_difference([[0.0, 2.0]], [[0.0, -2.0]])
    assert difference["logit_largest"] == 4
    assert difference["logit_mean"] == 2
    assert difference["relevance_largest"] == pytest.approx(0.76159, abs=1e-5)


def test_scores_of_other_requests_are_refused():
    with pytest.raises(BenchmarkError, match="different requests"):
        score_difference([[0.0, 1.0]], [[0.0]])


def test_scores_that_are_not_finite_are_refused():
    with pytest.raises(BenchmarkError, match="finite"):
        score_difference([[0.0]], [[math.nan]])


@given(st.floats(-700, 700))
def test_relevance_is_the_sigmoid(logit):
    assert sigmoid([logit])[0] == pytest.approx(1 / (1 + math.exp(-logit)), abs=1e-12)


@given(st.floats(1e-9, 1e12))
def test_rounding_keeps_four_digits(value):
    assert rounded(value) == pytest.approx(value, rel=1e-3)
