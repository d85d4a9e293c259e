"""The part of a long text that can matter, so that the rest is not tokenised.

Tokenising a document of 100,000 characters takes as long as scoring the few hundred tokens of it
that are read. Most tokenizers never join what a space separates, so that a text cut at a space has
the tokens of the whole up to the cut.
"""

from typing import TYPE_CHECKING

from .request import Truncate

if TYPE_CHECKING:
    from tokenizers import Tokenizer

# English has 4 to 5 characters a token; a text with longer ones is tokenised a second time.
CHARACTERS_PER_TOKEN = 8
# Tokens beyond those that are read: the last ones before a cut can differ from the whole text's
# where a token holds a space, as an added one may.
MARGIN = 32
# A text without spaces, or of no language, is cut all the same: tokenizers holds up to 500 bytes a
# character.
MOST_CHARACTERS, MOST_PER_TOKEN = 500_000, 50


def most_characters(tokens: int) -> int:
    """Return how many characters of a text are tokenised at most, where so many tokens are read."""
    return max(MOST_CHARACTERS, MOST_PER_TOKEN * tokens)


def bounded(text: str, tokens: int, truncate: Truncate) -> str:
    """Return the first characters of `text` that may be tokenised; with "start", the last."""
    most = most_characters(tokens)
    return text[-most:] if truncate == "start" else text[:most]


def splits_at_spaces(tokenizer: "Tokenizer") -> bool:
    """Return whether the tokenizer takes texts apart at spaces before it looks for tokens."""
    if tokenizer.pre_tokenizer is None:
        return False
    words = ("one", "two", "three")
    probe = " ".join(words)
    if tokenizer.normalizer is not None:  # some replace spaces, and have nothing to split at then
        probe = tokenizer.normalizer.normalize_str(probe)
    pieces = [piece for piece, _ in tokenizer.pre_tokenizer.pre_tokenize_str(probe)]
    return all(sum(word in piece for word in words) <= 1 for piece in pieces)


def excerpt(text: str, tokens: int, truncate: Truncate) -> str:
    """Return a part of `text` that most likely holds its first `tokens` tokens and `MARGIN` more.

    Its last ones with `truncate` "start". The whole text where it is not much longer, has no space
    to cut at, or all its tokens count (`truncate` is "none").
    """
    size = (tokens + MARGIN) * CHARACTERS_PER_TOKEN
    if truncate == "none" or len(text) < 2 * size:
        return text
    # A run of spaces stays whole: what it becomes depends on its length.
    if truncate == "start":
        place = text.rfind(" ", 0, len(text) - size)
        return text[len(text[:place].rstrip()) :] if place > 0 else text
    place = text.find(" ", size)
    return text[:place].rstrip() if place > 0 else text
