import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastrerank.batching import batches

lengths = st.lists(st.integers(1, 600), max_size=200)


budgets, threads = st.integers(1, 2000), st.integers(1, 8)


@given(lengths, budgets, threads)
def test_every_position_is_in_one_batch(lengths, budget, threads):
    lengths = np.array(lengths, dtype=np.int64)
    found = [i for batch in batches(lengths, budget, threads=threads) for i in batch]
    assert sorted(found) == list(range(len(lengths)))


@given(lengths, budgets, threads)
def test_no_batch_exceeds_the_budget_with_its_padding(lengths, budget, threads):
    lengths = np.array(lengths, dtype=np.int64)
    for batch in batches(lengths, budget, threads=threads):
        assert len(batch) > 0
        assert len(batch) == 1 or len(batch) * lengths[batch].max() <= budget


@given(st.integers(1, 300), st.integers(1, 100), st.integers(1, 9), threads)
def test_every_thread_gets_as_many_batches_of_like_size(pairs, length, per_batch, threads):
    lengths = np.full(pairs, length, dtype=np.int64)
    sizes = [len(batch) for batch in batches(lengths, per_batch * length, threads=threads)]
    assert max(sizes) - min(sizes) <= 1
    assert len(sizes) % threads == 0 or max(sizes) == 1
    assert len(sizes) < pairs / per_batch + threads


@given(lengths)
def test_longest_come_first_and_equal_lengths_keep_their_order(lengths):
    order = [int(i) for batch in batches(np.array(lengths, dtype=np.int64), 100) for i in batch]
    assert order == sorted(range(len(lengths)), key=lambda i: -lengths[i])


@pytest.mark.parametrize("budget", [1, 10_000])
def test_no_pairs_make_no_batch(budget):
    assert list(batches(np.array([], dtype=np.int64), budget, threads=2)) == []
