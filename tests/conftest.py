"""A tiny real bundle with a known answer, and the bundled model, loaded once."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer, models, pre_tokenizers

from fastrerank import Reranker
from fastrerank.bundle import sha256
from fastrerank.manifest import MANIFEST_NAME, FileEntry, Manifest, Precision, Segment, Source

ROOT = Path(__file__).parent.parent
DATA = Path(os.environ.get("FASTRERANK_DATA", ROOT / "../shared/data"))

WORDS = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", *(f"w{n}" for n in range(4, 100))]


@pytest.fixture(scope="session")
def data() -> Path:
    if not (DATA / "eval").is_dir():
        pytest.skip(f"no evaluation data at {DATA}: set FASTRERANK_DATA to its directory")
    return DATA


@pytest.fixture(scope="session")
def reranker() -> Iterator[Reranker]:
    """The bundled model."""
    with Reranker(threads=2) as loaded:
        yield loaded


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose logit is the mean id of a pair's tokens, less 50, divided by 10."""
    return write_tiny_bundle(tmp_path_factory.mktemp("tiny"))


def tiny_logit(query: str, document: str) -> float:
    """What the tiny model answers, computed from its definition."""
    ids = [1, *_ids(query), 2, *_ids(document), 2]
    return float((np.mean(ids) - 50) / 10)


def _ids(text: str) -> list[int]:
    return [WORDS.index(word) if word in WORDS else 3 for word in text.split()]


def write_tiny_bundle(directory: Path, labels: int = 1) -> Path:
    tokenizer = Tokenizer(
        models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]")
    )
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.save(str(directory / "tokenizer.json"))
    onnx.save(_mean_id_model(labels), directory / "model.onnx")
    entry = file_entry(directory / "model.onnx", directory)
    variants = {
        name: Precision(
            files=[entry],
            batch_invariant=name == "fp32",
            pooled_position_only=False,
            pooled_position_note="no layers",
        )
        for name in ("fp32", "int8")
    }
    manifest = Manifest(
        name="tiny",
        family="mean-id",
        source=Source(name="tests", revision=None, license=None, weights_sha256={}),
        inputs=["input_ids", "attention_mask"],
        output="logits",
        max_length=32,
        pad_id=0,
        special_tokens={},
        template=[
            Segment(ids=[1]),
            Segment(part="query"),
            Segment(ids=[2]),
            Segment(part="document", type_id=1),
            Segment(ids=[2], type_id=1),
        ],
        labels=labels,
        label_column=labels - 1,
        activation="sigmoid" if labels == 1 else "softmax",
        tokenizer=file_entry(directory / "tokenizer.json", directory),
        precisions=variants,
        made_with={},
        created="2026-01-01T00:00:00+00:00",
    )
    (directory / MANIFEST_NAME).write_text(manifest.to_json())
    return directory


def _mean_id_model(labels: int) -> onnx.ModelProto:
    """Logits [batch, labels]: the last column is (mean id - 50) / 10, the one before it 0."""
    weights = np.zeros((1, labels), dtype=np.float32)
    weights[0, -1] = 0.1
    nodes = [
        helper.make_node("Mul", ["input_ids", "attention_mask"], ["kept"]),
        helper.make_node("Cast", ["kept"], ["kept_float"], to=TensorProto.FLOAT),
        helper.make_node("Cast", ["attention_mask"], ["mask_float"], to=TensorProto.FLOAT),
        helper.make_node("ReduceSum", ["kept_float", "axis"], ["sum"], keepdims=1),
        helper.make_node("ReduceSum", ["mask_float", "axis"], ["count"], keepdims=1),
        helper.make_node("Div", ["sum", "count"], ["mean"]),
        helper.make_node("Sub", ["mean", "fifty"], ["centred"]),
        helper.make_node("MatMul", ["centred", "weights"], ["logits"]),
    ]
    shape = ["batch", "length"]
    graph = helper.make_graph(
        nodes,
        "mean-id",
        [
            helper.make_tensor_value_info(name, TensorProto.INT64, shape)
            for name in ("input_ids", "attention_mask")
        ],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", labels])],
        [
            numpy_helper.from_array(np.array([1], dtype=np.int64), "axis"),
            numpy_helper.from_array(np.array([50], dtype=np.float32), "fifty"),
            numpy_helper.from_array(weights, "weights"),
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)


def file_entry(path: Path, directory: Path) -> FileEntry:
    return FileEntry(
        path=str(path.relative_to(directory)), bytes=path.stat().st_size, sha256=sha256(path)
    )


def edit_manifest(directory: Path, **changes: object) -> None:
    path = directory / MANIFEST_NAME
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
