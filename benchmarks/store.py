"""Where a result goes: its file, its directory's report, a comparison with an older one."""

import json
from pathlib import Path
from typing import Any

from .compare import compare
from .report import write_report


def store(result: dict[str, Any], name: str, directory: Path, old: Path | None = None) -> None:
    """Write the result as `NAME.json` and the report anew, and print the ratios to `old`.

    `old` is a stored result, or a directory where one of the same name may lie; it may be the one
    that is overwritten.

    :raises ValueError: if `old` is of another kind, set or workload; the result is written.
    """
    path = directory / f"{name}.json"
    if old is not None and old.is_dir():
        old /= path.name
    before = json.loads(old.read_text()) if old is not None and old.exists() else None
    directory.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=1) + "\n")
    write_report(directory)
    print(f"{path} and its tables in {directory / 'README.md'}")
    if before is not None:
        print(compare(before, result))
    elif old is not None:
        print(f"nothing to compare with: there is no {old}")
