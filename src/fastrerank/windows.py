"""Long documents in windows: a document is as relevant as its best part.

A model that was trained on passages loses a fact among many others. So a document of more than two
windows is read in overlapping parts of like length, and its score is that of the best (MaxP, Dai
and Callan 2019, arXiv:1905.09217). Shorter ones are read as a whole: two windows would cost more
and say no more.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from .activation import ranking_logits
from .tokenization import Encoding

# Neighbours share this part of a window, so that a sentence at a border is whole in one of them.
OVERLAP = 1 / 4
WINDOWS_IN_A_WHOLE = 2


def spans(length: int, window: int, room: int) -> Iterator[slice]:
    """Yield the parts in which a document of `length` tokens is read, in order.

    A document of at most two windows is one part, if it fits the `room` (in tokens) that the model
    has for it. Any other is read in windows of one length, as few as cover it, of at most `window`
    tokens.
    """
    if _is_whole(length, window, room):
        yield slice(0, length)
        return
    window = min(window, room)
    overlap = int(window * OVERLAP)
    count = -(-(length - overlap) // (window - overlap))
    size = -(-(length + (count - 1) * overlap) // count)
    for i in range(count):
        start = i * (length - size) // (count - 1)
        yield slice(start, start + size)


def _is_whole(length: int, window: int, room: int) -> bool:
    return length <= min(WINDOWS_IN_A_WHOLE * window, room)


def in_windows(encodings: Sequence[Encoding]) -> tuple[list[Encoding], NDArray[np.int64]]:
    """Return the windows of all encodings, in order, and the number of each, int64 [encodings]."""
    parts = [list(_windows(encoding)) for encoding in encodings]
    counts = np.array([len(part) for part in parts], dtype=np.int64)
    return [window for part in parts for window in part], counts


def _windows(encoding: Encoding) -> Iterator[Encoding]:
    """Yield the windows of one encoding; the head of its document stands before each.

    Not where it would take more than half of a window.
    """
    document, window, room = encoding.document, encoding.query.window, encoding.query.model_room
    no_head = _is_whole(len(document), window, room) or encoding.head > min(window, room) // 2
    head = 0 if no_head else encoding.head
    rest = document[head:]
    for span in spans(len(rest), window - head, room - head):
        part = np.concatenate([document[:head], rest[span]]) if head else rest[span]
        yield encoding._replace(document=part)


def best_windows(
    outputs: NDArray[np.float32], counts: NDArray[np.int64], label_column: int
) -> NDArray[np.float32]:
    """Return the outputs of each document's most relevant window, float32 [documents, labels].

    `outputs` [windows, labels] holds the windows document after document, `counts` their numbers.

    :raises InferenceError: if a logit is not finite.
    """
    if len(outputs) == len(counts):
        return outputs
    owner = np.repeat(np.arange(len(counts)), counts)
    order = np.lexsort((-ranking_logits(outputs, label_column), owner))
    best: NDArray[np.float32] = outputs[order[np.cumsum(counts) - counts]]
    return best
