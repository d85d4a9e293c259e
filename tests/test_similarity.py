"""What a bi-encoder adds to the logit, by sessions whose answers are known."""

import weakref

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastrerank import BundleFormatError
from fastrerank.similarity import SimilaritySession

CLS, SEP = 1, 2


class Logits:
    """Answers a pair by its number of tokens."""

    def run(self, inputs):
        return inputs["attention_mask"].sum(axis=1, keepdims=True).astype(np.float32)


class Vectors:
    """Answers a text by the direction of its ids' sum and count, and notes what it was given."""

    def __init__(self):
        self.texts, self.widths = [], []

    def run(self, inputs):
        ids, mask = inputs["input_ids"], inputs["attention_mask"]
        assert not inputs["token_type_ids"].any()
        assert not ids[mask == 0].any()
        self.widths.append(ids.shape[1])
        self.texts += [tuple(row[: kept.sum()]) for row, kept in zip(ids, mask, strict=True)]
        return np.array([vector(text) for text in self.texts[-len(ids) :]], np.float32)


def vector(text):
    direction = np.array([sum(text), 10 * len(text)], np.float64)
    return direction / np.linalg.norm(direction)


def collated(pairs, width=None):
    rows = [([CLS, *query, SEP], [*document, SEP]) for query, document in pairs]
    width = width or max(len(query) + len(document) for query, document in rows)
    inputs = {
        name: np.zeros((len(rows), width), np.int64)
        for name in ("input_ids", "attention_mask", "token_type_ids")
    }
    for i, (query, document) in enumerate(rows):
        stop = len(query) + len(document)
        inputs["input_ids"][i, :stop] = query + document
        inputs["attention_mask"][i, :stop] = 1
        inputs["token_type_ids"][i, len(query) : stop] = 1
    return inputs


def expected(query, document, weight):
    alone = vector([CLS, *query, SEP]) @ vector([CLS, *document, SEP])
    return 3 + len(query) + len(document) + weight * alone


ids = st.lists(st.integers(3, 90), max_size=8)


@given(st.lists(st.tuples(ids, ids), min_size=1, max_size=6), st.integers(0, 3))
def test_the_cosine_of_each_pair_is_added_whatever_its_neighbours(pairs, padding):
    longest = max(len(query) + len(document) for query, document in pairs) + 3
    session = SimilaritySession(Logits(), vectors=Vectors(), weight=2.5, padded=True)
    found = session.run(collated(pairs, longest + padding))
    assert found.shape == (len(pairs), 1)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found[:, 0], [expected(*pair, 2.5) for pair in pairs], rtol=1e-6)


def test_a_query_is_read_once_for_all_its_documents():
    vectors = Vectors()
    session = SimilaritySession(Logits(), vectors=vectors, weight=1.0, padded=True)
    for document in ([3], [4, 5], [6]):
        session.run(collated([([7, 8], document), ([7, 8], [*document, 9])]))
    assert vectors.texts.count((CLS, 7, 8, SEP)) == 1
    assert len(vectors.texts) == 7


def test_it_is_freed_at_once_when_nobody_holds_it():
    session = SimilaritySession(Logits(), vectors=Vectors(), weight=1.0, padded=True)
    session.run(collated([([7], [8])]))
    held = weakref.ref(session._vectors)
    del session
    assert held() is None  # no cycle that waits for the garbage collector with a model in it


def test_an_answer_that_is_no_vector_is_refused():
    session = SimilaritySession(Logits(), vectors=Logits(), weight=1.0, padded=True)
    session._vectors.run = lambda inputs: np.ones((len(inputs["input_ids"]), 4, 2), np.float32)
    with pytest.raises(BundleFormatError, match="not a vector"):
        session.run(collated([([7], [8])]))


@pytest.mark.parametrize(("padded", "width"), [(True, 12), (False, 4)])
def test_a_document_is_as_wide_as_its_pair_or_not_padded(padded, width):
    """Where sums depend on padding it must not be the neighbours' doing."""
    vectors = Vectors()
    session = SimilaritySession(Logits(), vectors=vectors, weight=1.0, padded=padded)
    session.run(collated([([7, 8], [3, 4])], 12))
    assert vectors.widths == [4, width]
