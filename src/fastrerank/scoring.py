"""Pairs to the model's outputs: tokenised in groups, scored in batches, back in input order."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice, repeat
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .abandoned import check_wanted
from .batching import batches
from .collate import collate
from .errors import BundleFormatError
from .manifest import Manifest
from .memory import HeapTrimmer
from .plan import Plan, runs_single
from .score_cache import ScoreCache
from .session import Session
from .tokenization import Encoding, Pair, PairTokenizer
from .windows import best_windows, in_windows
from .workers import Workers

# Pairs that are tokenised at once: few at first, so that scoring starts at once; then, beside the
# scoring, so many that pairs of like length meet in a batch.
FIRST_GROUP, GROUP = 16, 128
# Fewer where texts are long, for tokenizers holds some 80 bytes a character until a text is cut.
GROUP_CHARACTERS = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredPairs:
    """The model's answers, in the order of the pairs.

    `outputs` is float32 [pairs, labels], of a document in windows those of the best. `lengths`
    int64 [pairs] counts the tokens that were read, `truncated` bool [pairs] says which documents
    were cut.
    """

    outputs: NDArray[np.float32]
    lengths: NDArray[np.int64]
    truncated: NDArray[np.bool_]


class _Group(NamedTuple):
    """What is kept of pairs that were tokenised at once, not their tokens: there may be millions.

    `windows` int64 [pairs] counts the windows of each.
    """

    lengths: NDArray[np.int64]
    truncated: NDArray[np.bool_]
    windows: NDArray[np.int64]
    outputs: NDArray[np.float32]  # of every window, filled batch by batch

    def scored(self, label_column: int) -> ScoredPairs:
        return ScoredPairs(
            outputs=best_windows(self.outputs, self.windows, label_column),
            lengths=self.lengths,
            truncated=self.truncated,
        )


class _Batch(NamedTuple):
    encodings: list[Encoding]
    positions: NDArray[np.int64]
    length: int  # tokens of a row, padding included
    outputs: NDArray[np.float32]  # of the whole group; the batch fills its positions


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
        self._threads = plan.threads
        self._multiple = plan.length_multiple
        self._tokenizer = tokenizer
        self._session = session
        self._workers = workers
        self._cache = cache
        self._trimmer = HeapTrimmer()

    def score(self, pairs: Iterable[Pair]) -> ScoredPairs:
        """Return the answers for all pairs; memory beyond them does not grow with their number."""
        groups: list[_Group] = []
        try:
            self._workers.each(self._run, self._batches(iter(pairs), groups))
        finally:
            self._trimmer.after_call()
        scored = [group.scored(self._manifest.label_column) for group in groups]
        scored.append(_empty(self._manifest.labels))
        return ScoredPairs(
            outputs=np.concatenate([part.outputs for part in scored]),
            lengths=np.concatenate([part.lengths for part in scored]),
            truncated=np.concatenate([part.truncated for part in scored]),
        )

    def _batches(self, pairs: Iterator[Pair], groups: list[_Group]) -> Iterator[_Batch]:
        """Yield the batches of group after group, and append each group to `groups`.

        Its outputs are complete once the batches have run.
        """
        for size in chain([FIRST_GROUP], repeat(GROUP)):
            drawn, characters = _drawn(pairs, size)
            if not drawn:
                return
            check_wanted()
            self._trimmer.note(characters=characters)
            encodings = self._tokenizer.encode_pairs(drawn)
            windows, counts = in_windows(encodings)
            lengths = np.array([window.length for window in windows], dtype=np.int64)
            self._trimmer.note(tokens=int(lengths.max()))
            outputs = np.empty((len(windows), self._manifest.labels), dtype=np.float32)
            groups.append(
                _Group(
                    np.array([encoding.length for encoding in encodings], dtype=np.int64),
                    np.array([encoding.truncated for encoding in encodings], dtype=np.bool_),
                    counts,
                    outputs,
                )
            )
            padded = self._padded(lengths)
            unknown = self._cache.fill(windows, outputs)
            for chosen in batches(padded[unknown], self._budget, threads=self._threads):
                positions = unknown[chosen]
                rows = [windows[i] for i in positions]
                yield _Batch(rows, positions, int(padded[positions[0]]), outputs)

    def _padded(self, lengths: NDArray[np.int64]) -> NDArray[np.int64]:
        rounded: NDArray[np.int64] = -(-lengths // self._multiple) * self._multiple
        return np.minimum(rounded, self._manifest.max_length)

    def _run(self, batch: _Batch) -> None:
        if self._single:
            for position, encoding in zip(batch.positions, batch.encodings, strict=True):
                batch.outputs[position] = self._outputs([encoding], encoding.length)[0]
        else:
            batch.outputs[batch.positions] = self._outputs(batch.encodings, batch.length)
        self._cache.keep(batch.encodings, batch.outputs[batch.positions])

    def _outputs(self, encodings: list[Encoding], length: int) -> NDArray[np.float32]:
        manifest = self._manifest
        outputs = self._session.run(collate(encodings, manifest.inputs, manifest.pad_id, length))
        if outputs.shape != (len(encodings), manifest.labels):
            raise BundleFormatError(
                f"the model returned {outputs.shape} for {len(encodings)} pairs, the manifest says"
                f" {manifest.labels} labels: export the model again"
            )
        return outputs


def _drawn(pairs: Iterator[Pair], size: int) -> tuple[list[Pair], int]:
    """Return the next pairs, `size` of them or fewer whose texts are long, and their characters."""
    group: list[Pair] = []
    characters = 0
    for pair in islice(pairs, size):
        group.append(pair)
        characters += len(pair.text)
        if characters >= GROUP_CHARACTERS:
            break
    return group, characters


def _empty(labels: int) -> ScoredPairs:
    return ScoredPairs(
        outputs=np.empty((0, labels), dtype=np.float32),
        lengths=np.empty(0, dtype=np.int64),
        truncated=np.empty(0, dtype=np.bool_),
    )
