import enum
import gc
import json
import math
import threading
import weakref
from collections import UserDict
from dataclasses import FrozenInstanceError
from types import MappingProxyType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import edit_manifest, tiny_logit, write_tiny_bundle

from fastrerank import ClosedError, InvalidRequestError, Reranker, RerankRequest

QUERY = "What animals can I find near Peru?"
DOCUMENTS = [
    "The giant panda is a bear species endemic to China.",
    "The llama is a domesticated South American camelid of the Andes.",
    {"text": "Guanacos live in the mountains of Peru and Chile.", "id": 7},
    "The wild Bactrian camel is endemic to Northwest China.",
]
words = st.lists(st.sampled_from([f"w{n}" for n in range(4, 100)]), max_size=40).map(" ".join)


@pytest.fixture(scope="module", params=["fp32", "int8"])
def tiny(tiny_bundle, request):
    with Reranker(tiny_bundle, precision=request.param, threads=2) as reranker:
        yield reranker


@settings(max_examples=50)
@given(words, st.lists(words, max_size=60))
def test_scores_are_the_known_ones_in_input_order(tiny, query, documents):
    query = " ".join(query.split()[:10])
    documents = [" ".join(text.split()[:15]) for text in documents]
    logits = tiny.score([(query, text) for text in documents], raw=True)
    expected = [tiny_logit(query, text) for text in documents]
    assert logits.dtype == np.float32
    assert logits == pytest.approx(np.array(expected), abs=1e-5)


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_a_pair_without_any_token_is_read_as_one_padding_token(tmp_path, precision):
    bundle = write_tiny_bundle(tmp_path)
    edit_manifest(bundle, template=[{"part": "query"}, {"part": "document"}], pad_id=0)
    with Reranker(bundle, precision=precision) as reranker:
        logits = reranker.score([("", ""), ("", "w40 w60"), ("", "")], raw=True)
        response = reranker.rerank("", ["", "w40 w60"])
    assert logits == pytest.approx([-5, 0, -5])  # (mean id - 50) / 10
    assert [result.index for result in response.results] == [1, 0]
    assert response.usage.prompt_tokens == 1 + 2


@settings(max_examples=50)
@given(words, st.lists(words, max_size=60), st.integers(1, 70))
def test_every_index_is_ranked_once_by_falling_score_ties_in_order(tiny, query, documents, top_n):
    response = tiny.rerank(query, documents)
    scores = [result.relevance_score for result in response.results]
    indices = [result.index for result in response.results]
    assert sorted(indices) == list(range(len(documents)))
    by_index = dict(zip(indices, scores, strict=True))
    assert indices == sorted(indices, key=lambda i: (-by_index[i], i))
    top = tiny.rerank(query, documents, top_n=top_n)
    assert top.results == response.results[:top_n]
    assert top.usage == response.usage


def test_the_bundled_model_answers_a_real_question(reranker):
    response = reranker.rerank(QUERY, DOCUMENTS, top_n=2, return_documents=True)
    assert {result.index for result in response.results} == {1, 2}
    worst = reranker.rerank(QUERY, DOCUMENTS).results[2:]
    assert response.results[0].relevance_score > 3 * worst[0].relevance_score
    assert response.truncated == []
    assert not response.query_truncated
    texts = {result.index: result.document for result in response.results}
    assert texts == {1: DOCUMENTS[1], 2: DOCUMENTS[2]}


@pytest.mark.parametrize(("name", "layers"), [("medium", "l6"), ("small", "l3")])
def test_the_other_models_answer_by_their_names(name, layers, reranker):
    with Reranker(name, threads=2) as other:
        response = other.rerank(QUERY, DOCUMENTS, top_n=2)
    assert {result.index for result in response.results} == {1, 2}
    assert response.model == f"fastrerank-minilm-{layers}" != reranker.model_name


def test_a_response_is_plain_json(reranker):
    body = reranker.rerank(QUERY, DOCUMENTS, return_documents=True).to_dict()
    assert json.loads(json.dumps(body, allow_nan=False)) == body
    assert body["model"] == reranker.model_name
    assert all(type(result["relevance_score"]) is float for result in body["results"])
    documents = {result["index"]: result["document"] for result in body["results"]}
    assert documents[0] == {"text": DOCUMENTS[0]}
    assert documents[2] == DOCUMENTS[2]
    assert "document" not in reranker.rerank(QUERY, DOCUMENTS).to_dict()["results"][0]


def test_responses_have_ids_of_their_own_and_cannot_be_changed(tiny):
    one, other = tiny.rerank("w9", ["w8"]), tiny.rerank("w9", ["w8"])
    assert one.id != other.id
    with pytest.raises(FrozenInstanceError):
        one.model = "another"


def test_an_echoed_document_is_a_copy(tiny):
    document = {"text": "w5", "tags": ["a"]}
    response = tiny.rerank("w9", [document], return_documents=True)
    response.results[0].document["tags"].append("b")
    assert document == {"text": "w5", "tags": ["a"]}


def test_any_mapping_is_echoed_as_a_dict(tiny):
    documents = [MappingProxyType({"text": "w5", "tags": ["a"]}), UserDict(text="w6")]
    response = tiny.rerank("w9", documents, return_documents=True)
    echoes = {r["index"]: r["document"] for r in response.to_dict()["results"]}
    assert json.loads(json.dumps(echoes[0])) == {"text": "w5", "tags": ["a"]}
    assert echoes[1] == {"text": "w6"}


class Word(str, enum.Enum):  # noqa: UP042 - not StrEnum, whose members format as their value
    """Formatted, a member is its name; it is read as its value all the same."""

    NINE = "w9"


def test_a_string_of_an_enum_is_its_value(tiny):
    def answers(word):
        return [
            tiny.rerank("w8", [{word: word}], rank_fields=[word]).results,
            tiny.rerank(word, ["w9 w8"], instruction=word).results,
        ]

    assert answers(Word.NINE) == answers("w9")


def test_rank_fields_that_no_document_has_are_told_to_the_log(tiny, caplog):
    documents = [{"name": "w8"}, {"name": "w9"}]
    response = tiny.rerank("w9", documents, rank_fields=["Name", "titel"])
    assert [result.index for result in response.results] == [0, 1]
    assert [record.getMessage() for record in caplog.records] == [
        "no document has any of the rank_fields ['Name', 'titel']: all are scored as empty ones"
    ]
    caplog.clear()
    tiny.rerank("w9", [*documents, {"titel": "w7"}], rank_fields=["Name", "titel"])
    tiny.rerank("w9", [""], rank_fields=["Name"])
    tiny.rerank("w9", [], rank_fields=["Name"])
    assert caplog.records == []


def test_what_cannot_be_copied_is_named_before_anything_is_scored(tiny, monkeypatch):
    monkeypatch.setattr(tiny, "_scored", None)
    document = {"text": "w5", "lock": threading.Lock()}
    with pytest.raises(InvalidRequestError, match=r"documents\[1\].*return_documents") as caught:
        tiny.rerank("w9", ["w8", document], return_documents=True)
    assert caught.value.param == "documents[1]"


def test_no_documents_make_an_empty_response(tiny):
    response = tiny.rerank("w9", [])
    assert (response.results, response.truncated) == ([], [])
    assert response.usage.prompt_tokens == 0
    assert tiny.score([]).shape == (0,)
    assert tiny.rerank_many([]) == []


def test_usage_counts_the_tokens_that_were_read(tiny):
    response = tiny.rerank("w9 w8", ["w7", "", "w6 w5 w4"])
    assert response.usage.prompt_tokens == (3 + 2 + 1) + (3 + 2) + (3 + 2 + 3)
    assert response.usage.to_dict() == {"prompt_tokens": 19, "total_tokens": 19}


def test_truncated_documents_are_listed(tiny):
    long = "w7 " * 40
    response = tiny.rerank("w9", ["w8", long, "w7 w6", long])
    assert response.truncated == [1, 3]
    assert tiny.rerank("w9", ["w8", "w7 w6"], max_tokens_per_doc=1).truncated == [1]
    with pytest.raises(InvalidRequestError) as caught:
        tiny.rerank("w9", ["w8", long], truncate="none")
    assert caught.value.param == "documents[1]"


def test_a_query_above_its_share_is_cut_scored_and_reported(tiny):
    response = tiny.rerank("w9 " * 100, ["w8"])
    assert response.query_truncated
    assert len(response.results) == 1
    with pytest.raises(InvalidRequestError) as caught:
        tiny.rerank("w9 " * 100, ["w8"], truncate="none")
    assert caught.value.param == "query"


def test_truncate_decides_what_is_read(tiny):
    document = "w10 " * 30 + "w90 " * 30
    end, start = (
        tiny.rerank("w9", [document], truncate=side).results[0].relevance_score
        for side in ("end", "start")
    )
    assert end < 0.5 < start


def test_a_batch_of_requests_is_answered_as_each_alone(reranker):
    alike = [DOCUMENTS[0], *DOCUMENTS]
    requests = [
        {"query": QUERY, "documents": alike, "top_n": 3, "return_documents": True},
        {"query": "bears", "documents": []},
        RerankRequest(query="bears", documents=["a bear " * 300, ""], max_tokens_per_doc=50),
    ]
    together = reranker.rerank_many(requests)
    alone = [
        reranker.rerank(QUERY, alike, top_n=3, return_documents=True),
        reranker.rerank("bears", []),
        reranker.rerank("bears", ["a bear " * 300, ""], max_tokens_per_doc=50),
    ]
    for one, other in zip(together, alone, strict=True):
        assert one.results == other.results
        assert (one.truncated, one.usage) == (other.truncated, other.usage)


def test_a_bad_request_among_many_is_named(tiny):
    with pytest.raises(InvalidRequestError, match=r"requests\[1\]"):
        tiny.rerank_many([{"query": "w9", "documents": ["w8"]}, "not a request"])
    fine = {"query": "w9", "documents": ["w8"]}
    for change, param in [
        ({"top_n": 0}, "top_n"),
        ({"documents": ["w8", 5]}, "documents[1]"),
        ({"documents": [{"title": "no text"}]}, "documents[0]"),
        ({"query": "w9 " * 100, "truncate": "none"}, "query"),
        ({"documents": ["w8", "w7 " * 100], "truncate": "none"}, "documents[1]"),
    ]:
        with pytest.raises(InvalidRequestError) as caught:
            tiny.rerank_many([fine, {**fine, **change}])
        assert caught.value.param == f"requests[1].{param}"
        assert str(caught.value).startswith(f"requests[1].{param} ")


@pytest.mark.parametrize(
    "pairs", [["ab"], [("one",)], [("q", 3)], [(None, "d")], [("a", "b", "c")]]
)
def test_what_is_no_pair_is_named(tiny, pairs):
    with pytest.raises(InvalidRequestError, match=r"pairs\[0\]"):
        tiny.score(pairs)


NEIGHBOURS = [
    "",
    "ok",
    "Bears eat fish and berries.",
    "The llama is an animal of the Andes in Peru, kept for wool, meat and transport. " * 3,
    "日本語の文書です。",
    "word " * 150,
    "nul \x00 and lone \ud800 surrogate",
]


@settings(max_examples=15)
@given(st.permutations(range(len(NEIGHBOURS))), st.integers(1, len(NEIGHBOURS)))
def test_a_score_depends_on_its_own_pair_only(reranker, order, count):
    chosen = list(order)[:count]
    together = reranker.score([(QUERY, NEIGHBOURS[i]) for i in chosen])
    for position, index in enumerate(chosen):
        alone = reranker.score([(QUERY, NEIGHBOURS[index])])[0]
        assert abs(together[position] - alone) < 1e-4


def test_odd_texts_are_scored_and_keep_their_place(reranker):
    texts = ["", " ", "\x00", "\ud83d", "\udcff", "a" * 5000, "🏔️" * 300, "\n\t"]
    response = reranker.rerank("\ud83d\x00?", texts, return_documents=True)
    assert sorted(result.index for result in response.results) == list(range(len(texts)))
    assert all(0 <= result.relevance_score <= 1 for result in response.results)
    assert all(result.document == texts[result.index] for result in response.results)


def test_max_length_caps_a_pair(reranker):
    with Reranker(max_length=32) as short:
        response = short.rerank(QUERY, ["word " * 100])
        assert response.truncated == [0]
        assert response.usage.prompt_tokens == 32
        assert short.max_length == 32


@pytest.mark.parametrize(
    ("argument", "value", "shown"),
    [
        ("model", 5, "path of a bundle"),
        ("precision", "fp16", "int8"),
        ("runtime", "tensorrt", "onnxruntime"),
        ("threads", 0, "from 1 to 65536"),
        ("threads", 10**30, "from 1 to 65536"),
        ("threads", True, "from 1 to 65536"),
        ("threads", 1.5, "from 1 to 65536"),
        ("window", 0, "at least 1"),
        ("max_length", 4, "at least 5"),
        ("max_length", "9", "at least 1"),
    ],
)
def test_a_wrong_construction_argument_is_named_with_what_there_is(argument, value, shown):
    with pytest.raises(InvalidRequestError, match=shown) as caught:
        Reranker(**{argument: value})
    assert caught.value.param == argument


def test_raw_scores_are_the_logits_of_the_relevance(reranker):
    pairs = [(QUERY, "llamas live in Peru"), (QUERY, "stock prices fell")]
    logits, scores = reranker.score(pairs, raw=True), reranker.score(pairs)
    expected = [1 / (1 + math.exp(-x)) for x in logits.tolist()]
    assert scores == pytest.approx(np.array(expected), abs=1e-6)
    assert scores.dtype == logits.dtype == np.float32


def test_a_closed_reranker_says_so(tiny_bundle):
    with Reranker(tiny_bundle) as reranker:
        reranker.rerank("w9", ["w8"])
    with pytest.raises(ClosedError):
        reranker.rerank("w9", ["w8"])
    with pytest.raises(ClosedError):
        reranker.score([("w9", "w8")])
    reranker.close()


def test_closing_frees_the_model(tiny_bundle):
    reranker = Reranker(tiny_bundle)
    reranker.rerank("w9", ["w8"])
    session = weakref.ref(reranker._scorer._session)
    reranker.close()
    gc.collect()
    assert session() is None


def test_counting_tokens(tiny):
    assert tiny.count_tokens(["w9 w8", "", "w7 " * 100]) == [2, 0, 100]
    assert tiny.count_tokens(["w9 w8", "w7 " * 200_000]) == [2, 200_000]  # one at a time


@pytest.mark.parametrize(
    ("call", "value", "param"),
    [
        ("count_tokens", "one string", "texts"),
        ("count_tokens", ["fine", 1], "texts[1]"),
        ("score", None, "pairs"),
        ("score", "ab", "pairs"),
        ("rerank_many", None, "requests"),
        ("rerank_many", {"query": "q", "documents": []}, "requests"),
    ],
)
def test_what_is_no_list_of_its_kind_is_named(tiny, call, value, param):
    with pytest.raises(InvalidRequestError) as caught:
        getattr(tiny, call)(value)
    assert caught.value.param == param


def test_a_limit_on_tokens_is_named_where_it_is_what_a_document_exceeds(tiny):
    with pytest.raises(InvalidRequestError, match="5 tokens, 3 are allowed"):
        tiny.rerank("w9", ["w8 " * 5], max_tokens_per_doc=3, truncate="none")


def test_the_repr_says_what_was_chosen(tiny_bundle):
    with Reranker(tiny_bundle, runtime="onnxruntime", threads=3, max_length=16) as reranker:
        assert repr(reranker) == (
            "Reranker('tiny', precision='int8', runtime='onnxruntime', threads=3, max_length=16,"
            " window=None)"
        )


@given(texts=st.lists(st.sampled_from(["w8", "w9", "w10 w11", ""]), max_size=12))
def test_documents_that_are_alike_score_alike_and_are_counted_each(tiny, texts):
    response = tiny.rerank("w9", texts)
    assert sorted(r.index for r in response.results) == list(range(len(texts)))
    alone = {text: tiny.rerank("w9", [text]) for text in set(texts)}
    for result in response.results:
        expected = alone[texts[result.index]].results[0].relevance_score
        assert result.relevance_score == pytest.approx(expected, abs=1e-6)
    tokens = sum(alone[text].usage.prompt_tokens for text in texts)
    assert response.usage.prompt_tokens == tokens


def test_documents_that_are_alike_are_scored_once(tiny_bundle, monkeypatch):
    with Reranker(tiny_bundle, precision="int8") as reranker:
        session, rows = reranker._scorer._session, []
        run = session.run
        monkeypatch.setattr(
            session, "run", lambda inputs: rows.append(len(inputs["input_ids"])) or run(inputs)
        )
        response = reranker.rerank("w9", ["w8", "w7", "w8", {"text": "w7"}, "w8"])
    assert sum(rows) == 2
    assert len(response.results) == 5


def test_the_first_of_documents_that_are_alike_is_named_in_an_error(tiny_bundle):
    long = "w9 " * 100
    with (
        Reranker(tiny_bundle) as reranker,
        pytest.raises(InvalidRequestError, match=r"documents\[1\]"),
    ):
        reranker.rerank("w8", ["w7", long, "w6", long], truncate="none")
