"""`fastrerank rerank`: documents of a file or a pipe, ranked for a query."""

import argparse
import json
import shutil
import sys
from collections.abc import Mapping
from typing import TextIO

from fastrerank.errors import InvalidRequestError
from fastrerank.request import Document
from fastrerank.response import RerankResponse

from .arguments import add_model_arguments, model_loader
from .document_file import read_documents
from .terminal import check_output, printable

NAME = "rerank"
HELP = "rank documents, one a line (text or JSON), by their relevance to a query"
EXAMPLES = """examples:
  fastrerank rerank --query "animals of Peru" documents.txt
  fastrerank rerank --query "animals of Peru" --top-n 3 --json documents.jsonl
  grep -h llama *.txt | fastrerank rerank --query "animals of Peru"

A line that is a JSON string or object is that document; an object is scored by its "text", or by
the fields named with --rank-fields. Every other line is a document as it stands, but not in a
.jsonl file, nor after a first line that is an object: there, it is an error, as NaN is in any JSON.
A JSON array is a list of documents. Empty lines are left out. The index in the answer counts
documents from 0. On a terminal the answer is a table, otherwise JSON.
"""


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
    check_output()
    documents = read_documents(arguments.file)
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


def _print_table(response: RerankResponse, documents: list[Document], out: TextIO) -> None:
    width = max(20, shutil.get_terminal_size().columns - 22)
    print(f"{'rank':>4}  {'score':>6}  {'index':>5}  document", file=out)
    for rank, result in enumerate(response.results, 1):
        document = documents[result.index]
        text = (
            json.dumps(document, ensure_ascii=False) if isinstance(document, Mapping) else document
        )
        line = printable(text, out)
        shown = line if len(line) <= width else line[: width - 3] + "..."
        print(f"{rank:>4}  {result.relevance_score:6.4f}  {result.index:>5}  {shown}", file=out)
    if response.query_truncated:
        print("the query was cut to fit: it lost its end", file=out)
    if response.truncated:
        print(f"cut to fit: {', '.join(map(str, response.truncated))}", file=out)
