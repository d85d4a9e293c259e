import json
import shutil
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import numpy_helper
from tiny import edit_manifest, file_entry

from fastrerank import (
    BundleError,
    BundleFormatError,
    BundleIntegrityError,
    BundleNotFoundError,
    InferenceError,
    Reranker,
)
from fastrerank.bundle import Bundle, open_bundle
from fastrerank.manifest import FORMAT, MANIFEST_NAME, Manifest
from fastrerank.onnx_file import external_data_paths


@pytest.fixture
def bundle(tiny_bundle, tmp_path) -> Path:
    """A copy of the tiny bundle that a test may break."""
    return Path(shutil.copytree(tiny_bundle, tmp_path / "bundle"))


def test_a_manifest_is_read_as_it_was_written(tiny_bundle):
    text = (tiny_bundle / MANIFEST_NAME).read_text()
    manifest = Manifest.from_json(text)
    assert manifest.name == "tiny"
    assert manifest.to_json() == text


def test_what_is_no_bundle_is_named_with_the_way_out(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BundleNotFoundError, match="fastrerank export"):
        Reranker(tmp_path)
    with pytest.raises(BundleNotFoundError, match="default"):
        Reranker("no-such-model")
    with pytest.raises(FileNotFoundError):
        Reranker(tmp_path / "missing")
    with pytest.raises(BundleNotFoundError, match="pass a string"):
        Reranker(Path("small"))
    with pytest.raises(BundleNotFoundError, match="xxx"):
        Reranker("x" * 300)


@pytest.mark.parametrize("name", ["model.onnx", "tokenizer.json"])
def test_a_changed_file_is_refused(bundle, name):
    content = bytearray((bundle / name).read_bytes())
    content[len(content) // 2] ^= 1
    (bundle / name).write_bytes(content)
    with pytest.raises(BundleIntegrityError, match=name):
        Reranker(bundle)


@pytest.mark.parametrize("name", ["model.onnx", "tokenizer.json"])
def test_a_missing_or_short_file_is_refused(bundle, name):
    content = (bundle / name).read_bytes()
    (bundle / name).write_bytes(content[:-1])
    with pytest.raises(BundleIntegrityError, match="cut short"):
        Reranker(bundle)
    (bundle / name).unlink()
    with pytest.raises(BundleIntegrityError, match="missing"):
        Reranker(bundle)


def test_a_manifest_of_a_newer_format_asks_for_an_upgrade(bundle):
    edit_manifest(bundle, format=FORMAT + 1, something_new=True)
    with pytest.raises(BundleFormatError, match=r"pip install --upgrade fastrerank"):
        Reranker(bundle)


def test_every_required_field_is_missed_by_name(tiny_bundle):
    data = json.loads((tiny_bundle / MANIFEST_NAME).read_text())
    optional = {"parity", "golden", "other_files", "format", "window", "similarity"}
    for name in data.keys() - optional:
        rest = {key: value for key, value in data.items() if key != name}
        with pytest.raises(BundleFormatError, match=f"no '{name}'"):
            Manifest.from_json(json.dumps(rest))


@pytest.mark.parametrize(
    "changes",
    [
        {"max_length": "512"},
        {"max_length": True},
        {"window": 0},
        {"inputs": "input_ids"},
        {"labels": 3},
        {"labels": 1, "label_column": 1},
        {"template": []},
        {"template": [{"part": "query"}]},
        {"activation": "tanh"},
        {"precisions": {}},
        {"golden": {"pairs": [], "tolerance": {}}},
        {"max_length": 4},  # 3 of them special tokens
        {"max_length": 10**30},
        {"pad_id": 10**30},
        {"pad_id": -1},
        {"template": [{"part": "query", "ids": [10**30]}, {"part": "document"}]},
        {"template": [{"part": "query"}, {"part": "document", "type_id": 10**30}]},
        {"inputs": []},
        {"golden": {"pairs": [], "tolerance": {"fp32": 10**400}}},
        {"tokenizer": None},
        {"format": 0},
    ],
)
def test_a_field_that_is_wrong_is_refused(bundle, changes):
    edit_manifest(bundle, **changes)
    with pytest.raises(BundleFormatError):
        Reranker(bundle)


def test_a_precision_that_is_not_known_is_named(bundle):
    precisions = json.loads((bundle / MANIFEST_NAME).read_text())["precisions"]
    edit_manifest(bundle, precisions={"fp16": precisions["fp32"]})
    with pytest.raises(BundleFormatError, match="precisions are fp16"):
        Reranker(bundle)


@given(st.one_of(st.text(), st.binary().map(lambda b: b.decode("latin-1"))))
def test_any_text_is_read_as_a_manifest_or_refused(text):
    with pytest.raises(BundleFormatError):
        Manifest.from_json(text)


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists))
def test_any_json_is_read_as_a_manifest_or_refused(value):
    with pytest.raises(BundleFormatError):
        Manifest.from_json(json.dumps({"format": FORMAT, "name": value}))


def test_a_manifest_that_is_not_utf8_is_refused(bundle):
    (bundle / MANIFEST_NAME).write_bytes(b"\xff\xfe")
    with pytest.raises(BundleFormatError, match="UTF-8"):
        Reranker(bundle)


@pytest.mark.parametrize(
    "path",
    [
        *("/etc/passwd", "../bundle/tokenizer.json", "a/../../x", "C:\\x", "C:x", "..", "", "a\0b"),
        *("\ud800", "a" * 5000),
    ],
)
def test_a_path_that_leaves_the_bundle_is_refused(bundle, path):
    opened = open_bundle(bundle)
    entry = replace(opened.manifest.tokenizer, path=path)
    with pytest.raises(BundleIntegrityError, match="outside the bundle"):
        opened.verified(entry)


def test_a_link_that_leaves_the_bundle_is_refused(bundle, tmp_path):
    outside = tmp_path / "outside.json"
    shutil.move(bundle / "tokenizer.json", outside)
    (bundle / "tokenizer.json").symlink_to(outside)
    with pytest.raises(BundleIntegrityError, match="outside the bundle"):
        Reranker(bundle)


def test_a_bundle_behind_a_link_is_fine(bundle, tmp_path):
    (tmp_path / "link").symlink_to(bundle)
    assert Reranker(tmp_path / "link").model_name == "tiny"


def with_external_data(bundle: Path, location: str) -> Bundle:
    """Rewrite the model so that a weight lies in another file, and vouch for the model's hash."""
    model = onnx.load(bundle / "model.onnx")
    tensor = next(t for t in model.graph.initializer if t.name == "weights")
    data = numpy_helper.to_array(tensor).tobytes()
    del tensor.float_data[:]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    # The value before the key: a reader must not rely on their order.
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", location
    (bundle / "model.onnx").write_bytes(model.SerializeToString())
    (bundle / "weights.bin").write_bytes(data)
    precisions = json.loads((bundle / MANIFEST_NAME).read_text())["precisions"]
    for variant in precisions.values():
        entry = file_entry(bundle / "model.onnx", bundle)
        variant["graph"] = asdict(entry)
    edit_manifest(bundle, precisions=precisions)
    return open_bundle(bundle)


@pytest.mark.parametrize("location", ["/etc/passwd", "../weights.bin", "weights.bin"])
def test_external_data_that_the_manifest_does_not_name_is_refused(bundle, location):
    with pytest.raises(BundleIntegrityError):
        with_external_data(bundle, location).onnx_paths("fp32", one_pair=False)


def test_external_data_that_the_manifest_names_is_read_unless_it_was_changed(bundle):
    opened = with_external_data(bundle, "weights.bin")
    precisions = json.loads((bundle / MANIFEST_NAME).read_text())["precisions"]
    entry = file_entry(bundle / "weights.bin", bundle)
    for variant in precisions.values():
        variant["data"] = [asdict(entry)]
    edit_manifest(bundle, precisions=precisions)
    assert external_data_paths(opened.path / "model.onnx") == ["weights.bin"]
    assert Reranker(bundle).score([("w10", "w90")], raw=True).shape == (1,)
    (bundle / "weights.bin").write_bytes(bytes(entry.bytes))
    with pytest.raises(BundleIntegrityError, match=r"weights\.bin"):
        Reranker(bundle)


def test_a_changed_graph_for_one_pair_is_refused(bundle):
    graph = bundle / "one-pair.onnx"
    shutil.copy(bundle / "model.onnx", graph)
    precisions = json.loads((bundle / MANIFEST_NAME).read_text())["precisions"]
    precisions["int8"]["one_pair_graph"] = asdict(file_entry(graph, bundle))
    edit_manifest(bundle, precisions=precisions)
    Reranker(bundle, precision="int8", runtime="onnxruntime").close()
    graph.write_bytes(bytes(graph.stat().st_size))
    with pytest.raises(BundleIntegrityError, match=r"one-pair\.onnx"):
        Reranker(bundle, precision="int8", runtime="onnxruntime")


def test_a_batch_that_the_runtime_fails_on_is_an_error_of_ours(bundle):
    edit_manifest(bundle, inputs=["input_ids"])
    with (
        Reranker(bundle, runtime="onnxruntime") as reranker,
        pytest.raises(InferenceError, match=r"failed on a batch of \(1, 5\)"),
    ):
        reranker.score([("w10", "w90")])


def constant(**attribute) -> onnx.NodeProto:
    node = onnx.helper.make_node("Constant", [], ["c"])
    node.attribute.append(onnx.AttributeProto(**attribute))
    return node


def model_of(node: onnx.NodeProto) -> onnx.ModelProto:
    return onnx.helper.make_model(onnx.helper.make_graph([node], "graph", [], []))


def in_a_subgraph(tensor):
    node = constant(name="value", type=onnx.AttributeProto.TENSOR, t=tensor)
    inner = onnx.helper.make_graph([node], "inner", [], [])
    return model_of(onnx.helper.make_node("If", ["x"], ["y"], then_branch=inner, else_branch=inner))


def in_a_list_of_tensors(tensor):
    return model_of(constant(name="values", type=onnx.AttributeProto.TENSORS, tensors=[tensor]))


def in_a_function(tensor):
    model = onnx.ModelProto()
    node = constant(name="value", type=onnx.AttributeProto.TENSOR, t=tensor)
    model.functions.add(name="f").node.append(node)
    return model


def in_a_sparse_weight(tensor):
    model = onnx.ModelProto()
    model.graph.sparse_initializer.add().values.CopyFrom(tensor)
    return model


@pytest.mark.parametrize(
    "model", [in_a_subgraph, in_a_list_of_tensors, in_a_function, in_a_sparse_weight]
)
def test_external_data_is_found_wherever_a_tensor_can_be(tmp_path, model):
    tensor = onnx.TensorProto(name="t", data_location=onnx.TensorProto.EXTERNAL, dims=[1])
    tensor.external_data.add(key="location", value="hidden.bin")
    (tmp_path / "m.onnx").write_bytes(model(tensor).SerializeToString())
    assert external_data_paths(tmp_path / "m.onnx") == ["hidden.bin"]


def test_a_tag_that_protobuf_reads_as_another_is_refused(tmp_path):
    """It takes the lower 32 bits of a tag: a field could be hidden from who reads them all."""
    tensor = onnx.TensorProto(name="t", data_location=onnx.TensorProto.EXTERNAL, dims=[1])
    tensor.external_data.add(key="location", value="hidden.bin")
    graph = onnx.GraphProto(initializer=[tensor]).SerializeToString()
    tag = bytes([7 << 3 | 2 | 0x80, 0x80, 0x80, 0x80, 0x10])  # ModelProto.graph, and bit 32
    (tmp_path / "m.onnx").write_bytes(tag + bytes([len(graph)]) + graph)
    with pytest.raises(BundleFormatError, match="32 bits"):
        external_data_paths(tmp_path / "m.onnx")


@given(st.binary(min_size=1, max_size=200))
def test_any_bytes_are_walked_or_refused(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "bytes.onnx"
    path.write_bytes(content)
    with suppress(BundleFormatError):
        assert isinstance(external_data_paths(path), list)


@pytest.mark.parametrize("content", [b"", b"not a model", b"\x08\x01"])
def test_a_file_that_is_no_model_is_an_error_of_ours(bundle, content):
    (bundle / "model.onnx").write_bytes(content)
    precisions = json.loads((bundle / MANIFEST_NAME).read_text())["precisions"]
    entry = file_entry(bundle / "model.onnx", bundle)
    for variant in precisions.values():
        variant["graph"] = asdict(entry)
    edit_manifest(bundle, precisions=precisions)
    with pytest.raises(BundleError):
        Reranker(bundle)


def panics(tokenizer):
    """A tokenizer.json that the Rust of tokenizers does not survive, which is no Exception."""
    return json.dumps({**tokenizer, "pre_tokenizer": {"type": "FixedLength", "length": 0}})


@pytest.mark.parametrize("written", [lambda _: '{"version": "1.0"}', panics])
def test_a_tokenizer_that_is_none_is_an_error_of_ours(bundle, written):
    path = bundle / "tokenizer.json"
    path.write_text(written(json.loads(path.read_text())))
    entry = file_entry(bundle / "tokenizer.json", bundle)
    edit_manifest(
        bundle,
        tokenizer=asdict(entry),
    )
    with pytest.raises(BundleFormatError, match="no tokenizer"):
        Reranker(bundle)


def test_an_input_that_no_pair_provides_is_refused(bundle):
    edit_manifest(bundle, inputs=["input_ids", "pixel_values"])
    with pytest.raises(BundleFormatError, match="pixel_values"):
        Reranker(bundle)


def test_a_model_with_other_outputs_than_stated_is_refused(bundle):
    edit_manifest(bundle, labels=2)
    with Reranker(bundle) as reranker, pytest.raises(BundleFormatError, match="2 labels"):
        reranker.rerank("w9", ["w8"])


def test_two_labels_are_scored_by_their_difference(tmp_path):
    from tiny import tiny_logit, write_tiny_bundle

    with Reranker(write_tiny_bundle(tmp_path, labels=2), runtime="onnxruntime") as reranker:
        logits = reranker.score([("w10", "w90 w91")], raw=True)
    assert logits == pytest.approx(np.array([tiny_logit("w10", "w90 w91")]), abs=1e-5)


@pytest.mark.parametrize("name", ["default", "medium", "small"])
def test_a_bundled_model_is_found_whatever_lies_beside_it(bundle, name, monkeypatch, tmp_path):
    shutil.copytree(bundle, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    assert open_bundle(name).path != tmp_path / name
    assert open_bundle().manifest.name == "fastrerank-minilm-duo"
    assert open_bundle(f"./{name}").manifest.name == "tiny"
    assert open_bundle(Path(name)).manifest.name == "tiny"
