"""langchain-cohere: CohereRerank."""

from __future__ import annotations

import pytest
from official import DOCUMENTS, QUERY, client

cohere = client("cohere")
langchain_cohere = client("langchain_cohere")
documents = client("langchain_core.documents")
pytestmark = pytest.mark.usefixtures("no_sockets")


def compressor(http, **settings):
    return langchain_cohere.CohereRerank(
        client=cohere.ClientV2("key", httpx_client=http), model="rerank-v3.5", **settings
    )


def test_rerank(http, ranked):
    results = compressor(http, top_n=2).rerank(DOCUMENTS, QUERY)
    assert [(each["index"], each["relevance_score"]) for each in results] == ranked[:2]


def test_it_compresses_documents(http, ranked):
    given = [
        documents.Document(page_content=text, metadata={"n": i}) for i, text in enumerate(DOCUMENTS)
    ]
    best = compressor(http, top_n=3).compress_documents(given, QUERY)
    assert [(d.metadata["n"], d.metadata["relevance_score"]) for d in best] == ranked[:3]
