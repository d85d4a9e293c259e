"""Where things are, the bundled model, and a tiny bundle with a known answer."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from tiny import write_tiny_bundle

from fastrerank import Reranker
from fastrerank.telemetry import silence_onnxruntime

# How long an example takes is the machine's business, not the test's.
settings.register_profile(
    "any-machine", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("any-machine")

silence_onnxruntime()  # which tests import on their own

ROOT = Path(__file__).parent.parent
DATA = Path(os.environ.get("FASTRERANK_DATA", ROOT / "../shared/data"))


@pytest.fixture(scope="session")
def data() -> Path:
    if not (DATA / "eval").is_dir():
        pytest.skip(f"no evaluation data at {DATA}: set FASTRERANK_DATA to its directory")
    return DATA


@pytest.fixture(scope="session")
def reranker() -> Iterator[Reranker]:
    """The bundled model."""
    with Reranker(threads=2) as loaded:
        yield loaded


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose logit is the mean id of a pair's tokens, less 50, divided by 10."""
    return write_tiny_bundle(tmp_path_factory.mktemp("tiny"))
