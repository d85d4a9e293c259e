import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fastrerank.packing import PACKED, UNPACKED, packing


@st.composite
def masks(draw):
    """Pairs of one token at least, padded on either side."""
    lengths = draw(st.lists(st.integers(1, 40), min_size=1, max_size=12))
    width = max(lengths) + draw(st.integers(0, 15))
    mask = (np.arange(width) < np.array(lengths)[:, np.newaxis]).astype(np.int64)
    return mask if draw(st.booleans()) else mask[:, ::-1]


@given(masks())
def test_every_token_comes_back_to_its_place(mask):
    index = packing(mask)
    values = np.arange(mask.size)
    row = values[index[PACKED]]
    assert index[UNPACKED].shape == mask.shape
    back = row[index[UNPACKED]]
    np.testing.assert_array_equal(back[mask == 1], values.reshape(mask.shape)[mask == 1])


@given(masks())
def test_a_row_holds_the_tokens_and_is_filled_to_a_multiple_of_32(mask):
    packed = packing(mask)[PACKED]
    tokens = mask.sum()
    assert len(packed) == -(-tokens // 32) * 32
    assert mask.reshape(-1)[packed[:tokens]].all()
    assert len(set(packed[:tokens].tolist())) == tokens
    assert not packed[tokens:].any()


@given(masks())
def test_padding_reads_a_token_of_its_own_pair_or_of_one_before(mask):
    """Or the first of all: whatever is read there must be a number."""
    index = packing(mask)
    owners = np.repeat(np.arange(len(mask)), mask.sum(axis=1))[index[UNPACKED]]
    rows = np.arange(len(mask))[:, np.newaxis]
    assert (owners <= rows).all()
    assert (owners == rows)[mask == 1].all()
