"""What is installed decides what can be used: the base alone speaks every API."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from fastrerank.cli import main
from fastrerank.commands import serve
from fastrerank.errors import InvalidRequestError

SOURCE = str(Path(__file__).parents[2] / "src")
BLOCK = "import sys\nfor name in {blocked!r}: sys.modules[name] = None\n"


def python(program: str, *blocked: str) -> str:
    """Run a program for which these packages are not installed; return what it prints."""
    return subprocess.run(
        [sys.executable, "-c", BLOCK.format(blocked=blocked) + program],
        env={"PYTHONPATH": SOURCE},
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def test_handle_needs_the_base_alone():
    program = (
        "from fastrerank.api import handle, routes\n"
        "print(handle(None, 'cohere', {'query': 1}), routes.route('', '/v2/rerank')[1])"
    )
    printed = python(program, "httpx", "anyio", "pydantic", "starlette", "uvicorn", "jsonschema")
    assert printed == "(400, {'message': 'model is required'}) True\n"


@pytest.mark.parametrize(
    ("use", "blocked", "extra"),
    [
        ("import fastrerank.transport", "httpx", "httpx"),
        ("import fastrerank.asgi", "starlette", "serve"),
        ("from fastrerank.commands import serve\n    serve.run(None)", "uvicorn", "serve"),
    ],
)
def test_a_missing_extra_says_how_to_install_it(use, blocked, extra):
    program = (
        "from fastrerank.errors import MissingExtraError\n"
        f"try:\n    {use}\n"
        "except MissingExtraError as error:\n    print(error)"
    )
    assert f"pip install 'fastrerank[{extra}]'" in python(program, blocked)


@pytest.mark.parametrize(
    ("models", "loaded"),
    [
        ([], "default"),
        (["path/to/bundle"], "path/to/bundle"),
        (["a=path/to/bundle"], {"a": "path/to/bundle"}),
        (["a=one", "path/to/two"], {"a": "one", "two": "path/to/two"}),
    ],
)
def test_the_bundles_of_the_command(models, loaded):
    assert serve._loaded(models, lambda bundle="default": bundle) == loaded


def test_every_option_reaches_the_model_the_application_or_the_server(monkeypatch):
    passed = {}
    for name in (
        "fastrerank.commands.arguments.Reranker",
        "fastrerank.asgi.create_app",
        "uvicorn.run",
    ):
        monkeypatch.setattr(name, lambda *_, **options: passed.update(options))
    monkeypatch.setenv(serve.KEY_VARIABLE, " secret\n")
    options = {
        "precision": "fp32",
        "runtime": "onnxruntime",
        "threads": 3,
        "max_length": 9,
        "window": 8,
        "api": "tei",
        "concurrency": 5,
        "port": 9000,
    }
    arguments = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
    assert main(["serve", *arguments, "--max-request-mib=4"]) == 0
    assert passed == {
        **options,
        "api_key": "secret",
        "max_request_bytes": 4 * 2**20,
        "host": "127.0.0.1",
        "timeout_graceful_shutdown": 30,
        "limit_concurrency": serve.MAX_CONNECTIONS,
    }


def test_a_name_is_served_once():
    with pytest.raises(InvalidRequestError, match="NAME=BUNDLE"):
        serve._loaded(["a/model", "b/model"], lambda bundle: bundle)
