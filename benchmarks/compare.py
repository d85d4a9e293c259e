"""Ratios of two results of the same kind."""

from collections.abc import Iterator
from typing import Any

# What is compared, and whether more of it is better.
FIGURES = {
    "docs_per_s": True,
    "p50_ms": False,
    "p95_ms": False,
    "peak_rss": False,
    "peak": False,
    "after": False,
    "load_s": False,
    "cpu_ms_per_doc": False,
    "first_response_s": False,
    "ndcg": True,
}


def compare(old: dict[str, Any], new: dict[str, Any]) -> str:
    """Return a table of the ratios new : old of every figure that both results hold.

    What was measured otherwise, and so makes the ratios say less, is listed before it.
    """
    lines = [
        f"measured otherwise: {fact} was {before}, now {now}"
        for fact, before, now in zip(_FACTS, _facts(old), _facts(new), strict=True)
        if before != now
    ]
    rows = []
    for name, system in new["systems"].items():
        before = dict(_figures(old["systems"].get(name, {})))
        rows += [
            f"{name:36} {figure:32} {_change(figure, before[figure], now)}"
            for figure, now in _figures(system)
            if figure in before
        ]
    if not rows:
        return "\n".join([*lines, "no figure of a system is in both results"])
    head = f"{'system':36} {'figure':32} {'old':>10} {'new':>10} {'new:old':>8}"
    return "\n".join([*lines, head, *rows])


def _figures(system: dict[str, Any]) -> Iterator[tuple[str, float]]:
    """Yield the figures of a system, those in rows with what their row is for: 10 documents."""
    for key, value in system.items():
        if key in FIGURES and value:
            yield key, value
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            for row in value:
                by, at = next(iter(row.items()))
                yield from ((f"{figure} {at} {by}", number) for figure, number in _figures(row))


def _change(figure: str, before: float, now: float) -> str:
    ratio = now / before
    better = (ratio > 1) == FIGURES[figure.split()[0]]
    verdict = "" if ratio == 1 else "  better" if better else "  worse"
    return f"{before:10.4g} {now:10.4g} {ratio:8.3f}{verdict}"


_FACTS = ("kind", "set", "queries", "workload", "quick", "processor", "threads", "checkpoint")


def _facts(result: dict[str, Any]) -> list[Any]:
    workload, environment = result.get("workload", {}), result["environment"]
    return [
        result["kind"],
        result.get("set"),
        result.get("queries"),
        workload.get("name"),
        workload.get("quick"),
        environment["processor"],
        environment["threads"],
        environment.get("checkpoint", {}).get("sha256"),
    ]
