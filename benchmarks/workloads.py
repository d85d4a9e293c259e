"""The requests that are measured: drawn from the evaluation sets, the same on every run."""

import gzip
import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SEED = 20191106  # any fixed number; this is the date of the TREC DL 2019 judgements
LONG_WORDS = 300  # about 400 tokens in scientific English


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One query and its documents, as a caller would pass them."""

    query: str
    documents: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """Requests of one kind; a run goes through all of them `repeats` times."""

    name: str
    about: str
    requests: list[Request]
    repeats: int
    quick: bool

    @property
    def documents(self) -> int:
        """The number of documents of all requests together."""
        return sum(len(request.documents) for request in self.requests)


def read_evaluation(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the queries of an evaluation set, each with its candidates and qrels."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)


def document_text(candidate: dict[str, Any]) -> str:
    """Return the text of a candidate, after its title where it has one."""
    return " ".join(part for part in (candidate.get("title"), candidate["text"]) if part)


def evaluation_requests(path: Path) -> list[Request]:
    """Return the requests of an evaluation set, in file order."""
    return [
        Request(query=row["query"], documents=[document_text(c) for c in row["candidates"]])
        for row in read_evaluation(path)
    ]


def short_passages(data: Path, documents: int, requests: int) -> list[Request]:
    """Return TREC DL 2019 queries with their first passages.

    Beyond the 100 candidates of a query, passages of the other queries follow, drawn at random.
    """
    draw = random.Random(SEED + documents)
    rows = evaluation_requests(data / "eval/trec-dl-2019.jsonl.gz")
    passages = list(dict.fromkeys(text for row in rows for text in row.documents))
    chosen = draw.sample(rows, requests)
    result = []
    for row in chosen:
        own = list(dict.fromkeys(row.documents))[:documents]
        others = [text for text in passages if text not in own]
        texts = own + draw.sample(others, documents - len(own))
        result.append(Request(query=row.query, documents=texts))
    return result


def long_documents(data: Path, documents: int, requests: int) -> list[Request]:
    """Return queries with abstracts of more than LONG_WORDS words, of scifact and cranfield."""
    draw = random.Random(SEED)
    rows = [
        *evaluation_requests(data / "eval/scifact.jsonl.gz"),
        *evaluation_requests(data / "eval/cranfield.jsonl.gz"),
    ]
    texts = list(dict.fromkeys(t for r in rows for t in r.documents if len(t.split()) > LONG_WORDS))
    return [
        Request(query=row.query, documents=draw.sample(texts, documents))
        for row in draw.sample(rows, requests)
    ]


def mixed_lengths(data: Path, documents: int, requests: int) -> list[Request]:
    """Return queries with documents of 1 to 500 words, all lengths alike, in random order."""
    draw = random.Random(SEED)
    rows = evaluation_requests(data / "eval/scifact.jsonl.gz")
    texts = [text.split() for row in rows for text in row.documents]
    result = []
    for row in draw.sample(rows, requests):
        mixed = []
        for _ in range(documents):
            words: list[str] = []
            while len(words) < 500:  # abstracts follow each other where one is too short
                words += draw.choice(texts)
            mixed.append(" ".join(words[: draw.randint(1, 500)]))
        result.append(Request(query=row.query, documents=mixed))
    return result


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kind:
    about: str
    make: Callable[[Path, int, int], list[Request]]
    documents: int
    requests: int
    quick: int  # requests of a quick run
    repeats: int


KINDS: dict[str, _Kind] = {
    "passages-10": _Kind(
        about="TREC DL 2019, 10 passages a request",
        make=short_passages,
        documents=10,
        requests=20,
        quick=5,
        repeats=3,
    ),
    "passages-100": _Kind(
        about="TREC DL 2019, 100 passages a request",
        make=short_passages,
        documents=100,
        requests=5,
        quick=2,
        repeats=5,
    ),
    "passages-1000": _Kind(
        about="TREC DL 2019, 1,000 passages a request",
        make=short_passages,
        documents=1000,
        requests=1,
        quick=1,
        repeats=3,
    ),
    "long": _Kind(
        about=f"abstracts of more than {LONG_WORDS} words (about 400 tokens and up), 20 a request",
        make=long_documents,
        documents=20,
        requests=4,
        quick=1,
        repeats=3,
    ),
    "mixed": _Kind(
        about="documents of 1 to 500 words, 50 a request",
        make=mixed_lengths,
        documents=50,
        requests=3,
        quick=1,
        repeats=3,
    ),
}


def make_workload(name: str, data: Path, *, quick: bool = False) -> Workload:
    """Return the workload of this name, with fewer requests and two passes if `quick`.

    :raises KeyError: if there is none of this name.
    """
    kind = KINDS[name]
    requests = kind.make(data, kind.documents, kind.quick if quick else kind.requests)
    return Workload(
        name=name,
        about=kind.about,
        requests=requests,
        repeats=2 if quick else kind.repeats,
        quick=quick,
    )
