"""Plots of a run: loss and validation by pairs seen, and reliability of the calibrated score."""

import json
from pathlib import Path

import matplotlib as mpl

mpl.use("svg")
from matplotlib import pyplot as plt


def curves(metrics: Path, out: Path) -> None:
    """Write the loss and the validation nDCG@10 over thousands of pairs as one SVG."""
    rows = [json.loads(line) for line in metrics.read_text(encoding="utf-8").splitlines()]
    steps = [r for r in rows if "loss" in r]
    validations = [r for r in rows if "validation" in r]
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    for term in ("distillation", "supervision"):
        left.plot([r["pairs"] / 1000 for r in steps], [r[term] for r in steps], label=term, lw=0.8)
    left.set(xlabel="thousand pairs", ylabel="loss", yscale="log")
    left.legend()
    x = [r["pairs"] / 1000 for r in validations]
    for name in validations[0]["validation"] if validations else ():
        y = [r["validation"][name] for r in validations]
        right.plot(x, y, label=name, lw=2.5 if name == "macro" else 0.8)
    right.set(xlabel="thousand pairs", ylabel="nDCG@10, held-out queries")
    right.legend(fontsize="small")
    figure.savefig(out)
    plt.close(figure)


def reliability(rows: list[tuple[float, float, int]], out: Path) -> None:
    """Write a reliability diagram of (mean probability, share relevant, pairs) rows as SVG."""
    figure, axes = plt.subplots(figsize=(4.5, 4.5), layout="constrained")
    axes.plot([0, 1], [0, 1], ls=":", c="grey")
    axes.plot([p for p, _, _ in rows], [share for _, share, _ in rows], marker="o")
    for p, share, count in rows:
        axes.annotate(str(count), (p, share), fontsize="x-small")
    axes.set(xlabel="relevance score", ylabel="share relevant", xlim=(0, 1), ylim=(0, 1))
    figure.savefig(out)
    plt.close(figure)
