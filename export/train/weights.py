"""A released model as one small file: all but what training leaves alone, its start's.

Its card lies beside it, as ``NAME.md``. In the file's metadata are scale and offset of its
calibration, for training that goes on from there, and the weight of its similarity.
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
STATED = (*CALIBRATION, "similarity")


def pack(folder: Path, path: Path) -> None:
    """Write the weights of the model in ``folder`` to ``path``, fp16, half the model's size."""
    state = load(folder).state_dict()
    kept = {name: tensor.half().contiguous() for name, tensor in state.items() if name != FROZEN}
    metadata = {name: repr(value) for name, value in _stated(folder).items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(kept, path, metadata=metadata)


def unpack(path: Path, folder: Path) -> None:
    """Write the model that was packed at ``path`` to ``folder``, as ``release`` wrote it.

    :raises ValueError: if the file does not hold all of a model's other weights.
    """
    state = load_file(path)
    layers = 1 + max(int(n) for n in re.findall(r"layer\.(\d+)\.", " ".join(state)))
    model = load(base_folder(), layers=layers)
    found = model.load_state_dict(state, strict=False)
    if found.missing_keys != [FROZEN] or found.unexpected_keys:
        raise ValueError(f"{path} is no packed model: {found}")
    with safe_open(path, "pt") as file:
        stated = {name: float(value) for name, value in file.metadata().items()}
    save(model, folder, stated["similarity"])
    (folder / REPORT).write_text(json.dumps(stated) + "\n")
    shutil.copyfile(path.with_suffix(".md"), folder / "README.md")


def load_to_train(folder: Path) -> BertForSequenceClassification:
    """Return the release in ``folder`` with its calibration undone."""
    model, stated = load(folder), _stated(folder)
    calibrate.undo(model, *(stated[name] for name in CALIBRATION))
    return model


def _stated(folder: Path) -> dict[str, float]:
    report = json.loads((folder / REPORT).read_text())
    return {name: report[name] for name in STATED}
