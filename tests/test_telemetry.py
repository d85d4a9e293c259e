"""What the package says of itself: nothing leaves the process."""

import os
import subprocess
import sys
from importlib.util import find_spec
from types import SimpleNamespace

import pytest

from fastrerank.telemetry import VARIABLE, openvino_silenced, silence_onnxruntime

PROGRAM = """
from pathlib import Path
from fastrerank import Reranker

with Reranker(threads=1, runtime="{runtime}") as reranker:
    reranker.rerank("animals of Peru", ["llamas"])
print(list(Path.home().iterdir()))
"""


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("before", ["", "import fastrerank.export"])
def test_the_runtimes_report_nothing_and_leave_no_id(tmp_path, runtime, before):
    """Left to themselves, both send events and keep an id at home."""
    if find_spec(runtime) is None:
        pytest.skip(f"pip install 'fastrerank[{runtime}]'")
    # Where one of these is set, they keep still of themselves.
    quiet = {VARIABLE, "XDG_CACHE_HOME", "CI", "GITHUB_ACTIONS", "PYTEST_CURRENT_TEST"}
    environment = {name: value for name, value in os.environ.items() if name not in quiet}
    done = subprocess.run(
        [sys.executable, "-c", before + PROGRAM.replace("{runtime}", runtime)],
        env={**environment, "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_the_first_models_of_a_process_can_be_loaded_by_threads_at_once(runtime):
    if find_spec(runtime) is None:
        pytest.skip(f"pip install 'fastrerank[{runtime}]'")
    program = f"""
from concurrent.futures import ThreadPoolExecutor
from fastrerank import Reranker

with ThreadPoolExecutor(4) as pool:
    loads = [pool.submit(Reranker, "small", runtime="{runtime}", threads=1) for _ in range(4)]
print([load.result().runtime for load in loads])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == f"{[runtime] * 4}\n", done.stderr


def test_who_has_imported_onnx_runtime_already_is_kept_still(monkeypatch):
    calls = []
    loaded = SimpleNamespace(disable_telemetry_events=lambda: calls.append("off"))
    monkeypatch.setitem(sys.modules, "onnxruntime", loaded)
    monkeypatch.setenv(VARIABLE, "0")
    silence_onnxruntime()
    assert (calls, os.environ[VARIABLE]) == ([], "0")  # the user's own choice
    monkeypatch.delenv(VARIABLE)
    silence_onnxruntime()
    assert (calls, os.environ[VARIABLE]) == (["off"], "1")


def test_the_package_that_openvino_reports_through_is_hidden_for_the_import_alone(monkeypatch):
    for known in (None, SimpleNamespace()):
        monkeypatch.delitem(sys.modules, "openvino_telemetry", raising=False)
        if known:
            monkeypatch.setitem(sys.modules, "openvino_telemetry", known)
        with openvino_silenced(), pytest.raises(ImportError):
            import openvino_telemetry  # noqa: F401
        assert sys.modules.get("openvino_telemetry") is known
