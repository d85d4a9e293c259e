"""A cross-encoder with a bi-encoder beside it: exported, scored, refused."""

import json
import shutil

import numpy as np
import pytest
import torch
from checkpoints import SMALL, export, save_checkpoint
from fastrerank.export.sample_pairs import sample_pairs
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BertConfig,
    BertModel,
    MPNetConfig,
    MPNetModel,
)

from fastrerank import BundleFormatError, BundleIntegrityError, ExportError, Reranker
from fastrerank.bundle import open_bundle
from fastrerank.cli import main
from fastrerank.manifest import MANIFEST_NAME, Manifest
from fastrerank.telemetry import openvino_silenced

STATED = {"folder": "bi-encoder", "weight": 3.0, "name": "vectors", "license": "MIT"}


def save_pair_of_encoders(directory, stated=STATED, **config):
    source = save_checkpoint(directory, similarity=stated, **config)
    torch.manual_seed(11)
    BertModel(BertConfig(vocab_size=30522, **SMALL), add_pooling_layer=False).save_pretrained(
        source / "bi-encoder"
    )
    return source


@pytest.fixture(scope="module")
def two_encoders(tmp_path_factory):
    return save_pair_of_encoders(tmp_path_factory.mktemp("two"))


@pytest.fixture(scope="module")
def two_networks(two_encoders, tmp_path_factory):
    output = tmp_path_factory.mktemp("two-networks") / "bundle"
    export(two_encoders, output)
    return output


def test_the_sum_of_both_is_what_torch_says(two_encoders, two_networks):
    tokenizer = AutoTokenizer.from_pretrained(two_encoders)
    pairs = AutoModelForSequenceClassification.from_pretrained(two_encoders).eval()
    texts = BertModel.from_pretrained(two_encoders / "bi-encoder", add_pooling_layer=False).eval()

    def vector(text):
        states = texts(**tokenizer(text, return_tensors="pt")).last_hidden_state[0]
        return torch.nn.functional.normalize(states.mean(0), dim=0)

    scored = [("why is the sky blue", text) for text in ("", "It is.", "Light is scattered " * 5)]
    with torch.inference_mode():
        expected = [
            float(pairs(**tokenizer([query], [text], return_tensors="pt")).logits)
            + 3 * float(vector(query) @ vector(text))
            for query, text in scored
        ]
    with Reranker(two_networks, precision="fp32") as reranker:
        np.testing.assert_allclose(reranker.score(scored, raw=True), expected, atol=1e-4)


def test_the_manifest_holds_both_and_each_precision_is_near_the_original(two_networks, capsys):
    manifest = open_bundle(two_networks).manifest
    assert manifest.similarity.weight == 3.0
    assert manifest.similarity.source.name == "vectors"
    assert list(manifest.similarity.source.weights_sha256) == ["model.safetensors"]
    assert manifest.parity["fp32"].max_logit_difference < 1e-4
    assert all(parity.within_thresholds for parity in manifest.parity.values())
    assert main(["verify", str(two_networks)]) == 0
    assert main(["inspect", str(two_networks)]) == 0
    assert "3 times its cosine is added" in capsys.readouterr().out
    assert "Beside it vectors, licence MIT: 3 times" in (two_networks / "README.md").read_text()


@pytest.mark.parametrize("precision", ["fp32", "int8"])
@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_a_score_does_not_depend_on_its_neighbours(two_networks, runtime, precision):
    if runtime == "openvino":
        with openvino_silenced():
            pytest.importorskip("openvino", reason="needs pip install 'fastrerank[openvino]'")
        precision = "fp32"
    queries, documents = ["a query", "another one, longer"], ["", "one", "some words " * 9]
    pairs = [(query, document) for query in queries for document in documents]
    with Reranker(two_networks, precision=precision, runtime=runtime, threads=2) as reranker:
        together = reranker.score(pairs * 3, raw=True)
        alone = [reranker.score([pair], raw=True)[0] for pair in pairs]
    np.testing.assert_allclose(together, alone * 3, atol=1e-4)


def test_both_runtimes_agree(two_networks):
    with openvino_silenced():
        pytest.importorskip("openvino", reason="needs pip install 'fastrerank[openvino]'")
    pairs = sample_pairs().pairs[:60]
    scores = []
    for runtime in ("onnxruntime", "openvino"):
        with Reranker(two_networks, precision="fp32", runtime=runtime) as reranker:
            scores.append(reranker.score(pairs, raw=True))
    np.testing.assert_allclose(*scores, atol=1e-3)


def test_a_second_model_reads_what_is_the_same_from_the_first(two_encoders, tmp_path):
    export(two_encoders, tmp_path / "b", precisions=("int8",), add="one")
    export(two_encoders, tmp_path / "b", precisions=("int8",), add="two")
    names = {path.name for path in (tmp_path / "b").glob("*.data")}
    assert names == {"one.int8.data", "one.similarity.int8.data"}
    assert main(["verify", str(tmp_path / "b/two.fastrerank.json")]) == 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"inputs": ["input_ids", "attention_mask"]}, "without the input token_type_ids"),
        ({"labels": 2}, "similarity with 2 labels"),
        ({"similarity": {"weight": float("inf")}}, "weight is inf"),
        ({"similarity": {"precisions": {}}}, "has the precisions"),
        ({"similarity": {"output": 3}}, "similarity.output"),
    ],
)
def test_a_manifest_that_does_not_fit_together_is_refused(two_networks, tmp_path, changes, message):
    text = (two_networks / MANIFEST_NAME).read_text()
    manifest = json.loads(text)
    for name, value in changes.items():
        part = value if isinstance(value, dict) else None
        manifest[name] = {**manifest[name], **part} if part else value
    with pytest.raises(BundleFormatError, match=message):
        Manifest.from_json(json.dumps(manifest))


@pytest.mark.parametrize(
    "file", ["model.similarity.int8.data", "model.similarity.int8.one-pair.onnx"]
)
def test_a_changed_file_of_the_second_network_is_refused(two_networks, tmp_path, file):
    bundle = shutil.copytree(two_networks, tmp_path / "b")
    content = bytearray((bundle / file).read_bytes())
    content[len(content) // 2] ^= 1
    (bundle / file).write_bytes(content)
    with pytest.raises(BundleIntegrityError, match=file.replace(".", r"\.")):
        Reranker(bundle, precision="int8", runtime="onnxruntime")


@pytest.mark.parametrize(
    ("stated", "message"),
    [
        ({"weight": 1.0}, "similarity is"),
        ("bi-encoder", "similarity is"),
        ({**STATED, "weight": "much"}, "similarity is"),
        ({**STATED, "weight": float("nan")}, "weight nan"),
        ({**STATED, "folder": "elsewhere"}, "'elsewhere'"),
        ({**STATED, "folder": ".."}, r"'\.\.'"),
        ({**STATED, "license": ["mit"]}, r"license \['mit'\]"),
    ],
)
def test_what_is_stated_wrongly_is_refused(tmp_path, stated, message):
    source = save_pair_of_encoders(tmp_path / "source", stated)
    with pytest.raises(ExportError, match=message):
        export(source, tmp_path / "b")


@pytest.mark.parametrize(
    ("encoder", "message"),
    [
        (BertModel(BertConfig(vocab_size=500, **SMALL)), "knows 500 tokens"),
        (
            BertModel(BertConfig(vocab_size=30522, **{**SMALL, "max_position_embeddings": 9})),
            "reads 9 tokens",
        ),
        (MPNetModel(MPNetConfig(vocab_size=30527, **SMALL)), "is a mpnet"),
    ],
    ids=["vocabulary", "positions", "family"],
)
def test_a_bi_encoder_that_reads_otherwise_is_refused(tmp_path, encoder, message):
    source = save_pair_of_encoders(tmp_path / "source")
    shutil.rmtree(source / "bi-encoder")
    encoder.save_pretrained(source / "bi-encoder")
    with pytest.raises(ExportError, match=message):
        export(source, tmp_path / "b")


def test_a_damaged_bi_encoder_is_refused(tmp_path):
    source = save_pair_of_encoders(tmp_path / "source")
    config = source / "bi-encoder/config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "num_hidden_layers": 3}))
    with pytest.raises(ExportError, match="no weights for"):
        export(source, tmp_path / "b")
    (source / "bi-encoder/model.safetensors").write_bytes(b"none")
    with pytest.raises(ExportError, match="cannot be loaded"):
        export(source, tmp_path / "b")


def test_it_needs_one_label_and_pairs_that_tell_query_and_document_apart(tmp_path):
    source = save_pair_of_encoders(tmp_path / "two-labels", labels=2)
    with pytest.raises(ExportError, match="one label, not of 2"):
        export(source, tmp_path / "b")
    source = save_pair_of_encoders(tmp_path / "untyped")
    names = ["input_ids", "attention_mask"]
    AutoTokenizer.from_pretrained(source, model_input_names=names).save_pretrained(source)
    with pytest.raises(ExportError, match="token types"):
        export(source, tmp_path / "b")
