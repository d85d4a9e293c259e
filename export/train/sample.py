"""Lists of candidates to learn from: which query comes next, and what it is shown with."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from .data import MADE
from .mine import NEIGHBOURS, Mined, pool_rows

# Share of the lists per set. Search questions in natural case and passages of a length as search
# returns them come first; single sentences and questions by template are plenty but narrow.
WEIGHTS = {
    "clapnq": 0.24,
    "squad-sent-window": 0.18,
    "keywords": 0.18,
    "selqa-window": 0.1,
    "cloze": 0.07,
    "squad-sent": 0.05,
    "squad-sent-paragraph": 0.04,
    "covidqa": 0.04,
    "medquad": 0.04,
    "pubmedqa": 0.02,
    "selqa-paragraph": 0.02,
    "squad-sent-page": 0.01,
    "selqa-page": 0.005,
    "selqa": 0.005,
}
EPOCH = 20_000
# A neighbour as near as this to the query, relative to the positive, may well answer it.
FALSE_NEGATIVE_MARGIN = 0.95
NEAR, FAR = 40, NEIGHBOURS


@dataclass(frozen=True, slots=True, kw_only=True)
class Mix:
    """How many candidates of each kind a list holds; the first is the positive."""

    near: int = 3
    far: int = 1
    given: int = 2
    same_set: int = 1
    any_set: int = 0

    @property
    def size(self) -> int:
        """Candidates of a list, the positive counted."""
        return 1 + self.near + self.far + self.given + self.same_set + self.any_set


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateList:
    """One query, its candidates (the first is the positive) and what is known of them."""

    query: int
    candidates: np.ndarray
    judged: np.ndarray
    supervised: bool


class Sampler:
    """Lists by number: list n is the same whenever and however often it is asked for."""

    def __init__(self, mined: Mined, mix: Mix, seed: int) -> None:
        self._mined, self._mix, self._seed = mined, mix, seed
        self._by_set: dict[str, np.ndarray] = {}
        for name in WEIGHTS:
            rows = [
                i
                for i, q in enumerate(mined.corpus.queries)
                if q.set_name == name and not q.held_out
            ]
            if rows:
                self._by_set[name] = np.array(rows)
        sets = np.array(mined.corpus.set_names)
        pools = {q.pool for q in mined.corpus.queries}
        self._pools = {name: pool_rows(sets, name) for name in pools}
        # Held-out positives are never shown as negatives: that would teach against the validation.
        self._hidden = mined.corpus.held_out_positives()
        self._epoch = lru_cache(maxsize=2)(self._plan)

    def _plan(self, epoch: int) -> np.ndarray:
        """Return the queries of an epoch: each set by its weight, repeated only once used up."""
        rng = np.random.default_rng([self._seed, 1, epoch])
        total = sum(WEIGHTS[name] for name in self._by_set)
        parts = []
        for name, rows in self._by_set.items():
            count = round(EPOCH * WEIGHTS[name] / total)
            rounds = [rng.permutation(rows) for _ in range(-(-count // len(rows)))]
            parts.append(np.concatenate(rounds)[:count])
        return rng.permutation(np.concatenate(parts))

    def __getitem__(self, number: int) -> CandidateList:
        """Return list ``number``."""
        size = len(self._epoch(0))
        query = int(self._epoch(number // size)[number % size])
        return self._draw(query, np.random.default_rng([self._seed, 2, number]))

    def _draw(self, query: int, rng: np.random.Generator) -> CandidateList:
        row, mix = self._mined.corpus.queries[query], self._mix
        positive = int(rng.choice(row.positives))
        taken = {*row.positives, *row.excluded, *self._hidden}
        chosen = [positive]
        limit = FALSE_NEGATIVE_MARGIN * float(self._mined.cosines(query, np.array([positive]))[0])

        def take(source: Sequence[int] | np.ndarray, count: int, *, filtered: bool = True) -> None:
            fresh = [p for p in dict.fromkeys(map(int, source)) if p >= 0 and p not in taken]
            if filtered and fresh:
                near = self._mined.cosines(query, np.array(fresh))
                fresh = [p for p, c in zip(fresh, near, strict=True) if c <= limit]
            picked = [fresh[i] for i in rng.permutation(len(fresh))[:count]]
            chosen.extend(picked)
            taken.update(picked)

        neighbours = self._mined.neighbours[query]
        judged = min(len(row.judged), (mix.given + 1) // 2 if row.negatives else mix.given)
        take(row.judged, judged, filtered=False)
        take(row.negatives, mix.given - (len(chosen) - 1))
        take(neighbours[:NEAR], mix.near)
        take(neighbours[NEAR:FAR], mix.far)
        # Made queries have no given negatives: others that are near teach more than random ones.
        take(neighbours[:FAR], mix.size - mix.same_set - mix.any_set - len(chosen))
        pool = self._pools[row.pool]
        wanted = mix.size - mix.any_set - len(chosen)
        take(rng.choice(pool, min(len(pool), 4 * wanted + 8)), wanted)
        everything = len(self._mined.corpus.texts)
        take(rng.integers(everything, size=4 * mix.size), mix.size - len(chosen), filtered=False)
        return CandidateList(
            query=query,
            candidates=np.array(chosen),
            judged=np.isin(chosen, row.judged),
            supervised=row.set_name not in MADE,
        )
