"""BM25 weights of all passages as one sparse matrix (k1 0.9, b 0.4, as in the project's data)."""

import re
import unicodedata
from collections.abc import Sequence

import numpy as np
import Stemmer
from scipy import sparse

K1, B = 0.9, 0.4
STOP_WORDS = frozenset(
    "a an and are as at be but by for if in into is it no not of on or such that the their then "
    "there these they this to was will with".split()
)


def words(texts: Sequence[str]) -> list[list[str]]:
    """Return the stemmed words of each text, Lucene's stop words left out."""
    stem = Stemmer.Stemmer("porter").stemWords
    found = (
        re.findall(r"[^\W_]+", re.sub(r"['’]s\b", "", unicodedata.normalize("NFKC", t).lower()))
        for t in texts
    )
    return [stem([w for w in text if w not in STOP_WORDS]) for text in found]


class Bm25:
    """BM25 of any query against chosen rows of a fixed list of passages."""

    def __init__(self, texts: Sequence[str]) -> None:
        documents = words(texts)
        self._vocabulary: dict[str, int] = {}
        for document in documents:
            for word in document:
                self._vocabulary.setdefault(word, len(self._vocabulary))
        counts = sparse.csr_array(
            (
                np.ones(sum(map(len, documents)), np.float32),
                np.array([self._vocabulary[w] for d in documents for w in d], np.int32),
                np.cumsum([0, *map(len, documents)]),
            ),
            shape=(len(documents), len(self._vocabulary)),
        )
        counts.sum_duplicates()
        lengths = np.array([len(d) for d in documents], np.float32)
        frequency = np.bincount(counts.indices, minlength=counts.shape[1])
        self.idf = np.log(1 + (len(documents) - frequency + 0.5) / (frequency + 0.5))
        norm = K1 * (1 - B + B * lengths / max(lengths.mean(), 1.0))
        row = np.repeat(np.arange(len(documents)), np.diff(counts.indptr))
        tf = counts.data / (counts.data + norm[row])
        self._weights = sparse.csr_array(
            ((tf * self.idf[counts.indices]).astype(np.float32), counts.indices, counts.indptr),
            shape=counts.shape,
        )

    def encode(self, queries: Sequence[str]) -> sparse.csr_array:
        """Return one row of word counts per query, divided by the highest score it can get.

        A product with passage weights is then the share of the query that a passage covers.
        """
        data, columns, ends = [], [], [0]
        for query in words(queries):
            known = [self._vocabulary[w] for w in query if w in self._vocabulary]
            best = sum(self.idf[c] for c in known)
            columns += known
            data += [1 / best] * len(known)
            ends.append(len(columns))
        return sparse.csr_array(
            (np.array(data, np.float32), np.array(columns, np.int32), np.array(ends)),
            shape=(len(queries), len(self._vocabulary)),
        )

    def scores(self, query: sparse.csr_array, rows: np.ndarray) -> np.ndarray:
        """Return the share of one encoded query (a 1-row matrix) that each passage covers."""
        dense = np.zeros(self._weights.shape[1], np.float32)
        np.add.at(dense, query.indices, query.data)
        return self._weights[rows] @ dense
