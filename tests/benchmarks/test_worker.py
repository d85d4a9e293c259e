import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import fastrerank
from benchmarks.paths import HERE

BUNDLE = str(Path(fastrerank.__file__).parent / "models/default.fastrerank.json")
LOAD = {
    "op": "load",
    "adapter": "fastrerank",
    "model": BUNDLE,
    "threads": 1,
    "options": {"precision": "int8", "runtime": "onnxruntime"},
}
SCORE = {"op": "score", "query": "Where do llamas live?"}


@pytest.fixture
def ask():
    """Return a function that sends operations to one worker and returns its answers."""

    def answers(*operations):
        lines = "".join(json.dumps(operation) + "\n" for operation in operations)
        done = subprocess.run(
            [sys.executable, "-P", HERE / "worker.py"],
            input=lines,
            capture_output=True,
            text=True,
            check=True,
        )
        return [json.loads(line) for line in done.stdout.splitlines()]

    return answers


def test_scores_come_in_the_order_of_the_documents(ask):
    documents = ["Llamas live in Peru.", "Bread is baked.", "Llamas live in Peru."]
    loaded, first, turned = ask(
        LOAD,
        SCORE | {"documents": documents},
        SCORE | {"documents": [documents[1], documents[0]]},
    )
    assert loaded["ok"]["peak_rss"] >= loaded["ok"]["rss"] > 0
    scores = first["ok"]["scores"]
    assert scores[0] == scores[2] > scores[1]
    assert turned["ok"]["scores"] == pytest.approx([scores[1], scores[0]], abs=1e-3)
    assert first["ok"]["seconds"] > 0


@pytest.mark.parametrize("script", ["worker.py", "first_response.py"])
def test_scores_that_are_no_numbers_are_an_error(ask, tmp_path, script):
    (tmp_path / "broken.py").write_text(
        "class Broken:\n"
        "    def score(self, query, documents):\n"
        "        return [float('nan')] * len(documents)\n"
        "def load(model, threads):\n"
        "    return Broken()\n"
    )
    adapter = os.path.relpath(tmp_path / "broken", HERE / "peers")
    if script == "worker.py":
        _, answer = ask(LOAD | {"adapter": adapter, "options": {}}, SCORE | {"documents": ["a"]})
        assert "not finite" in answer["error"]
    else:
        command = [sys.executable, "-P", HERE / script, adapter, "m", "1", "{}"]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode != 0
        assert "no scores" in done.stderr


def test_what_fails_is_answered_with_its_error_and_the_worker_goes_on(ask):
    missing, nowhere, versions = ask(
        LOAD | {"adapter": "missing"}, LOAD | {"model": "nowhere"}, {"op": "versions"}
    )
    assert "FileNotFoundError" in missing["error"]
    assert "nowhere" in nowhere["error"]
    assert "numpy" in versions["ok"]
