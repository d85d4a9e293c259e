"""Command line of the training recipe: ``python -m fastrerank.export.train COMMAND``."""

import argparse
import os
from dataclasses import fields
from pathlib import Path

import torch

from . import loop, mine, model, sample


def main() -> None:
    """Run one command."""
    parser = argparse.ArgumentParser(prog="fastrerank.export.train", description=__doc__)
    parser.add_argument("--state", type=Path, required=True, help="folder of caches and runs")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--threads", type=int, default=2)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("prepare", help="token ids, vectors and neighbours, once")
    run = commands.add_parser("run", help="train, or go on training")
    run.add_argument("--name", required=True, help="folder of the run below STATE/runs")
    run.add_argument("--pause-file", type=Path, help="sleep while this file exists")
    run.add_argument("--branch-from", type=Path, help="start from another run's checkpoint")
    for item in fields(loop.Settings):
        if item.type in (int, float):
            run.add_argument(f"--{item.name.replace('_', '-')}", type=item.type)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    mined = mine.prepare(arguments.data / "train", arguments.state / "cache")
    if arguments.command == "run":
        train(arguments, mined)


def train(arguments: argparse.Namespace, mined: mine.Mined) -> None:
    """Start a run or go on with it."""
    given = {f.name: getattr(arguments, f.name, None) for f in fields(loop.Settings)}
    settings = loop.Settings(**{k: v for k, v in given.items() if v is not None})
    packed = model.Packed(model.load(model.base_folder(), seed=settings.seed), torch.bfloat16)
    sampler = sample.Sampler(mined, sample.Mix(), settings.seed)
    trainer = loop.Trainer(packed, mined, sampler, settings)
    folder = arguments.state / "runs" / arguments.name
    if arguments.branch_from and not (folder / "last.pt").exists():
        trainer.restore(torch.load(arguments.branch_from, weights_only=True))
    loop.run(trainer, folder, arguments.pause_file)


if __name__ == "__main__":
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    main()
