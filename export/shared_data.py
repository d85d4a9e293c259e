"""Several graphs of one model, with their weights stored once."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import onnx
from onnx import ModelProto, TensorProto
from onnx.external_data_helper import set_external_data

_SMALLEST = 1024  # bytes; what is smaller stays in the graph
_ALIGNMENT = 64


def save_sharing_data(models: Mapping[str, ModelProto], directory: Path, data: str) -> None:
    """Write each model to its file name in `directory`, and their large constants to `data`.

    Constants with the same contents are stored once, whatever their names.
    """
    places: dict[bytes, int] = {}
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
                    places[digest] = file.tell()
                    file.write(content)
                set_external_data(tensor, data, places[digest], len(content))
                tensor.ClearField("raw_data")
                tensor.data_location = TensorProto.EXTERNAL
            onnx.save(graph, directory / name)
