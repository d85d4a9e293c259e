"""Contextual AI: an instruction for the request, metadata for each document, FastAPI's errors."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import ROUND_DOWN, Decimal
from typing import TYPE_CHECKING, Any

from ..excerpt import MOST_PER_TOKEN
from .fields import Json, Problem, RefusedError, count, list_of, optional, required, text
from .spec import BAD_REQUEST, Api

if TYPE_CHECKING:
    from ..reranker import Reranker

MAX_TOKENS = 400_000  # of a request
MAX_PAIR_TOKENS = 8_000  # of query, instruction, and one document with its metadata
MOST_CHARACTERS = MOST_PER_TOKEN * MAX_PAIR_TOKENS  # beyond, tokens are not even counted
_PLACES = Decimal("1e-8")


def _with_metadata(documents: list[str], metadata: list[str] | None) -> list[str]:
    if metadata is None:
        return documents
    if len(metadata) != len(documents):
        message = f"must have {len(documents)} items, one for each document, got {len(metadata)}"
        raise RefusedError("value", ("metadata",), message)
    return [
        "\n".join((document, more)) if more else document
        for document, more in zip(documents, metadata, strict=True)
    ]


def _check_limits(reranker: Reranker, head: str, documents: Sequence[str]) -> None:
    # A token is at least a byte, so most requests are in bounds without being tokenized for it.
    # As many bytes as characters at least: surrogates, which do not encode, count three.
    sizes = [len(each.encode("utf-8", "surrogatepass")) for each in (head, *documents)]
    if max(sizes[1:]) + sizes[0] <= MAX_PAIR_TOKENS and sum(sizes) <= MAX_TOKENS:
        return
    for i, document in enumerate(documents):
        characters = len(head) + len(document)
        if characters > MOST_CHARACTERS:
            message = f"has {characters} characters with the query; {MOST_CHARACTERS} at most"
            raise RefusedError("too_long", ("documents", i), message)
    query, *counts = reranker.count_tokens([head, *documents])
    for i, tokens in enumerate(counts):
        if query + tokens > MAX_PAIR_TOKENS:
            message = f"has {query + tokens} tokens with the query; {MAX_PAIR_TOKENS} at most"
            raise RefusedError("too_long", ("documents", i), message)
    if query + sum(counts) > MAX_TOKENS:
        message = f"has {query + sum(counts)} tokens in all; {MAX_TOKENS} at most"
        raise RefusedError("too_long", (), message)


def _cut(score: float) -> float:
    """Return the score cut, not rounded, to 8 decimals of what is printed."""
    return float(Decimal(repr(score)).quantize(_PLACES, ROUND_DOWN))


def _answer(reranker: Reranker, request: dict[str, Any]) -> Json:
    query, instruction = request["query"], request["instruction"]
    documents = _with_metadata(request["documents"], request["metadata"])
    head = "\n".join((query, instruction)) if instruction else query
    _check_limits(reranker, head, documents)
    response = reranker.rerank(query, documents, instruction=instruction)
    results = [
        {"index": r.index, "relevance_score": _cut(r.relevance_score)} for r in response.results
    ]
    # The cut makes ties, and ties keep the order of the input: so top_n comes after both.
    results.sort(key=lambda each: (-each["relevance_score"], each["index"]))
    return {"results": results[: request["top_n"]]}


_TYPES = {"missing": "missing", "unknown": "extra_forbidden", "syntax": "json_invalid"}


def _error(problem: Problem, status: int) -> Json:  # noqa: ARG001 - an Api's `error`
    kind = _TYPES.get(problem.kind) or f"{problem.kind}_error"
    return {"detail": [{"loc": ["body", *problem.path], "msg": problem.message, "type": kind}]}


CONTEXTUAL = Api(
    name="contextual",
    path="/v1/rerank",
    hosts=("api.contextual.ai",),
    fields={
        "model": required(text),
        "query": required(text),
        "documents": required(list_of(text, at_least=1)),
        "top_n": optional(count),
        "instruction": optional(text),
        "metadata": optional(list_of(text)),
    },
    refuses_unknown=True,
    answer=_answer,
    error=_error,
    status=dict.fromkeys(BAD_REQUEST, 422),
)
