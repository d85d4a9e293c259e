"""The answer to a rerank request, in the shape that the public rerank APIs share."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class RerankResult:
    """One ranked document.

    `index` is its position in the caller's list, `relevance_score` lies in 0-1, and `document` is a
    copy of what the caller passed, or None unless `return_documents` was asked for.
    """

    index: int
    relevance_score: float
    document: str | Mapping[str, Any] | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types; a document that was a string becomes `{"text": ...}`."""
        result: dict[str, Any] = {"index": self.index, "relevance_score": self.relevance_score}
        if self.document is not None:
            is_text = isinstance(self.document, str)
            result["document"] = {"text": self.document} if is_text else self.document
        return result


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """The tokens of every pair after truncation, special tokens counted.

    Of each document once, however it was scored: together with equal ones, or in windows.
    """

    prompt_tokens: int

    @property
    def total_tokens(self) -> int:
        """The same count: reranking generates no tokens."""
        return self.prompt_tokens

    def to_dict(self) -> dict[str, int]:
        """Return plain JSON types."""
        return {"prompt_tokens": self.prompt_tokens, "total_tokens": self.total_tokens}


@dataclass(frozen=True, slots=True, kw_only=True)
class RerankResponse:
    """The ranked documents of one request, best first; equal scores keep the caller's order.

    `truncated` lists the indices of the documents that were cut to fit, ascending;
    `query_truncated` says whether the query (with its instruction) was.
    """

    model: str
    results: list[RerankResult]
    truncated: list[int]
    query_truncated: bool
    usage: Usage
    id: str = field(default_factory=lambda: f"rerank-{uuid.uuid4().hex}")

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types, where the documents echoed hold no others."""
        return {
            "id": self.id,
            "object": "rerank",
            "model": self.model,
            "results": [result.to_dict() for result in self.results],
            "truncated": list(self.truncated),
            "query_truncated": self.query_truncated,
            "usage": self.usage.to_dict(),
        }
