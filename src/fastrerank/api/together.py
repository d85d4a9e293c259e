"""Together: objects are ranked, and echoed, as compact JSON of all keys or the `rank_fields`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..plain_json import compact_json
from ..request import Document
from .fields import (
    Json,
    Path,
    count,
    flag,
    list_of,
    must_be,
    optional,
    required,
    text,
    text_or_object,
)
from .forms import openai_error, results
from .spec import Api

if TYPE_CHECKING:
    from ..reranker import Reranker


def _documents(value: object, path: Path) -> list[Document]:
    documents: list[Document] = list_of(text_or_object, at_least=1)(value, path)
    form = str if isinstance(documents[0], str) else Mapping
    for i, document in enumerate(documents):
        if not isinstance(document, form):
            kind = "a string" if form is str else "an object"
            raise must_be((*path, i), f"{kind} like the documents before it", document)
    return documents


def _text(document: Document, rank_fields: list[str] | None) -> str:
    if isinstance(document, str):
        return document
    if rank_fields:
        document = {name: document[name] for name in rank_fields if name in document}
    return compact_json(document)


def _answer(reranker: Reranker, request: dict[str, Any]) -> Json:
    documents, fields = request["documents"], request["rank_fields"]
    read = [_text(each, fields) for each in documents]
    response = reranker.rerank(request["query"], read, top_n=request["top_n"])
    # The response must have a `document` all the same, and a client reads {"text": null} as "None".
    echo = request["return_documents"]
    return {
        "id": response.id,
        "object": "rerank",
        "model": request["model"],
        "results": results(response, read, lambda each: {"text": each} if echo else {}),
        "usage": {**response.usage.to_dict(), "completion_tokens": 0},
    }


TOGETHER = Api(
    name="together",
    path="/v1/rerank",
    hosts=("api.together.ai", "api.together.xyz"),
    fields={
        "model": required(text),
        "query": required(text),
        "documents": required(_documents),
        "top_n": optional(count),
        "return_documents": optional(flag, default=False),
        "rank_fields": optional(list_of(text)),
    },
    refuses_unknown=True,
    answer=_answer,
    error=openai_error,
)
