"""The second half of a model with `similarity`: what a bi-encoder says is added to the logit.

A cross-encoder learns its queries and documents together and forgets some of what the bi-encoder
that it came from knows of others. Their sum keeps both.
"""

from collections.abc import Mapping
from functools import lru_cache, partial

import numpy as np
from numpy.typing import NDArray

from .errors import BundleFormatError
from .session import Session

Ids = NDArray[np.int64]

# A query's vector is made once for all its documents. More than meet at a time in one process.
_QUERIES = 256


class SimilaritySession:
    """Pairs scored by `pairs`, plus `weight` times the cosine of the texts' `vectors`.

    With `padded`, documents get the width of their pairs, so that what they are padded to depends
    on the pair alone; else there is one pair a run, and no padding.
    """

    def __init__(self, pairs: Session, *, vectors: Session, weight: float, padded: bool) -> None:
        self._pairs, self._vectors = pairs, vectors
        self._weight = np.float32(weight)
        self._padded = padded
        self._query_vector = lru_cache(_QUERIES)(partial(_vector, vectors))

    def run(self, inputs: Mapping[str, Ids]) -> NDArray[np.float32]:
        """Return the logits of a batch, float32 [batch, 1], for int64 [batch, length].

        :raises InferenceError: if the runtime fails.
        :raises BundleFormatError: if a text's answer is no vector.
        """
        logits = self._pairs.run(inputs)
        ids, types = inputs["input_ids"], inputs["token_type_ids"]
        stops = inputs["attention_mask"].sum(axis=1)
        starts = stops - types.sum(axis=1)  # of the documents
        queries = np.stack(
            [
                self._query_vector(row[:start].tobytes())
                for row, start in zip(ids, starts, strict=True)
            ]
        )
        documents = self._vectors.run(self._documents(ids, starts, stops))
        if documents.ndim != 2 or documents.shape != queries.shape:
            raise BundleFormatError(
                f"the bi-encoder returned {documents.shape} for {len(ids)} documents, not a vector"
                " for each: export the model again"
            )
        cosines = np.einsum("ij,ij->i", queries, documents)
        sums: NDArray[np.float32] = logits + self._weight * cosines[:, np.newaxis]
        return sums

    def _documents(self, ids: Ids, starts: Ids, stops: Ids) -> dict[str, Ids]:
        """Return the documents as texts of their own: behind the pair's first token."""
        lengths = 1 + stops - starts
        width = ids.shape[1] if self._padded else int(lengths.max())
        texts = np.zeros((len(ids), width), dtype=np.int64)
        for text, row, start, stop in zip(texts, ids, starts, stops, strict=True):
            text[0] = row[0]
            text[1 : 1 + stop - start] = row[start:stop]
        return _inputs(texts, lengths)


def _vector(vectors: Session, ids: bytes) -> NDArray[np.float32]:
    """Return the vector of one text, float32 [hidden], whose int64 ids are given as bytes."""
    text = np.frombuffer(ids, dtype=np.int64)[np.newaxis]
    vector: NDArray[np.float32] = vectors.run(_inputs(text, np.array([text.size])))[0]
    return vector


def _inputs(texts: Ids, lengths: Ids) -> dict[str, Ids]:
    return {
        "input_ids": texts,
        "attention_mask": (np.arange(texts.shape[1]) < lengths[:, np.newaxis]).astype(np.int64),
        "token_type_ids": np.zeros_like(texts),
    }
