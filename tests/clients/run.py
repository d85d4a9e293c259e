"""Run the tests of the official clients whose versions fit into no environment with the others.

    python tests/clients/run.py [--build DIRECTORY] [NAME ...]

Each gets an environment of its own under the build directory, kept for the next run. A client that
cannot be installed or imported is a failure.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).parents[2]
TESTS = Path(__file__).parent

# What is installed, and the tests that it is for. langchain-cohere holds cohere below 6, litellm
# holds openai below 3: the versions that most people have run in the default suite.
ENVIRONMENTS = {
    "cohere7": (["cohere>=7,<8"], "cohere", ["test_client_cohere.py"]),
    "openai3": (["openai>=3,<4"], "openai", ["test_client_openai.py"]),
}
TOOLS = ["pytest>=8", "httpx>=0.25", "uvicorn>=0.27", "starlette>=0.37"]


def main() -> int:
    """Return 0 if the tests of every environment pass."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", choices=[[], *ENVIRONMENTS], metavar="NAME")
    parser.add_argument("--build", type=Path, default=ROOT / "build" / "clients")
    args = parser.parse_args()
    failed = [name for name in args.names or ENVIRONMENTS if not run(name, args.build / name)]
    if failed:
        sys.stderr.write(f"failed: {', '.join(failed)}\n")
    return 1 if failed else 0


def run(name: str, directory: Path) -> bool:
    """Build the environment if it is not there, run its tests, and return whether they pass."""
    client, module, tests = ENVIRONMENTS[name]
    python = directory / "bin" / "python"
    if not (directory / "installed").exists():
        venv.create(directory, with_pip=True, clear=True)
        install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        if subprocess.run([*install, ROOT, *client, *TOOLS], check=False).returncode:
            return False
        (directory / "installed").touch()
    # Nothing but what these tests need is here: neither the dev environment nor its conftest.
    command = [python, "-m", "pytest", "-q", f"--confcutdir={TESTS}", *(TESTS / t for t in tests)]
    environment = {
        **os.environ,
        "FASTRERANK_REQUIRE_CLIENTS": module,
        "PYTHONPATH": str(ROOT / "src"),  # the code of now, not of when this was built
    }
    print(f"{name}: {' '.join(client)}", flush=True)  # noqa: T201
    return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode == 0


if __name__ == "__main__":
    sys.exit(main())
