"""What must hold between two requests, whatever the documents are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from fake_reranker import FakeReranker
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fastrerank import Reranker
from fastrerank.api import handle

FIVE = ["together", "generic", "portkey", "contextual", "cohere"]
WORDS = st.sampled_from(
    [
        "llama",
        "panda",
        "peru",
        "china",
        "camel",
        "bear",
        "größer",
        "東京",
        "lives",
        "in",
        "the",
        "of",
        "a",
        "near",
        "animals",
    ]
)
TEXTS = st.lists(WORDS, max_size=14).map(" ".join) | st.sampled_from(["", "  ", "\ud800", "a\0b"])
QUERIES = st.lists(WORDS, min_size=1, max_size=5).map(" ".join)
DOCUMENTS = st.lists(TEXTS, min_size=1, max_size=8)
# The fake is fast; the real model shows that nothing rests on how the fake scores.
EXAMPLES = settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.fixture(scope="module", params=["fake", "real"])
def reranker(request) -> Iterator[Any]:
    if request.param == "fake":
        yield FakeReranker()
        return
    with Reranker() as real:
        yield real


def answer(reranker, api, **body) -> Any:
    from fastrerank.api import handle

    status, answered = handle(reranker, api, {"model": "m", **body})
    assert status == 200, answered
    return answered


def ranked(reranker, api, **body) -> list[tuple[int, float]]:
    results = answer(reranker, api, **body)["results"]
    return [(each["index"], each["relevance_score"]) for each in results]


def scores(reranker, api, **body) -> dict[int, float]:
    return dict(ranked(reranker, api, **body))


@pytest.mark.parametrize("api", FIVE)
@given(query=QUERIES, documents=DOCUMENTS, top_n=st.integers(1, 10))
@EXAMPLES
def test_results_are_sorted_whole_and_top_n_is_their_prefix(reranker, api, query, documents, top_n):
    whole = ranked(reranker, api, query=query, documents=documents)
    assert sorted(index for index, _ in whole) == list(range(len(documents)))
    assert whole == sorted(whole, key=lambda each: (-each[1], each[0]))
    assert ranked(reranker, api, query=query, documents=documents, top_n=top_n) == whole[:top_n]


@pytest.mark.parametrize("api", FIVE)
@given(data=st.data(), query=QUERIES, documents=DOCUMENTS)
@EXAMPLES
def test_a_score_depends_on_its_own_document_alone(reranker, api, data, query, documents):
    picked = data.draw(st.permutations(range(len(documents))))
    picked = picked[: data.draw(st.integers(1, len(picked)))]
    whole = scores(reranker, api, query=query, documents=documents)
    part = scores(reranker, api, query=query, documents=[documents[i] for i in picked])
    assert part == pytest.approx({at: whole[i] for at, i in enumerate(picked)}, abs=1e-4)


@pytest.mark.parametrize("api", FIVE)
@given(query=QUERIES, documents=DOCUMENTS)
@EXAMPLES
def test_nulls_are_fields_left_out(reranker, api, query, documents):
    from fastrerank.api import APIS

    nulls = {name: None for name, field in APIS[api].fields.items() if not field.required}
    plain = ranked(reranker, api, query=query, documents=documents)
    assert ranked(reranker, api, query=query, documents=documents, **nulls) == plain


UNUSED = {
    "together": [{"return_documents": True}, {"rank_fields": ["title"]}],
    "generic": [
        {"user": "me"},
        {"metadata": {"priority": "high"}},
        {"extra_body": {"temperature": 1}},
        {"return_documents": True},
        {"stray": [1]},
        {"truncate": "end"},
    ],
    "portkey": [
        {"priority": 3.5},
        {"parameters": {"k": [1]}},
        {"rank_fields": ["title"]},
        {"truncation": True},
        {"stray": {}},
    ],
    "contextual": [{"instruction": ""}, {"instruction": None}],
    "cohere": [{"priority": 999}, {"rank_fields": ["title"]}, {"return_documents": True}],
}


@pytest.mark.parametrize(("api", "extra"), [(a, extra) for a in FIVE for extra in UNUSED[a]])
@given(query=QUERIES, documents=DOCUMENTS)
@EXAMPLES
def test_fields_without_meaning_here_change_no_score(reranker, api, extra, query, documents):
    plain = ranked(reranker, api, query=query, documents=documents)
    assert ranked(reranker, api, query=query, documents=documents, **extra) == plain


@given(query=QUERIES, documents=DOCUMENTS)
@EXAMPLES
def test_empty_metadata_changes_nothing(reranker, query, documents):
    plain = ranked(reranker, "contextual", query=query, documents=documents)
    empty = [""] * len(documents)
    assert plain == ranked(reranker, "contextual", query=query, documents=documents, metadata=empty)


@given(data=st.data(), query=QUERIES, documents=DOCUMENTS)
@EXAMPLES
def test_metadata_is_a_line_of_its_document(reranker, data, query, documents):
    metadata = data.draw(st.lists(TEXTS, min_size=len(documents), max_size=len(documents)))
    joined = [f"{d}\n{m}" if m else d for d, m in zip(documents, metadata, strict=True)]
    assert ranked(
        reranker, "contextual", query=query, documents=documents, metadata=metadata
    ) == ranked(reranker, "contextual", query=query, documents=joined)


@pytest.mark.parametrize("api", ["generic", "portkey"])
@given(query=QUERIES, documents=DOCUMENTS)
@EXAMPLES
def test_an_object_is_scored_by_its_text_alone(reranker, api, query, documents):
    objects = [{"text": d, "title": "llama", "metadata": {"n": i}} for i, d in enumerate(documents)]
    assert ranked(reranker, api, query=query, documents=objects) == ranked(
        reranker, api, query=query, documents=documents
    )
    mixed = [o if i % 2 else d for i, (o, d) in enumerate(zip(objects, documents, strict=True))]
    whole = answer(reranker, api, query=query, documents=mixed, return_documents=True)
    for each in whole["results"]:
        given_document = mixed[each["index"]]
        expected = {"text": given_document} if isinstance(given_document, str) else given_document
        assert each["document"] == expected
        assert each["document"] is not given_document


CAPS = {"generic": "max_tokens_per_document", "portkey": "max_tokens_per_doc"}
LONG = "llama " * 700


@pytest.mark.parametrize("api", ["generic", "portkey", "cohere"])
@given(query=QUERIES, documents=DOCUMENTS)
@EXAMPLES
def test_a_cap_that_no_document_reaches_changes_nothing(reranker, api, query, documents):
    cap = {CAPS.get(api, "max_tokens_per_doc"): 300}
    plain = ranked(reranker, api, query=query, documents=documents)
    assert ranked(reranker, api, query=query, documents=documents, **cap) == plain


@pytest.mark.parametrize("api", ["generic", "portkey", "cohere"])
@given(query=QUERIES, words=st.lists(WORDS, min_size=9, max_size=30), cap=st.integers(1, 8))
@EXAMPLES
def test_a_capped_document_scores_like_its_beginning(reranker, api, query, words, cap):
    texts = [" ".join(words[:n]) for n in range(len(words) + 1)]
    counts = reranker.count_tokens(texts)
    if cap not in counts:
        return  # the cap falls inside a word
    capped = ranked(
        reranker,
        api,
        query=query,
        documents=[texts[-1]],
        **{CAPS.get(api, "max_tokens_per_doc"): cap},
    )
    whole = ranked(reranker, api, query=query, documents=[texts[counts.index(cap)]])
    assert capped[0][1] == pytest.approx(whole[0][1], abs=1e-4)


@given(query=QUERIES, document=st.lists(WORDS, min_size=5, max_size=20))
@settings(EXAMPLES, max_examples=5)  # each scores six documents as long as the model reads
def test_start_and_end_differ_only_in_what_they_drop(reranker, query, document):
    text = " ".join(document)
    once = {"query": query, "documents": [text]}
    end = ranked(reranker, "generic", **once, truncate="end")
    assert ranked(reranker, "generic", **once, truncate="start") == end
    assert ranked(reranker, "generic", **once, truncate="none") == end
    # More than the model reads of one document: what is beyond is dropped, from its own side.
    long = f"{text} {LONG}"
    assert ranked(reranker, "generic", query=query, documents=[long]) == ranked(
        reranker, "generic", query=query, documents=[f"{long} panda peru"]
    )
    dropped = {"query": query, "truncate": "start"}
    assert ranked(reranker, "generic", **dropped, documents=[f"{LONG}{text}"]) == ranked(
        reranker, "generic", **dropped, documents=[f"panda peru {LONG}{text}"]
    )


@pytest.mark.parametrize(
    ("api", "extra"),
    [
        ("generic", {"truncate": "none"}),
        ("portkey", {"truncation": False}),
        ("portkey", {"parameters": {"truncate": "NONE"}}),
    ],
)
@pytest.mark.parametrize("place", ["documents", "query"])
def test_without_truncation_what_is_too_long_is_an_error_that_names_it(reranker, api, extra, place):
    body = {"model": "m", "query": "llama", "documents": ["short", "shorter"], **extra}
    assert handle(reranker, api, body)[0] == 200
    body[place] = ["short", LONG] if place == "documents" else LONG
    status, error = handle(reranker, api, body)
    assert status == 400
    assert error["error"]["param"] == ("documents[1]" if place == "documents" else "query")
    assert "truncate=" not in error["error"]["message"]  # no field of every API


def test_what_is_too_long_is_named_as_the_api_does(reranker):
    status, error = handle(reranker, "tei", {"query": "llama", "texts": ["short", LONG]})
    assert status == 413
    assert error["error"].startswith("texts[1] ")


@given(
    query=QUERIES,
    fields=st.lists(st.sampled_from(["title", "text", "n", "absent"]), min_size=1, unique=True),
    documents=st.lists(
        st.fixed_dictionaries({"text": TEXTS}, optional={"title": TEXTS, "n": st.integers()}),
        min_size=1,
        max_size=5,
    ),
)
@EXAMPLES
def test_rank_fields_mean_what_rerank_says(reranker, query, fields, documents):
    if fields == ["text"]:
        return  # ranked by the text alone, as without rank_fields
    expected = [
        (each.index, each.relevance_score)
        for each in reranker.rerank(query, documents, rank_fields=fields).results
    ]
    for api in ("portkey", "cohere-v1"):
        asked = {"query": query, "documents": documents, "rank_fields": fields}
        assert ranked(reranker, api, **asked) == expected


@given(query=QUERIES, documents=DOCUMENTS, top_n=st.integers(1, 9))
@EXAMPLES
def test_extra_body_is_merged_and_the_request_wins(reranker, query, documents, top_n):
    body = {"query": query, "documents": documents}
    merged = ranked(reranker, "generic", **body, extra_body={"top_n": top_n, "model": "other"})
    assert merged == ranked(reranker, "generic", **body, top_n=top_n)
    given_too = answer(reranker, "generic", **body, top_n=1, extra_body={"top_n": 3, "model": "x"})
    assert (len(given_too["results"]), given_too["model"]) == (1, "m")
    assert ranked(reranker, "generic", **body, top_n=None, extra_body={"top_n": 1}) == merged[:1]
