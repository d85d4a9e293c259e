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

    :raises ValueError: if they are of different kinds or workloads.
    """
    for key in ("kind", "set"):
        if old.get(key) != new.get(key):
            raise ValueError(f"{key} differs: {old.get(key)} and {new.get(key)}")
    if old.get("workload", {}).get("name") != new.get("workload", {}).get("name"):
        raise ValueError(
            f"workload differs: {old['workload']['name']} and {new['workload']['name']}"
        )
    lines = [f"{'system':36} {'figure':18} {'old':>10} {'new':>10} {'new:old':>8}"]
    for name, figures in new["systems"].items():
        before = old["systems"].get(name, {})
        for key, more_is_better in FIGURES.items():
            if key in figures and before.get(key):
                ratio = figures[key] / before[key]
                better = (ratio > 1) == more_is_better and ratio != 1
                lines.append(
                    f"{name:36} {key:18} {before[key]:10.4g} {figures[key]:10.4g} {ratio:8.3f}"
                    f"{'' if ratio == 1 else '  better' if better else '  worse'}"
                )
    return "\n".join(lines)
