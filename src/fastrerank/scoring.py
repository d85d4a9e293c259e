"""Pairs to the model's outputs: tokenised in windows, scored in batches, back in input order."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice, repeat
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .batching import batches
from .collate import collate
from .manifest import Manifest
from .memory import HeapTrimmer
from .plan import Plan, runs_single
from .score_cache import ScoreCache
from .session import Session
from .tokenization import Encoding, Pair, PairTokenizer
from .workers import Workers

# Pairs that are tokenised at once: few at first, so that scoring starts at once; then, beside the
# scoring, so many that pairs of like length meet in a batch.
FIRST_WINDOW, WINDOW = 16, 128


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredPairs:
    """The model's answers, in the order of the pairs.

    `outputs` is float32 [pairs, labels], `lengths` int64 [pairs] counts the tokens that were read,
    `truncated` bool [pairs] says which documents were cut.
    """

    outputs: NDArray[np.float32]
    lengths: NDArray[np.int64]
    truncated: NDArray[np.bool_]


class _Batch(NamedTuple):
    encodings: list[Encoding]
    positions: NDArray[np.int64]
    length: int  # tokens of a row, padding included
    outputs: NDArray[np.float32]  # of the whole window; the batch fills its positions


class PairScorer:
    """Scores pairs with one model; many threads may call it at once."""

    def __init__(
        self,
        *,
        manifest: Manifest,
        plan: Plan,
        tokenizer: PairTokenizer,
        session: Session,
        workers: Workers,
        cache: ScoreCache,
    ) -> None:
        self._manifest = manifest
        self._single = runs_single(manifest, plan.runtime, plan.weights)
        self._budget = plan.token_budget
        self._multiple = plan.length_multiple
        self._tokenizer = tokenizer
        self._session = session
        self._workers = workers
        self._cache = cache
        self._trimmer = HeapTrimmer()

    def score(self, pairs: Iterable[Pair]) -> ScoredPairs:
        """Return the answers for all pairs; memory beyond them does not grow with their number."""
        scored = [_empty(self._manifest.labels)]
        self._workers.each(self._run, self._batches(iter(pairs), scored))
        lengths = np.concatenate([part.lengths for part in scored])
        self._trimmer.after_call(int(lengths.max(initial=0)))
        return ScoredPairs(
            outputs=np.concatenate([part.outputs for part in scored]),
            lengths=lengths,
            truncated=np.concatenate([part.truncated for part in scored]),
        )

    def _batches(self, pairs: Iterator[Pair], scored: list[ScoredPairs]) -> Iterator[_Batch]:
        """Yield the batches of window after window, and append each window's answers to `scored`.

        The answers are complete once the batches have run.
        """
        for size in chain([FIRST_WINDOW], repeat(WINDOW)):
            encodings = self._tokenizer.encode_pairs(list(islice(pairs, size)))
            if not encodings:
                return
            lengths = np.array([encoding.length for encoding in encodings], dtype=np.int64)
            outputs = np.empty((len(encodings), self._manifest.labels), dtype=np.float32)
            truncated = np.array([encoding.truncated for encoding in encodings], dtype=np.bool_)
            scored.append(ScoredPairs(outputs=outputs, lengths=lengths, truncated=truncated))
            padded = self._padded(lengths)
            unknown = self._cache.fill(encodings, outputs)
            for chosen in batches(padded[unknown], self._budget, equal=self._multiple > 1):
                positions = unknown[chosen]
                rows = [encodings[i] for i in positions]
                yield _Batch(rows, positions, int(padded[positions[0]]), outputs)

    def _padded(self, lengths: NDArray[np.int64]) -> NDArray[np.int64]:
        rounded = -(-lengths // self._multiple) * self._multiple
        return np.minimum(rounded, self._manifest.max_length)

    def _run(self, batch: _Batch) -> None:
        inputs, pad_id = self._manifest.inputs, self._manifest.pad_id
        if self._single:
            for position, encoding in zip(batch.positions, batch.encodings, strict=True):
                arrays = collate([encoding], inputs, pad_id, encoding.length)
                batch.outputs[position] = self._session.run(arrays)[0]
        else:
            arrays = collate(batch.encodings, inputs, pad_id, batch.length)
            batch.outputs[batch.positions] = self._session.run(arrays)
        self._cache.keep(batch.encodings, batch.outputs[batch.positions])


def _empty(labels: int) -> ScoredPairs:
    return ScoredPairs(
        outputs=np.empty((0, labels), dtype=np.float32),
        lengths=np.empty(0, dtype=np.int64),
        truncated=np.empty(0, dtype=np.bool_),
    )
