"""What users and installers see: names, import cost, the README's code."""

import re
import subprocess
import sys
import tomllib
from importlib.metadata import version

import pytest
from conftest import ROOT

import fastrerank


def test_every_public_name_is_there_and_documented():
    for name in fastrerank.__all__:
        assert getattr(fastrerank, name).__doc__, name


def test_versions_agree():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert fastrerank.__version__ == project["version"] == version("fastrerank")


def test_the_base_install_is_three_packages():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = {re.match(r"[a-z]+", requirement)[0] for requirement in project["dependencies"]}
    assert names == {"numpy", "onnxruntime", "tokenizers"}


def test_every_package_is_listed_for_the_build():
    tools = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    listed = {(ROOT / path).resolve() for path in tools["package-dir"].values()}
    found = {path.parent for top in ("src", "export") for path in (ROOT / top).rglob("__init__.py")}
    assert listed == found
    assert set(tools["packages"]) == set(tools["package-dir"])


def loaded_modules(program: str) -> set[str]:
    program = f"import sys\n{program}\nprint(' '.join(sys.modules))"
    command = [sys.executable, "-W", "error", "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return set(done.stdout.split())


def test_importing_loads_no_runtime():
    loaded = loaded_modules("import fastrerank")
    assert loaded.isdisjoint({"onnxruntime", "tokenizers", "onnx", "torch", "transformers"})


def test_reranking_loads_no_torch_and_no_export_code():
    loaded = loaded_modules("import fastrerank; fastrerank.Reranker().rerank('q', ['d'])")
    heavy = {"torch", "transformers", "onnx", "optimum", "scipy", "fastrerank.export"}
    assert "onnxruntime" in loaded
    assert loaded.isdisjoint(heavy)


def readme_blocks() -> list[str]:
    text = (ROOT / "README.md").read_text()
    return re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)


@pytest.mark.parametrize("number", range(len(readme_blocks())))
def test_the_readme_code_runs(number, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    code = readme_blocks()[number]
    if "# needs" in code:
        pytest.skip(
            f"block {number} says what it needs: {code.split('# needs')[1].splitlines()[0]}"
        )
    exec(compile(code, f"README block {number}", "exec"), {"__name__": "readme"})


def test_the_readme_has_code():
    assert readme_blocks()
