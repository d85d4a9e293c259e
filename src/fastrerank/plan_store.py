"""Plans that `fastrerank tune` measured, kept in the user's cache directory.

A plan holds for one bundle, processor, number of cores and set of versions.
"""

import hashlib
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from .cores import usable_cores
from .manifest import Manifest
from .plan import Plan
from .processor import this_processor

_MOST = 1 << 16  # of threads, of tokens a batch


def stored_plans(manifest: Manifest) -> list[Plan]:
    """Return the plans measured for this bundle on this machine, best first; none if unreadable.

    A broken file is as good as none: plans change the speed, never whether a model loads.
    """
    try:
        if not _directory().is_dir():
            return []  # nothing was ever tuned here: spare every load the hashing of its facts
        path = plan_path(manifest)
        if not path.is_file():  # a pipe would be waited for
            return []
        text = path.read_text(encoding="utf-8")
        return [_plan(entry) for entry in json.loads(text)["plans"]]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return []


def store_plans(manifest: Manifest, plans: Sequence[Plan]) -> Path:
    """Write the plans, best first, and return the file.

    :raises OSError: if there is no cache directory, or it cannot be written to.
    """
    path = plan_path(manifest)
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"of": _facts(manifest), "plans": [asdict(plan) for plan in plans]}
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        unfinished = Path(folder) / path.name
        unfinished.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        unfinished.replace(path)
    return path


def plan_path(manifest: Manifest) -> Path:
    """Return the file of a bundle on this machine with these versions."""
    text = json.dumps(_facts(manifest), sort_keys=True)
    return _directory() / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.json"


def cache_directory() -> Path:
    """Return the user's directory for what fastrerank can make again.

    :raises FileNotFoundError: if the user has no home directory and none is set.
    """
    if os.environ.get("XDG_CACHE_HOME"):
        base = Path(os.environ["XDG_CACHE_HOME"])
    elif sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or _home() / "AppData/Local")
    elif sys.platform == "darwin":
        base = _home() / "Library/Caches"
    else:
        base = _home() / ".cache"
    return base / "fastrerank"


def _home() -> Path:
    try:
        return Path.home()
    except RuntimeError as error:
        raise FileNotFoundError(
            "this user has no home directory: set XDG_CACHE_HOME to a folder for plans"
        ) from error


def _directory() -> Path:
    return cache_directory() / "plans"


def _facts(manifest: Manifest) -> dict[str, object]:
    """Return all that a measured plan depends on."""
    return {
        "bundle": hashlib.sha256(manifest.to_json().encode()).hexdigest(),
        # Both: clouds give different processors one name.
        "processor": [this_processor().name, *sorted(this_processor().flags)],
        "cores": usable_cores(),
        "versions": {name: _version(name) for name in ("fastrerank", "onnxruntime", "openvino")},
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _plan(entry: dict[str, object]) -> Plan:
    """Return the plan of a stored entry.

    :raises TypeError: if a field is missing or unknown.
    :raises ValueError: if a number is none of a plan.
    """
    plan = Plan(**entry)  # type: ignore[arg-type]
    for number in (plan.threads, plan.token_budget, plan.length_multiple):
        if type(number) is not int or not 1 <= number <= _MOST:
            raise ValueError(f"{number!r} is no whole number from 1 to {_MOST}")
    return plan
