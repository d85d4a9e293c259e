"""Comparing a model with what a pass returned; a small checkpoint and its bundle."""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnx", reason="needs the export extra")


@pytest.fixture
def run():
    from encoders import run_model

    return run_model


@pytest.fixture
def assert_same(run):
    """Fails unless two models agree to 1e-5 on every input given."""

    def check(before, after, *inputs):
        for item in inputs:
            expected = run(before, item)
            assert np.abs(expected).max() > 0
            np.testing.assert_allclose(run(after, item), expected, atol=1e-5, rtol=0)

    return check


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory) -> Path:
    from checkpoints import save_checkpoint

    return save_checkpoint(tmp_path_factory.mktemp("checkpoint"))


@pytest.fixture(scope="session")
def bundle(checkpoint, tmp_path_factory) -> Path:
    from checkpoints import export

    output = tmp_path_factory.mktemp("bundles") / "bundle"
    export(checkpoint, output)
    return output
