from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastrerank.batching import batches

lengths = st.lists(st.integers(1, 600), max_size=200)


@given(lengths, st.integers(1, 2000))
def test_every_position_is_in_one_batch(lengths, budget):
    lengths = np.array(lengths, dtype=np.int64)
    found = [i for batch in batches(lengths, budget) for i in batch]
    assert sorted(found) == list(range(len(lengths)))


@given(lengths, st.integers(1, 2000))
def test_no_batch_exceeds_the_budget_with_its_padding(lengths, budget):
    lengths = np.array(lengths, dtype=np.int64)
    for batch in batches(lengths, budget):
        assert len(batch) == 1 or len(batch) * lengths[batch].max() <= budget


@given(lengths, st.integers(1, 2000))
def test_no_two_neighbouring_batches_fit_in_one(lengths, budget):
    lengths = np.array(lengths, dtype=np.int64)
    all_batches = list(batches(lengths, budget))
    for one, other in pairwise(all_batches):
        assert (len(one) + len(other)) * lengths[one].max() > budget


@given(lengths)
def test_longest_come_first_and_equal_lengths_keep_their_order(lengths):
    order = [int(i) for batch in batches(np.array(lengths, dtype=np.int64), 100) for i in batch]
    assert order == sorted(range(len(lengths)), key=lambda i: -lengths[i])


@pytest.mark.parametrize("budget", [1, 10_000])
def test_no_pairs_make_no_batch(budget):
    assert list(batches(np.array([], dtype=np.int64), budget)) == []
