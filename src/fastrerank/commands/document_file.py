"""The documents of a file or a pipe: a JSON array, JSON a line, or text a line."""

import json
import sys
from pathlib import Path
from typing import NamedTuple

from fastrerank.errors import InvalidRequestError
from fastrerank.plain_json import finite, refuse_constant
from fastrerank.request import Document

_JSON_LINES = (".jsonl", ".ndjson", ".json")


class _Fault(NamedTuple):
    """Why a text has no value; `is_json` if it has one but for a number, such as NaN."""

    reason: str
    is_json: bool = False


_NO_DOCUMENT = _Fault("neither a string nor an object")


def read_documents(file: str | None) -> list[Document]:
    """Return the documents of a file, or of standard input for None and "-".

    :raises InvalidRequestError: if it is not UTF-8, or a line is no JSON where all must be, or JSON
        with a number that JSON does not have.
    """
    file = None if file == "-" else file
    if file is None and sys.stdin is None:
        raise InvalidRequestError("standard input is closed: name a file", param="documents")
    content = sys.stdin.buffer.read() if file is None else Path(file).read_bytes()
    name = file or "standard input"
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidRequestError(
            f"{name} is not UTF-8 (byte {error.start}): convert it first", param="documents"
        ) from error
    return _documents(text, name, json_alone=Path(file or "").suffix in _JSON_LINES)


def _documents(text: str, name: str, *, json_alone: bool) -> list[Document]:
    whole = _value(text)
    if isinstance(whole, (str, dict)):
        return [whole]
    if isinstance(whole, list):
        return _elements(whole, name)
    # Not splitlines: it cuts at U+2028 and others too, which JSON strings may hold as they are.
    numbered = enumerate(text.replace("\r\n", "\n").split("\n"), 1)
    lines = [(number, line, _value(line)) for number, line in numbered if line.strip()]
    over_lines = bool(lines) and lines[0][1].strip() in ("[", "{")
    if isinstance(whole, _Fault) and (whole.is_json or over_lines):
        raise InvalidRequestError(
            f"{name} is not JSON ({whole.reason}): pass an array, or an object a line (jq -c)",
            param="documents",
        )
    json_alone = json_alone or bool(lines and isinstance(lines[0][2], dict))
    documents: list[Document] = []
    for number, line, value in lines:
        if isinstance(value, (str, dict)):
            documents.append(value)
            continue
        fault = value if isinstance(value, _Fault) else _NO_DOCUMENT
        if json_alone or fault.is_json:
            raise InvalidRequestError(
                f"line {number} of {name} is {line[:60]!r} ({fault.reason}):"
                " pass a JSON string or object in every line",
                param="documents",
            )
        documents.append(line)
    return documents


def _elements(array: list[object], name: str) -> list[Document]:
    documents: list[Document] = []
    for index, element in enumerate(array):
        if not isinstance(element, (str, dict)):
            raise InvalidRequestError(
                f"element {index} of {name} is {json.dumps(element)[:60]}: pass strings or objects",
                param="documents",
            )
        documents.append(element)
    return documents


def _value(text: str) -> object:
    """Return the string, object or array that a JSON text is, or what is wrong with it."""
    if not text.lstrip().startswith(("{", "[", '"')):
        return _NO_DOCUMENT
    try:
        return json.loads(text, parse_constant=refuse_constant, parse_float=finite)
    except json.JSONDecodeError as error:
        return _Fault(str(error))
    except RecursionError:
        return _Fault("nested too deeply")
    except ValueError as error:  # of a number
        return _Fault(str(error), is_json=_is_json_but_for_numbers(text))


def _is_json_but_for_numbers(text: str) -> bool:
    try:
        json.loads(text, parse_constant=str, parse_float=str, parse_int=str)
    except (ValueError, RecursionError):
        return False
    return True
