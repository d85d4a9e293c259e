"""Training queries and passages, read from the project's files, and those derived from them."""

import gzip
import itertools
import json
import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

Row = dict[str, Any]

SETS = ("selqa", "medquad", "pubmedqa", "clapnq", "squad-sent", "covidqa")

# Sets of single sentences, stored in the order of their articles: neighbours make passages, as
# long as search returns them (words).
SENTENCE_SETS = ("selqa", "squad-sent")
WINDOW_WORDS = {"window": 55, "paragraph": 140, "page": 300}

# Cloze queries per passage of a set: many where questions are few and texts are rich.
CLOZE_RATES = {
    "pubmedqa": 4.0,
    "covidqa": 2.0,
    "clapnq": 0.6,
    "medquad": 0.2,
    "selqa-window": 0.2,
    "selqa-paragraph": 0.5,
    "squad-sent-window": 0.1,
    "squad-sent-paragraph": 0.3,
    "selqa-page": 1.0,
    "squad-sent-page": 0.6,
}
CLOZE_WORDS = (5, 24)

# Keyword queries per passage: the sets' own queries are whole questions, people search with less.
KEYWORD_RATES = {
    "clapnq": 2.0,
    "pubmedqa": 2.0,
    "covidqa": 1.0,
    "medquad": 0.3,
    "selqa-window": 1.0,
    "selqa-paragraph": 0.5,
    "squad-sent-window": 1.0,
    "squad-sent-paragraph": 0.5,
    "selqa-page": 0.5,
    "squad-sent-page": 0.5,
}
KEYWORDS = (2, 5)

# The pool of queries that are asked of the passages of all sets.
EVERYTHING = "everything"
# Queries that the program made: nobody judged their positives, the teacher alone knows.
MADE = ("cloze", "keywords")


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """A query with its judged and given passages, as indices into ``Corpus.texts``.

    ``pool`` names the set whose passages are its candidates; ``excluded`` are passages of that
    pool that must not be shown (the one that a cloze query was cut from).
    """

    set_name: str
    pool: str
    text: str
    positives: tuple[int, ...]
    negatives: tuple[int, ...] = ()
    judged: tuple[int, ...] = ()
    excluded: tuple[int, ...] = ()
    held_out: bool = False


@dataclass(slots=True, kw_only=True)
class Corpus:
    """Passages (``texts``, with the name of the set of each) and queries over them.

    ``around_held_out`` are the windows with a passage that validation asks for.
    """

    texts: list[str] = field(default_factory=list)
    set_names: list[str] = field(default_factory=list)
    queries: list[Query] = field(default_factory=list)
    around_held_out: set[int] = field(default_factory=set)

    def add(self, text: str, set_name: str) -> int:
        """Append a passage and return its index."""
        self.texts.append(text)
        self.set_names.append(set_name)
        return len(self.texts) - 1

    def held_out_positives(self) -> set[int]:
        """Return what validation asks for, in windows too: no training query may show it."""
        asked_for = {p for q in self.queries if q.held_out for p in q.positives}
        return asked_for | self.around_held_out


def read_jsonl(path: Path) -> Iterator[Row]:
    """Yield the rows of a gzip-compressed JSON lines file."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)


def load(folder: Path, *, held_out: int = 150, seed: int = 0) -> Corpus:
    """Return the corpus of ``folder`` with ``held_out`` queries of each set set aside.

    Of a set with few queries at most a quarter is; sets that ``folder`` does not hold are left out.
    """
    corpus = Corpus()
    row_of: dict[str, int] = {}
    for row in read_jsonl(folder / "passages.jsonl.gz"):
        row_of[row["doc_id"]] = corpus.add(row["text"], row["source"])
    for number, name in enumerate(SETS):
        path = folder / f"{name}.jsonl.gz"
        rows = list(read_jsonl(path)) if path.exists() else []
        chosen = _held_out(rows, held_out, np.random.default_rng([seed, number]))
        corpus.queries.extend(
            _query(row, name, row_of, held_out=i in chosen) for i, row in enumerate(rows)
        )
    return corpus


def _query(row: Row, name: str, row_of: dict[str, int], *, held_out: bool) -> Query:
    negatives = row["negatives"]
    return Query(
        set_name=name,
        pool=name,
        text=row["query"],
        positives=tuple(row_of[p["doc_id"]] for p in row["positives"]),
        negatives=tuple(row_of[n["doc_id"]] for n in negatives if n["source"] != "judged"),
        judged=tuple(row_of[n["doc_id"]] for n in negatives if n["source"] == "judged"),
        held_out=held_out,
    )


def _held_out(rows: Sequence[Row], count: int, rng: np.random.Generator) -> set[int]:
    """Choose rows, and with each those that share a positive with it: no leak by passage."""
    chosen: set[int] = set()
    by_passage: dict[str, list[int]] = {}
    for i, row in enumerate(rows):
        for positive in row["positives"]:
            by_passage.setdefault(positive["doc_id"], []).append(i)
    for i in rng.permutation(len(rows)):
        if len(chosen) >= min(count, len(rows) // 4):
            break
        chosen.add(int(i))
        chosen.update(j for p in rows[i]["positives"] for j in by_passage[p["doc_id"]])
    return chosen


def add_windows(corpus: Corpus) -> None:
    """Join neighbouring sentences to passages, and repeat the sentence sets' queries on those."""
    held_out = corpus.held_out_positives()
    for name, (kind, words) in itertools.product(SENTENCE_SETS, WINDOW_WORDS.items()):
        window_name = f"{name}-{kind}"
        window_of: dict[int, int] = {}
        for run in _runs(corpus, name, words):
            index = corpus.add(" ".join(corpus.texts[i] for i in run), window_name)
            window_of.update(dict.fromkeys(run, index))
            if not held_out.isdisjoint(run):
                corpus.around_held_out.add(index)
        for query in [q for q in corpus.queries if q.set_name == name and not q.held_out]:
            positives = _mapped(query.positives, window_of)
            if not corpus.around_held_out.isdisjoint(positives):
                continue
            negatives = _mapped(query.judged + query.negatives, window_of)
            corpus.queries.append(
                Query(
                    set_name=window_name,
                    pool=window_name,
                    text=query.text,
                    positives=positives,
                    negatives=tuple(n for n in negatives if n not in positives),
                )
            )


def _mapped(indices: Sequence[int], window_of: dict[int, int]) -> tuple[int, ...]:
    return tuple(dict.fromkeys(window_of[i] for i in indices))


def _runs(corpus: Corpus, name: str, least: int) -> Iterator[list[int]]:
    """Yield runs of neighbouring sentences, each ended once it holds ``least`` words."""
    run: list[int] = []
    words = 0
    for i, (text, set_name) in enumerate(zip(corpus.texts, corpus.set_names, strict=True)):
        if set_name != name:
            continue
        run.append(i)
        words += len(text.split())
        if words >= least:
            yield run
            run, words = [], 0
    if run:
        yield run


def add_cloze(corpus: Corpus, *, seed: int = 0) -> None:
    """Make queries of sentences cut out of passages; what is left is the query's positive.

    The sentence itself is removed, so that the match is one of meaning and not of wording
    (inverse cloze task, Lee et al. 2019, arXiv:1906.00300).
    """
    rng = np.random.default_rng([seed, 101])
    shown = corpus.held_out_positives()
    for i in range(len(corpus.texts)):
        rate = CLOZE_RATES.get(corpus.set_names[i], 0.0)
        times = _times(rate, rng)
        if i not in shown:
            _cut_sentences(corpus, i, times, rng)


def _times(rate: float, rng: np.random.Generator) -> int:
    """Return a whole number whose mean is ``rate``."""
    return int(rate) + int(rng.random() < rate % 1)


def _cut_sentences(corpus: Corpus, i: int, times: int, rng: np.random.Generator) -> None:
    sentences = split_sentences(corpus.texts[i])
    low, high = CLOZE_WORDS
    usable = [s for s in range(len(sentences)) if low <= len(sentences[s].split()) <= high]
    if len(sentences) < 3:
        return
    for s in rng.permutation(usable)[:times]:
        rest = " ".join(sentences[:s] + sentences[s + 1 :])
        corpus.queries.append(
            Query(
                set_name="cloze",
                pool=corpus.set_names[i],
                text=sentences[s].rstrip(" ."),
                positives=(corpus.add(rest, "cloze"),),
                excluded=(i,),
            )
        )


def add_keywords(corpus: Corpus, *, seed: int = 0) -> None:
    """Make queries of a few words of a passage, the rarer the likelier, in their order."""
    rng = np.random.default_rng([seed, 102])
    shown = corpus.held_out_positives()
    words_of = [re.findall(r"[^\W\d_]{3,}", text.lower()) for text in corpus.texts]
    frequency = Counter(itertools.chain.from_iterable(map(set, words_of)))
    for i, words in enumerate(words_of):
        rate = KEYWORD_RATES.get(corpus.set_names[i], 0.0)
        distinct = list(dict.fromkeys(words))
        if i in shown or len(distinct) < 2 * KEYWORDS[1]:
            continue
        weights = np.array([math.log(len(words_of) / frequency[w]) ** 2 for w in distinct])
        for _ in range(_times(rate, rng)):
            count = int(rng.integers(KEYWORDS[0], KEYWORDS[1] + 1))
            chosen = rng.choice(len(distinct), count, replace=False, p=weights / weights.sum())
            corpus.queries.append(
                Query(
                    set_name="keywords",
                    pool=EVERYTHING,
                    text=" ".join(distinct[c] for c in sorted(chosen)),
                    positives=(i,),
                )
            )


def split_sentences(text: str) -> list[str]:
    """Return the sentences of ``text``: cut after . ! ? before white space and a letter."""
    return re.split(r"(?<=[.!?])\s+(?=[\"'(]?\w)", text)
