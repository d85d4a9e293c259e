"""The files that each system loads, all made from one checkpoint, once."""

import hashlib
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from .environments import environment_python, source_hash
from .errors import BenchmarkError
from .paths import HERE, MODELS
from .process import clean_environment

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
    preset) and openvino/; `flashrank`: the same ONNX in FlashRank's layout; `bundle`: fastrerank's.

    :raises BenchmarkError: if one cannot be made.
    """
    weights = hashlib.sha256((source / "model.safetensors").read_bytes()).hexdigest()
    top = MODELS / weights[:12]
    found = {"checkpoint": top / "checkpoint"}
    if kinds & {"checkpoint", "flashrank"}:
        _once(found["checkpoint"], weights, lambda path: _make_checkpoint(source, path))
    if "flashrank" in kinds:
        found["flashrank"] = top / "flashrank"
        _once(found["flashrank"], weights, lambda path: _lay_out_flashrank(found, path))
    if "bundle" in kinds:
        found["bundle"] = top / "bundle"
        stamp = weights + source_hash("export")
        _once(found["bundle"], stamp, lambda path: _export_bundle(source, path))
    return found


def _make_checkpoint(source: Path, target: Path) -> None:
    _run("export", str(HERE / "prepare/checkpoint.py"), str(source), str(target))
    _run("sentence-transformers-openvino", str(HERE / "prepare/openvino.py"), str(target))


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
