"""Outputs of pairs scored before, found again by their token ids."""

from collections.abc import Sequence
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from .tokenization import Encoding

# A pair is known by this many bytes of a hash of its tokens: two of 10^12 pairs share them with a
# probability of 10^-15.
_KEY_BYTES = 16


class ScoreCache:
    """Keeps the outputs of about `size` pairs, those used last; with 0, of none.

    A score depends on the pair's tokens alone, which makes it safe to keep. There is no lock, which
    a fork could leave locked: every step on the dict is atomic, and a pair that another thread has
    just taken out is scored again.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._outputs: dict[bytes, NDArray[np.float32]] = {}

    def __len__(self) -> int:
        return len(self._outputs)

    def fill(
        self, encodings: Sequence[Encoding], outputs: NDArray[np.float32]
    ) -> NDArray[np.int64]:
        """Fill in the rows of `outputs` that are known; return the positions of the others."""
        if not self._outputs:
            return np.arange(len(encodings), dtype=np.int64)
        missing = []
        for position, encoding in enumerate(encodings):
            key = _key(encoding)
            known = self._outputs.pop(key, None)
            if known is None:
                missing.append(position)
            else:
                outputs[position] = known
                self._outputs[key] = known  # now the last one to go
        return np.array(missing, dtype=np.int64)

    def keep(self, encodings: Sequence[Encoding], outputs: NDArray[np.float32]) -> None:
        """Remember the outputs of pairs, and forget the oldest beyond `size` and a tenth."""
        if not self._size:
            return
        for encoding, output in zip(encodings, outputs, strict=True):
            self._outputs[_key(encoding)] = output.copy()
        if len(self._outputs) > self._size + self._size // 10:
            for key in list(self._outputs)[: -self._size]:
                self._outputs.pop(key, None)


def _key(encoding: Encoding) -> bytes:
    query = encoding.query
    digest = blake2b(digest_size=_KEY_BYTES)
    # The lengths tell where the query ends: the same ids in other roles are another pair.
    digest.update(np.array([len(query.before), len(encoding.document)], dtype=np.int64).tobytes())
    for ids in (query.before, encoding.document, query.after):
        digest.update(ids.tobytes())
    return digest.digest()
