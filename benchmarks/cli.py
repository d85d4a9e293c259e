"""The commands of the benchmark."""

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .errors import BenchmarkError
from .models import checkpoint_hash
from .paths import PARTIAL_RESULTS, RESULTS, data_directory
from .report import write_report
from .store import read_results, store
from .systems import SYSTEMS, System, chosen_systems
from .workloads import KINDS, make_workload

EPILOG = """examples:
  python -m benchmarks run                           all systems, all workloads
  python -m benchmarks run --quick --peers fastrerank,fastembed --workload passages-100
  python -m benchmarks run --workload long --compare benchmarks/results/long.json
  python -m benchmarks agreement                     nDCG@10 and score difference of every system
  python -m benchmarks coldstart | memory | scaling | quality
  python -m benchmarks report                        tables and plot from the stored results
"""


def main(arguments: list[str] | None = None) -> int:
    """Run a command and return its exit status: 1 if a system failed, 2 for wrong usage."""
    parser = _parser()
    options = parser.parse_args(arguments)
    cores = len(os.sched_getaffinity(0))
    if options.threads is None:
        options.threads = min(2, cores)
    if not 1 <= options.threads <= cores:
        parser.error(f"--threads {options.threads}: this process may use 1 to {cores} cores")
    if options.limit is not None and options.limit < 1:
        parser.error(f"--limit {options.limit}: pass at least 1")
    if options.output is None:
        partial = options.quick or options.limit or options.peers
        options.output = PARTIAL_RESULTS if partial else RESULTS
    try:
        options.systems = chosen_systems(options.peers)
    except ValueError as error:
        parser.error(str(error))
    try:
        options.old = read_results(options.compare)
        if options.command != "report":
            options.checkpoint = (options.checkpoint or data_directory() / "model").resolve()
        COMMANDS[options.command][0](options)
    except (BenchmarkError, FileNotFoundError) as error:
        print(f"benchmark: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure fastrerank and its peers on the same weights and requests.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    about = "; ".join(f"{name}: {text}" for name, (_, text) in COMMANDS.items())
    parser.add_argument("command", choices=COMMANDS, help=about)
    names = ", ".join(SYSTEMS)
    parser.add_argument("--peers", help=f"systems or prefixes, comma-separated: {names}")
    parser.add_argument("--workload", choices=KINDS, action="append", help="default: all")
    parser.add_argument("--threads", type=int, help="cores of a system (default: 2)")
    parser.add_argument("--quick", action="store_true", help="few requests, two rounds")
    parser.add_argument("--limit", type=int, help="queries of each set (quality, agreement)")
    parser.add_argument("--set", action="append", help="evaluation set (quality; default: all)")
    parser.add_argument("--checkpoint", type=Path, help="default: model/ of the data directory")
    parser.add_argument(
        "--output",
        type=Path,
        help="directory of the results; by default the stored ones, which a part of a benchmark"
        f" (--quick, --limit, --peers) leaves alone: it goes to {PARTIAL_RESULTS.name}/",
    )
    parser.add_argument(
        "--compare",
        type=Path,
        metavar="OLD",
        help="print ratios new : old; a result, or a directory of results by the same names",
    )
    return parser


def _run(options: argparse.Namespace) -> None:
    from .throughput import measure_throughput

    data = data_directory()
    for name in options.workload or KINDS:
        workload = make_workload(name, data, quick=options.quick)
        result = measure_throughput(workload, options.systems, options.checkpoint, options.threads)
        _store(options, name, result)


def _agreement(options: argparse.Namespace) -> None:
    from .agreement import measure_agreement

    result = measure_agreement(
        options.systems, options.checkpoint, options.threads, data_directory(), options.limit
    )
    _store(options, "agreement", result)


def _coldstart(options: argparse.Namespace) -> None:
    from .coldstart import measure_cold_start

    repeats = 2 if options.quick else 10
    result = measure_cold_start(options.systems, options.checkpoint, options.threads, repeats)
    _store(options, "coldstart", result)


def _memory(options: argparse.Namespace) -> None:
    from .memory import measure_memory

    counts = (100, 1000) if options.quick else (100, 1000, 10_000)
    result = measure_memory(_ours(options), options.checkpoint, options.threads, counts)
    _store(options, "memory", result)


def _scaling(options: argparse.Namespace) -> None:
    from .scaling import measure_scaling

    result = measure_scaling(
        _ours(options), options.checkpoint, options.threads, quick=options.quick
    )
    _store(options, "scaling", result)


def _quality(options: argparse.Namespace) -> None:
    from .quality import measure_quality

    for result in measure_quality(
        _ours(options), options.checkpoint, options.threads, options.set, options.limit
    ):
        (system,) = result["systems"]
        _store(options, f"quality-{result['model']}-{result['set']}-{system}", result)


def _report(options: argparse.Namespace) -> None:
    write_report(options.output)


def _ours(options: argparse.Namespace) -> list[System]:
    """Return the systems of --peers, of which the default here is fastrerank alone."""
    return options.systems if options.peers else chosen_systems("fastrerank")


def _store(options: argparse.Namespace, name: str, result: dict[str, Any]) -> None:
    result["environment"]["checkpoint"] = {
        "name": options.checkpoint.name,
        "sha256": checkpoint_hash(options.checkpoint),
    }
    store(result, name, options.output, options.old)


COMMANDS: dict[str, tuple[Callable[[argparse.Namespace], None], str]] = {
    "run": (_run, "documents a second, latency, memory of the systems"),
    "agreement": (_agreement, "nDCG@10 and score difference against torch in fp32"),
    "coldstart": (_coldstart, "import, load, first response"),
    "memory": (_memory, "peak at 100 to 10,000 documents"),
    "scaling": (_scaling, "documents, calling threads, cores, tokens, history"),
    "quality": (_quality, "nDCG@10 of the evaluation sets"),
    "report": (_report, "tables and plot from stored results"),
}
