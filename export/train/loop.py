"""The training loop: exact resume, pause on request, checkpoints and a log of figures."""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from . import tokens
from .loss import COSINE_SCALE, LossWeights, list_loss
from .mine import Mined
from .model import Batch, LayerWeights, Packed, pad
from .sample import CandidateList, Sampler
from .settings import Settings
from .similarity import Similarity
from .validate import Task, evaluate, model_logits, tasks
from .workers import workers

Scorer = Callable[[int, np.ndarray], np.ndarray]  # of a query's passages
HEADS = ("model.classifier", "model.bert.pooler", "exit")


class Trainer:
    """A model with its optimizer and running average, at some step."""

    def __init__(
        self,
        packed: Packed,
        mined: Mined,
        sampler: Sampler,
        settings: Settings,
        released: Packed | None = None,
    ) -> None:
        """Train ``packed``; ``released`` teaches beside the bi-encoder and BM25."""
        self.packed, self.mined, self.sampler, self.settings = packed, mined, sampler, settings
        self.released = released
        with torch.no_grad():
            self.released_layers = released.weights() if released else []
        self.step, self.pairs, self.best = 0, 0, 0.0
        self.device = packed.model.device
        named = [(n, p) for n, p in packed.named_parameters() if p.requires_grad]
        self.parameters = [p for _, p in named]
        groups = {
            (head, decayed): [
                p for n, p in named if n.startswith(HEADS) == head and (p.ndim > 1) == decayed
            ]
            for head in (False, True)
            for decayed in (False, True)
        }
        self.optimizer = torch.optim.AdamW(
            [
                {
                    "params": parameters,
                    "base": settings.head_rate if head else settings.rate,
                    "weight_decay": settings.weight_decay if decayed else 0.0,
                }
                for (head, decayed), parameters in groups.items()
            ],
            betas=(0.9, 0.98),
            fused=True,
        )
        encoder = {id(p) for p in packed.model.bert.encoder.parameters()}
        self.outside = [p for p in self.parameters if id(p) not in encoder]
        self.average = [p.detach().clone() for p in self.parameters]

    def take_step(self) -> dict[str, float]:
        """Learn from the next lists and return the means of the terms of the loss."""
        settings, step = self.settings, self.step
        rng = np.random.default_rng([settings.seed, 3, step])
        max_length = int(rng.choice(settings.max_lengths))
        layers = self.packed.weights()
        leaves = [[w.detach().requires_grad_() for w in layer] for layer in layers]
        first = step * settings.lists
        parts = range(first, first + settings.lists, settings.part)
        outcomes = list(workers().map(lambda n: self._learn(n, max_length, leaves), parts))
        self._set_gradients(layers, [gradients for _, gradients in outcomes])
        norm = torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        for group in self.optimizer.param_groups:
            group["lr"] = group["base"] * settings.rate_factor_at(step)
        self.optimizer.step()
        kept = min(settings.average, (step + 1) / (step + 10))
        torch._foreach_lerp_(self.average, [p.detach() for p in self.parameters], 1 - kept)
        self.step += 1
        terms = [terms for terms, _ in outcomes]
        means = {name: float(np.mean([t[name] for t in terms])) for name in terms[0]}
        self.pairs += int(sum(t["pairs"] for t in terms))
        return {**means, "norm": float(norm)}

    def _learn(
        self, first: int, max_length: int, layers: list[LayerWeights]
    ) -> tuple[dict[str, float], tuple[Tensor, ...]]:
        """Return the loss on a part and its gradients: of ``layers``, then of what is outside."""
        lists = [self.sampler[n] for n in range(first, first + self.settings.part)]
        batches, places = self._batches(lists, max_length)
        beside = self._by_list(self.mined.cosines, lists) * self.settings.similarity
        logits, *early = self.packed(batches, layers)[:, places] + beside
        targets = (
            self._teacher(lists, batches, places),
            torch.from_numpy(np.stack([i.judged for i in lists])).to(logits.device),
            torch.tensor([i.supervised for i in lists], device=logits.device),
            LossWeights(supervision=self.settings.supervision_at(self.step)),
        )
        terms = list_loss(logits, *targets)
        total = terms["loss"]
        for exit_logits in early:
            terms["early"] = list_loss(exit_logits, *targets)["loss"]
            total = total + self.settings.exit_weight * terms["early"]
        sources = [*(w for layer in layers for w in layer), *self.outside]
        gradients = torch.autograd.grad(total, sources)
        figures = {name: float(value.detach()) for name, value in terms.items()}
        top = float((logits.argmax(-1) == 0).float().mean())
        return {**figures, "first": top, "pairs": logits.numel()}, gradients

    def _set_gradients(
        self, layers: list[LayerWeights], outcomes: list[tuple[Tensor, ...]]
    ) -> None:
        """Set the parameters' gradients to the mean of the lists', summed in float32."""
        sums = [
            torch.stack(parts).sum(0, dtype=torch.float32) for parts in zip(*outcomes, strict=True)
        ]
        torch._foreach_div_(sums, len(outcomes))
        self.optimizer.zero_grad(set_to_none=True)
        flat = [w for layer in layers for w in layer]
        torch.autograd.backward(flat, [g.to(w.dtype) for g, w in zip(sums, flat, strict=False)])
        for parameter, gradient in zip(self.outside, sums[len(flat) :], strict=True):
            parameter.grad = gradient

    def _teacher(self, lists: list[CandidateList], batches: list[Batch], places: Tensor) -> Tensor:
        """Return the teacher's logits, float32 [lists, candidates]."""
        settings = self.settings
        logits = self._by_list(lambda q, p: teacher(self.mined, q, p, settings.lexical), lists)
        if self.released is None:
            return logits
        with torch.no_grad():
            more = self.released(batches, self.released_layers)[0, places]
        return settings.softness * (logits + settings.released * more)

    def _by_list(self, scorer: Scorer, lists: list[CandidateList]) -> Tensor:
        """Return what `scorer` says of the lists' candidates, float32 [lists, candidates]."""
        return torch.from_numpy(np.stack([scorer(i.query, i.candidates) for i in lists])).to(
            self.device
        )

    def _batches(self, lists: list[CandidateList], max_length: int) -> tuple[list[Batch], Tensor]:
        """Return the lists' pairs as batches of like length, and each pair's place in these.

        The places are int64 [lists, candidates].
        """
        ids, texts = self.mined.query_ids, self.mined.passage_ids
        pairs = [
            tokens.pair(ids[item.query], texts[int(c)], max_length)
            for item in lists
            for c in item.candidates
        ]
        order = torch.tensor([len(row) for row, _ in pairs]).argsort(stable=True)
        groups = order.split(self.settings.batch)
        batches = [pad([pairs[i][0] for i in g], [pairs[i][1] for i in g]) for g in groups]
        return batches, order.argsort().view(len(lists), -1).to(self.device)

    def swap_average(self) -> None:
        """Exchange the weights with their running average; a second call undoes it."""
        for parameter, mean in zip(self.parameters, self.average, strict=True):
            kept = parameter.detach().clone()
            parameter.data.copy_(mean)
            mean.copy_(kept)

    def state(self) -> dict[str, object]:
        """Return all that a later session needs to go on exactly."""
        return {
            "step": self.step,
            "pairs": self.pairs,
            "best": self.best,
            "model": [p.detach() for p in self.parameters],
            "average": self.average,
            "optimizer": self.optimizer.state_dict(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Take up a state; the settings stay those of this trainer."""
        bases = [group["base"] for group in self.optimizer.param_groups]
        self.optimizer.load_state_dict(state["optimizer"])
        for group, base in zip(self.optimizer.param_groups, bases, strict=True):
            group["base"] = base
        for own, saved in (
            *zip(self.parameters, state["model"], strict=True),
            *zip(self.average, state["average"], strict=True),
        ):
            own.data.copy_(saved)
        self.step, self.pairs, self.best = state["step"], state["pairs"], state["best"]


def teacher(mined: Mined, query: int, passages: np.ndarray, lexical: float) -> np.ndarray:
    """Return the teacher's logits: the bi-encoder's cosine as it was trained, and BM25's share.

    On held-out queries the sum is above either part on most sets, at weights of BM25 up to 16.
    """
    cosines = COSINE_SCALE * mined.cosines(query, passages)
    return cosines + lexical * mined.coverage(query, passages)


def write_checkpoint(trainer: Trainer, path: Path) -> None:
    """Write the state so that a kill at any time leaves a whole file at ``path``."""
    fresh, previous = path.with_suffix(".tmp"), path.with_name(f"{path.stem}-previous.pt")
    torch.save(trainer.state(), fresh)
    if path.exists():
        previous.unlink(missing_ok=True)
        previous.hardlink_to(path)
    fresh.replace(path)


def restore(trainer: Trainer, path: Path) -> None:
    """Take up the checkpoint at ``path``, whatever device wrote it."""
    trainer.restore(torch.load(path, weights_only=True, map_location=trainer.device))


def wait_while(pause_file: Path | None) -> None:
    """Sleep for as long as ``pause_file`` exists."""
    while pause_file is not None and pause_file.exists():
        time.sleep(1.0)


def run(
    trainer: Trainer,
    folder: Path,
    pause_file: Path | None = None,
    origin: Mapping[str, str] | None = None,
) -> None:
    """Train up to ``settings.steps``, from the last checkpoint in ``folder`` if there is one.

    ``origin`` names what the run began with, and is written beside the settings.
    """
    settings = trainer.settings
    folder.mkdir(parents=True, exist_ok=True)
    last = folder / "last.pt"
    if last.exists():
        restore(trainer, last)
    else:
        write_checkpoint(trainer, folder / "start.pt")
    made_of = {**(origin or {}), **asdict(settings)}
    (folder / "settings.json").write_text(json.dumps(made_of, indent=1) + "\n")
    _forget_later(folder / "metrics.jsonl", trainer.step)
    todo = tasks(trainer.mined, settings.validate_per_set)
    similarity = Similarity(settings.similarity) if settings.similarity else None
    saved = time.monotonic()
    seen: list[dict[str, float]] = []
    since, pairs = time.monotonic(), trainer.pairs
    with (folder / "metrics.jsonl").open("a", encoding="utf-8") as log:

        def write(row: dict[str, Any]) -> None:
            log.write(json.dumps({"step": trainer.step, "time": round(time.time()), **row}) + "\n")
            log.flush()

        while trainer.step < settings.steps:
            wait_while(pause_file)
            seen.append(trainer.take_step())
            now = time.monotonic()
            done = trainer.step == settings.steps
            if len(seen) == 20:
                means = {k: round(float(np.mean([s[k] for s in seen])), 5) for k in seen[0]}
                speed = (trainer.pairs - pairs) / (now - since)
                write({**means, "pairs": trainer.pairs, "pairs_per_second": round(speed, 1)})
                seen, since, pairs = [], now, trainer.pairs
            if trainer.step % settings.validate_steps == 0 or done:
                figures = validate(trainer, todo, similarity)
                write({"validation": figures, "pairs": trainer.pairs})
                since = time.monotonic()
                if figures["macro"] > trainer.best:
                    trainer.best = figures["macro"]
                    write_checkpoint(trainer, folder / "best.pt")
            if now - saved > settings.save_seconds or done:
                write_checkpoint(trainer, last)
                saved = time.monotonic()


def _forget_later(metrics: Path, step: int) -> None:
    """Drop the figures of steps that will be taken again, and a line that was cut by a kill."""
    if not metrics.exists():
        return
    kept = []
    for line in metrics.read_text(encoding="utf-8").splitlines():
        try:
            if json.loads(line)["step"] <= step:
                kept.append(line + "\n")
        except ValueError:
            break
    metrics.write_text("".join(kept), encoding="utf-8")


def validate(
    trainer: Trainer, todo: list[Task], similarity: Similarity | None = None
) -> dict[str, float]:
    """Return nDCG@10 of the averaged weights on the held-out queries ``todo``.

    Of the early exit the mean over sets only, as ``early``.
    """
    trainer.swap_average()
    heads = model_logits(trainer.packed, trainer.mined, todo, similarity)
    trainer.swap_average()
    figures, *early = (evaluate(todo, logits) for logits in heads)
    if early:
        figures["early"] = early[0]["macro"]
    return figures
