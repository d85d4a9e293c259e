"""Command line of the training recipe: ``python -m fastrerank.export.train COMMAND``."""

import argparse
import json
import os
import sys
from dataclasses import fields
from pathlib import Path

import numpy as np
import torch

from . import average, calibrate, evaluate, loop, mine, model, plot, sample, validate, weights
from .settings import EXIT_AFTER, Settings
from .similarity import Similarity

HELD_OUT = 150
ORIGINS = ("start", "start_early", "teacher", "branch_from")


def main() -> None:
    """Run one command."""
    parser = argparse.ArgumentParser(prog="fastrerank.export.train", description=__doc__)
    parser.add_argument(
        "--state", type=Path, default=Path("build/train"), help="folder of caches and runs"
    )
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--device", default="cpu", help="where to compute: cpu or cuda")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("prepare", help="token ids, vectors and neighbours, once")
    commands.add_parser("baselines", help="validation of BM25, the bi-encoder and the teacher")
    run = commands.add_parser("run", help="train, or go on training")
    run.add_argument("--name", required=True, help="folder of the run below STATE/runs")
    run.add_argument("--pause-file", type=Path, help="sleep while this file exists")
    run.add_argument("--start", type=Path, help="a release to start from, not all-MiniLM-L6-v2")
    run.add_argument("--start-early", type=Path, help="the small model of that release")
    run.add_argument("--teacher", type=Path, help="a release that teaches too")
    run.add_argument("--branch-from", type=Path, help="start at another run's checkpoint")
    for item in fields(Settings):
        if item.type in (int, float):
            run.add_argument(f"--{item.name.replace('_', '-')}", type=item.type)
    release = commands.add_parser("release", help="average, calibrate, validate, write for export")
    release.add_argument(
        "checkpoints", type=Path, nargs="+", help="checkpoints to average, or one release"
    )
    release.add_argument("--out", type=Path, required=True, help="Hugging Face folder to write")
    release.add_argument(
        "--similarity", type=float, default=0.0, help="that of the run: the bi-encoder's weight"
    )
    release.add_argument(
        "--per-set", type=int, default=HELD_OUT, help="held-out queries to calibrate by"
    )
    release.add_argument("--early", action="store_true", help="the small model: the early exit")
    judge = commands.add_parser("evaluate", help="nDCG@10 on the evaluation sets")
    judge.add_argument("folder", type=Path, nargs="?", help="a release; none: the bi-encoder")
    judge.add_argument("--runs", type=Path, required=True, help="folder for TREC run files")
    judge.add_argument("--sets", nargs="+", default=evaluate.SETS)
    for name, text in (
        ("pack", "a release as one file without what was not trained"),
        ("unpack", "the release that such a file was made of"),
    ):
        convert = commands.add_parser(name, help=text)
        convert.add_argument("source", type=Path)
        convert.add_argument("--out", type=Path, required=True)
    draw = commands.add_parser("plot", help="curves of a run as SVG")
    draw.add_argument("metrics", type=Path)
    draw.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # the workers take a core each
    COMMANDS[arguments.command](arguments)


def show(row: object) -> None:
    """Print one line of JSON."""
    sys.stdout.write(json.dumps(row) + "\n")
    sys.stdout.flush()


def prepare(arguments: argparse.Namespace) -> mine.Mined:
    """Mine the training data, or read what was mined."""
    return mine.prepare(arguments.data / "train", arguments.state / "cache", arguments.device)


def baselines(arguments: argparse.Namespace) -> None:
    """Print the validation figures of the orders that the model is compared with."""
    mined = prepare(arguments)
    todo = validate.tasks(mined, HELD_OUT)
    lexical = Settings().lexical
    scorers = {
        "BM25": mined.coverage,
        "bi-encoder": mined.cosines,
        "teacher": lambda q, p: loop.teacher(mined, q, p, lexical),
    }
    for name, scorer in scorers.items():
        scores = {task.query: scorer(task.query, task.candidates) for task in todo}
        show({name: validate.evaluate(todo, scores)})


def train(arguments: argparse.Namespace) -> None:
    """Start a run or go on with it."""
    mined = prepare(arguments)
    given = {f.name: getattr(arguments, f.name, None) for f in fields(Settings)}
    settings = Settings(**{k: v for k, v in given.items() if v is not None})
    start, early = (
        folder and weights.load_to_train(folder)
        for folder in (arguments.start, arguments.start_early)
    )
    start = start or model.load(model.base_folder(), seed=settings.seed)
    packed = model.Packed(start, EXIT_AFTER, early).to(arguments.device)
    sampler = sample.Sampler(mined, sample.Mix(), settings.seed)
    released = None
    if arguments.teacher:
        released = model.Packed(model.load(arguments.teacher)).to(arguments.device)
    trainer = loop.Trainer(packed, mined, sampler, settings, released)
    folder = arguments.state / "runs" / arguments.name
    if arguments.branch_from and not (folder / "last.pt").exists():
        loop.restore(trainer, arguments.branch_from)
    origin = {name: str(path) for name in ORIGINS if (path := getattr(arguments, name))}
    loop.run(trainer, folder, arguments.pause_file, origin)


def release(arguments: argparse.Namespace) -> None:
    """Write the calibrated mean of checkpoints, with its validation figures beside it."""
    mined = prepare(arguments)
    todo = validate.tasks(mined, arguments.per_set)
    releases = [path for path in arguments.checkpoints if path.is_dir()]
    if releases and (len(arguments.checkpoints) > 1 or arguments.early):
        raise SystemExit(f"{releases[0]} is a release: name it alone, and without --early")
    if releases:
        mean = weights.load_to_train(arguments.checkpoints[0])
    else:
        packed = average.averaged(arguments.checkpoints, EXIT_AFTER)
        mean = packed.early() if arguments.early else packed.model
    beside = Similarity(arguments.similarity) if arguments.similarity else None
    logits = validate.model_logits(model.Packed(mean), mined, todo, beside)[0]
    figures = validate.evaluate(todo, logits)
    flat = np.concatenate([logits[t.query] for t in todo])
    relevant = np.concatenate([t.relevant for t in todo])
    scale, offset = calibrate.fit(flat, relevant)
    calibrate.apply(mean, scale, offset)
    similarity = scale * arguments.similarity
    model.save(mean, arguments.out, similarity)
    rows = calibrate.reliability(scale * flat + offset, relevant)
    plot.reliability(rows, arguments.out / "reliability.svg")
    report = {
        "checkpoints": [str(c) for c in arguments.checkpoints],
        "validation": figures,
        "scale": scale,
        "offset": offset,
        "similarity": similarity,
        "reliability": rows,
    }
    (arguments.out / weights.REPORT).write_text(json.dumps(report, indent=1) + "\n")
    show(report)


def judge(arguments: argparse.Namespace) -> None:
    """Print the measures on the evaluation sets, one line each."""
    folder = arguments.folder or model.base_folder()
    for name, measures in evaluate.evaluate(
        folder,
        arguments.data,
        arguments.runs,
        bi_encoder=arguments.folder is None,
        sets=arguments.sets,
    ):
        show({"set": name, **measures})


COMMANDS = {
    "prepare": prepare,
    "baselines": baselines,
    "run": train,
    "release": release,
    "evaluate": judge,
    "pack": lambda arguments: weights.pack(arguments.source, arguments.out),
    "unpack": lambda arguments: weights.unpack(arguments.source, arguments.out),
    "plot": lambda arguments: plot.curves(arguments.metrics, arguments.out),
}

if __name__ == "__main__":
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    main()
