"""What the package says of itself: nothing leaves the process."""

import os
import subprocess
import sys
from types import SimpleNamespace

import pytest

from fastrerank.telemetry import VARIABLE, switch_off

PROGRAM = """
from pathlib import Path
from fastrerank import Reranker

with Reranker(threads=1, runtime="onnxruntime") as reranker:
    reranker.rerank("animals of Peru", ["llamas"])
print(list(Path.home().iterdir()))
"""


@pytest.mark.parametrize("before", ["", "import fastrerank.export"])
def test_onnx_runtime_reports_nothing_and_leaves_no_device_id(tmp_path, before):
    """Switched on, it starts a thread that uploads, and keeps an id and a database at home."""
    # Where one of these is set, it keeps still of itself.
    quiet = {VARIABLE, "XDG_CACHE_HOME", "CI", "GITHUB_ACTIONS", "PYTEST_CURRENT_TEST"}
    environment = {name: value for name, value in os.environ.items() if name not in quiet}
    done = subprocess.run(
        [sys.executable, "-c", f"{before}{PROGRAM}"],
        env={**environment, "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr


def test_who_has_imported_onnx_runtime_already_is_kept_still(monkeypatch):
    calls = []
    loaded = SimpleNamespace(disable_telemetry_events=lambda: calls.append("off"))
    monkeypatch.setitem(sys.modules, "onnxruntime", loaded)
    monkeypatch.setenv(VARIABLE, "0")
    switch_off()
    assert (calls, os.environ[VARIABLE]) == ([], "0")  # the user's own choice
    monkeypatch.delenv(VARIABLE)
    switch_off()
    assert (calls, os.environ[VARIABLE]) == (["off"], "1")
