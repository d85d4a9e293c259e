"""Which token of a padded batch stands where in a row of tokens without padding."""

import numpy as np
from numpy.typing import NDArray

PACKED, UNPACKED = "packed", "unpacked"

# openvino prepares its kernels anew for every number of rows, so there are few of them.
_MULTIPLE = 32


def packing(mask: NDArray[np.int64]) -> dict[str, NDArray[np.int32]]:
    """Return where to find tokens, for an attention mask, int64 [batch, length] of zeros and ones.

    "packed" int32 [tokens] holds positions in [batch * length]: those of the tokens that count, in
    order, and zeros up to a multiple of 32. "unpacked" int32 [batch, length] holds positions in
    [tokens], for padding that of the last token before it.
    """
    flat = mask.reshape(-1)
    tokens = np.flatnonzero(flat)
    packed = np.zeros(-(-len(tokens) // _MULTIPLE) * _MULTIPLE, np.int32)
    packed[: len(tokens)] = tokens
    unpacked = np.maximum(np.cumsum(flat, dtype=np.int32) - 1, 0)
    return {PACKED: packed, UNPACKED: unpacked.reshape(mask.shape)}
