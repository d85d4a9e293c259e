"""The gate: a bundle must score as the original model does."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import spearmanr

from fastrerank.activation import ranking_logits
from fastrerank.errors import ExportError
from fastrerank.manifest import Parity

from .encode import encode
from .source import SourceModel

Logits = NDArray[np.float32]

_BATCH = 16

# Differences are in logits. fp32 must be the same arithmetic up to rounding; where logits exceed
# 10, the limit grows with the largest, as rounding does. int8 is judged by what ranking needs,
# relative to the spread (standard deviation) of the original's logits, because models differ in
# their scale. How the int8 limits were set: export/README.md.
THRESHOLDS: dict[str, dict[str, float]] = {
    "fp32": {"max_logit_difference": 1e-4},
    "int8": {"mean_difference_in_spreads": 0.1, "spearman": 0.98, "top10_overlap": 0.85},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PairSet:
    """Queries with their documents; `pairs` lists them query by query."""

    queries: list[tuple[str, list[str]]]

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """Every (query, document), in order."""
        return [(query, document) for query, documents in self.queries for document in documents]

    def __add__(self, other: PairSet) -> PairSet:
        return PairSet(queries=self.queries + other.queries)


def read_calibration(path: Path) -> PairSet:
    """Return the pairs of a JSON-lines file of `{"query": ..., "documents": [...]}`.

    :raises ExportError: if a line is anything else; the message names it.
    """
    queries: list[tuple[str, list[str]]] = []
    try:
        lines = path.read_text(encoding="utf-8").split("\n")  # JSON strings may hold U+2028
    except (OSError, UnicodeDecodeError) as error:
        raise ExportError(f"cannot read the calibration file {path}: {error}") from error
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            query, documents = row["query"], row["documents"]
            "".join([query, *documents]).encode()  # all are strings, without lone surrogates
        except (ValueError, KeyError, TypeError) as error:
            raise ExportError(f"{path} line {number}: {error!r}; {_CALIBRATION_FORM}") from error
        if not isinstance(documents, list) or not documents:
            raise ExportError(f"{path} line {number}: {_CALIBRATION_FORM}")
        queries.append((query, documents))
    if not queries:
        raise ExportError(f"{path} holds no pairs: {_CALIBRATION_FORM}")
    return PairSet(queries=queries)


_CALIBRATION_FORM = 'each line must be {"query": "...", "documents": ["...", ...]}'


def original_logits(
    source: SourceModel, pairs: list[tuple[str, str]], *, max_length: int, label_column: int
) -> Logits:
    """Return the logits of the original model in torch, float32 [pairs].

    Tokenised by transformers, cut as the runtime cuts, in batches of pairs of one length: what
    padding does to a model must show as drift.

    :raises ExportError: if the model fails on a pair, or a logit is no finite number.
    """
    padded = encode(source.tokenizer, pairs, max_length, "pt")
    lengths = padded["attention_mask"].sum(dim=1)
    logits = np.empty(len(pairs), dtype=np.float32)
    for length in lengths.unique().tolist():
        for rows in torch.nonzero(lengths == length).flatten().split(_BATCH):
            inputs = {name: values[rows, :length] for name, values in padded.items()}
            about = f"{pairs[int(rows[0])]!r:.200}"
            try:
                with torch.inference_mode():
                    outputs = source.model(**inputs).logits.float().numpy()
            except Exception as error:  # a model's code raises anything
                raise ExportError(
                    f"{source.about.name} itself fails on {about}: {error}"
                ) from error
            if not np.isfinite(outputs).all():
                raise ExportError(
                    f"{source.about.name} itself scores {about} and others like it with nan or"
                    " infinity: its weights are damaged"
                )
            logits[rows.numpy()] = ranking_logits(outputs, label_column)
    return logits


def measure(original: Logits, exported: Logits, pairs: PairSet, precision: str) -> Parity:
    """Return how far `exported` logits are from the `original` ones, judged by THRESHOLDS."""
    difference = np.abs(original.astype(np.float64) - exported)
    mean, spread = float(difference.mean()), float(original.std())
    figures = {
        "max_logit_difference": float(difference.max()),
        "mean_difference_in_spreads": mean / max(spread, 1e-9),
        "spearman": _spearman(original, exported),
        "top10_overlap": _top10_overlap(original, exported, pairs),
    }
    limits = dict(THRESHOLDS[precision])
    if "max_logit_difference" in limits:
        limits["max_logit_difference"] *= max(1.0, float(np.abs(original).max()) / 10)
    return Parity(
        pairs=len(original),
        max_logit_difference=figures["max_logit_difference"],
        mean_logit_difference=mean,
        spearman=figures["spearman"],
        top10_overlap=figures["top10_overlap"],
        thresholds=limits,
        within_thresholds=all(
            figures[name] >= limit if name in _HIGHER_IS_BETTER else figures[name] <= limit
            for name, limit in limits.items()
        ),
    )


_HIGHER_IS_BETTER = ("spearman", "top10_overlap")


def _spearman(original: Logits, exported: Logits) -> float:
    if original.std() == 0 or exported.std() == 0:
        return float(np.array_equal(original, exported))  # undefined: no order to compare
    return float(spearmanr(original, exported).statistic)


def _top10_overlap(original: Logits, exported: Logits, pairs: PairSet) -> float:
    """Return the mean share of a query's ten best documents that stay among its ten best."""
    shares, start = [], 0
    for _, documents in pairs.queries:
        part = slice(start, start + len(documents))
        start = part.stop
        if not documents:
            continue
        best = [set(np.argsort(-x[part], kind="stable")[:10]) for x in (original, exported)]
        shares.append(len(best[0] & best[1]) / len(best[0]))
    return float(np.mean(shares))
