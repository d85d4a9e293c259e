"""Where a result goes: its file, its directory's report, a comparison with an older one."""

import json
from pathlib import Path

from .compare import compare
from .errors import BenchmarkError
from .report import Result, read_result, write_report

ANY = ""  # name of a result that every other is compared with; no file has it


def read_results(path: Path | None) -> dict[str, Result]:
    """Return the results by name in a directory, or the one in a file as ANY; none for None.

    :raises BenchmarkError: if there is no such path, or a file of it is no result.
    """
    if path is None:
        return {}
    if not path.exists():
        raise BenchmarkError(f"--compare {path}: there is no such file or directory")
    if path.is_dir():
        return {file.stem: read_result(file) for file in sorted(path.glob("*.json"))}
    return {ANY: read_result(path)}


def store(result: Result, name: str, directory: Path, old: dict[str, Result]) -> None:
    """Write the result as `NAME.json` and the report anew, and print its ratios to `old`'s."""
    path = directory / f"{name}.json"
    directory.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=1) + "\n")
    write_report(directory)
    print(f"{path} and its tables in {directory / 'README.md'}")
    before = old.get(name, old.get(ANY))
    if before:
        print(compare(before, result))
    elif old:
        print(f"nothing to compare {name} with: there is {', '.join(old)}")
