"""Pairs of texts to token ids, unpadded, cut so that the query survives."""

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .documents import well_formed
from .errors import BundleFormatError, FastRerankError, InferenceError, InvalidRequestError
from .excerpt import MARGIN, MOST_PER_TOKEN, bounded, excerpt, most_characters, splits_at_spaces
from .manifest import Segment
from .request import Truncate

if TYPE_CHECKING:
    from tokenizers import Encoding as TokenizersEncoding
    from tokenizers import Tokenizer

Ids = NDArray[np.int64]

# The query is kept whole up to this share of the tokens that the special tokens leave; the document
# gets the rest. FlagEmbedding's rerankers use the same share.
QUERY_SHARE = 0.75
_PROCESS = os.getpid()  # the one that imported this


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


class _Text(NamedTuple):
    """A text of which at most `limit` tokens are read; `name` is what errors call it."""

    text: str
    limit: int
    truncate: Truncate
    name: str


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
        self._tokenizer, self._splits_at_spaces = _read_tokenizer(path)
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
        text = f"{query}\n{instruction}" if instruction else query
        asked = _Text(text, self._query_room, "none" if truncate == "none" else "end", "query")
        ((ids, cut),) = self._read([asked])
        truncated = cut or len(ids) > self._query_room
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
        read = self._read(
            [_Text(pair.text, pair.limit, pair.truncate, pair.name) for pair in pairs]
        )
        heads = [_head(pair) for pair in pairs]
        counts = self.count_tokens(heads) if any(heads) else [0] * len(pairs)
        return [
            _cut(pair, ids, cut, head)
            for pair, (ids, cut), head in zip(pairs, read, counts, strict=True)
        ]

    def _read(self, texts: Sequence[_Text]) -> list[tuple[list[int], bool]]:
        """Return ids of each text, all that can matter, and whether a part was left out of them."""
        parts = [self._part(asked) for asked in texts]
        encoded = self._encode(parts)
        for i, (asked, part) in enumerate(zip(texts, parts, strict=True)):
            if len(part) < len(asked.text) and len(encoded[i]) < asked.limit + MARGIN:
                parts[i] = bounded(asked.text, asked.limit, asked.truncate)
                encoded[i] = self._encode([parts[i]])[0]
        return [
            (item.ids, len(part) < len(asked.text))
            for item, asked, part in zip(encoded, texts, parts, strict=True)
        ]

    def _part(self, asked: _Text) -> str:
        most = most_characters(asked.limit)
        if asked.truncate == "none" and len(asked.text) > most:
            raise InvalidRequestError(
                f"{asked.name} has {len(asked.text)} characters, of which {most} are read for"
                f" {asked.limit} tokens: shorten it or allow truncation",
                param=asked.name,
            )
        text = bounded(asked.text, asked.limit, asked.truncate)
        return excerpt(text, asked.limit, asked.truncate) if self._splits_at_spaces else text

    def count_tokens(self, texts: Iterable[str]) -> list[int]:
        """Return the number of tokens of each text alone, without special tokens, uncut."""
        return [len(item) for item in self._encode(list(texts))]

    def _encode(self, texts: list[str]) -> "list[TokenizersEncoding]":
        texts = [text if text.isascii() else well_formed(text) for text in texts]
        with _failing_as(InferenceError, "the tokenizer failed"):
            if os.getpid() != _PROCESS:
                # In a forked child the batch calls can wait for ever for threads that only the
                # parent has (tokenizers' thread pool, one a process, does not survive a fork);
                # single calls use none.
                return [self._tokenizer.encode(text, add_special_tokens=False) for text in texts]
            encodings: list[TokenizersEncoding] = self._tokenizer.encode_batch_fast(
                texts, add_special_tokens=False
            )
        return encodings


def _head(pair: Pair) -> str:
    """Return the head of a text; one that must be longer than a window is none."""
    return pair.text[: pair.head] if pair.head <= MOST_PER_TOKEN * pair.query.window else ""


def query_room(room: int) -> int:
    """Return how many of the tokens that special tokens leave a query may have."""
    return max(1, min(room - 1, int(room * QUERY_SHARE)))


def _read_tokenizer(path: Path) -> "tuple[Tokenizer, bool]":
    """Return the tokenizer, and whether it never joins what a space separates."""
    from tokenizers import Tokenizer  # 20 ms that `import fastrerank` need not pay

    with _failing_as(BundleFormatError, f"{path} is no tokenizer"):
        tokenizer = Tokenizer.from_file(str(path))
        tokenizer.no_truncation()
        tokenizer.no_padding()
        return tokenizer, splits_at_spaces(tokenizer)


@contextmanager
def _failing_as(kind: type[FastRerankError], message: str) -> Iterator[None]:
    """Raise as `kind` what tokenizers raises: Exceptions, and panics of its Rust, no Exceptions."""
    try:
        yield
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise kind(f"{message}: {error}") from error


def _joined(segments: Sequence[Segment], query_ids: list[int]) -> tuple[Ids, Ids]:
    """Return ids and token types of consecutive segments, the query filled in."""
    ids: list[int] = []
    types: list[int] = []
    for segment in segments:
        piece = query_ids if segment.part == "query" else segment.ids
        ids += piece
        types += [segment.type_id] * len(piece)
    return np.array(ids, dtype=np.int64), np.array(types, dtype=np.int64)


def _cut(pair: Pair, ids: list[int], cut: bool, head: int) -> Encoding:
    limit = pair.limit
    truncated = cut or len(ids) > limit
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
