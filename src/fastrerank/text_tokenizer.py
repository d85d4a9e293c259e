"""The one place that runs tokenizers: texts to token ids, no more of them than can matter."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from .errors import BundleFormatError, FastRerankError, InferenceError, InvalidRequestError
from .excerpt import MARGIN, MOST_CHARACTERS, bounded, excerpt, most_characters, splits_at_spaces
from .request import Truncate

if TYPE_CHECKING:
    from tokenizers import Encoding

_PROCESS = os.getpid()  # the one that imported this


class Wanted(NamedTuple):
    """A text of which at most `limit` tokens are read; `name` is what errors call it."""

    text: str
    limit: int
    truncate: Truncate
    name: str


class Read(NamedTuple):
    """Ids of a text, at least those that are read of it; `part` if they are not those of all."""

    ids: list[int]
    part: bool


class TextTokenizer:
    """The tokenizer of a bundle, without truncation, padding or special tokens.

    :raises BundleFormatError: if the file is no tokenizer.
    """

    def __init__(self, path: Path) -> None:
        from tokenizers import Tokenizer  # 20 ms that `import fastrerank` need not pay

        with _failing_as(BundleFormatError, f"{path} is no tokenizer"):
            self._tokenizer = Tokenizer.from_file(str(path))
            self._tokenizer.no_truncation()
            self._tokenizer.no_padding()
            self._splits_at_spaces = splits_at_spaces(self._tokenizer)

    def read(self, texts: Sequence[Wanted]) -> list[Read]:
        """Return what is read of each text.

        :raises InvalidRequestError: if a text is too long to be tokenised and its `truncate` is
            "none".
        :raises InferenceError: if the tokenizer fails.
        """
        parts = [self._part(wanted) for wanted in texts]
        encoded = self._encode(parts)
        for i, (wanted, part) in enumerate(zip(texts, parts, strict=True)):
            if len(part) < len(wanted.text) and len(encoded[i]) < wanted.limit + MARGIN:
                parts[i] = bounded(wanted.text, wanted.limit, wanted.truncate)
                encoded[i] = self._encode([parts[i]])[0]
        return [
            Read(item.ids, part=len(part) < len(wanted.text))
            for item, wanted, part in zip(encoded, texts, parts, strict=True)
        ]

    def count(self, texts: Sequence[str]) -> list[int]:
        """Return the number of tokens of each text, uncut.

        :raises InferenceError: if the tokenizer fails.
        """
        if sum(map(len, texts)) > MOST_CHARACTERS:  # what is held at once would be too much
            return [len(self._encode([text])[0]) for text in texts]
        return [len(item) for item in self._encode(texts)]

    def _part(self, wanted: Wanted) -> str:
        text, limit, truncate, name = wanted
        most = most_characters(limit)
        if truncate == "none" and len(text) > most:
            raise InvalidRequestError(
                f"{name} has {len(text)} characters, of which {most} are read for {limit} tokens:"
                " shorten it or allow truncation",
                param=name,
            )
        text = bounded(text, limit, truncate)
        return excerpt(text, limit, truncate) if self._splits_at_spaces else text

    def _encode(self, texts: Sequence[str]) -> "list[Encoding]":
        texts = [text if text.isascii() else well_formed(text) for text in texts]
        with _failing_as(InferenceError, "the tokenizer failed"):
            if os.getpid() != _PROCESS:
                # In a forked child the batch calls can wait for ever for threads that only the
                # parent has (tokenizers' thread pool, one a process, does not survive a fork);
                # single calls use none.
                return [self._tokenizer.encode(text, add_special_tokens=False) for text in texts]
            encodings: list[Encoding] = self._tokenizer.encode_batch_fast(
                texts, add_special_tokens=False
            )
        return encodings


def well_formed(text: str) -> str:
    """Return `text` as valid Unicode: surrogate pairs joined, lone surrogates as U+FFFD.

    Python strings may hold surrogates (json.loads makes them of escapes), UTF-8 may not.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


@contextmanager
def _failing_as(kind: type[FastRerankError], message: str) -> Iterator[None]:
    """Raise as `kind` what tokenizers raises: Exceptions, and panics of its Rust, no Exceptions."""
    try:
        yield
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise kind(f"{message}: {error}") from error
