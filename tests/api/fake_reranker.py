"""A reranker without a model: as fast as hypothesis wants, with the real one's interface."""

from __future__ import annotations

import math
import re
import zlib
from collections.abc import Iterable, Sequence

from fastrerank.documents import ranked_text
from fastrerank.errors import ClosedError, InvalidRequestError
from fastrerank.request import Document, RerankRequest, Truncate
from fastrerank.response import RerankResponse, RerankResult, Usage


class FakeReranker:
    """Scores by shared words; a token is a word, a pair holds `max_length` of them."""

    model_name = "fake"

    def __init__(self, max_length: int = 64) -> None:
        self.max_length = max_length
        self.calls: list[RerankRequest] = []
        self.closed = False

    def rerank(
        self,
        query: str,
        documents: Iterable[Document],
        *,
        top_n: int | None = None,
        return_documents: bool = False,
        rank_fields: Sequence[str] | None = None,
        max_tokens_per_doc: int | None = None,
        truncate: Truncate = "end",
        instruction: str | None = None,
    ) -> RerankResponse:
        if self.closed:
            raise ClosedError("closed")
        request = RerankRequest(
            query=query,
            documents=documents,
            top_n=top_n,
            return_documents=return_documents,
            rank_fields=rank_fields,
            max_tokens_per_doc=max_tokens_per_doc,
            truncate=truncate,
            instruction=instruction,
        )
        self.calls.append(request)
        asked = tokens(f"{query}\n{instruction}" if instruction else query)
        query_truncated = len(asked) > self.max_length // 2
        if query_truncated and truncate == "none":
            raise InvalidRequestError("query is too long", param="query")
        asked = asked[: self.max_length // 2]
        room = min(max_tokens_per_doc or self.max_length, self.max_length - len(asked))
        scores, truncated, read = [], [], 0
        for i, document in enumerate(request.documents):
            words = tokens(ranked_text(document, i, rank_fields).text)
            if len(words) > room:
                if truncate == "none":
                    raise InvalidRequestError(f"documents[{i}] is long", param=f"documents[{i}]")
                truncated.append(i)
                words = words[-room:] if truncate == "start" else words[:room]
            read += len(asked) + len(words) + 3
            scores.append(relevance(asked, words))
        order = sorted(range(len(scores)), key=lambda i: (-scores[i], i))
        return RerankResponse(
            model=self.model_name,
            results=[RerankResult(index=i, relevance_score=scores[i]) for i in order[:top_n]],
            truncated=truncated,
            query_truncated=query_truncated,
            usage=Usage(prompt_tokens=read),
        )

    def count_tokens(self, texts: Iterable[str]) -> list[int]:
        return [len(tokens(text)) for text in texts]


def tokens(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def relevance(query: list[str], document: list[str]) -> float:
    """Depend on every word that is read, on those of the query the most."""
    shared = sum(word in query for word in document)
    noise = zlib.crc32("\n".join([*query, "", *document]).encode("utf-8", "replace")) / 2**32
    return 1 / (1 + math.exp(2 - shared - noise))
