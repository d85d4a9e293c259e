"""Encodings of one batch to the arrays that the graph asks for."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from .errors import BundleFormatError
from .tokenization import Encoding

Array = NDArray[np.int64]


def collate(
    encodings: Sequence[Encoding], inputs: Sequence[str], pad_id: int, length: int
) -> dict[str, Array]:
    """Return the named inputs of a batch, each int64 [batch, length], padded on the right."""
    shape = (len(encodings), length)
    return {name: _INPUTS[name](encodings, shape, pad_id) for name in inputs}


def check_inputs(inputs: Sequence[str]) -> None:
    """Raise BundleFormatError if the graph asks for an input that a pair does not provide."""
    unknown = [name for name in inputs if name not in _INPUTS]
    if unknown:
        raise BundleFormatError(
            f"the model asks for the input {unknown[0]!r}; known are: {', '.join(_INPUTS)}"
        )


def _input_ids(encodings: Sequence[Encoding], shape: tuple[int, int], pad_id: int) -> Array:
    array = np.full(shape, pad_id, dtype=np.int64)
    for row, encoding in zip(array, encodings, strict=True):
        query, document = encoding.query, encoding.document
        start, stop = len(query.before), len(query.before) + len(document)
        row[:start] = query.before
        row[start:stop] = document
        row[stop : stop + len(query.after)] = query.after
    return array


def _token_type_ids(encodings: Sequence[Encoding], shape: tuple[int, int], _: int) -> Array:
    array = np.zeros(shape, dtype=np.int64)
    for row, encoding in zip(array, encodings, strict=True):
        query, document = encoding.query, encoding.document
        start, stop = len(query.before), len(query.before) + len(document)
        row[:start] = query.before_types
        row[start:stop] = query.document_type
        row[stop : stop + len(query.after)] = query.after_types
    return array


def _attention_mask(encodings: Sequence[Encoding], shape: tuple[int, int], _: int) -> Array:
    lengths = np.array([encoding.length for encoding in encodings])
    return (np.arange(shape[1]) < lengths[:, None]).astype(np.int64)


def _position_ids(_: Sequence[Encoding], shape: tuple[int, int], __: int) -> Array:
    return np.tile(np.arange(shape[1], dtype=np.int64), (shape[0], 1))


_INPUTS: dict[str, Callable[[Sequence[Encoding], tuple[int, int], int], Array]] = {
    "input_ids": _input_ids,
    "attention_mask": _attention_mask,
    "token_type_ids": _token_type_ids,
    "position_ids": _position_ids,
}
