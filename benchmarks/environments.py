"""A virtual environment a requirements file, made once and kept."""

import hashlib
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

from .errors import BenchmarkError
from .paths import ENVIRONMENTS, REQUIREMENTS, ROOT

# Environments into which this checkout is installed, afresh whenever its source changes.
WITH_FASTRERANK = ("fastrerank", "fastrerank-openvino", "export")
_NOT_COUNTED = ("pip", "setuptools", "pkg_resources", "_distutils_hack", "__pycache__")


@cache
def environment_python(name: str) -> Path:
    """Return the interpreter of the environment, which is made if need be.

    :raises BenchmarkError: if its packages cannot be installed.
    """
    directory = ENVIRONMENTS / name
    python = directory / "bin/python"
    requirements = REQUIREMENTS / f"{name}.txt"
    without = REQUIREMENTS / f"{name}.without.txt"  # what a package wants but does not need
    wanted = _hash([file for file in (requirements, without) if file.is_file()]) + sys.version
    if _changed(directory / "installed", wanted):
        shutil.rmtree(directory, ignore_errors=True)
        _run(name, [sys.executable, "-m", "venv", str(directory)])
        _run(name, _pip(python, "-r", str(requirements)))
        if without.is_file():
            _run(name, [str(python), "-m", "pip", "uninstall", "-q", "-y", "-r", str(without)])
        (directory / "installed").write_text(wanted)
    source = source_hash("src", "export") + _hash([ROOT / "pyproject.toml"])
    if name in WITH_FASTRERANK and _changed(directory / "source", source):
        # Modules of an old build would get into the new wheel.
        shutil.rmtree(ROOT / "build/lib", ignore_errors=True)
        _run(name, _pip(python, "--no-deps", "--force-reinstall", str(ROOT)))
        (directory / "source").write_text(source)
    return python


def site_packages(python: Path) -> Path:
    """Return the directory of an environment's packages."""
    return next((python.parent.parent / "lib").glob("python3*/site-packages"))


def install_size(python: Path) -> int:
    """Return the bytes of an environment's packages, without pip and compiled bytecode."""
    top = site_packages(python)
    return sum(
        file.lstat().st_size
        for entry in top.iterdir()
        if not entry.name.startswith(_NOT_COUNTED)
        for file in ([entry] if entry.is_file() else entry.rglob("*"))
        if file.is_file() and "__pycache__" not in file.parts
    )


def source_hash(*tops: str) -> str:
    """Return a hash of these files, and of those in these directories, of the repository."""
    return _hash(
        [
            path
            for top in tops
            for path in [ROOT / top, *sorted((ROOT / top).rglob("*"))]
            if path.is_file() and "__pycache__" not in path.parts and "egg-info" not in str(path)
        ]
    )


def _hash(files: list[Path]) -> str:
    digest = hashlib.sha256()
    for file in files:
        digest.update(str(file.relative_to(ROOT)).encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()


def _changed(stamp: Path, value: str) -> bool:
    return not stamp.is_file() or stamp.read_text() != value


def _pip(python: Path, *arguments: str) -> list[str]:
    return [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check", *arguments]


def _run(name: str, command: list[str]) -> None:
    print(f"environment {name}: {' '.join(command[1:])}", file=sys.stderr, flush=True)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BenchmarkError(f"environment {name} could not be made:\n{done.stderr[-2000:]}")
