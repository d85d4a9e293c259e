"""Ratios of two results of the same kind."""

from typing import Any

# What is compared, and whether more of it is better.
FIGURES = {
    "docs_per_s": True,
    "p50_ms": False,
    "p95_ms": False,
    "peak_rss": False,
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
    lines += [f"{'system':36} {'figure':18} {'old':>10} {'new':>10} {'new:old':>8}"]
    for name, figures in new["systems"].items():
        before = old["systems"].get(name, {})
        for key, more_is_better in FIGURES.items():
            if figures.get(key) and before.get(key):
                ratio = figures[key] / before[key]
                better = (ratio > 1) == more_is_better and ratio != 1
                lines.append(
                    f"{name:36} {key:18} {before[key]:10.4g} {figures[key]:10.4g} {ratio:8.3f}"
                    f"{'' if ratio == 1 else '  better' if better else '  worse'}"
                )
    return "\n".join(lines)


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
