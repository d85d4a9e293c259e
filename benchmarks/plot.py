"""Bars of documents a second, as SVG."""

from pathlib import Path
from typing import Any

OURS, PEERS = "#1b7f5a", "#9aa5b1"


def draw_throughput(result: dict[str, Any], path: Path) -> None:
    """Write a bar a system, fastest on top, with the span from slowest to fastest round."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "fastrerank"  # the same figures give the same file
    import matplotlib.pyplot as plt

    rows = sorted(result["systems"].items(), key=lambda item: item[1]["docs_per_s"])
    rates = [figures["docs_per_s"] for _, figures in rows]
    spread = [
        [f["docs_per_s"] - f["docs_per_s_low"] for _, f in rows],
        [f["docs_per_s_high"] - f["docs_per_s"] for _, f in rows],
    ]
    figure, axes = plt.subplots(figsize=(8, 0.42 * len(rows) + 1.2), layout="constrained")
    bars = axes.barh(
        [figures["label"] for _, figures in rows],
        rates,
        xerr=spread,
        color=[OURS if name.startswith("fastrerank") else PEERS for name, _ in rows],
        error_kw={"ecolor": "#444444", "elinewidth": 1, "capsize": 2},
    )
    axes.bar_label(bars, [f"{rate:.0f}" for rate in rates], padding=6)
    environment, workload = result["environment"], result["workload"]
    axes.set_title(f"{workload['about']}, {environment['threads']} cores", loc="left")
    axes.set_xlabel("documents a second (median of the rounds; line: slowest to fastest round)")
    axes.set_xlim(right=1.1 * max(figures["docs_per_s_high"] for _, figures in rows))
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
