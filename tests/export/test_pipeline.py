"""Exports of small real models: what is written, what is measured, what is refused."""

import json
import os
import shutil
import signal
from pathlib import Path

import numpy as np
import onnx
import pytest
from checkpoints import SMALL, TOKENIZER, export, save_checkpoint
from fastrerank.export import pipeline
from fastrerank.export.options import ExportOptions
from fastrerank.export.output import appearing
from onnx import numpy_helper
from tokenizers import Tokenizer
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    BertTokenizerFast,
)

from fastrerank import ExportError, ParityError, Reranker
from fastrerank.bundle import open_bundle
from fastrerank.cli import main
from fastrerank.manifest import MANIFEST_NAME


def test_a_bundle_says_what_is_in_it(bundle, checkpoint):
    manifest = open_bundle(bundle).manifest
    assert manifest.family == "bert"
    assert manifest.source.name == checkpoint.name
    assert list(manifest.source.weights_sha256) == ["model.safetensors"]
    assert manifest.max_length == 64
    assert manifest.inputs == ["input_ids", "attention_mask", "token_type_ids"]
    assert [(s.part, s.ids, s.type_id) for s in manifest.template] == [
        (None, [101], 0),
        ("query", [], 0),
        (None, [102], 0),
        ("document", [], 1),
        (None, [102], 1),
    ]
    assert manifest.special_tokens["cls_token"] == "[CLS]"
    assert set(manifest.precisions) == {"fp32", "int8"}
    assert all(p.pooled_position_only for p in manifest.precisions.values())
    assert {"torch", "onnxruntime", "fastrerank"} <= manifest.made_with.keys()
    assert {path.name for path in bundle.iterdir()} == {
        MANIFEST_NAME,
        *(entry.path for entry in manifest.files()),
    }


def test_parity_is_measured_against_torch(bundle):
    parity = open_bundle(bundle).manifest.parity
    assert parity["fp32"].max_logit_difference < 1e-4
    assert parity["int8"].mean_logit_difference > parity["fp32"].mean_logit_difference
    assert parity["int8"].spearman > 0.98
    assert parity["int8"].pairs == 312


def test_the_bundle_verifies_and_its_card_names_every_file(bundle, capsys):
    assert main(["verify", str(bundle)]) == 0
    out = capsys.readouterr().out
    assert out.count("ok ") == len(open_bundle(bundle).manifest.files()) + 2
    card = (bundle / "README.md").read_text()
    assert "model.int8.onnx" in card
    assert "Spearman" in card


def test_int8_weights_are_signed_with_a_scale_for_each_channel(bundle):
    model = onnx.load(bundle / "model.int8.onnx")
    constants = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    products = [node for node in model.graph.node if node.op_type == "MatMulInteger"]
    assert products
    assert all(constants[node.input[1]].dtype == np.int8 for node in products)


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_a_score_does_not_depend_on_its_neighbours(bundle, precision):
    documents = ["", "one", "two words", "some more words than that " * 3, "long " * 100]
    with Reranker(bundle, precision=precision, threads=2) as reranker:
        together = reranker.score([("a query", text) for text in documents * 3])
        alone = [reranker.score([("a query", text)])[0] for text in documents]
    assert np.abs(together - np.array(alone * 3)).max() < 1e-4


def test_each_step_is_reported_with_its_time(checkpoint, tmp_path):
    lines = export(checkpoint, tmp_path / "b", precisions=("int8",), name="mine", max_length=32)
    assert all(line.startswith("[") and " s] " in line for line in lines)
    assert len(lines) == 9  # the fp32 graph is measured although it is not kept
    manifest = open_bundle(tmp_path / "b").manifest
    assert (manifest.name, manifest.max_length) == ("mine", 32)
    assert list(manifest.precisions) == ["int8"]


@pytest.mark.parametrize(
    ("stated", "asked", "kept"), [(20, None, 20), (20, 12, 12), (None, 12, 12)]
)
def test_a_window_is_asked_for_or_stated_by_the_checkpoint(tmp_path, stated, asked, kept):
    """Parity and golden pairs, some of long documents, are those of documents as a whole."""
    config = {} if stated is None else {"document_window": stated}
    source = save_checkpoint(tmp_path / "source", **config)
    export(source, tmp_path / "b", precisions=("fp32",), window=asked)
    assert open_bundle(tmp_path / "b").manifest.window == kept
    assert f"best {kept}" in (tmp_path / "b/README.md").read_text()
    assert main(["verify", str(tmp_path / "b")]) == 0


@pytest.mark.parametrize("window", [0, "80", 7])
def test_a_window_that_holds_nothing_is_refused(tmp_path, window):
    source = save_checkpoint(tmp_path / "source", document_window=window)
    with pytest.raises(ExportError, match=f"window is {window!r}"):
        export(source, tmp_path / "b")


def test_golden_logits_may_be_off_by_less_than_they_differ(bundle):
    golden = open_bundle(bundle).manifest.golden
    for precision, tolerance in golden.tolerance.items():
        assert tolerance < np.std([pair.logits[precision] for pair in golden.pairs]) / 2


def test_the_padding_of_the_tokenizer_is_written_down_and_not_done_by_it(checkpoint, tmp_path):
    source = Path(shutil.copytree(checkpoint, tmp_path / "source"))
    tokenizer = BertTokenizerFast(tokenizer_file=str(TOKENIZER), pad_token="[MASK]")
    tokenizer.save_pretrained(source)
    file = str(source / "tokenizer.json")
    cutting = Tokenizer.from_file(file)
    cutting.enable_truncation(8)
    cutting.enable_padding(length=8)
    cutting.save(file)
    export(source, tmp_path / "b", precisions=("fp32",))
    assert open_bundle(tmp_path / "b").manifest.pad_id == tokenizer.pad_token_id == 103
    written = json.loads((tmp_path / "b/tokenizer.json").read_text())
    assert (written["truncation"], written["padding"]) == (None, None)


def test_outliers_are_looked_for_in_pairs_of_the_whole_sample(checkpoint, tmp_path, monkeypatch):
    given = []

    def stopped(_, calibration):
        given.extend(calibration)
        raise ExportError("seen enough")

    monkeypatch.setattr(pipeline, "quantize_int8", stopped)
    with pytest.raises(ExportError, match="seen enough"):
        export(checkpoint, tmp_path / "b", precisions=("int8", "fp32"))
    assert len(given) == pytest.approx(48, abs=8)
    assert len({inputs["input_ids"].tobytes() for inputs in given}) == len(given)


def corrupted(quantize):
    def corrupt(model, calibration):
        model = quantize(model, calibration)
        for tensor in model.graph.initializer:
            values = numpy_helper.to_array(tensor)
            if values.dtype == np.int8 and values.ndim == 2 and values.size < 20_000:
                wrong = np.ascontiguousarray(np.roll(values, 1, axis=0))
                tensor.CopyFrom(numpy_helper.from_array(wrong, tensor.name))
                return model
        raise AssertionError("no weight to corrupt")

    return corrupt


def test_a_corrupted_weight_fails_the_gate_and_leaves_nothing(checkpoint, tmp_path, monkeypatch):
    monkeypatch.setattr(pipeline, "quantize_int8", corrupted(pipeline.quantize_int8))
    with pytest.raises(ParityError, match=r"int8 drifts.*--allow-drift"):
        export(checkpoint, tmp_path / "b", precisions=("int8",))
    assert list(tmp_path.iterdir()) == []
    assert main(["export", str(checkpoint), str(tmp_path / "b"), "--precision", "int8"]) == 1
    assert list(tmp_path.iterdir()) == []


def test_allowed_drift_is_stated_in_the_bundle(checkpoint, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(pipeline, "quantize_int8", corrupted(pipeline.quantize_int8))
    lines = export(checkpoint, tmp_path / "b", precisions=("int8",), allow_drift=True)
    assert any("warning: int8 drifts" in line for line in lines)
    assert not open_bundle(tmp_path / "b").manifest.parity["int8"].within_thresholds
    assert "--allow-drift" in (tmp_path / "b/README.md").read_text()
    main(["inspect", str(tmp_path / "b")])
    assert "BEYOND ITS LIMITS" in capsys.readouterr().out


def test_calibration_pairs_are_measured_too(checkpoint, tmp_path):
    file = tmp_path / "pairs.jsonl"
    file.write_text(json.dumps({"query": "q", "documents": ["a", "b", "c"]}) + "\n")
    export(checkpoint, tmp_path / "b", precisions=("fp32",), calibration=file)
    assert open_bundle(tmp_path / "b").manifest.parity["fp32"].pairs == 315


@pytest.mark.parametrize(
    "line",
    [
        "not json",
        "[]",
        '{"query": "q"}',
        '{"query": 1, "documents": []}',
        '{"query": "q", "documents": "one"}',
        '{"query": "q", "documents": [1]}',
        '{"query": "q", "documents": []}',
        '{"query": "q", "documents": {"a text": 1}}',
        '{"query": "q", "documents": ["\\ud800"]}',
    ],
)
def test_a_calibration_line_that_is_wrong_is_named(checkpoint, tmp_path, line):
    file = tmp_path / "pairs.jsonl"
    file.write_text('{"query": "q", "documents": ["d"]}\n' + line + "\n")
    with pytest.raises(ExportError, match="line 2"):
        export(checkpoint, tmp_path / "b", precisions=("fp32",), calibration=file)


def test_a_calibration_file_without_pairs_is_refused(checkpoint, tmp_path):
    file = tmp_path / "pairs.jsonl"
    file.write_text("\n")
    with pytest.raises(ExportError, match="holds no pairs"):
        export(checkpoint, tmp_path / "b", precisions=("fp32",), calibration=file)


def test_a_place_that_cannot_be_filled_is_known_before_the_export(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(ExportError, match="is no directory"),
        appearing(tmp_path / "file/a/bundle", None, force=False),
    ):
        pass
    monkeypatch.setattr(Path, "is_mount", lambda path: path == tmp_path)
    with pytest.raises(ExportError, match="is a mount"), appearing(tmp_path, "a", force=False):
        pass


def test_an_existing_bundle_is_kept_unless_forced(bundle, checkpoint, tmp_path):
    output = Path(shutil.copytree(bundle, tmp_path / "b"))
    before = (output / MANIFEST_NAME).read_text()
    with pytest.raises(ExportError, match="--force"):
        export(checkpoint, output, precisions=("fp32",))
    assert (output / MANIFEST_NAME).read_text() == before
    export(checkpoint, output, precisions=("fp32",), force=True)
    assert list(open_bundle(output).manifest.precisions) == ["fp32"]
    assert list(tmp_path.iterdir()) == [output]


def test_force_replaces_nothing_but_bundles(checkpoint, tmp_path):
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious/file").touch()
    with pytest.raises(ExportError, match="no bundle"):
        export(checkpoint, tmp_path / "precious", force=True)
    assert (tmp_path / "precious/file").exists()


@pytest.mark.parametrize(
    ("moved", "error"), [("b", KeyboardInterrupt), ("bundle", OSError), ("b", OSError)]
)
def test_a_bundle_that_is_not_replaced_is_put_back(tmp_path, monkeypatch, moved, error):
    """Ctrl-C comes after the old one was moved away; the system refuses to move either."""
    output = tmp_path / "b"
    output.mkdir()
    (output / MANIFEST_NAME).write_text("old")
    rename = Path.rename

    def failing(path, target):
        if path.name != moved:
            return rename(path, target)
        monkeypatch.undo()
        if error is KeyboardInterrupt:
            rename(path, target)
        raise error("busy")

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(error, match="busy"), appearing(output, None, force=True) as directory:
        (directory / MANIFEST_NAME).write_text("new")
    assert (output / MANIFEST_NAME).read_text() == "old"
    assert list(tmp_path.iterdir()) == [output]


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o755), (0o077, 0o700)])
def test_a_bundle_has_the_mode_that_the_user_gives_to_new_directories(tmp_path, umask, mode):
    before = os.umask(umask)
    try:
        with appearing(tmp_path / "b", None, force=False):
            pass
    finally:
        os.umask(before)
    assert (tmp_path / "b").stat().st_mode & 0o777 == mode


@pytest.mark.parametrize("add", [None, "one"])
def test_what_appears_at_the_output_during_the_export_is_kept(
    checkpoint, tmp_path, monkeypatch, add
):
    output = tmp_path / "deep" / "b"
    if add:
        export(checkpoint, output, precisions=("fp32",), add="zero")

    def meanwhile(*arguments):
        export_fp32 = to_onnx(*arguments)
        output.mkdir(parents=True, exist_ok=True)
        name = "two.fastrerank.json" if add else "notes.txt"
        (output / name).write_text("precious")
        return export_fp32

    to_onnx = pipeline.export_onnx
    monkeypatch.setattr(pipeline, "export_onnx", meanwhile)
    with pytest.raises(ExportError, match="export again" if add else "exists"):
        export(checkpoint, output, precisions=("fp32",), add=add)
    assert "precious" in [path.read_text() for path in output.iterdir() if path.stat().st_size < 9]
    assert list(tmp_path.iterdir()) == [tmp_path / "deep"]


def test_models_in_one_directory_store_equal_weights_once(checkpoint, tmp_path, capsys):
    output = tmp_path / "models"
    export(checkpoint, output, precisions=("int8",), add="large")
    before = {path.name: path.read_bytes() for path in output.iterdir()}
    fewer = shutil.copytree(checkpoint, tmp_path / "fewer")
    config = json.loads((fewer / "config.json").read_text())
    (fewer / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 1}))
    export(fewer, output, precisions=("int8",), add="small", allow_drift=True)

    assert {n: (output / n).read_bytes() for n in before} == before
    small = open_bundle(output / "small.fastrerank.json").manifest
    assert small.tokenizer.path == "tokenizer.json"
    large_data, *own = [entry.path for entry in small.precisions["int8"].data]
    assert large_data == "large.int8.data"
    assert sum((output / name).stat().st_size for name in own) < len(before[large_data]) / 4
    assert 'Reranker("path/to/small.fastrerank.json")' in (output / "small.md").read_text()
    for name in ("large", "small"):
        assert main(["verify", str(output / f"{name}.fastrerank.json")]) == 0
    assert main(["verify", str(output)]) == 1
    assert "large.fastrerank.json" in capsys.readouterr().err


def test_a_tokenizer_of_its_own_is_kept_apart(checkpoint, tmp_path):
    output = tmp_path / "models"
    export(checkpoint, output, precisions=("fp32",), add="one")
    (output / "tokenizer.json").write_text("{}")
    export(checkpoint, output, precisions=("fp32",), add="two")
    two = open_bundle(output / "two.fastrerank.json").manifest
    assert two.tokenizer.path == "two.tokenizer.json"


@pytest.mark.parametrize("name", ["large", "../large", "a/b", "", " "])
def test_a_name_that_cannot_be_added_is_refused(checkpoint, bundle, tmp_path, name):
    output = tmp_path / "models"
    output.mkdir()
    (output / "large.fastrerank.json").touch()
    with pytest.raises(ExportError, match=r"another name|letters|exists"):
        export(checkpoint, output, precisions=("fp32",), add=name)
    assert [path.name for path in output.iterdir()] == ["large.fastrerank.json"]


def test_a_model_is_added_to_models_only(checkpoint, bundle):
    with pytest.raises(ExportError, match="no models with names"):
        export(checkpoint, bundle, add="other")


def test_the_card_of_the_source_is_kept(checkpoint, tmp_path):
    source = shutil.copytree(checkpoint, tmp_path / "source")
    (source / "README.md").write_text("---\nlicense: mit\n---\n# Trained with care\n")
    export(source, tmp_path / "b", precisions=("fp32",))
    card = (tmp_path / "b/README.md").read_text()
    assert card.endswith("## The card of the source\n\n# Trained with care\n")


@pytest.mark.parametrize("max_length", [8, 14, 20])
def test_the_original_reads_what_the_runtime_reads(checkpoint, tmp_path, max_length):
    """Queries are cut to their share first: at 14 tokens most of the sample's are."""
    lines = export(checkpoint, tmp_path / "b", precisions=("fp32",), max_length=max_length)
    assert not any("warning" in line for line in lines)


def test_long_queries_and_a_tokenizer_that_cuts_at_the_left(checkpoint, tmp_path):
    source = shutil.copytree(checkpoint, tmp_path / "source")
    settings = json.loads((source / "tokenizer_config.json").read_text())
    settings["truncation_side"] = "left"
    (source / "tokenizer_config.json").write_text(json.dumps(settings))
    file = tmp_path / "pairs.jsonl"
    row = {"query": "which camel is it " * 30, "documents": ["a", "the llama\u2028of Peru " * 40]}
    file.write_text(json.dumps(row, ensure_ascii=False) + "\n\n", encoding="utf-8")
    export(source, tmp_path / "b", calibration=file)


def test_a_model_of_small_products_is_exported_in_int8_too(tmp_path):
    source = save_checkpoint(
        tmp_path / "source", hidden_size=32, num_attention_heads=2, intermediate_size=37
    )
    export(source, tmp_path / "b", allow_drift=True)
    with Reranker(tmp_path / "b", precision="int8") as reranker:
        assert len(reranker.rerank("q", ["a", "b"]).results) == 2


def test_a_model_whose_logits_are_alike_verifies(tmp_path):
    settings = BertConfig(vocab_size=30522, num_labels=1, **SMALL)
    BertForSequenceClassification(settings).save_pretrained(tmp_path / "source")
    BertTokenizerFast(tokenizer_file=str(TOKENIZER)).save_pretrained(tmp_path / "source")
    export(tmp_path / "source", tmp_path / "b", precisions=("fp32",))
    assert min(open_bundle(tmp_path / "b").manifest.golden.tolerance.values()) >= 1e-5
    assert main(["verify", str(tmp_path / "b")]) == 0


def test_two_labels_are_exported_as_softmax(tmp_path):
    export(save_checkpoint(tmp_path / "source", labels=2), tmp_path / "b")
    manifest = open_bundle(tmp_path / "b").manifest
    assert (manifest.labels, manifest.label_column, manifest.activation) == (2, 1, "softmax")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"max_length": 65}, "8 to 64"),
        ({"max_length": 3}, "8 to 64"),
        ({"label_column": 1}, "1 labels"),
        ({"revision": "main"}, "hub ids"),
    ],
)
def test_wrong_options_are_refused(checkpoint, tmp_path, options, words):
    with pytest.raises(ExportError, match=words):
        export(checkpoint, tmp_path / "b", **options)
    assert list(tmp_path.iterdir()) == []


def test_every_option_of_the_command_reaches_the_export(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(
        pipeline, "export_bundle", lambda source, output, options, report: asked.append(options)
    )
    options = {
        "name": "mine",
        "revision": "main",
        "license": "mit",
        "max_length": 9,
        "window": 8,
        "label_column": 0,
        "calibration": tmp_path / "pairs.jsonl",
        "add": "one",
    }
    arguments = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
    flags = ["--precision=fp32", "--allow-drift", "--force"]
    assert main(["export", "source", str(tmp_path), *arguments, *flags]) == 0
    assert asked == [ExportOptions(precisions=("fp32",), allow_drift=True, force=True, **options)]


def test_an_export_heeds_the_signals_that_end_it_but_for_those_ignored(tmp_path, monkeypatch):
    """Under nohup SIGHUP is ignored: the export outlives its terminal."""
    ends = (signal.SIGTERM, signal.SIGHUP)
    during = []
    monkeypatch.setattr(
        pipeline, "export_bundle", lambda *_, **__: during.extend(map(signal.getsignal, ends))
    )
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        handlers = [signal.getsignal(each) for each in ends]
        assert main(["export", "source", str(tmp_path)]) == 0
        assert [signal.getsignal(each) for each in ends] == handlers
    finally:
        signal.signal(signal.SIGHUP, before)
    assert during[1] is signal.SIG_IGN
    with pytest.raises(SystemExit):
        during[0](signal.SIGTERM, None)


@pytest.mark.slow
def test_the_real_checkpoint_keeps_its_ranking(data, tmp_path):
    export(data / "model", tmp_path / "b")
    parity = open_bundle(tmp_path / "b").manifest.parity
    assert parity["fp32"].max_logit_difference < 1e-4
    assert parity["int8"].within_thresholds
    assert main(["verify", str(tmp_path / "b")]) == 0
