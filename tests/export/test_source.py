"""What may be exported: the rules of families and tokenizers, and what is refused."""

import json
import shutil
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from checkpoints import SMALL, TOKENIZER, export, save_checkpoint, save_family
from fastrerank.export.source import load_source
from transformers import (
    BertForSequenceClassification,
    BertForTokenClassification,
    BertTokenizerFast,
    RobertaConfig,
    RobertaForSequenceClassification,
)

from fastrerank import ExportError, ParityError
from fastrerank.bundle import open_bundle


@pytest.mark.parametrize("license", ["[mit", "[mit, apache-2.0]", "{a: b}"])
def test_any_front_matter_of_the_source_is_survived(checkpoint, tmp_path, license):
    source = shutil.copytree(checkpoint, tmp_path / "source")
    (source / "README.md").write_text(f"---\nlicense: {license}\n---\n# Trained with care\n")
    export(source, tmp_path / "b", precisions=("fp32",))
    stated = open_bundle(tmp_path / "b").manifest.source.license
    assert stated == {"[mit, apache-2.0]": "mit, apache-2.0"}.get(license)


def test_the_licence_is_read_from_the_model_card_unless_it_is_given(checkpoint, tmp_path):
    source = Path(shutil.copytree(checkpoint, tmp_path / "source"))
    (source / "README.md").write_text("---\nlicense: mit\n---\n# A model\n")
    export(source, tmp_path / "b", precisions=("fp32",))
    assert open_bundle(tmp_path / "b").manifest.source.license == "mit"
    assert load_source(str(source), license_name="apache-2.0").about.license == "apache-2.0"


def test_a_tokenizer_made_of_a_file_of_this_machine_is_refused(checkpoint, tmp_path):
    """Whatever the file holds would be in the bundle, as a vocabulary."""
    source = Path(shutil.copytree(checkpoint, tmp_path / "source"))
    settings = json.loads((source / "tokenizer_config.json").read_text())
    secret = tmp_path / "secret.txt"
    secret.write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\nhush\n")
    for name, refused in ((secret, True), (source / "config.json", False), ("absent.txt", False)):
        stated = settings | {"vocab_file": str(name)}
        (source / "tokenizer_config.json").write_text(json.dumps(stated))
        with pytest.raises(ExportError, match="of this machine") if refused else nullcontext():
            load_source(str(source))


def test_no_more_tokens_are_read_than_the_tokenizer_allows(checkpoint, tmp_path):
    source = Path(shutil.copytree(checkpoint, tmp_path / "source"))
    settings = json.loads((source / "tokenizer_config.json").read_text())
    (source / "tokenizer_config.json").write_text(json.dumps(settings | {"model_max_length": 20}))
    assert load_source(str(source)).max_length == 20


def test_a_tokenizer_without_token_types_gives_zeros(checkpoint, tmp_path):
    source = shutil.copytree(checkpoint, tmp_path / "source")
    names = ["input_ids", "attention_mask"]
    BertTokenizerFast(tokenizer_file=str(TOKENIZER), model_input_names=names).save_pretrained(
        source
    )
    export(source, tmp_path / "b", allow_drift=True)  # of int8: these weights are random
    manifest = open_bundle(tmp_path / "b").manifest
    assert manifest.parity["fp32"].within_thresholds
    assert "token_type_ids" in manifest.inputs
    assert {segment.type_id for segment in manifest.template} == {0}


def test_roberta_joins_and_counts_positions_its_own_way(tmp_path):
    names = ["input_ids", "attention_mask"]
    tokenizer = BertTokenizerFast(tokenizer_file=str(TOKENIZER), model_input_names=names)
    config = RobertaConfig(vocab_size=30522, num_labels=1, pad_token_id=0, **SMALL)
    torch.manual_seed(3)
    RobertaForSequenceClassification(config).save_pretrained(tmp_path / "source")
    tokenizer.save_pretrained(tmp_path / "source")
    export(tmp_path / "source", tmp_path / "b", precisions=("fp32",))
    manifest = open_bundle(tmp_path / "b").manifest
    assert manifest.max_length == 63
    assert manifest.parity["fp32"].max_logit_difference < 1e-4


def test_a_decoder_takes_the_padding_token_of_its_tokenizer(tmp_path):
    source = save_family(tmp_path / "source", "qwen2", num_key_value_heads=2, pad_token_id=None)
    assert json.loads((source / "config.json").read_text()).get("pad_token_id") is None
    export(source, tmp_path / "b", precisions=("fp32",))
    assert open_bundle(tmp_path / "b").manifest.parity["fp32"].within_thresholds


def test_positions_that_begin_behind_the_padding_id_are_counted(tmp_path):
    source = save_family(tmp_path / "source", "data2vec-text", pad_token_id=0)
    export(source, tmp_path / "b", precisions=("fp32",))
    assert open_bundle(tmp_path / "b").manifest.max_length == 63


@pytest.mark.parametrize("family", ["esm", "mpnet"])
def test_a_family_whose_positions_do_not_begin_at_0_reads_no_more_than_it_has(tmp_path, family):
    source = save_family(tmp_path / "source", family, pad_token_id=0)
    export(source, tmp_path / "b", precisions=("fp32",))
    assert open_bundle(tmp_path / "b").manifest.max_length in (62, 63)


def test_a_decoder_that_pads_otherwise_than_its_tokenizer_finds_its_last_token(tmp_path):
    source = save_family(tmp_path / "source", "llama", num_key_value_heads=2, pad_token_id=5)
    export(source, tmp_path / "b", precisions=("fp32",))
    assert open_bundle(tmp_path / "b").manifest.parity["fp32"].within_thresholds


def test_frequencies_that_change_with_the_length_bound_it(tmp_path):
    scaling = {"type": "longrope", "short_factor": [1.0] * 8, "long_factor": [4.0] * 8}
    source = save_family(
        tmp_path / "source",
        "phi3",
        num_key_value_heads=4,
        pad_token_id=0,
        rope_scaling=scaling,
        original_max_position_embeddings=40,
    )
    export(source, tmp_path / "b", precisions=("fp32",))
    assert open_bundle(tmp_path / "b").manifest.max_length == 40


@pytest.mark.parametrize("names", [["input_ids"], ["input_ids", "token_type_ids"]])
def test_a_tokenizer_that_names_no_mask_is_no_drift(checkpoint, tmp_path, names):
    source = shutil.copytree(checkpoint, tmp_path / "source")
    tokenizer = BertTokenizerFast(tokenizer_file=str(TOKENIZER), model_input_names=names)
    tokenizer.save_pretrained(source)
    export(source, tmp_path / "b", allow_drift=True)  # of int8: these weights are random
    assert open_bundle(tmp_path / "b").manifest.parity["fp32"].within_thresholds


def test_a_model_that_padding_changes_is_refused(tmp_path):
    """ConvBERT's convolutions read what is beside the last token."""
    from safetensors.torch import load_file, save_file

    source = save_family(tmp_path / "source", "convbert", embedding_size=64, pad_token_id=0)
    weights = load_file(source / "model.safetensors")
    weights["classifier.out_proj.weight"] *= 1000  # logits that differ between pairs
    save_file(weights, source / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ParityError, match="fp32 drifts"):
        export(source, tmp_path / "b", precisions=("int8",))
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize(
    ("family", "config", "words"),
    [
        ("bart", {"d_model": 64}, "encoder-decoder"),
        ("big_bird", {}, "original_full"),
    ],
)
def test_a_family_that_no_graph_of_pairs_can_be_is_refused(tmp_path, family, config, words):
    source = save_family(tmp_path / "source", family, **config)
    with pytest.raises(ExportError, match=words):
        export(source, tmp_path / "b")


def test_code_that_comes_with_a_model_is_not_run(checkpoint, tmp_path, monkeypatch):
    source = Path(shutil.copytree(checkpoint, tmp_path / "source"))
    config = json.loads((source / "config.json").read_text())
    auto = {"AutoConfig": "own.C", "AutoModelForSequenceClassification": "own.M"}
    (source / "config.json").write_text(json.dumps({**config, "model_type": "x", "auto_map": auto}))
    (source / "own.py").write_text("raise SystemExit('run')")
    monkeypatch.setattr("builtins.input", lambda *_: "y")
    with pytest.raises(ExportError, match="no usable config"):
        export(source, tmp_path / "b")


def without(checkpoint: Path, directory: Path, pattern: str) -> Path:
    shutil.copytree(checkpoint, directory)
    for path in directory.glob(pattern):
        path.unlink()
    return directory


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("model.safetensors", "has no weights"),
        ("config.json", "config.json"),
        ("[tv]o[kc]*", "has no tokenizer"),
    ],
)
def test_a_source_that_lacks_a_part_is_refused(checkpoint, tmp_path, pattern, words):
    source = without(checkpoint, tmp_path / "source", pattern)
    with pytest.raises(ExportError, match=words):
        export(source, tmp_path / "b")
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize(
    ("kind", "labels", "words"),
    [
        (BertForTokenClassification, 1, "BertForTokenClassification"),
        (BertForSequenceClassification, 3, "3 labels"),
    ],
)
def test_a_head_that_does_not_rank_is_refused(tmp_path, kind, labels, words):
    with pytest.raises(ExportError, match=words):
        export(save_checkpoint(tmp_path / "source", kind, labels), tmp_path / "b")


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("model.safetensors", b"", "damaged"),
        ("model.safetensors", b"version https://git-lfs.github.com/spec/v1\n", "damaged"),
        ("model.safetensors", 5000, "damaged"),
        ("config.json", b"[]", "config.json"),
        ("config.json", ("hidden_size", 32), "size mismatch|damaged"),
        ("config.json", ("hidden_act", "no such"), "no such"),
        ("tokenizer_config.json", ("pad_token", None), "padding token"),
    ],
)
def test_a_part_that_is_damaged_is_refused(checkpoint, tmp_path, file, content, words):
    source = shutil.copytree(checkpoint, tmp_path / "source")
    path = source / file
    if isinstance(content, int):
        path.write_bytes(path.read_bytes()[:content])
    elif isinstance(content, tuple):
        path.write_text(json.dumps(json.loads(path.read_text()) | dict([content])))
    else:
        path.write_bytes(content)
    with pytest.raises(ExportError, match=words):
        export(source, tmp_path / "b")
    assert not (tmp_path / "b").exists()


def test_weights_that_are_no_numbers_are_refused(checkpoint, tmp_path):
    from safetensors.torch import load_file, save_file

    source = Path(shutil.copytree(checkpoint, tmp_path / "source"))
    weights = load_file(source / "model.safetensors")
    weights["classifier.weight"][:] = float("nan")
    save_file(weights, source / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ExportError, match="nan or infinity"):
        export(source, tmp_path / "b", precisions=("fp32",))


def test_a_head_without_weights_is_refused(checkpoint, tmp_path):
    from safetensors.torch import load_file, save_file

    source = Path(shutil.copytree(checkpoint, tmp_path / "source"))
    weights = load_file(source / "model.safetensors")
    del weights["classifier.weight"]
    save_file(weights, source / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ExportError, match=r"classifier\.weight"):
        export(source, tmp_path / "b")


def test_an_empty_directory_is_no_model(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ExportError, match=r"no config\.json"):
        export(tmp_path / "empty", tmp_path / "b")


def test_a_source_that_is_not_there_leaves_no_directories(tmp_path):
    with pytest.raises(ExportError):
        export(Path("/no/such/directory"), tmp_path / "deep" / "b")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("source", ["/no/such/directory", "./nowhere", "a/b/c"])
def test_what_is_neither_directory_nor_hub_id_is_refused(tmp_path, source):
    with pytest.raises(ExportError, match="no directory and no hub id"):
        export(Path(source) if source[0] == "/" else source, tmp_path / "b")
