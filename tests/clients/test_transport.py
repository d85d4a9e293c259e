"""The transport: which API and which model a request is for, and that it always answers."""

from __future__ import annotations

import asyncio
import json
import threading

import httpx
import pytest
from official import DOCUMENTS, QUERY

from fastrerank.api import APIS
from fastrerank.api.routes import route
from fastrerank.errors import InvalidRequestError
from fastrerank.transport import RerankTransport

pytestmark = pytest.mark.usefixtures("no_sockets")
BODY = {"model": "asked-for", "query": QUERY, "documents": DOCUMENTS}


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://api.together.xyz/v1/rerank", "together"),
        ("https://api.together.ai/v1/rerank/", "together"),
        ("https://api.portkey.ai/v1/rerank", "portkey"),
        ("https://api.contextual.ai/v1/rerank", "contextual"),
        ("https://API.cohere.com/v2/rerank", "cohere"),
        ("https://api.cohere.com/v1/rerank", "cohere-v1"),
        ("https://api.cohere.ai/v2/rerank", "cohere"),
        ("https://api.jina.ai/v1/rerank", "jina"),
        ("https://api.voyageai.com/v1/rerank", "voyage"),
        ("https://ai.mongodb.com/v1/rerank", "voyage"),
        ("https://api.pinecone.io/rerank", "pinecone"),
        ("http://localhost:8000/v1/rerank", "generic"),
        ("http://localhost:8000/rerank", "generic"),
        ("http://localhost:8000/v2/rerank", "cohere"),
        ("http://localhost:8000/contextual/v1/rerank", "contextual"),
        ("http://localhost:8000/cohere/v1/rerank", "cohere-v1"),
        ("http://localhost:8000/cohere/v2/rerank", "cohere"),
        ("http://localhost:8000/tei/rerank", "tei"),
        ("https://api.together.xyz/infinity/rerank", "infinity"),
    ],
)
def test_the_api_is_told_by_host_and_path(url, name):
    parsed = httpx.URL(url)
    api, found = route(parsed.host, parsed.path)
    assert (api.name, found) == (name, True)


@pytest.mark.parametrize("name", APIS)
def test_the_api_can_be_told(name):
    api, found = route("api.together.xyz", "/v1/rerank", name)
    assert api.name.startswith(name)
    assert found == (name != "cohere-v2" and "/v1/rerank".endswith(api.path))


def test_an_unknown_api_cannot_be_told(reranker):
    with pytest.raises(InvalidRequestError, match=r"'tgether'.*together"):
        RerankTransport(reranker, api="tgether")


def test_one_reranker_answers_every_model_name(http):
    for url in ("https://api.together.xyz/v1/rerank", "http://local/v1/rerank"):
        assert http.post(url, json=BODY).json()["model"] == "asked-for"


def test_a_request_of_a_class_of_its_own_is_answered(reranker):
    class Traced(httpx.Request):
        pass

    request = Traced("POST", "http://local/v1/rerank", json=BODY)
    response = RerankTransport(reranker).handle_request(request)
    assert (response.status_code, type(response)) == (200, httpx.Response)


def test_a_mapping_answers_by_name(reranker):
    class Other:
        model_name = "other"

        def rerank(self, query, documents, **options):
            return reranker.rerank(query, documents[::-1], **options)

    http = httpx.Client(transport=RerankTransport({"plain": reranker, "other": Other()}))

    def first(model):
        body = http.post("http://local/v1/rerank", json={**BODY, "model": model}).json()
        assert body["model"] == model
        return body["results"][0]["index"]

    assert first("other") == len(DOCUMENTS) - 1 - first("plain")


@pytest.mark.parametrize("name", ["together", "generic", "portkey", "contextual", "cohere"])
def test_a_mapping_refuses_an_unknown_name_in_the_form_of_the_api(reranker, name):
    http = httpx.Client(transport=RerankTransport({"known": reranker}))
    response = http.post(f"http://local/{name}{APIS[name].path}", json=BODY)
    assert response.status_code == 404
    assert "known" in response.text
    assert "asked-for" in response.text
    assert response.json().keys() == {
        {"contextual": "detail", "cohere": "message"}.get(name, "error")
    }
    if name == "contextual":
        assert response.json()["detail"][0]["loc"] == ["body", "model"]


class Unasked:
    def rerank(self, *args, **options):
        raise AssertionError("this model was not asked for")


def test_the_first_of_a_mapping_answers_where_an_api_has_no_name_for_a_model(reranker):
    http = httpx.Client(transport=RerankTransport({"a": reranker, "b": Unasked()}))
    body = {"query": QUERY, "texts": DOCUMENTS}
    assert http.post("http://local/tei/rerank", json=body).status_code == 200


def test_a_mapping_of_one_answers_what_names_no_model(reranker):
    body = {"query": QUERY, "documents": DOCUMENTS}
    for models, status in (({"a": reranker}, 200), ({"a": reranker, "b": reranker}, 404)):
        http = httpx.Client(transport=RerankTransport(models))
        assert http.post("http://local/cohere/v1/rerank", json=body).status_code == status


@pytest.mark.parametrize("models", ["small", {}, {"a": "small"}, None])
def test_what_cannot_rerank_is_refused(models):
    with pytest.raises(InvalidRequestError, match="pass a Reranker") as caught:
        RerankTransport(models)
    assert caught.value.param == "models"


def test_a_path_that_is_no_endpoint_names_those_there_are(reranker):
    http = httpx.Client(transport=RerankTransport(reranker))
    response = http.post("http://local/cohere/rerank", json=BODY)
    assert response.status_code == 404
    assert "/v2/rerank or /v1/rerank" in response.text


def test_a_field_fault_is_told_before_an_unknown_model(reranker):
    http = httpx.Client(transport=RerankTransport({"known": reranker}))
    response = http.post("http://local/v1/rerank", json={**BODY, "top_n": 0})
    assert response.json()["error"]["param"] == "top_n"


@pytest.mark.parametrize("name", APIS)
@pytest.mark.parametrize(
    ("method", "path", "content", "statuses"),
    [
        ("GET", None, b"", {405}),
        ("DELETE", None, b"{}", {405}),
        ("POST", "/v1/embeddings", b"{}", {404}),
        ("POST", "/", b"{}", {404}),
        ("POST", None, b"", {400, 422}),
        ("POST", None, b"{'a': 1}", {400, 422}),
        ("POST", None, b'{"query": NaN}', {400, 422}),
        ("POST", None, b"\xff\xff", {400, 422}),
        ("POST", None, b"[" * 200_000, {400, 422}),
        ("POST", None, b'{"top_n": ' + b"9" * 5000 + b"}", {400, 422}),
        ("POST", None, b"null", {400, 422}),
    ],
)
def test_what_is_no_request_is_answered_in_the_form_of_the_api(
    http, name, method, path, content, statuses
):
    api = APIS[name]
    response = http.request(method, f"http://local/{name}{path or api.path}", content=content)
    assert response.status_code in statuses
    assert response.headers["content-type"] == "application/json"
    assert response.headers.get("allow") == ("POST" if statuses == {405} else None)
    keys = {
        "cohere": {"message"},
        "cohere-v1": {"message"},
        "contextual": {"detail"},
        "jina": {"detail"},
        "voyage": {"detail"},
        "pinecone": {"error", "status"},
        "tei": {"error", "error_type"},
    }
    assert response.json().keys() == keys.get(name, {"error"})


def test_a_closed_reranker_is_an_answer(reranker):
    class Closed:
        def rerank(self, *args, **kwargs):
            from fastrerank.errors import ClosedError

            raise ClosedError("closed")

    response = httpx.Client(transport=RerankTransport(Closed())).post(
        "https://api.together.xyz/v1/rerank", json=BODY
    )
    assert response.status_code == 503
    assert response.json()["error"]["type"] == "server_error"


def test_closing_the_client_leaves_the_reranker_open(reranker):
    with httpx.Client(transport=RerankTransport(reranker)) as http:
        http.post("http://local/v1/rerank", json=BODY)
    assert reranker.rerank(QUERY, DOCUMENTS).results


def test_surrogates_are_echoed(http):
    content = json.dumps({**BODY, "documents": ["\ud800 é"], "return_documents": True})
    response = http.post("http://local/v1/rerank", content=content)
    assert response.json()["results"][0]["document"] == {"text": "\ud800 é"}


def test_the_event_loop_goes_on_while_the_model_runs(reranker):
    begun, go = threading.Event(), threading.Event()

    class Waiting:
        def rerank(self, *args, **kwargs):
            begun.set()
            assert go.wait(30), "the event loop was blocked"
            return reranker.rerank(*args, **kwargs)

    async def main():
        async with httpx.AsyncClient(transport=RerankTransport(Waiting())) as http:
            answers = [
                asyncio.create_task(http.post("http://local/v1/rerank", json=BODY))
                for _ in range(3)
            ]
            while not begun.is_set():
                await asyncio.sleep(0.001)
            go.set()  # reached only if the loop is free
            return [each.status_code for each in await asyncio.gather(*answers)]

    assert asyncio.run(main()) == [200] * 3
