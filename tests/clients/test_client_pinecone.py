"""pinecone: it takes no HTTP client, so it speaks to the served form on the loopback interface."""

from __future__ import annotations

import pytest
from official import DOCUMENTS, QUERY, client
from serving import served

pinecone = client("pinecone")


@pytest.fixture
def rerank(reranker):
    with served(reranker) as url, pinecone.Pinecone(api_key="key", host=f"{url}/pinecone") as pc:
        yield pc.inference.rerank


def test_rerank(rerank, ranked):
    result = rerank(model="bge-reranker-v2-m3", query=QUERY, documents=DOCUMENTS, top_n=3)
    assert [(each.index, each.score) for each in result.data] == ranked[:3]
    assert result.data[0].document == {"text": DOCUMENTS[ranked[0][0]]}
    assert result.usage.rerank_units == 1


def test_rank_fields(rerank, ranked):
    documents = [{"id": str(i), "body": text} for i, text in enumerate(DOCUMENTS)]
    result = rerank(model="m", query=QUERY, documents=documents, rank_fields=["body"])
    assert [(each.index, each.score) for each in result.data] == ranked
    assert result.data[0].document["id"] == str(ranked[0][0])


def test_an_error_is_its_own(rerank):
    with pytest.raises(pinecone.errors.ApiError, match="rank_fields") as bad:
        rerank(model="m", query=QUERY, documents=DOCUMENTS, rank_fields=["absent"])
    assert bad.value.status_code == 400
