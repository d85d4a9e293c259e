"""Pairs of texts to token ids, unpadded, cut so that the query survives."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .errors import InvalidRequestError
from .excerpt import MOST_PER_TOKEN
from .manifest import Segment
from .request import Truncate
from .text_tokenizer import Read, TextTokenizer, Wanted

Ids = NDArray[np.int64]

# The query is kept whole up to this share of the tokens that the special tokens leave; the document
# gets the rest. FlagEmbedding's rerankers use the same share.
QUERY_SHARE = 0.75


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedQuery:
    """All of a pair but its document: the ids and token types `before` and `after` it.

    `room` is the number of tokens left for the document, at least 1; `model_room` is how many of
    them the model reads at a time, `window` the tokens of a window of long documents. `truncated`
    says whether the query was cut to its share.
    """

    before: Ids
    before_types: Ids
    after: Ids
    after_types: Ids
    document_type: int
    room: int
    model_room: int
    window: int
    truncated: bool


class Pair(NamedTuple):
    """One document to be scored for a query, and how it may be cut.

    The first `head` characters of its text are read with each of its windows.
    """

    query: EncodedQuery
    text: str
    name: str = "document"
    max_tokens: int | None = None
    truncate: Truncate = "end"
    head: int = 0

    @property
    def limit(self) -> int:
        """The tokens of the document that are read."""
        room = self.query.room
        return room if self.max_tokens is None else min(room, self.max_tokens)


class Encoding(NamedTuple):
    """The ids of one pair, unpadded: the query's around those of the document that are kept.

    The first `head` ids of the document are read with each of its windows.
    """

    query: EncodedQuery
    document: Ids
    truncated: bool
    head: int = 0

    @property
    def length(self) -> int:
        """The tokens that the model reads, special tokens included.

        At least 1: a pair without any, of a tokenizer that adds none, is read as one padding token.
        """
        return max(1, len(self.query.before) + len(self.document) + len(self.query.after))


class PairTokenizer:
    """Tokenises queries and documents and joins them as the model's template says.

    `max_length` bounds the tokens of a pair, special tokens included. A document of more than two
    times `window` tokens is read in windows, each with the query within `model_length` tokens.

    :raises InvalidRequestError: if max_length leaves no room for a query and a document.
    :raises BundleFormatError: if the file is no tokenizer.
    """

    def __init__(
        self,
        path: Path,
        template: Sequence[Segment],
        max_length: int,
        *,
        window: int | None = None,
        model_length: int | None = None,
    ) -> None:
        self._tokenizer = TextTokenizer(path)
        self._template = template
        special = sum(len(segment.ids) for segment in template)
        self._room = max_length - special
        if self._room < 2:
            raise InvalidRequestError(
                f"max_length is {max_length}, of which special tokens take {special}:"
                f" at least {special + 2} are needed",
                param="max_length",
            )
        self._window = window or max_length
        self._model_room = min(max_length, model_length or max_length) - special
        self._query_room = query_room(self._model_room)

    def encode_query(
        self, query: str, instruction: str | None = None, truncate: Truncate = "end"
    ) -> EncodedQuery:
        """Return the query's part of every pair, its end cut if it exceeds its share.

        The instruction follows the query after a newline; an empty one changes nothing.

        :raises InvalidRequestError: if it is too long and `truncate` is "none".
        """
        # Joined, not formatted: what is formatted of an enum's member is its name.
        text = "\n".join((query, instruction)) if instruction else query
        end: Truncate = "none" if truncate == "none" else "end"
        ((ids, part),) = self._tokenizer.read([Wanted(text, self._query_room, end, "query")])
        truncated = part or len(ids) > self._query_room
        if truncated and truncate == "none":
            raise InvalidRequestError(
                f"query has {len(ids)} tokens, its share of the model's length is"
                f" {self._query_room}: shorten it or allow truncation",
                param="query",
            )
        ids = ids[: self._query_room]
        place = next(i for i, segment in enumerate(self._template) if segment.part == "document")
        before = _joined(self._template[:place], ids)
        after = _joined(self._template[place + 1 :], ids)
        return EncodedQuery(
            before=before[0],
            before_types=before[1],
            after=after[0],
            after_types=after[1],
            document_type=self._template[place].type_id,
            room=self._room - len(ids),
            model_room=self._model_room - len(ids),
            window=self._window,
            truncated=truncated,
        )

    def encode_pairs(self, pairs: Sequence[Pair]) -> list[Encoding]:
        """Return the encodings of `pairs`, in their order, each within max_length.

        :raises InvalidRequestError: if a document does not fit and its `truncate` is "none".
        """
        read = self._tokenizer.read(
            [Wanted(pair.text, pair.limit, pair.truncate, pair.name) for pair in pairs]
        )
        heads = [_head(pair) for pair in pairs]
        counts = self.count_tokens(heads) if any(heads) else [0] * len(pairs)
        return [
            _cut(pair, found, head) for pair, found, head in zip(pairs, read, counts, strict=True)
        ]

    def count_tokens(self, texts: Iterable[str]) -> list[int]:
        """Return the number of tokens of each text alone, without special tokens, uncut."""
        return self._tokenizer.count(list(texts))


def _head(pair: Pair) -> str:
    """Return the head of a text; one that must be longer than a window is none."""
    return pair.text[: pair.head] if pair.head <= MOST_PER_TOKEN * pair.query.window else ""


def query_room(room: int) -> int:
    """Return how many of the tokens that special tokens leave a query may have."""
    return max(1, min(room - 1, int(room * QUERY_SHARE)))


def _joined(segments: Sequence[Segment], query_ids: list[int]) -> tuple[Ids, Ids]:
    """Return ids and token types of consecutive segments, the query filled in."""
    ids: list[int] = []
    types: list[int] = []
    for segment in segments:
        piece = query_ids if segment.part == "query" else segment.ids
        ids += piece
        types += [segment.type_id] * len(piece)
    return np.array(ids, dtype=np.int64), np.array(types, dtype=np.int64)


def _cut(pair: Pair, read: Read, head: int) -> Encoding:
    ids, limit = read.ids, pair.limit
    truncated = read.part or len(ids) > limit
    if truncated and pair.truncate == "none":
        bound = f"{limit} fit beside its query"
        if limit < pair.query.room:
            bound = f"{limit} are allowed"
        raise InvalidRequestError(
            f"{pair.name} has {len(ids)} tokens, {bound}: shorten it or allow truncation",
            param=pair.name,
        )
    if truncated and pair.truncate == "start":
        ids, head = ids[-limit:], 0
    return Encoding(pair.query, np.array(ids[:limit], dtype=np.int64), truncated, head)
