"""Tables, in Markdown, from stored results."""

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from .errors import BenchmarkError
from .workloads import KINDS

Result = dict[str, Any]
MIB = 2**20
HEAD = """# Results

Made by `python -m benchmarks report` from the JSON files beside this one; do not edit by hand.
"""


def write_report(directory: Path) -> None:
    """Write README.md of all results in the directory, and the plot of each throughput result."""
    results = {path.stem: read_result(path) for path in directory.glob("*.json")}
    (directory / "README.md").write_text(report(results), encoding="utf-8")
    for name, result in results.items():
        if result["kind"] == "throughput":
            from .plot import draw_throughput

            draw_throughput(result, directory / f"{name}.svg")


def read_result(path: Path) -> Result:
    """Return a stored result.

    :raises BenchmarkError: if the file holds none.
    """
    try:
        result: Result = json.loads(path.read_text())
        result["kind"]
    except (ValueError, TypeError, KeyError) as error:
        raise BenchmarkError(f"{path} is no result of this benchmark: {error!r}") from error
    return result


def report(results: dict[str, Result]) -> str:
    """Return the report of results by name, in the order of a reader's questions."""
    parts = [HEAD]
    order = [*KINDS, "agreement", "coldstart", "memory", "scaling"]
    known = [name for name in order if name in results]
    for name in known:
        result = results[name]
        parts.append(SECTIONS[result["kind"]](result))
    quality = [results[name] for name in sorted(results) if results[name]["kind"] == "quality"]
    if quality:
        parts.append(_quality(quality))
    return "\n".join(parts)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table; the first column is text, the others are figures."""
    lines = [" | ".join(head), " | ".join(["---"] + ["---:"] * (len(head) - 1))]
    return "\n".join(f"| {line} |" for line in [*lines, *(" | ".join(row) for row in rows)]) + "\n"


def measured_on(environment: dict[str, Any]) -> str:
    """Return one line on machine, commit and date."""
    processor = environment["processor"]
    flags = ", ".join(processor["flags"])
    changed = " with changes" if environment["changed"] else ""
    return (
        f"{processor['name']} (family {processor['family']}, model {processor['model']}; {flags}),"
        f" {environment['threads']} of {environment['cores']} cores,"
        f" {environment['memory_gib']} GiB, Python {environment['python']},"
        f" commit {environment['commit']}{changed}, {environment['date']},"
        f" load before the run {environment['load_before']}.\n"
    )


def fastest_peer(systems: dict[str, Result]) -> float | None:
    """Return documents a second of the fastest system that is not ours."""
    rates = [f["docs_per_s"] for name, f in systems.items() if not name.startswith("fastrerank")]
    return max(rates, default=None)


def throughput_table(result: Result) -> str:
    """Return the table of one workload, fastest system first."""
    operations = result["workload"]["operations_per_doc"]
    peer = fastest_peer(result["systems"])
    rows = []
    for figures in sorted(result["systems"].values(), key=lambda f: -f["docs_per_s"]):
        rate = figures["docs_per_s"]
        spread = f"{figures['docs_per_s_low']:.0f}-{figures['docs_per_s_high']:.0f}"
        difference = figures.get("difference")
        rows.append(
            [
                figures["label"],
                f"**{rate:.0f}** ({spread})",
                f"{rate / peer:.2f}" if peer else "",
                f"{figures['p50_ms']:.0f}",
                f"{figures['p95_ms']:.0f}",
                f"{figures['cpu_ms_per_doc']:.1f}",
                f"{figures['peak_rss'] / MIB:.0f}",
                f"{figures['install_bytes'] / MIB:.0f}",
                f"{100 * rate * operations / result['peak']['fp32']:.0f} %",
                f"{difference['relevance_largest']:.4f}" if difference else "",
            ]
        )
    head = [
        "system",
        "docs/s (slowest-fastest round)",
        "to fastest peer",
        "p50 ms",
        "p95 ms",
        "CPU ms/doc",
        "peak MiB",
        "install MiB",
        "of fp32 peak",
        "largest difference",
    ]
    return table(head, rows)


def _command(result: Result, kind: str) -> str:
    """Return the command that made the result; the first ones stored did not say theirs."""
    return str(result["environment"].get("command", f"python -m benchmarks {kind}"))


def _throughput(result: Result) -> str:
    workload, peak = result["workload"], result["peak"]
    kind = f"run {'--quick ' if workload['quick'] else ''}--workload {workload['name']}"
    text = (
        f"## {workload['about']}\n\n"
        f"![documents a second]({workload['name']}.svg)\n\n"
        f"`{_command(result, kind)}`:"
        f" {workload['requests']} requests, {workload['documents']} documents of"
        f" {workload['tokens_mean']:.0f} tokens on average (with their query; largest"
        f" {workload['tokens_largest']}), {workload['rounds']} rounds.\n\n"
    )
    arithmetic = (
        f'\n"Of fp32 peak": the model as exported needs'
        f" {workload['operations_per_doc'] / 1e9:.2f} GFLOP a document; the processor's fp32 matrix"
        f" product reached {peak['fp32'] / 1e9:.0f} GFLOP/s just before the run (bf16"
        f" {peak['bf16'] / 1e9:.0f}, int8 {peak['int8'] / 1e9:.0f}). A system in int8 or bf16 can"
        " exceed 100 % of that, and one that leaves out work which no score depends on is credited"
        ' with it. "Largest difference": of relevance (0-1) from torch in fp32.\n\n'
    )
    return text + throughput_table(result) + arithmetic + measured_on(result["environment"])


def _agreement(result: Result) -> str:
    rows = [
        [
            figures["label"],
            f"{figures['ndcg']:.4f}",
            f"{figures['relevance_largest']:.4f}",
            f"{figures['relevance_mean']:.5f}",
            f"{figures['logit_largest']:.4f}",
            f"{figures['logit_mean']:.5f}",
        ]
        for figures in result["systems"].values()
    ]
    head = [
        "system",
        "nDCG@10",
        "largest relevance difference",
        "mean",
        "largest logit difference",
        "mean",
    ]
    return (
        f"## Agreement with torch in fp32 on {result['set']}\n\n`{_command(result, 'agreement')}`:"
        f" {result['queries']} queries.\n\n{table(head, rows)}\n"
        f"{measured_on(result['environment'])}"
    )


def _coldstart(result: Result) -> str:
    rows = [
        [
            figures["label"],
            f"{figures['first_response_s']:.2f}",
            f"{figures['import_s']:.3f}",
            f"{figures['load_s']:.3f}",
            f"{1000 * figures['score_s']:.0f}",
            f"{figures['peak_rss'] / MIB:.0f}",
        ]
        for figures in result["systems"].values()
    ]
    head = [
        "system",
        "process start to first response s",
        "import s",
        "load s",
        "10 documents ms",
        "peak MiB",
    ]
    return (
        f"## Cold start\n\n`{_command(result, 'coldstart')}`: medians of"
        f" {result['repeats']} fresh processes.\n\n{table(head, rows)}\n"
        f"{measured_on(result['environment'])}"
    )


def _memory(result: Result) -> str:
    rows = [
        [
            f"{figures['label']}, {row['documents']:,}",
            *(f"{row[key] / MIB:.0f}" for key in ("loaded", "peak", "after")),
        ]
        for figures in result["systems"].values()
        for row in figures["rows"]
    ]
    head = ["documents a call", "before, MiB", "peak, MiB", "after, MiB"]
    return (
        f"## Memory\n\n`{_command(result, 'memory')}`: one call, documents of {result['tokens']}"
        " tokens; resident memory of the process, the documents included.\n\n"
        f"{table(head, rows)}\n{measured_on(result['environment'])}"
    )


# The rows' name, that of their first column with its title, and the columns of figures.
_SCALING = (
    ("documents", "documents", "documents a call", ("docs_per_s",)),
    ("callers", "callers", "calling threads", ("docs_per_s",)),
    ("cores", "threads", "cores", ("docs_per_s",)),
    ("history", "long_documents", "documents of 512 tokens, in one call before", ("docs_per_s",)),
    ("tokens", "tokens", "tokens a pair", ("docs_per_s", "tokens_per_s", "attention_share")),
)


def _scaling(result: Result) -> str:
    parts = [f"## Scaling\n\n`{_command(result, 'scaling')}`\n"]
    for figures in result["systems"].values():
        parts.append(f"### {figures['label']}\n")
        for name, key, title, columns in _SCALING:
            if name not in figures:
                continue  # the Zen 4 was measured before there was a history
            titles = [column.replace("_per_s", "/s").replace("_", " ") for column in columns]
            cells = [[f"{r[key]:,}", *(f"{r[c]:,g}" for c in columns)] for r in figures[name]]
            parts.append(table([title, *titles], cells))
    return "\n".join([*parts, measured_on(result["environment"])])


def _quality(results: list[Result]) -> str:
    cells: dict[tuple[str, int], dict[str, str]] = {}  # set and queries -> column -> figure
    for r in results:
        row = cells.setdefault((r["set"], r["queries"]), {"first stage": f"{r['first_stage']:.4f}"})
        for system in r["systems"].values():
            row[f"{r['model']}, {system['label']}"] = f"{system['ndcg']:.4f}"
    found = {column for row in cells.values() for column in row}
    columns = sorted(found, key=lambda column: (column != "first stage", column))
    last = max((r["environment"] for r in results), key=lambda environment: environment["date"])
    rows = [
        [name, str(queries), *(row.get(column, "") for column in columns)]
        for (name, queries), row in cells.items()
    ]
    return (
        "## nDCG@10\n\n`python -m benchmarks quality --checkpoint CHECKPOINT`, by evaluate.py.\n\n"
        f"{table(['set', 'queries', *columns], rows)}\n"
        f"The machine of each figure is in its file; the last was measured on:\n\n"
        f"{measured_on(last)}"
    )


SECTIONS: dict[str, Callable[[Result], str]] = {
    "throughput": _throughput,
    "agreement": _agreement,
    "coldstart": _coldstart,
    "memory": _memory,
    "scaling": _scaling,
}
