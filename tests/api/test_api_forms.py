"""What the documents settle by example: forms of answers and of errors, API by API."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import jsonschema
import pytest
from api_schemas import ERRORS, REQUESTS, RESPONSES
from fake_reranker import FakeReranker

import fastrerank.api
from fastrerank.api import APIS, handle
from fastrerank.api.contextual import _cut
from fastrerank.api.forms import raw

FIVE = list(RESPONSES)
LLAMAS = [
    {"title": "Llama", "text": "The llama is a camelid of Peru."},
    {"title": "Panda", "text": "The panda is a bear of China."},
    {"title": "Guanaco", "text": "The guanaco, größer, lives in South America."},
]
TEXTS = [each["text"] for each in LLAMAS]
BODY = {"model": "a-model", "query": "what lives in Peru", "documents": TEXTS}


@pytest.fixture
def fake():
    return FakeReranker()


def good(fake, api, **changes):
    request = {**BODY, **changes}
    if api in REQUESTS:
        jsonschema.validate(request, REQUESTS[api])
    status, body = handle(fake, api, request)
    assert status == 200, body
    if api in RESPONSES:
        jsonschema.validate(body, RESPONSES[api])
    return body


def bad(fake, api, **changes):
    request = {name: value for name, value in {**BODY, **changes}.items() if value != "absent"}
    status, body = handle(fake, api, request)
    assert status >= 400
    if api in ERRORS:
        jsonschema.validate(body, ERRORS[api])
    return status, body


# --- forms of answers


@pytest.mark.parametrize("api", ["together", "generic", "portkey", "cohere"])
def test_ids_are_unique(fake, api):
    assert good(fake, api)["id"] != good(fake, api)["id"]


@pytest.mark.parametrize("api", ["together", "generic", "portkey", "jina", "voyage", "infinity"])
def test_the_model_asked_for_is_echoed(fake, api):
    assert good(fake, api)["model"] == "a-model"


def test_together_echoes_text_and_objects_as_compact_json(fake):
    results = good(fake, "together", return_documents=True)["results"]
    assert [each["document"] for each in results] == [{"text": TEXTS[r["index"]]} for r in results]
    for fields in (None, ["text"]):
        body = good(fake, "together", documents=LLAMAS, return_documents=True, rank_fields=fields)
        for each in body["results"]:
            whole = LLAMAS[each["index"]]
            read = whole if fields is None else {name: whole[name] for name in fields}
            written = json.dumps(read, ensure_ascii=False, separators=(",", ":"))
            assert each["document"] == {"text": written}


def test_together_ranks_objects_by_compact_json_of_the_named_keys_in_their_order(fake):
    good(fake, "together", documents=LLAMAS)
    assert fake.calls[-1].documents[1] == '{"title":"Panda","text":"The panda is a bear of China."}'
    good(fake, "together", documents=LLAMAS, rank_fields=["text", "absent", "title"])
    assert fake.calls[-1].documents[1] == '{"text":"The panda is a bear of China.","title":"Panda"}'


def test_together_has_a_document_in_every_result(fake):
    assert [each["document"] for each in good(fake, "together")["results"]] == [{}] * 3


def test_token_counts_are_those_of_rerank(fake):
    read = fake.rerank(BODY["query"], TEXTS).usage.prompt_tokens
    assert good(fake, "together")["usage"] == {
        "prompt_tokens": read,
        "completion_tokens": 0,
        "total_tokens": read,
    }
    assert good(fake, "generic")["usage"] == {"prompt_tokens": read, "total_tokens": read}
    assert good(fake, "cohere")["meta"]["tokens"]["input_tokens"] == read
    assert good(fake, "jina")["usage"] == {"total_tokens": read}
    assert good(fake, "voyage")["usage"] == {"total_tokens": read}


@pytest.mark.parametrize(("documents", "units"), [(1, 1), (100, 1), (101, 2), (250, 3)])
def test_search_units_are_hundreds_of_documents(fake, documents, units):
    many = ["x"] * documents
    assert good(fake, "portkey", documents=many)["usage"] == {"search_units": units}
    meta = good(fake, "cohere", documents=many)["meta"]
    assert meta["billed_units"] == {"search_units": units}


def test_cohere_warns_of_each_cut_document_and_of_the_query(fake):
    long = ["short", "word " * 99, "word " * 98]
    body = good(fake, "cohere", documents=long, top_n=1)
    assert len(body["warnings"]) == 2
    assert body["warnings"] == body["meta"]["warnings"]
    assert "documents[1]" in body["warnings"][0]
    assert "query" in good(fake, "cohere", query="word " * 99)["warnings"][0]
    assert "warnings" not in good(fake, "cohere")


def test_cohere_caps_documents_at_4096_tokens_by_default():
    fake = FakeReranker(max_length=9000)
    assert good(fake, "cohere", documents=["w " * 4096])["meta"].get("warnings") is None
    assert len(good(fake, "cohere", documents=["w " * 4097])["warnings"]) == 1
    assert "warnings" not in good(fake, "cohere", documents=["w " * 4097], max_tokens_per_doc=5000)


def test_cohere_v1_takes_objects_without_a_model(fake):
    body = good(fake, "cohere-v1", model=None, documents=LLAMAS, return_documents=True)
    assert body["results"][0]["document"] == LLAMAS[body["results"][0]["index"]]
    assert body["meta"]["api_version"]["version"] == "1"
    status, error = bad(fake, "cohere-v1", documents=[{"title": "no text"}])
    assert status == 400
    assert "documents[0].text" in error["message"]


def test_cohere_v1_ranks_by_a_text_that_is_left_out_or_no_string(reranker):
    documents = [{"title": "x"}, {"text": "llamas of Peru"}, {"text": 5}, "llamas of Peru"]
    request = {"query": "llamas", "documents": documents, "rank_fields": ["text"]}
    status, body = handle(reranker, "cohere-v1", request)
    assert status == 200
    expected = reranker.rerank("llamas", ["", "llamas of Peru", "5", "llamas of Peru"])
    found = [(each["index"], each["relevance_score"]) for each in body["results"]]
    assert found == [(each.index, each.relevance_score) for each in expected.results]


def test_contextual_cuts_scores_and_then_sorts(fake):
    class Close(FakeReranker):
        def rerank(self, query, documents, **options):
            response = super().rerank(query, documents, **options)
            nearly = [0.123456781, 0.123456789, 0.29]
            for result, score in zip(response.results, nearly, strict=True):
                object.__setattr__(result, "index", nearly.index(score))
                object.__setattr__(result, "relevance_score", score)
            response.results.sort(key=lambda each: -each.relevance_score)
            return response

    assert good(Close(), "contextual", top_n=2)["results"] == [
        {"index": 2, "relevance_score": 0.29},
        {"index": 0, "relevance_score": 0.12345678},
    ]


@pytest.mark.parametrize(
    ("score", "expected"),
    [(0.0, 0.0), (1.0, 1.0), (0.999999999, 0.99999999), (0.29, 0.29), (1e-9, 0.0), (3e-8, 3e-8)],
)
def test_a_cut_score(score, expected):
    assert _cut(score) == expected


def test_contextual_reads_the_instruction_with_the_query(fake):
    good(fake, "contextual", instruction="Prefer bears.")
    assert fake.calls[-1].instruction == "Prefer bears."


def test_portkey_lets_truncation_win_over_parameters(fake):
    long = ["word " * 99]
    none = {"parameters": {"truncate": "NONE"}}
    assert bad(fake, "portkey", documents=long, **none)[0] == 400
    good(fake, "portkey", documents=long, truncation=True, **none)
    good(fake, "portkey", documents=long, parameters={"truncate": "START"})
    assert fake.calls[-1].truncate == "start"
    assert bad(fake, "portkey", parameters={"truncate": "MIDDLE"})[1]["error"]["param"] == (
        "parameters.truncate"
    )


def test_an_echo_is_a_copy(fake):
    document = {"text": "a", "tags": ["b"]}
    body = good(fake, "generic", documents=[document], return_documents=True)
    body["results"][0]["document"]["tags"].append("c")
    assert document == {"text": "a", "tags": ["b"]}


# --- forms of errors


BAD = [
    ({"query": "absent"}, "query", "missing"),
    ({"query": 3}, "query", "type"),
    ({"documents": "absent"}, "documents", "missing"),
    ({"documents": []}, "documents", "empty"),
    ({"documents": "text"}, "documents", "type"),
    ({"documents": ["a", 1]}, "documents[1]", "type"),
    ({"documents": [None]}, "documents[0]", "type"),
    ({"model": "absent"}, "model", "missing"),
    ({"model": 1}, "model", "type"),
    ({"top_n": 0}, "top_n", "value"),
    ({"top_n": -1}, "top_n", "value"),
    ({"top_n": True}, "top_n", "type"),
    ({"top_n": "2"}, "top_n", "type"),
    ({"top_n": 2.5}, "top_n", "type"),
    ({"top_n": float("nan")}, "top_n", "type"),
]
MORE_BAD = {
    "together": [
        ({"documents": ["a", {"text": "b"}]}, "documents[1]", "type"),
        ({"documents": [{"text": "b"}, "a"]}, "documents[1]", "type"),
        ({"rank_fields": "title"}, "rank_fields", "type"),
        ({"rank_fields": [1]}, "rank_fields[0]", "type"),
        ({"return_documents": 1}, "return_documents", "type"),
        ({"documents": [{"n": float("nan")}]}, "documents[0]", "value"),
        ({"stray": 1}, "stray", "unknown"),
    ],
    "generic": [
        ({"documents": [{"title": "b"}]}, "documents[0].text", "missing"),
        ({"documents": ["a", {"text": 1}]}, "documents[1].text", "type"),
        ({"truncate": "middle"}, "truncate", "value"),
        ({"max_tokens_per_document": 0}, "max_tokens_per_document", "value"),
        ({"metadata": []}, "metadata", "type"),
        ({"user": 1}, "user", "type"),
        ({"extra_body": []}, "extra_body", "type"),
        ({"extra_body": {"truncate": 1}}, "truncate", "type"),
    ],
    "portkey": [
        ({"documents": [{"title": "b"}]}, "documents[0].text", "missing"),
        ({"max_tokens_per_doc": 0}, "max_tokens_per_doc", "value"),
        ({"priority": "high"}, "priority", "type"),
        ({"priority": float("inf")}, "priority", "value"),
        ({"truncation": "yes"}, "truncation", "type"),
        ({"parameters": []}, "parameters", "type"),
    ],
    "contextual": [
        ({"documents": [{"text": "a"}]}, "documents[0]", "type"),
        ({"metadata": ["one"]}, "metadata", "value"),
        ({"metadata": [1, 2, 3]}, "metadata[0]", "type"),
        ({"instruction": 1}, "instruction", "type"),
        ({"stray": 1}, "stray", "unknown"),
        ({"documents": ["a", "w " * 8000]}, "documents[1]", "too_long"),
        ({"documents": ["a", "w" * 400_000]}, "documents[1]", "too_long"),
        ({"documents": ["w " * 7000] * 60}, None, "too_long"),
        ({"documents": ["w " * 3000] * 140}, None, "too_long"),
        ({"documents": ["w " * 3500], "query": "q " * 5000}, "documents[0]", "too_long"),
        ({"instruction": "i " * 8000}, "documents[0]", "too_long"),
    ],
    "cohere": [
        ({"documents": [{"text": "a"}]}, "documents[0]", "type"),
        ({"priority": 1000}, "priority", "value"),
        ({"priority": -1}, "priority", "value"),
        ({"max_tokens_per_doc": 0}, "max_tokens_per_doc", "value"),
        ({"documents": ["a"] * 10_001}, "documents", "value"),
        ({"stray": 1}, "stray", "unknown"),
    ],
}
CASES = [(api, *case) for api in FIVE for case in BAD + MORE_BAD[api]]


@pytest.mark.parametrize(("api", "changes", "param", "kind"), CASES)
def test_a_bad_field_is_named_in_the_form_of_the_api(fake, api, changes, param, kind):
    status, body = bad(fake, api, **changes)
    if api == "contextual":
        loc = body["detail"][0]["loc"]
        assert status == 422
        assert loc[0] == "body"
        assert loc[1:] == ([] if param is None else param_path(param))
    elif api == "cohere":
        assert status == (422 if kind in ("type", "unknown") else 400)
        assert body["message"].startswith(param)
    else:
        assert status == 400
        assert body["error"]["param"] == param
        assert body["error"]["type"] == "invalid_request_error"
        assert body["error"]["message"].startswith(param)


@pytest.mark.parametrize(("api", "most"), [("cohere-v1", 10_000), ("voyage", 1_000)])
def test_as_many_documents_are_taken_as_the_api_takes(fake, api, most):
    good(fake, api, documents=["a"] * most)
    assert bad(fake, api, documents=["a"] * (most + 1))[0] == 400


def test_a_long_value_is_shown_by_its_beginning(fake):
    _, body = bad(fake, "generic", top_n="x" * 100_000)
    assert '"xxx' in body["error"]["message"]
    assert len(json.dumps(body)) < 1000


def param_path(param):
    steps = param.replace("[", ".").replace("]", "").split(".")
    return [int(step) if step.isdigit() else step for step in steps]


@pytest.mark.parametrize("request_body", [None, [], "text", 3, [BODY]])
@pytest.mark.parametrize("api", FIVE)
def test_a_body_that_is_no_object(fake, api, request_body):
    status, body = handle(fake, api, request_body)
    assert status in (400, 422)
    jsonschema.validate(body, ERRORS[api])


@pytest.mark.parametrize("api", APIS)
def test_a_failure_is_a_5xx_without_a_word_of_it(fake, api, caplog):
    class Broken(FakeReranker):
        def rerank(self, *args, **kwargs):
            raise RuntimeError("secret detail")

    documents = LLAMAS if api == "pinecone" else TEXTS
    request = {**BODY, "documents": documents, "texts": TEXTS}
    request = {name: request[name] for name in APIS[api].fields if name in request}
    with caplog.at_level(logging.ERROR, logger="fastrerank"):
        status, body = handle(Broken(), api, request)
    assert status == 500
    assert "secret" not in json.dumps(body)
    assert "secret detail" in caplog.text
    fake.closed = True
    status, body = handle(fake, api, request)
    assert status == 503
    for each in (api,) if api in ERRORS else ():
        jsonschema.validate(body, ERRORS[each])


def test_an_unknown_api_is_answered(fake):
    status, body = handle(fake, "tgether", BODY)
    assert status == 404
    assert "together" in body["error"]["message"]
    assert handle(fake, ["together"], BODY)[0] == 404


# --- the sixth API, and after


SIXTH = ["jina", "voyage", "pinecone", "infinity", "tei"]


@pytest.mark.parametrize("name", SIXTH)
def test_an_api_is_one_short_file(name):
    source = Path(fastrerank.api.__file__).with_name(f"{name}.py").read_text()
    assert len(source.splitlines()) < 100


def test_jina(fake):
    body = good(fake, "jina", top_n=2, return_documents=True)
    assert body.keys() == {"model", "object", "usage", "results"}
    assert body["results"][0]["document"] == {"text": TEXTS[body["results"][0]["index"]]}
    assert good(fake, "jina", top_n=2)["results"] == body["results"]  # its default
    assert "document" not in good(fake, "jina", return_documents=False)["results"][0]
    good(fake, "jina", max_doc_length=3)
    assert fake.calls[-1].max_tokens_per_doc == 3
    assert bad(fake, "jina", documents=["w " * 99], truncation=False)[0] == 422
    assert bad(fake, "jina", top_n=0) == (
        422,
        {"detail": "top_n must be an integer, at least 1, got 0"},
    )


def test_voyage(fake):
    body = good(fake, "voyage", top_k=2, return_documents=True)
    assert body.keys() == {"object", "data", "model", "usage"}
    assert [each["document"] for each in body["data"]] == [TEXTS[r["index"]] for r in body["data"]]
    assert bad(fake, "voyage", documents=["w " * 99], truncation=False)[0] == 400
    good(fake, "voyage", documents=["w " * 99])


def test_pinecone(fake):
    body = good(fake, "pinecone", documents=LLAMAS)
    assert body["data"][0].keys() == {"index", "score", "document"}
    assert body["usage"] == {"rerank_units": 1}
    good(fake, "pinecone", documents=LLAMAS, rank_fields=["title"], return_documents=False)
    assert fake.calls[-1].documents == ["Llama", "Panda", "Guanaco"]
    good(fake, "pinecone", documents=LLAMAS, rank_fields=["title", "text"])
    assert fake.calls[-1].rank_fields == ["title", "text"]
    status, error = bad(fake, "pinecone", documents=LLAMAS, rank_fields=["absent"])
    assert status == error["status"] == 400
    assert error["error"]["code"] == "INVALID_ARGUMENT"
    start = {"parameters": {"truncate": "START"}}
    assert len(good(fake, "pinecone", documents=LLAMAS, top_n=1, **start)["data"]) == 1
    assert fake.calls[-1].truncate == "start"
    fake.closed = True
    assert bad(fake, "pinecone", documents=LLAMAS)[1]["error"]["code"] == "UNAVAILABLE"


def test_infinity_names_its_model_where_none_is_asked_for(fake):
    assert good(fake, "infinity", model=None)["model"] == fake.model_name


def test_tei(fake):
    request = {"query": BODY["query"], "texts": TEXTS, "return_text": True}
    status, body = handle(fake, "tei", request)
    assert status == 200
    assert [each["text"] for each in body] == [TEXTS[each["index"]] for each in body]
    status, error = handle(fake, "tei", {**request, "texts": []})
    assert (status, error["error_type"]) == (400, "Empty")
    long = {**request, "texts": ["w " * 99]}
    assert handle(fake, "tei", long)[0] == 413
    assert handle(fake, "tei", {**long, "truncate": True})[0] == 200
    for direction in ("left", "Left"):
        handle(fake, "tei", {**long, "truncate": True, "truncation_direction": direction})
        assert fake.calls[-1].truncate == "start"
    fake.closed = True
    assert handle(fake, "tei", request)[1]["error_type"] == "Unhealthy"


def test_tei_raw_scores_are_the_logits(fake):
    import math

    request = {"query": BODY["query"], "texts": TEXTS}
    _, plain = handle(fake, "tei", request)
    _, raw = handle(fake, "tei", {**request, "raw_scores": True})
    for score, logit in zip(plain, raw, strict=True):
        assert 1 / (1 + math.exp(-logit["score"])) == pytest.approx(score["score"], abs=1e-12)


def test_a_score_that_is_rounded_to_0_or_1_has_a_raw_one():
    assert raw(0.0) < -700
    assert raw(1.0) > 30
