"""Which plan scores a bundle fastest on this machine."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace

import numpy as np

from .bundle import Bundle
from .plan import Plan, may_replace, plans, runs_single
from .score_cache import ScoreCache
from .scoring import PairScorer
from .session import Session, open_session
from .tokenization import Pair, PairTokenizer
from .workers import Workers

# A request like those of a search engine: passages of 62 words on average.
_DOCUMENTS, _MEDIAN_WORDS, _SPREAD = 100, 55, 0.5
_WORDS = (
    "river",
    "world",
    "the",
    "of",
    "people",
    "first",
    "name",
    "between",
    "until",
    "house",
    "a",
)

_BUDGETS = (128, 256, 512, 768, 1024)
_BUDGETS_SINGLE = (48, 192, 384)
_MULTIPLES = (1, 8, 32)

_ROUNDS = 5
_WARM_UP = 50
# Measurements repeat within a few percent: less is no reason to leave the default.
_LEAST_GAIN = 1.04
# A runtime or precision this much slower is measured no further.
_HOPELESS = 1.8

Report = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuned:
    """The best plan of one runtime and precision; documents a second with it and by default."""

    plan: Plan
    documents_per_second: float
    default_documents_per_second: float


def tune(bundle: Bundle, report: Report, seconds: float = 45.0) -> list[Tuned]:
    """Return the best plan of every runtime and precision that "auto" may take, fastest first.

    `report` is told what is being measured. After `seconds` no further plans are tried. What is
    being compared then gets one turn each, which is long for a model of few documents a second.
    """
    deadline = time.monotonic() + seconds
    default, *others = plans(bundle.manifest)
    offered = [default, *(plan for plan in others if may_replace(default, plan))]
    with ExitStack() as stack:
        bench = _Bench(bundle, stack)
        report(f"comparing {', '.join(f'{p.precision} on {p.runtime}' for p in offered)}")
        times = bench.best_times(offered, deadline)
        fastest = min(times.values())
        kept = [plan for plan in offered if times[plan] <= fastest * _HOPELESS]
        best = {plan: bench.improved(plan, report, deadline) for plan in kept}
        if any(plan != default for default, plan in best.items()):
            report("comparing the best plans with the defaults")
            times = bench.best_times([*best, *best.values()], deadline)
    return _ranked([_better(default, plan, times) for default, plan in best.items()])


def _ranked(tuned: Sequence[Tuned]) -> list[Tuned]:
    """Return the fastest first, and those about as fast as it in the order of preference."""
    ranked: list[Tuned] = []
    left = list(tuned)
    while left:
        fastest = max(entry.documents_per_second for entry in left)
        first = next(e for e in left if e.documents_per_second * _LEAST_GAIN >= fastest)
        ranked.append(first)
        left.remove(first)
    return ranked


def _better(default: Plan, plan: Plan, times: Mapping[Plan, float]) -> Tuned:
    """Return the plan, or the default where the plan turned out to be no faster."""
    taken = plan if times[default] > times[plan] * _LEAST_GAIN else default
    return Tuned(
        plan=taken,
        documents_per_second=_DOCUMENTS / times[taken],
        default_documents_per_second=_DOCUMENTS / times[default],
    )


class _Bench:
    """Scorers of one bundle, and one request to time them with."""

    def __init__(self, bundle: Bundle, stack: ExitStack) -> None:
        manifest = bundle.manifest
        self._bundle, self._stack = bundle, stack
        self._tokenizer = PairTokenizer(
            bundle.verified(manifest.tokenizer),
            manifest.template,
            manifest.max_length,
            window=manifest.window,
        )
        query = self._tokenizer.encode_query("which new city was first called by that name")
        self._pairs = [Pair(query, text) for text in _texts()]
        self._sessions: dict[tuple[str, str, int], Session] = {}
        self._workers: dict[int, Workers] = {}

    def best_times(self, candidates: Iterable[Plan], deadline: float) -> dict[Plan, float]:
        """Return the shortest time of each plan for the request, in seconds, taken in turns.

        Those that are hopeless after their first turn get no other.
        """
        scorers = {plan: self._scorer(plan) for plan in candidates}
        for scorer in scorers.values():  # kernels are prepared and memory is taken once
            scorer.score(self._pairs[:_WARM_UP])
        times = dict.fromkeys(scorers, float("inf"))
        for done in range(_ROUNDS):
            if done and time.monotonic() > deadline:
                break
            limit = min(times.values()) * _HOPELESS
            for plan, scorer in scorers.items():
                if done and times[plan] > limit:
                    continue
                start = time.perf_counter()
                scorer.score(self._pairs)
                times[plan] = min(times[plan], time.perf_counter() - start)
        return times

    def improved(self, plan: Plan, report: Report, deadline: float) -> Plan:
        """Return the plan with the numbers changed, one after the other, that make it faster."""
        single = runs_single(self._bundle.manifest, plan.runtime, plan.weights)
        budgets = _BUDGETS_SINGLE if single else _BUDGETS
        multiples = _MULTIPLES if plan.length_multiple > 1 else ()
        steps: dict[str, Callable[[Plan], list[Plan]]] = {
            "batches": lambda p: [replace(p, token_budget=n) for n in budgets],
            "lengths": lambda p: [replace(p, length_multiple=n) for n in multiples],
            "threads": lambda p: [replace(p, threads=max(1, p.threads // 2))],
        }
        for name, changed in steps.items():
            candidates = [candidate for candidate in changed(plan) if candidate != plan]
            if not candidates or time.monotonic() > deadline:
                continue
            report(f"{plan.precision} on {plan.runtime}: {name}")
            times = self.best_times([plan, *candidates], deadline)
            fastest = min(times, key=lambda candidate: times[candidate])
            if times[plan] > times[fastest] * _LEAST_GAIN:
                plan = fastest
        return plan

    def _scorer(self, plan: Plan) -> PairScorer:
        key = (plan.runtime, plan.precision, plan.threads)
        if key not in self._sessions:
            self._sessions[key] = open_session(self._bundle, plan)
        if plan.threads not in self._workers:
            workers = self._workers[plan.threads] = Workers(plan.threads)
            self._stack.callback(workers.close)
        return PairScorer(
            manifest=self._bundle.manifest,
            plan=plan,
            tokenizer=self._tokenizer,
            session=self._sessions[key],
            workers=self._workers[plan.threads],
            cache=ScoreCache(0),
        )


def _texts() -> list[str]:
    """Return the same documents every time."""
    rng = np.random.default_rng(0)
    lengths = rng.lognormal(np.log(_MEDIAN_WORDS), _SPREAD, _DOCUMENTS).astype(int)
    return [" ".join(rng.choice(_WORDS, length)) for length in np.clip(lengths, 5, 400)]
