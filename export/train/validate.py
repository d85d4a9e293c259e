"""nDCG@10 on the held-out queries: of the model, and of the two orders it has to beat."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from fastrerank.windows import spans

from . import tokens
from .data import SETS
from .mine import Mined, bm25_top, pool_rows
from .model import WINDOW, Packed, pad
from .similarity import Similarity, TextPair
from .workers import workers

DEPTH = 15
MAX_LENGTH = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A held-out query and the passages to be ranked for it."""

    query: int
    set_name: str
    candidates: np.ndarray
    relevant: np.ndarray


def tasks(mined: Mined, per_set: int) -> list[Task]:
    """Return held-out queries with the union of both first stages' top 15 and the positives."""
    set_names = np.array(mined.corpus.set_names)
    out: list[Task] = []
    for name in SETS:
        rows = pool_rows(set_names, name)
        chosen = [
            i for i, q in enumerate(mined.corpus.queries) if q.set_name == name and q.held_out
        ]
        for query in chosen[:per_set]:
            positives = np.array(mined.corpus.queries[query].positives)
            lexical = bm25_top(mined, query, rows, DEPTH)
            semantic = mined.neighbours[query][:DEPTH]
            candidates = np.unique(np.concatenate([lexical, semantic[semantic >= 0], positives]))
            out.append(
                Task(
                    query=query,
                    set_name=name,
                    candidates=candidates,
                    relevant=np.isin(candidates, positives),
                )
            )
    return out


def ndcg(scores: np.ndarray, relevant: np.ndarray, depth: int = 10) -> float:
    """Return binary nDCG@10; of equal scores, the irrelevant first: no credit for ties."""
    gains = relevant[np.lexsort((relevant, -scores))][:depth]
    discounts = 1 / np.log2(np.arange(2, depth + 2))
    ideal = discounts[: min(int(relevant.sum()), depth)].sum()
    return float((gains * discounts[: len(gains)]).sum() / ideal)


def evaluate(todo: list[Task], scores: Mapping[int, np.ndarray]) -> dict[str, float]:
    """Return the mean nDCG@10 of each set, and their mean as ``macro``, of scores by query."""
    by_set: dict[str, list[float]] = {}
    for task in todo:
        value = ndcg(scores[task.query], task.relevant)
        by_set.setdefault(task.set_name, []).append(value)
    means = {name: float(np.mean(values)) for name, values in by_set.items()}
    return {**means, "macro": float(np.mean(list(means.values())))}


def model_logits(
    packed: Packed, mined: Mined, todo: list[Task], similarity: Similarity | None = None
) -> list[dict[int, np.ndarray]]:
    """Return each head's logits by query, in the order of each task's candidates."""
    pairs = [
        (mined.query_ids[t.query], mined.passage_ids[int(c)]) for t in todo for c in t.candidates
    ]
    logits = score_documents(packed, pairs, similarity)
    ends = np.cumsum([len(t.candidates) for t in todo])
    parts = np.split(logits, ends[:-1], axis=1)
    by_query = {t.query: part for t, part in zip(todo, parts, strict=True)}
    return [{q: part[head] for q, part in by_query.items()} for head in range(len(logits))]


def score_documents(
    packed: Packed, pairs: list[TextPair], similarity: Similarity | None = None
) -> np.ndarray:
    """Return logits of (query ids, document ids), in their order, float32 [heads, pairs].

    As the bundle scores them: a long document by its best window, with its similarity.
    """
    parts = [_windows(query, document[: MAX_LENGTH - len(query) - 3]) for query, document in pairs]
    windows = [window for part in parts for window in part]
    logits = score_pairs(packed, [tokens.pair(*window, MAX_LENGTH) for window in windows])
    if similarity:
        logits += similarity(windows)
    starts = np.cumsum([0, *map(len, parts[:-1])])
    return np.maximum.reduceat(logits, starts, 1)


def _windows(query: np.ndarray, document: np.ndarray) -> list[TextPair]:
    return [(query, document[part]) for part in spans(len(document), WINDOW, MAX_LENGTH)]


def score_pairs(packed: Packed, pairs: list[tuple[np.ndarray, int]]) -> np.ndarray:
    """Return logits of (ids, document start) pairs, in their order, float32 [heads, pairs]."""
    groups = list(tokens.chunks([len(ids) for ids, _ in pairs], 4096))
    logits = np.empty((1 if packed.exit_after is None else 2, len(pairs)), np.float32)

    @torch.inference_mode()  # inside, for the mode is a thread's own
    def score(group: list[int]) -> np.ndarray:
        batch = pad([pairs[i][0] for i in group], [pairs[i][1] for i in group])
        return packed([batch]).cpu().numpy()

    for group, scores in zip(groups, workers().map(score, groups), strict=True):
        logits[:, group] = scores
    return logits
