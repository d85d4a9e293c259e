"""Token ids of many texts in two flat arrays."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

CLS, SEP = 101, 102
MAX_WASTE = 0.08


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenIds:
    """Ids of text i, without special tokens: ``flat[starts[i]:starts[i + 1]]``, uint16."""

    flat: np.ndarray
    starts: np.ndarray

    def __getitem__(self, i: int) -> np.ndarray:
        """Return the ids of one text."""
        return self.flat[self.starts[i] : self.starts[i + 1]]

    def __len__(self) -> int:
        """Return the number of texts."""
        return len(self.starts) - 1

    def __iter__(self) -> Iterator[np.ndarray]:
        """Yield the ids of each text."""
        return map(self.__getitem__, range(len(self)))

    @classmethod
    def of(cls, texts: Sequence[Sequence[int] | np.ndarray]) -> "TokenIds":
        """Return the ids of these texts, at least one."""
        flat = np.concatenate([np.asarray(text, np.uint16) for text in texts])
        return cls(flat=flat, starts=np.cumsum([0, *map(len, texts)], dtype=np.int64))

    def save(self, path: Path) -> None:
        """Write both arrays to one npz file."""
        np.savez(path, flat=self.flat, starts=self.starts)

    @classmethod
    def read(cls, path: Path) -> "TokenIds":
        """Return what ``save`` wrote."""
        with np.load(path) as file:
            return cls(flat=file["flat"], starts=file["starts"])


def encode(texts: Sequence[str], tokenizer_json: Path, max_length: int) -> TokenIds:
    """Return the first ``max_length`` ids of every text."""
    tokenizer = Tokenizer.from_file(str(tokenizer_json))
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_length)
    encodings = tokenizer.encode_batch(list(texts), add_special_tokens=False)
    return TokenIds.of([encoding.ids for encoding in encodings])


def pair(query: np.ndarray, document: np.ndarray, max_length: int) -> tuple[np.ndarray, int]:
    """Return ``[CLS] query [SEP] document [SEP]`` and the index where the document begins.

    Only the document is cut to keep within ``max_length``; the query by its own token limit.
    """
    room = max(max_length - len(query) - 3, 1)
    ids = np.concatenate([[CLS], query, [SEP], document[:room], [SEP]]).astype(np.int64)
    return ids, len(query) + 2


def chunks(lengths: Sequence[int], max_tokens: int) -> Iterable[list[int]]:
    """Yield indices grouped by length, so that padding stays within ``MAX_WASTE`` of a group."""
    order = sorted(range(len(lengths)), key=lengths.__getitem__)
    group: list[int] = []
    used = 0
    for i in order:
        padded = lengths[i] * (len(group) + 1)
        if group and (padded > max_tokens or padded - used - lengths[i] > MAX_WASTE * padded):
            yield group
            group, used = [], 0
        group.append(i)
        used += lengths[i]
    if group:
        yield group
