"""What users and installers see: names, import cost, the README's code."""

import re
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest

import fastrerank

ROOT = Path(__file__).parent.parent


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
    tops = {"fastrerank": ROOT / "src/fastrerank", "fastrerank.export": ROOT / "export"}
    found = {
        ".".join((name, *path.parent.relative_to(top).parts))
        for name, top in tops.items()
        for path in top.rglob("__init__.py")
    }
    assert set(tools["packages"]) == found | {"fastrerank.models"}  # which holds no module


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
    loaded = loaded_modules(
        "import fastrerank; fastrerank.Reranker(runtime='onnxruntime').rerank('q', ['d'])"
    )
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
    exec(compile(code, f"README block {number}", "exec"), {"__name__": "readme"})


def test_the_first_example_prints_what_the_readme_says(capsys):
    first = readme_blocks()[0]
    text = (ROOT / "README.md").read_text()
    printed = re.search(r"```\n(.*?)```", text[text.index(first) + len(first) + 3 :], re.DOTALL)[1]
    exec(compile(first, "README block 0", "exec"), {"__name__": "readme"})
    found = [line.split() for line in capsys.readouterr().out.splitlines()]
    expected = [line.split() for line in printed.splitlines()]
    assert [index for index, _ in found] == [index for index, _ in expected]
    # The last digits of an int8 score depend on the processor.
    for (_, score), (_, shown) in zip(found, expected, strict=True):
        assert abs(float(score) - float(shown)) < 0.06
