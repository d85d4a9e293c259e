"""What is made of a checkpoint for each system."""

import json

import pytest

from benchmarks.errors import BenchmarkError
from benchmarks.models import checkpoint_hash, model_directories


@pytest.fixture
def checkpoint(tmp_path):
    for name in ("model.safetensors", "tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).write_text(name)
    stated = {"folder": "bi-encoder", "weight": 5.0}
    (tmp_path / "config.json").write_text(json.dumps({"similarity": stated}))
    (tmp_path / "bi-encoder").mkdir()
    (tmp_path / "bi-encoder/model.safetensors").write_text("vectors")
    return tmp_path


def test_peers_are_not_given_what_they_would_compute_a_part_of(checkpoint):
    with pytest.raises(BenchmarkError, match="cross-encoder alone"):
        model_directories(checkpoint, {"bundle", "checkpoint"})


def test_other_weights_of_either_network_are_another_checkpoint(checkpoint):
    hashes = {checkpoint_hash(checkpoint)}
    weights = ("model.safetensors", "bi-encoder/model.safetensors")
    texts = ("config.json", "bi-encoder/config.json", "vocab.txt", "special_tokens_map.json")
    for name in weights + texts:
        (checkpoint / name).write_text("other")
        hashes.add(checkpoint_hash(checkpoint))
    assert len(hashes) == 7


def test_a_checkpoint_that_is_not_there_is_said_before_anything_is_made(tmp_path):
    with pytest.raises(FileNotFoundError):
        model_directories(tmp_path / "nowhere", {"bundle"})
