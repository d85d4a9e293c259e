import itertools
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastrerank import InvalidRequestError, Reranker
from fastrerank.manifest import MANIFEST_NAME
from fastrerank.windows import best_windows, spans

QUERY = "who fed the animals"
WORDS = ("river", "house", "world", "people", "name", "first", "until", "between")


def words(count, seed=0):
    """Return a document of so many words, each one token."""
    return np.random.default_rng(seed).choice(WORDS, count).tolist()


@given(st.integers(1, 600), st.integers(1, 5000))
def test_windows_cover_the_document_overlap_and_are_alike(window, beyond):
    length = window + beyond
    found = list(spans(length, window, window))
    assert found[0].start == 0
    assert found[-1].stop == length
    assert len({s.stop - s.start for s in found}) == 1
    assert found[0].stop <= window
    overlaps = [a.stop - b.start for a, b in itertools.pairwise(found)]
    assert min(overlaps) >= window // 4
    # One window less would not do: it would be longer, or overlap less.
    assert (len(found) - 1) * (window - window // 4) + window // 4 < length


@given(
    st.lists(st.lists(st.floats(-9, 9, width=32), min_size=1, max_size=5), min_size=1, max_size=9)
)
def test_the_best_window_answers_for_its_document(documents):
    outputs = np.array([[logit] for part in documents for logit in part], np.float32)
    counts = np.array([len(part) for part in documents])
    best = best_windows(outputs, counts, 0)
    assert best[:, 0].tolist() == [max(part) for part in documents]


def test_of_two_labels_the_difference_decides():
    outputs = np.array([[3, 4], [0, 2], [5, 5]], np.float32)
    assert best_windows(outputs, np.array([2, 1]), 1).tolist() == [[0, 2], [5, 5]]


def test_a_long_document_scores_as_its_best_window_does():
    answer = ["the", "keeper", "fed", "the", "animals", "every", "morning"]
    document = [*words(300), *answer, *words(150)]
    with Reranker(window=60) as windowed, Reranker(window=512) as whole:
        parts = [" ".join(document[span]) for span in spans(len(document), 60, 500)]
        expected = whole.score([(QUERY, part) for part in parts], raw=True)
        found = windowed.score([(QUERY, " ".join(document))], raw=True)
        assert found[0] == expected.max()
        assert found[0] > whole.score([(QUERY, " ".join(document))], raw=True)[0]


@pytest.mark.parametrize("title", [words(6), words(20)])
def test_the_fields_before_the_last_are_read_with_each_window(title):
    """So that no part of a long text loses what its title says."""
    body, fields = words(300), ["title", "body"]
    document = {"title": " ".join(title), "body": " ".join(body)}
    head = ["title", ":", *title]
    rest = ["body", ":", *body]
    with Reranker(window=60) as windowed, Reranker(window=512) as whole:
        parts = [" ".join(head + rest[span]) for span in spans(len(rest), 60 - len(head), 400)]
        expected = whole.score([(QUERY, part) for part in parts])
        response = windowed.rerank(QUERY, [document], rank_fields=fields)
        assert len(parts) > 300 // 60
        assert np.float32(response.results[0].relevance_score) == expected.max()
        assert response.usage == whole.rerank(QUERY, [document], rank_fields=fields).usage


def test_fields_that_fill_half_a_window_are_no_head():
    title, body = words(29), words(300)
    document = {"title": " ".join(title), "body": " ".join(body)}
    with Reranker(window=60) as reranker:
        found = reranker.rerank(QUERY, [document], rank_fields=["title", "body"])
        text = f"title: {document['title']}\nbody: {document['body']}"
        expected = reranker.rerank(QUERY, [text])
    assert found.results[0].relevance_score == expected.results[0].relevance_score


@pytest.mark.parametrize("count", [1, 119, 120])
def test_up_to_two_windows_are_read_as_a_whole(count):
    pair = [(QUERY, " ".join(words(count)))]
    with Reranker(window=60) as windowed, Reranker(window=512) as whole:
        assert windowed.score(pair) == whole.score(pair)


def test_windows_do_not_change_what_is_reported():
    texts = [" ".join(words(n, n)) for n in (3, 700, 130, 400)]
    with Reranker(window=60) as windowed, Reranker(window=512) as whole:
        found, expected = windowed.rerank(QUERY, texts), whole.rerank(QUERY, texts)
    assert found.truncated == expected.truncated == [1]
    assert found.usage == expected.usage


def test_scores_do_not_depend_on_the_neighbours():
    texts = [" ".join(words(n, n)) for n in (400, 20, 250, 1, 512)]
    with Reranker(window=50) as reranker:
        together = reranker.score([(QUERY, text) for text in texts])
        alone = [reranker.score([(QUERY, text)])[0] for text in texts]
    assert together.tolist() == alone


def test_with_windows_a_document_may_exceed_the_model():
    answer = "the keeper fed the animals every morning"
    text = " ".join([*words(2000), *answer.split()])
    with Reranker(max_length=4096, window=80) as reranker:
        response = reranker.rerank(QUERY, [text])
        assert response.truncated == []
        assert response.usage.prompt_tokens == sum(reranker.count_tokens([QUERY, text])) + 3
        cut = reranker.rerank(QUERY, [text], max_tokens_per_doc=1000)
    assert cut.truncated == [0]
    assert response.results[0].relevance_score > cut.results[0].relevance_score


def test_a_window_larger_than_the_model_is_what_the_model_reads():
    pair = [(" ".join(words(60, 1)), " ".join(words(900)))]
    with (
        Reranker(max_length=1024, window=1000) as wide,
        Reranker(max_length=1024, window=512 - 3 - 60) as fitting,
    ):
        assert wide.score(pair) == fitting.score(pair)


def test_without_windows_the_model_is_the_limit(tiny_bundle):
    limit = json.loads((tiny_bundle / MANIFEST_NAME).read_text())["max_length"]
    with pytest.raises(InvalidRequestError, match="pass window=") as caught:
        Reranker(tiny_bundle, max_length=limit + 1)
    assert caught.value.param == "max_length"
    with Reranker(tiny_bundle, max_length=limit + 1, window=4) as reranker:
        assert reranker.rerank("w1", ["w2 " * limit]).truncated == [0]


def test_a_score_cache_holds_windows():
    text = " ".join(words(400))
    with Reranker(window=60, score_cache=100) as reranker:
        first = reranker.score([(QUERY, text)])
        assert reranker.score([(QUERY, text)]) == first
