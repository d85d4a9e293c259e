"""The files that each system loads, all made from one checkpoint, once."""

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from .environments import environment_python, source_hash
from .errors import BenchmarkError
from .paths import HERE, MODELS, data_directory
from .process import clean_environment
from .workloads import evaluation_requests

# FlashRank's names for its files, and which of ours takes their place.
_FLASHRANK = {
    "ms-marco-TinyBERT-L-2-v2/flashrank-TinyBERT-L-2-v2.onnx": "onnx/model.onnx",
    "ms-marco-MiniLM-L-12-v2/flashrank-MiniLM-L-12-v2_Q.onnx": "onnx/model_qint8_avx512_vnni.onnx",
}
_FLASHRANK_TEXTS = (
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
)


def model_directories(source: Path, kinds: set[str]) -> dict[str, Path]:
    """Return the directory of each kind of files, made from the checkpoint `source` if need be.

    `checkpoint`: fp32 weights, with onnx/ (fp32, and int8 by sentence-transformers' avx512_vnni
    preset) and openvino/ (fp32, and its static int8); `flashrank`: the same ONNX in FlashRank's
    layout; `bundle`: fastrerank's.

    :raises BenchmarkError: if one cannot be made, or peers are given a model that they cannot
        compute: one with a bi-encoder beside it.
    """
    # Read in any case: where there is no checkpoint, that is said here.
    if "similarity" in json.loads((source / "config.json").read_text()) and kinds - {"bundle"}:
        raise BenchmarkError(
            f"{source} has a bi-encoder beside it, which only fastrerank adds: pass the"
            " cross-encoder alone, build/checkpoints/fastrerank-minilm-l6"
        )
    made_from = checkpoint_hash(source)
    by_peers = made_from + source_hash("benchmarks/prepare", "benchmarks/requirements")
    top = MODELS / made_from[:12]
    found = {"checkpoint": top / "checkpoint"}
    if kinds & {"checkpoint", "flashrank"}:
        _once(found["checkpoint"], by_peers, lambda path: _make_checkpoint(source, path))
    if "flashrank" in kinds:
        found["flashrank"] = top / "flashrank"
        _once(found["flashrank"], by_peers, lambda path: _lay_out_flashrank(found, path))
    if "bundle" in kinds:
        found["bundle"] = top / "bundle"
        stamp = made_from + source_hash("export", "src", "benchmarks/requirements/export.txt")
        _once(found["bundle"], stamp, lambda path: _export_bundle(source, path))
    return found


def checkpoint_hash(source: Path) -> str:
    """Return a hash of what a checkpoint is made of: weights, configurations and vocabularies.

    Those of a bi-encoder in a folder beside it among them.
    """
    digest = hashlib.sha256()
    for file in sorted(path for at in ("*", "*/*") for path in source.glob(at)):
        if file.suffix in (".safetensors", ".json", ".txt"):
            digest.update(str(file.relative_to(source)).encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()


def _make_checkpoint(source: Path, target: Path) -> None:
    _run("export", str(HERE / "prepare/checkpoint.py"), str(source), str(target))
    calibration = target / "calibration"
    _write_calibration(calibration)
    _run(
        "prepare-openvino",
        str(HERE / "prepare/openvino.py"),
        str(target),
        str(calibration),
    )


def _write_calibration(directory: Path) -> None:
    """Write real pairs, of a set that no workload is drawn from, as a dataset with a `pair`."""
    requests = evaluation_requests(data_directory() / "eval/noveleval.jsonl.gz")
    rows = [{"pair": [r.query, document]} for r in requests for document in r.documents]
    directory.mkdir()
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (directory / "train.jsonl").write_text(lines, encoding="utf-8")


def _lay_out_flashrank(found: dict[str, Path], target: Path) -> None:
    for name, file in _FLASHRANK.items():
        model = target / name
        model.parent.mkdir(parents=True)
        shutil.copy(found["checkpoint"] / file, model)
        for text in _FLASHRANK_TEXTS:
            shutil.copy(found["checkpoint"] / text, model.parent)


def _export_bundle(source: Path, target: Path) -> None:
    # Drift is for the export's own gate to judge; here it is measured and reported.
    _run("export", "-m", "fastrerank", "export", str(source), str(target), "--allow-drift")


def _once(directory: Path, stamp: str, make: Callable[[Path], None]) -> None:
    made_from = directory.with_name(directory.name + ".made-from")
    if directory.is_dir() and made_from.is_file() and made_from.read_text() == stamp:
        return
    made_from.unlink(missing_ok=True)  # of what was there, not of what is half made
    shutil.rmtree(directory, ignore_errors=True)
    directory.parent.mkdir(parents=True, exist_ok=True)
    make(directory)
    made_from.write_text(stamp)


def _run(environment: str, *arguments: str) -> None:
    print(f"models: {' '.join(arguments)}", file=sys.stderr, flush=True)
    done = subprocess.run(
        [str(environment_python(environment)), "-P", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=clean_environment(),
    )
    if done.returncode:
        raise BenchmarkError(f"{arguments[0]} failed:\n{done.stderr[-2000:]}")


def graph_file(directories: dict[str, Path]) -> Path:
    """Return the fp32 graph whose operations are counted."""
    return directories["checkpoint"] / "onnx/model.onnx"
