import json
from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.fixture
def stored():
    """A result as `run` stored it, cut down to three systems and two rounds."""
    return json.loads((HERE / "stored/passages-100.json").read_text())


@pytest.fixture
def data():
    from benchmarks.paths import data_directory

    try:
        return data_directory()
    except FileNotFoundError as error:
        pytest.skip(str(error))
