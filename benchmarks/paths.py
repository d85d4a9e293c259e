"""Where the benchmark reads and writes."""

import os
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
RESULTS = HERE / "results"
PARTIAL_RESULTS = ROOT / "build/benchmarks"  # ignored by git
REQUIREMENTS = HERE / "requirements"
ENVIRONMENTS = HERE / ".envs"  # ignored by git, as is what follows
MODELS = ENVIRONMENTS / "models"
RUNS = ENVIRONMENTS / "runs"


def data_directory() -> Path:
    """Return the directory of evaluation sets, checkpoint and evaluate.py.

    FASTRERANK_DATA names it; without, it lies beside the repository.

    :raises FileNotFoundError: if it is not there.
    """
    path = Path(os.environ.get("FASTRERANK_DATA", ROOT.parent / "shared/data"))
    if not (path / "evaluate.py").is_file():
        raise FileNotFoundError(
            f"no evaluation data in {path}: set FASTRERANK_DATA to the directory of evaluate.py"
        )
    return path.resolve()
