"""The files that an ONNX model reads besides itself, found without the onnx package.

ONNX is protobuf (onnx.proto3 in the ONNX repository). Only the fields that can hold a tensor are
followed; the numbers below are theirs. Whatever is skipped cannot name a file.
"""

import mmap
from collections.abc import Iterator
from pathlib import Path

from .errors import BundleFormatError

_Buffer = memoryview

# message -> {field number: message that the field holds}
_FIELDS: dict[str, dict[int, str]] = {
    "Model": {7: "Graph", 20: "Training", 25: "Function"},
    "Training": {1: "Graph", 2: "Graph"},
    "Function": {7: "Node", 11: "Attribute"},
    "Graph": {1: "Node", 5: "Tensor", 15: "SparseTensor"},
    "Node": {5: "Attribute"},
    "Attribute": {
        5: "Tensor",
        6: "Graph",
        10: "Tensor",
        11: "Graph",
        22: "SparseTensor",
        23: "SparseTensor",
    },
    "SparseTensor": {1: "Tensor", 2: "Tensor"},
    "Tensor": {13: "Entry"},
}


def external_data_paths(path: Path) -> list[str]:
    """Return the `location` of every tensor stored outside the model file, in order.

    :raises BundleFormatError: if the file is no readable protobuf.
    """
    if path.stat().st_size == 0:
        raise BundleFormatError(f"{path} is empty: export or copy the bundle again")
    with (
        path.open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content,
        memoryview(content) as view,
    ):
        try:
            return list(dict.fromkeys(_locations(view, 0, len(view), "Model")))
        except (IndexError, UnicodeDecodeError, RecursionError) as error:
            raise BundleFormatError(f"{path} is no ONNX file: {error}") from error


def _locations(view: _Buffer, start: int, end: int, message: str) -> Iterator[str]:
    inner = _FIELDS[message]
    for field, first, last in _fields(view, start, end):
        if field not in inner:
            continue
        if inner[field] == "Entry":
            entry = {f: bytes(view[a:b]) for f, a, b in _fields(view, first, last)}
            if entry.get(1) == b"location":
                yield entry.get(2, b"").decode()
        else:
            yield from _locations(view, first, last, inner[field])


def _fields(view: _Buffer, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Yield (field number, start, end) of the length-delimited fields of one message."""
    position = start
    while position < end:
        key, position = _varint(view, position)
        if key >> 32:  # protobuf would read the lower 32 bits, and so another field
            raise IndexError(f"a tag of over 32 bits before byte {position}")
        wire = key & 7
        if wire == 2:
            length, position = _varint(view, position)
            if position + length > end:
                raise IndexError(f"a field at byte {position} runs past its message")
            yield key >> 3, position, position + length
            position += length
        elif wire == 0:
            _, position = _varint(view, position)
        elif wire in (1, 5):
            position += 8 if wire == 1 else 4
        else:
            raise IndexError(f"wire type {wire} at byte {position}")


def _varint(view: _Buffer, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = view[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
        if shift > 63:
            raise IndexError(f"a number of over 64 bits at byte {position}")
