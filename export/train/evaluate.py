"""nDCG@10 on the evaluation sets, of a checkpoint or of the bi-encoder that it came from.

For the end of a run only: no choice is made by these figures.
"""

import functools
import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch

from . import tokens
from .data import Row, read_jsonl
from .mine import EMBEDDED_TOKENS, embed
from .model import Packed, base_folder, load
from .similarity import Similarity
from .validate import MAX_LENGTH, score_documents

SETS = ("trec-dl-2019", "noveleval", "scifact", "cranfield", "xquad-en")
QUERY_TOKENS = 64
Scorer = Callable[[Packed, tokens.TokenIds, tokens.TokenIds, list[tuple[int, int]]], np.ndarray]


def evaluate(
    folder: Path, data: Path, out: Path, *, bi_encoder: bool, sets: Sequence[str] = SETS
) -> Iterator[tuple[str, dict[str, float]]]:
    """Yield (set, measures) of the weights in ``folder``; TREC runs are written to ``out``."""
    packed = Packed(load(folder), dtype=torch.float32)  # not what the processor is fastest in
    stated = getattr(packed.model.config, "similarity", None)
    similarity = Similarity(stated["weight"]) if stated else None
    scorer = cosines if bi_encoder else functools.partial(logits, similarity=similarity)
    out.mkdir(parents=True, exist_ok=True)
    for name in sets:
        source, run = data / "eval" / f"{name}.jsonl.gz", out / f"{name}.trec"
        tokens_read = EMBEDDED_TOKENS if bi_encoder else MAX_LENGTH - 2
        write_run(run, list(read_jsonl(source)), scorer, packed, tokens_read)
        command = [sys.executable, *map(str, (data / "evaluate.py", source, run)), "--json"]
        result = subprocess.run(command, check=True, capture_output=True)  # noqa: S603 - our own
        yield name, json.loads(result.stdout)


def write_run(
    path: Path, rows: list[Row], score: Scorer, packed: Packed, document_tokens: int
) -> None:
    """Score all candidates of all rows, documents cut to so many tokens, and write a TREC run."""
    texts = [f"{c.get('title', '')} {c['text']}".strip() for r in rows for c in r["candidates"]]
    index = {t: i for i, t in enumerate(dict.fromkeys(texts))}
    tokenizer = base_folder() / "tokenizer.json"
    queries = tokens.encode([r["query"] for r in rows], tokenizer, QUERY_TOKENS)
    documents = tokens.encode(list(index), tokenizer, document_tokens)
    names = [(q, c["doc_id"]) for q, r in enumerate(rows) for c in r["candidates"]]
    pairs = [(q, index[text]) for (q, _), text in zip(names, texts, strict=True)]
    scores = score(packed, queries, documents, pairs)
    with path.open("w", encoding="utf-8") as run:
        for (q, doc_id), value in zip(names, scores, strict=True):
            run.write(f"{rows[q]['query_id']} Q0 {doc_id} 0 {float(value):.7f} fastrerank\n")


def logits(
    packed: Packed,
    queries: tokens.TokenIds,
    documents: tokens.TokenIds,
    pairs: list[tuple[int, int]],
    similarity: Similarity | None = None,
) -> np.ndarray:
    """Return the logits of (query, document) indices."""
    return score_documents(packed, [(queries[q], documents[d]) for q, d in pairs], similarity)[0]


def cosines(
    packed: Packed,
    queries: tokens.TokenIds,
    documents: tokens.TokenIds,
    pairs: list[tuple[int, int]],
) -> np.ndarray:
    """Return the bi-encoder's similarities of (query, document) indices."""
    q, d = (embed(packed, ids).astype(np.float32) for ids in (queries, documents))
    rows = np.array(pairs)
    return np.einsum("ij,ij->i", q[rows[:, 0]], d[rows[:, 1]])
