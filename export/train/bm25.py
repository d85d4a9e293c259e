"""BM25 weights of all passages as one sparse matrix (k1 0.9, b 0.4, as in the project's data)."""

import re
import unicodedata
from collections.abc import Sequence

import numpy as np
import Stemmer
from scipy import sparse

K1, B = 0.9, 0.4
STOP_WORDS = frozenset(
    (  # noqa: SIM905 - thirty lines of one word each say no more
        "a an and are as at be but by for if in into is it no not of on or such that the their "
        "then there these they this to was will with"
    ).split()
)
POSSESSIVE = re.compile(r"['\u2019]s\b")


def words(texts: Sequence[str]) -> list[list[str]]:
    """Return the stemmed words of each text, Lucene's stop words left out."""
    stem = Stemmer.Stemmer("porter").stemWords
    plain = (POSSESSIVE.sub("", unicodedata.normalize("NFKC", t).lower()) for t in texts)
    found = (re.findall(r"[^\W_]+", t) for t in plain)
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

    def coverage(self, query: str, rows: np.ndarray) -> np.ndarray:
        """Return the BM25 of passages ``rows``, divided by the highest that ``query`` can get.

        A share between 0 and 1 is comparable between queries; all 0 where no word is known.
        """
        wanted = np.zeros(self._weights.shape[1], np.float32)
        for word in words([query])[0]:
            if (column := self._vocabulary.get(word)) is not None:
                wanted[column] += 1
        return self._weights[rows] @ wanted / max(float(self.idf @ wanted), 1e-9)
