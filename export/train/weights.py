"""A released model as one small file: all but what training leaves alone, its start's.

Its card lies beside it, as ``NAME.md``. Scale and offset of its calibration are in the file's
metadata, for training that goes on from there. Of a release that is another with the bi-encoder
beside it, the file is JSON: which, and what it is multiplied by.
"""

import json
import re
import shutil
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import BertForSequenceClassification

from . import calibrate
from .model import base_folder, load, save

FROZEN = "bert.embeddings.word_embeddings.weight"
REPORT = "training.json"  # what `release` found, beside a release
CALIBRATION = ("scale", "offset")


def pack(folder: Path, path: Path) -> None:
    """Write the weights of the model in ``folder`` to ``path``, fp16, half the model's size.

    :raises ValueError: if a bi-encoder is beside it: that release is JSON, written by hand.
    """
    model = load(folder)
    if getattr(model.config, "similarity", None):
        raise ValueError(f"{folder} has a bi-encoder beside it: pack the cross-encoder's release")
    state = model.state_dict()
    kept = {name: tensor.half().contiguous() for name, tensor in state.items() if name != FROZEN}
    calibration = {name: repr(value) for name, value in _calibration(folder).items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(kept, path, metadata=calibration)


def unpack(path: Path, folder: Path) -> None:
    """Write the model that was packed at ``path`` to ``folder``, as ``release`` wrote it.

    :raises ValueError: if the file does not hold all of a model's other weights.
    """
    similarity = 0.0
    if path.suffix == ".json":
        beside = json.loads(path.read_text())
        model, calibration = _unpacked(path.with_name(beside["cross_encoder"]))
        calibrate.undo(model, **calibration)
        similarity, calibration = beside["similarity"], {n: beside[n] for n in CALIBRATION}
        calibrate.apply(model, **calibration)
    else:
        model, calibration = _unpacked(path)
    save(model, folder, similarity)
    (folder / REPORT).write_text(json.dumps(calibration) + "\n")
    shutil.copyfile(path.with_suffix(".md"), folder / "README.md")


def _unpacked(path: Path) -> tuple[BertForSequenceClassification, dict[str, float]]:
    """Return a packed model and its calibration."""
    state = load_file(path)
    layers = 1 + max(int(n) for n in re.findall(r"layer\.(\d+)\.", " ".join(state)))
    model = load(base_folder(), layers=layers)
    found = model.load_state_dict(state, strict=False)
    if found.missing_keys != [FROZEN] or found.unexpected_keys:
        raise ValueError(f"{path} is no packed model: {found}")
    with safe_open(path, "pt") as file:
        return model, {name: float(file.metadata()[name]) for name in CALIBRATION}


def load_to_train(folder: Path) -> BertForSequenceClassification:
    """Return the release in ``folder`` with its calibration undone."""
    model = load(folder)
    calibrate.undo(model, **_calibration(folder))
    return model


def _calibration(folder: Path) -> dict[str, float]:
    report = json.loads((folder / REPORT).read_text())
    return {name: report[name] for name in CALIBRATION}
