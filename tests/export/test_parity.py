"""The gate of an export: what counts as drift, and what a query's ten best are."""

import numpy as np
import pytest
from fastrerank.export.parity import PairSet, measure


def of_one_query(documents: int) -> PairSet:
    return PairSet(queries=[("query", [str(n) for n in range(documents)])])


@pytest.mark.parametrize(
    ("precision", "difference", "within"),
    [("fp32", 5e-5, True), ("fp32", 2e-4, False), ("int8", 0.1, True), ("int8", 1.0, False)],
)
def test_logits_that_all_move_alike_drift_although_the_order_stays(precision, difference, within):
    logits = np.linspace(-3, 3, 20, dtype=np.float32)
    moved = logits + np.float32(difference)
    parity = measure(logits, moved, of_one_query(20), precision)
    assert (parity.spearman, parity.top10_overlap) == (pytest.approx(1), 1)
    assert parity.within_thresholds == within


@pytest.mark.parametrize(
    ("one", "other", "overlap"), [(0, 1, 1.0), (0, 10, 1.0), (19, 20, 0.9), (28, 29, 1.0)]
)
def test_the_ten_best_may_change_places_among_themselves(one, other, overlap):
    logits = np.arange(30, dtype=np.float32)
    exported = logits.copy()
    exported[[one, other]] = logits[[other, one]]
    parity = measure(logits, exported, of_one_query(30), "int8")
    assert parity.top10_overlap == overlap
