"""Several graphs, of one model or of several, with equal weights stored once."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import onnx
from onnx import ModelProto, TensorProto
from onnx.external_data_helper import ExternalDataInfo, set_external_data, uses_external_data

_SMALLEST = 1024  # bytes; what is smaller stays in the graph
_ALIGNMENT = 64


def save_sharing_data(
    models: Mapping[str, ModelProto], directory: Path, data: str, others: Sequence[Path] = ()
) -> list[str]:
    """Write each model to its file name in `directory`, and their large constants to `data`.

    Constants with the same contents are stored once, whatever their names. Those that the graphs
    `others` in the same directory have too are read from where those have them. Returns the names
    of the data files in use.
    """
    places = _places(others)
    used: dict[str, None] = {}
    with (directory / data).open("wb") as file:
        for name, model in models.items():
            graph = ModelProto()
            graph.CopyFrom(model)
            for tensor in graph.graph.initializer:
                content = tensor.raw_data
                if len(content) < _SMALLEST:
                    continue
                digest = hashlib.sha256(content).digest()
                if digest not in places:
                    file.write(b"\0" * (-file.tell() % _ALIGNMENT))
                    places[digest] = data, file.tell()
                    file.write(content)
                location, offset = places[digest]
                used[location] = None
                set_external_data(tensor, location, offset, len(content))
                tensor.ClearField("raw_data")
                tensor.data_location = TensorProto.EXTERNAL
            onnx.save(graph, directory / name)
    if data not in used:
        (directory / data).unlink()
    return list(used)


def _places(graphs: Sequence[Path]) -> dict[bytes, tuple[str, int]]:
    """Return file and offset of the large constants of `graphs`, by the hash of their contents."""
    places: dict[bytes, tuple[str, int]] = {}
    for path in graphs:
        for tensor in onnx.load(path, load_external_data=False).graph.initializer:
            if not uses_external_data(tensor):
                continue
            info = ExternalDataInfo(tensor)
            offset = int(info.offset or 0)
            with (path.parent / info.location).open("rb") as file:
                file.seek(offset)
                digest = hashlib.sha256(file.read(info.length)).digest()
            places[digest] = info.location, offset
    return places
