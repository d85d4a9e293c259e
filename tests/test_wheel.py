"""The wheel, built and installed into environments of their own."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

pytestmark = pytest.mark.slow


def run(*command: object, **options) -> subprocess.CompletedProcess[str]:
    # Nothing of the environment that runs the tests may leak into the one that is tested.
    kept = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    return subprocess.run(
        [str(part) for part in command],
        env={**kept, "PYTHONNOUSERSITE": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"},
        capture_output=True,
        text=True,
        **options,
    )


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    directory = tmp_path_factory.mktemp("wheel")
    done = run(sys.executable, "-m", "build", "--outdir", directory, ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = directory.glob("*.whl")
    return path


def environment(directory: Path, *requirements: object) -> Path:
    run(sys.executable, "-m", "venv", directory, check=True)
    done = run(directory / "bin/pip", "install", "--quiet", *requirements)
    assert done.returncode == 0, done.stderr
    return directory / "bin"


@pytest.fixture(scope="module")
def base(wheel, tmp_path_factory) -> Path:
    return environment(tmp_path_factory.mktemp("base"), wheel)


def test_the_wheel_holds_the_model_and_maps_export(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert "fastrerank/models/default.int8.onnx" in names
    assert "fastrerank/export/pipeline.py" in names
    assert "fastrerank/py.typed" in names
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"fastrerank"}
    assert wheel.stat().st_size < 35 * 2**20


def test_the_base_install_reranks_verifies_and_has_nothing_heavy(base, tmp_path):
    (tmp_path / "documents.txt").write_text("llamas live in Peru\nbread is baked\n")
    done = run(base / "fastrerank", "rerank", "-q", "animals of Peru", tmp_path / "documents.txt")
    assert json.loads(done.stdout)["results"][0]["index"] == 0
    assert run(base / "fastrerank", "verify").returncode == 0
    installed = json.loads(run(base / "pip", "list", "--format", "json").stdout)
    names = {package["name"] for package in installed}
    assert names.isdisjoint({"torch", "transformers", "onnx", "scipy", "optimum"})


def test_exporting_without_the_extra_names_the_pip_line(base, tmp_path):
    done = run(base / "fastrerank", "export", tmp_path, tmp_path / "bundle")
    assert done.returncode == 1
    assert "pip install 'fastrerank[export]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_export_extra_exports_from_the_wheel(wheel, data, tmp_path):
    binaries = environment(tmp_path / "env", f"{wheel}[export]", "-c", ROOT / "constraints.txt")
    output = tmp_path / "bundle"
    done = run(binaries / "fastrerank", "export", data / "model", output, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert run(binaries / "fastrerank", "verify", output).returncode == 0
