"""A checked request made ready to be scored."""

import copy
import logging
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from .documents import RankedText, ranked_text
from .errors import InvalidRequestError
from .request import Document, RerankRequest, check_iterable, check_text
from .tokenization import EncodedQuery, Pair, PairTokenizer

logger = logging.getLogger("fastrerank")


class Prepared(NamedTuple):
    """A request: its query encoded, its documents as texts, each text once.

    `pair_of[i]` is the position in `texts` of document i, `echoes[i]` the copy for its result, or
    None. `prefix` stands before the names of arguments in errors: "requests[1].".
    """

    request: RerankRequest
    query: EncodedQuery
    texts: list[RankedText]
    pair_of: list[int]
    echoes: list[Document | None]
    prefix: str

    def pairs(self) -> Iterator[Pair]:
        """Yield the pair of each text."""
        limit, truncate = self.request.max_tokens_per_doc, self.request.truncate
        first = {pair: index for index, pair in reversed(list(enumerate(self.pair_of)))}
        for pair, (text, head) in enumerate(self.texts):
            name = f"{self.prefix}documents[{first[pair]}]"
            yield Pair(self.query, text, name, limit, truncate, head)


def prepare(request: RerankRequest, tokenizer: PairTokenizer, prefix: str = "") -> Prepared:
    """Return the request ready to be scored; `prefix` comes before its arguments in errors.

    :raises InvalidRequestError: if a document has no text, cannot be copied where results are to
        echo it, or the query is too long and may not be cut.
    """
    try:
        texts: dict[RankedText, int] = {}
        pair_of = [
            texts.setdefault(ranked_text(document, index, request.rank_fields), len(texts))
            for index, document in enumerate(request.documents)
        ]
        query = tokenizer.encode_query(request.query, request.instruction, request.truncate)
        echoes = [
            _copied(document, index) if request.return_documents else None
            for index, document in enumerate(request.documents)
        ]
    except InvalidRequestError as error:
        raise error.within(prefix) from error.__cause__
    if texts and not any(_has_text(document, request) for document in request.documents):
        logger.warning(
            "no document has any of the rank_fields %s: all are scored as empty ones",
            request.rank_fields,
        )
    return Prepared(request, query, list(texts), pair_of, echoes, prefix)


def prepared_pairs(pairs: Iterable[tuple[str, str]], tokenizer: PairTokenizer) -> Iterator[Pair]:
    """Yield the pairs of texts that a caller gave, each checked when it is drawn.

    :raises InvalidRequestError: if an element is no pair of strings.
    """
    encoded: tuple[str, EncodedQuery] | None = None  # pairs of one query mostly come together
    for position, pair in enumerate(check_iterable("pairs", pairs, "(query, document)")):
        if isinstance(pair, (str, bytes)) or not isinstance(pair, Sequence) or len(pair) != 2:
            raise InvalidRequestError(
                f"pairs[{position}] is {str(pair)[:60]!r}: pass (query, document)",
                param=f"pairs[{position}]",
            )
        query, document = pair
        check_text(f"pairs[{position}][0]", query)
        check_text(f"pairs[{position}][1]", document)
        if encoded is None or encoded[0] != query:
            encoded = query, tokenizer.encode_query(query)
        yield Pair(encoded[1], document)


def _has_text(document: Document, request: RerankRequest) -> bool:
    if isinstance(document, str) or request.rank_fields is None:
        return True
    return any(name in document for name in request.rank_fields)


def _copied(document: Document, index: int) -> Document:
    if isinstance(document, str):
        return document
    try:
        return copy.deepcopy(dict(document))
    except Exception as error:  # whatever the values raise
        raise InvalidRequestError(
            f"documents[{index}] cannot be copied into its result ({error}):"
            " leave out return_documents, or what holds no data",
            param=f"documents[{index}]",
        ) from error
