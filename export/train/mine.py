"""Preparation: token ids, bi-encoder vectors, BM25 and neighbours of every query, kept on disk."""

import json
import pickle
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from fastrerank.bundle import sha256

from . import data, tokens
from .bm25 import Bm25
from .model import Packed, base_folder, load, pad
from .workers import workers

QUERY_TOKENS, PASSAGE_TOKENS = 48, 510
EMBEDDED_TOKENS = 254  # what all-MiniLM-L6-v2 reads at a time
NEIGHBOURS = 100


@dataclass(slots=True, kw_only=True)
class Mined:
    """All that sampling needs; row i of the query arrays belongs to ``corpus.queries[i]``.

    ``neighbours`` [queries, NEIGHBOURS]: the bi-encoder's nearest passages of the query's pool,
    best first, -1 where the pool has fewer.
    """

    corpus: data.Corpus
    query_ids: tokens.TokenIds
    passage_ids: tokens.TokenIds
    query_vectors: np.ndarray
    passage_vectors: np.ndarray
    neighbours: np.ndarray
    bm25: Bm25

    def cosines(self, query: int, passages: np.ndarray) -> np.ndarray:
        """Return the bi-encoder's similarities, float32."""
        vectors = self.passage_vectors[passages].astype(np.float32)
        return vectors @ self.query_vectors[query].astype(np.float32)

    def coverage(self, query: int, passages: np.ndarray) -> np.ndarray:
        """Return BM25 as a share of the highest score that the query can get, 0 to 1."""
        return self.bm25.coverage(self.corpus.queries[query].text, passages)


def prepare(folder: Path, cache: Path, device: str = "cpu") -> Mined:
    """Return what was mined from the training data in ``folder``, kept in ``cache``.

    :raises ValueError: if ``cache`` holds what was mined from other data.
    """
    cache.mkdir(parents=True, exist_ok=True)
    done, made_from = cache / "done.json", _hashes(folder)
    if done.exists() and json.loads(done.read_text()).get("data") != made_from:
        raise ValueError(
            f"{cache} was made from other data than {folder}, or by another version of this"
            " program: remove it, or pass another --state"
        )
    if not done.exists():
        corpus = data.load(folder)
        data.add_windows(corpus)
        data.add_cloze(corpus)
        data.add_keywords(corpus)
        _encode(corpus, cache, device)
        counts = {"passages": len(corpus.texts), "queries": len(corpus.queries)}
        done.write_text(json.dumps({**counts, "data": made_from}))
    return read(cache)


def _hashes(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of each file of the data, and of the code that reads them."""
    files = sorted(folder.glob("*.jsonl.gz"))
    if not files:
        raise FileNotFoundError(f"no training data in {folder}: pass --data")
    return {path.name: sha256(path) for path in (*files, Path(data.__file__))}


def read(cache: Path) -> Mined:
    """Return what ``prepare`` kept in ``cache``."""
    with (cache / "corpus.pickle").open("rb") as file:
        corpus, bm25 = pickle.load(file)  # noqa: S301 - written by this program
    return Mined(
        corpus=corpus,
        bm25=bm25,
        query_ids=tokens.TokenIds.read(cache / "query-ids.npz"),
        passage_ids=tokens.TokenIds.read(cache / "passage-ids.npz"),
        query_vectors=np.load(cache / "query-vectors.npy"),
        passage_vectors=np.load(cache / "passage-vectors.npy"),
        neighbours=np.load(cache / "neighbours.npy"),
    )


def _encode(corpus: data.Corpus, cache: Path, device: str) -> None:
    queries = [q.text for q in corpus.queries]
    with (cache / "corpus.pickle").open("wb") as file:
        pickle.dump((corpus, Bm25(corpus.texts)), file)
    encoder = Packed(load(base_folder())).to(device)
    vectors: dict[str, np.ndarray] = {}
    for name, texts, limit in (
        ("query", queries, QUERY_TOKENS),
        ("passage", corpus.texts, PASSAGE_TOKENS),
    ):
        ids = tokens.encode(texts, base_folder() / "tokenizer.json", limit)
        ids.save(cache / f"{name}-ids.npz")
        vectors[name] = embed(encoder, ids)
        np.save(cache / f"{name}-vectors.npy", vectors[name])
    np.save(cache / "neighbours.npy", nearest(corpus, vectors["query"], vectors["passage"]))


def embed(encoder: Packed, ids: tokens.TokenIds) -> np.ndarray:
    """Return unit vectors of texts, float16 [texts, hidden]; of long ones, the mean of pieces."""
    pieces = [
        (i, row[start : start + EMBEDDED_TOKENS])
        for i, row in enumerate(ids)
        for start in range(0, max(len(row), 1), EMBEDDED_TOKENS)
    ]
    groups = list(tokens.chunks([len(row) + 2 for _, row in pieces], 4096))

    @torch.inference_mode()  # inside, for the mode is a thread's own
    def encode(group: list[int]) -> np.ndarray:
        rows = [
            np.concatenate([[tokens.CLS], pieces[i][1], [tokens.SEP]]).astype(np.int64)
            for i in group
        ]
        batch, _, kept = pad(rows, [0] * len(rows))
        return encoder.embed(batch, kept).cpu().numpy() * kept.numpy()[:, None]

    sums = np.zeros((len(ids), encoder.model.config.hidden_size), np.float32)
    for group, vectors in zip(groups, workers().map(encode, groups), strict=True):
        np.add.at(sums, [pieces[i][0] for i in group], vectors)
    return (sums / np.linalg.norm(sums, axis=1, keepdims=True)).astype(np.float16)


def nearest(corpus: data.Corpus, queries: np.ndarray, passages: np.ndarray) -> np.ndarray:
    """Return the nearest passages of each query's pool, int32 [queries, NEIGHBOURS]."""
    out = np.full((len(queries), NEIGHBOURS), -1, np.int32)
    pool_of = np.array([q.pool for q in corpus.queries])
    set_of = np.array(corpus.set_names)
    for pool in np.unique(pool_of):
        rows = pool_rows(set_of, pool)
        pool_vectors = torch.from_numpy(passages[rows].astype(np.float32))
        asked = np.flatnonzero(pool_of == pool)
        for part in np.array_split(asked, max(len(asked) // 1024, 1)):
            cosines = torch.from_numpy(queries[part].astype(np.float32)) @ pool_vectors.T
            best = cosines.topk(min(NEIGHBOURS, len(rows))).indices.numpy()
            out[part, : best.shape[1]] = rows[best]
    return out


def bm25_top(mined: Mined, query: int, rows: np.ndarray, count: int) -> np.ndarray:
    """Return the ``count`` passages of ``rows`` with the highest BM25 above 0, best first."""
    scores = mined.coverage(query, rows)
    best = np.argsort(-scores, kind="stable")[:count]
    return rows[best[scores[best] > 0]]


def pool_rows(set_names: np.ndarray, pool: str) -> np.ndarray:
    """Return the passages in ``pool``, a set or all of them; never what a cloze left over."""
    everything = pool == data.EVERYTHING
    return np.flatnonzero(set_names != "cloze" if everything else set_names == pool)
