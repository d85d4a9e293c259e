"""`fastrerank rerank`: documents of a file or a pipe, ranked for a query."""

import argparse
import json
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TextIO

from fastrerank.errors import InvalidRequestError
from fastrerank.plain_json import finite, refuse_constant
from fastrerank.request import Document
from fastrerank.response import RerankResponse

from .arguments import add_model_arguments, model_loader
from .terminal import printable

NAME = "rerank"
HELP = "rank documents, one a line (text or JSON), by their relevance to a query"
EXAMPLES = """examples:
  fastrerank rerank --query "animals of Peru" documents.txt
  fastrerank rerank --query "animals of Peru" --top-n 3 --json documents.jsonl
  grep -h llama *.txt | fastrerank rerank --query "animals of Peru"

A line that is a JSON string or object is that document; an object is scored by its "text", or by
the fields named with --rank-fields. Every other line is a document as it stands, but not in a
.jsonl file, nor after a first line that is an object: there, it is an error. A JSON array is a list
of documents. Empty lines are left out. The index in the answer counts documents from 0. On a
terminal the answer is a table, otherwise JSON.
"""


_JSON_LINES = (".jsonl", ".ndjson", ".json")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of this command."""
    parser.add_argument("file", nargs="?", help="documents (default, and for -: standard input)")
    parser.add_argument("--query", "-q", required=True, help="what the documents are ranked for")
    parser.add_argument("--model", "-m", help="path of a bundle, or name of a bundled model")
    add_model_arguments(parser)
    parser.add_argument("--top-n", type=int, help="how many results to return (default: all)")
    parser.add_argument("--max-tokens-per-doc", type=int, help="longer documents are cut")
    parser.add_argument(
        "--truncate",
        choices=("end", "start", "none"),
        default="end",
        help="what a document that does not fit loses; none: it is an error (default: end)",
    )
    parser.add_argument(
        "--instruction",
        help="read together with the query; for models trained on instructions, which the bundled"
        " ones are not",
    )
    parser.add_argument("--rank-fields", help="fields of JSON objects to score: title,text")
    parser.add_argument("--no-documents", action="store_true", help="leave the documents out")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="JSON, also on a terminal")
    form.add_argument("--table", action="store_true", help="a table, also in a pipe")


def run(arguments: argparse.Namespace) -> int:
    """Print the answer and return 0."""
    if sys.stdout is None:
        raise InvalidRequestError("standard output is closed: there is no place for the answer")
    documents = _documents(arguments.file)
    with model_loader(arguments)(arguments.model) as reranker:
        response = reranker.rerank(
            arguments.query,
            documents,
            top_n=arguments.top_n,
            return_documents=not arguments.no_documents,
            rank_fields=_names(arguments.rank_fields),
            max_tokens_per_doc=arguments.max_tokens_per_doc,
            truncate=arguments.truncate,
            instruction=arguments.instruction,
        )
    if arguments.table or (sys.stdout.isatty() and not arguments.json):
        _print_table(response, documents, sys.stdout)
    else:
        print(_json(response, sys.stdout.encoding))
    return 0


def _names(listed: str | None) -> list[str] | None:
    """Return the names in a comma-separated list."""
    if listed is None:
        return None
    names = [name.strip() for name in listed.split(",")]
    if not all(names):
        raise InvalidRequestError(f"--rank-fields is {listed!r}: pass names, as in title,text")
    return names


def _json(response: RerankResponse, encoding: str | None) -> str:
    """Return the answer as JSON, in escapes where the encoding lacks a character of it."""
    content = response.to_dict()
    text = json.dumps(content, ensure_ascii=False, indent=2)
    try:
        text.encode(encoding or "utf-8")
    except UnicodeEncodeError:
        return json.dumps(content, indent=2)
    return text


def _documents(file: str | None) -> list[Document]:
    """Return the documents of a file, or of standard input for None and "-".

    :raises InvalidRequestError: if it is not UTF-8, or a line is no JSON where all must be.
    """
    file = None if file == "-" else file
    if file is None and sys.stdin is None:
        raise InvalidRequestError("standard input is closed: name a file", param="documents")
    content = sys.stdin.buffer.read() if file is None else Path(file).read_bytes()
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidRequestError(
            f"{file or 'standard input'} is not UTF-8 (byte {error.start}): convert it first",
            param="documents",
        ) from error
    array = _parsed(text)
    if isinstance(array, list) and all(isinstance(each, (str, dict)) for each in array):
        return array
    # Not splitlines: it cuts at U+2028 and others too, which JSON strings may hold as they are.
    lines = [line for line in text.replace("\r\n", "\n").split("\n") if line.strip()]
    found = [_parsed(line) for line in lines]
    json_alone = Path(file or "").suffix in _JSON_LINES or bool(
        found and isinstance(found[0], dict)
    )
    documents: list[Document] = []
    for number, (line, value) in enumerate(zip(lines, found, strict=True), 1):
        if json_alone and not isinstance(value, (str, dict)):
            raise InvalidRequestError(
                f"line {number} of {file or 'standard input'} (empty ones not counted) is"
                f" {line[:60]!r}: pass a JSON string or object in every line",
                param="documents",
            )
        documents.append(value if isinstance(value, (str, dict)) else line)
    return documents


def _parsed(text: str) -> object:
    """Return the value of a JSON text, or None where it is none."""
    if not text.lstrip().startswith(("{", "[", '"')):
        return None
    try:
        return json.loads(text, parse_constant=refuse_constant, parse_float=finite)
    except (ValueError, RecursionError):
        return None


def _print_table(response: RerankResponse, documents: list[Document], out: TextIO) -> None:
    width = max(20, shutil.get_terminal_size().columns - 22)
    print(f"{'rank':>4}  {'score':>6}  {'index':>5}  document", file=out)
    for rank, result in enumerate(response.results, 1):
        document = documents[result.index]
        text = (
            json.dumps(document, ensure_ascii=False) if isinstance(document, Mapping) else document
        )
        line = printable(text, out.encoding)
        shown = line if len(line) <= width else line[: width - 3] + "..."
        print(f"{rank:>4}  {result.relevance_score:6.4f}  {result.index:>5}  {shown}", file=out)
    if response.query_truncated:
        print("the query was cut to fit: it lost its end", file=out)
    if response.truncated:
        print(f"cut to fit: {', '.join(map(str, response.truncated))}", file=out)
