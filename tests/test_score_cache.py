"""Scores kept for when a pair comes again: the same as scored anew, bounded, safe with threads."""

import pickle
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny import edit_manifest, write_tiny_bundle

from fastrerank import InvalidRequestError, Reranker
from fastrerank.scoring import PairScorer

WORDS = ["w10", "w20", "w33", "w47", ""]
PAIRS = st.lists(st.tuples(st.sampled_from(WORDS), st.sampled_from(WORDS)), max_size=12)


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of pairs of every batch that a model scores."""
    seen: list[int] = []
    run = PairScorer._run

    def counted(self, batch) -> None:
        seen.append(len(batch.encodings))
        run(self, batch)

    monkeypatch.setattr(PairScorer, "_run", counted)
    return seen


def test_a_pair_is_scored_once(tiny_bundle, runs):
    with Reranker(tiny_bundle, score_cache=10) as reranker:
        first = reranker.rerank("w10", ["w20", "w33 w47"])
        assert sum(runs) == 2
        again = reranker.rerank("w10", ["w33 w47", "w47", "w20"], return_documents=True)
        assert sum(runs) == 3
    scores = {r.document: r.relevance_score for r in again.results}
    assert [scores["w20"], scores["w33 w47"]] == [
        r.relevance_score for r in sorted(first.results, key=lambda r: r.index)
    ]
    assert again.usage.prompt_tokens > first.usage.prompt_tokens


def test_without_a_cache_nothing_is_kept(tiny_bundle, runs):
    with Reranker(tiny_bundle) as reranker:
        reranker.score([("w10", "w20")])
        reranker.score([("w10", "w20")])
    assert sum(runs) == 2


def test_a_cut_document_is_another_pair(tiny_bundle):
    text = "w10 w20 w33 w47"
    with Reranker(tiny_bundle, score_cache=10) as cached, Reranker(tiny_bundle) as plain:
        for limit in (4, 1, 2, 4):
            for truncate in ("end", "start"):
                options = {"max_tokens_per_doc": limit, "truncate": truncate}
                answer = cached.rerank("w10", [text], **options)
                expected = plain.rerank("w10", [text], **options)
                assert answer.results == expected.results


QUERY, DOCUMENT = {"part": "query"}, {"part": "document", "type_id": 1}


@pytest.mark.parametrize(
    ("template", "pairs"),
    [
        ([QUERY, DOCUMENT], [("w10", "w20 w33"), ("w10 w20", "w33")]),
        ([DOCUMENT, QUERY], [("w10", "w20"), ("w33", "w20")]),
    ],
)
def test_another_query_is_another_pair_wherever_it_stands(tmp_path, runs, template, pairs):
    edit_manifest(write_tiny_bundle(tmp_path), template=template)
    with Reranker(tmp_path, score_cache=10) as reranker:
        for pair in pairs:
            reranker.score([pair])
    assert sum(runs) == 2


def test_a_pickled_reranker_loads_again_with_a_cache(tiny_bundle, runs):
    with (
        Reranker(tiny_bundle, score_cache=10) as reranker,
        pickle.loads(pickle.dumps(reranker)) as other,
    ):
        for _ in range(2):
            other.score([("w10", "w20")])
    assert sum(runs) == 1


@given(calls=st.lists(PAIRS, max_size=6))
def test_scores_are_those_of_a_reranker_without_cache(tiny_bundle, calls):
    with Reranker(tiny_bundle, score_cache=5) as cached, Reranker(tiny_bundle) as plain:
        for pairs in calls:
            assert cached.score(pairs).tolist() == pytest.approx(
                plain.score(pairs).tolist(), abs=1e-6
            )


def test_the_pairs_used_last_are_kept(tiny_bundle, runs):
    documents = [f"{a} {b}" for a in WORDS[:4] for b in WORDS[:4]]
    with Reranker(tiny_bundle, score_cache=10) as reranker:
        for document in documents:
            reranker.score([("w10", document), ("w10", documents[0])])
        before = sum(runs)
        reranker.score([("w10", documents[0])])
        assert sum(runs) == before
        reranker.score([("w10", documents[1])])  # long out of use
        assert sum(runs) == before + 1


def test_many_threads_share_it(tiny_bundle):
    documents = [f"{a} {b} {c}" for a in WORDS for b in WORDS for c in WORDS]
    with Reranker(tiny_bundle) as plain:
        expected = plain.score([("w10", d) for d in documents]).tolist()
    with Reranker(tiny_bundle, score_cache=20) as reranker, ThreadPoolExecutor(8) as pool:
        answers = list(
            pool.map(lambda _: reranker.score([("w10", d) for d in documents]), range(40))
        )
    assert all(answer.tolist() == pytest.approx(expected, abs=1e-6) for answer in answers)


@pytest.mark.parametrize("size", [-1, 2.5, "many"])
def test_a_size_that_is_none(tiny_bundle, size):
    with pytest.raises(InvalidRequestError, match="score_cache"):
        Reranker(tiny_bundle, score_cache=size)
