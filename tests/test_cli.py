import io
import json
import os
import pty
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from tiny import edit_manifest, write_tiny_bundle

from fastrerank import Reranker
from fastrerank.cli import PIPE_CLOSED, main
from fastrerank.commands import serve
from fastrerank.manifest import MANIFEST_NAME

LINES = """The giant panda is a bear species endemic to China.

The llama is a domesticated camelid of the Andes in Peru.
{"text": "Guanacos live in Peru.", "id": 7}
{not json}
"""


def run(capsys, *arguments):
    status = main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    return status, out, err


@pytest.fixture
def documents(tmp_path):
    path = tmp_path / "documents.txt"
    path.write_text(LINES)
    return path


def test_rerank_answers_in_json(capsys, documents, tiny_bundle):
    status, out, err = run(capsys, "rerank", "-q", "animals of Peru", "--top-n", 2, documents)
    assert (status, err) == (0, "")
    results = json.loads(out)["results"]
    assert {result["index"] for result in results} == {1, 2}
    assert {"text": "Guanacos live in Peru.", "id": 7} in [r["document"] for r in results]


def test_a_line_that_is_no_json_is_a_document_as_it_stands(capsys, documents, tiny_bundle):
    _, out, _ = run(capsys, "rerank", "-q", "w9", "-m", tiny_bundle, documents)
    texts = {r["index"]: r["document"]["text"] for r in json.loads(out)["results"]}
    assert len(texts) == 4
    assert texts[3] == "{not json}"


def test_options_reach_the_reranker(capsys, documents, tiny_bundle):
    documents.write_text('{"title": "w9", "body": "w8 w7 w6"}\n')
    arguments = ["rerank", "-q", "w9", "-m", tiny_bundle, "--rank-fields", "title,body"]
    _, out, _ = run(capsys, *arguments, "--max-tokens-per-doc", 2, "--no-documents", documents)
    body = json.loads(out)
    assert body["truncated"] == [0]
    assert "document" not in body["results"][0]
    plain, spaced = (
        json.loads(run(capsys, *arguments[:-1], names, documents)[1])["results"]
        for names in ("body,title", "body, title")
    )
    assert plain == spaced
    status, _, error = run(capsys, *arguments[:-1], "title,", documents)
    assert status != 0
    assert "--rank-fields is 'title,'" in error


def test_every_option_reaches_the_model_or_the_call(capsys, documents, tiny_bundle, monkeypatch):
    passed = {}

    class Noted(Reranker):
        def __init__(self, model, **options):
            passed.update(options)
            super().__init__(model, **options)

        def rerank(self, query, documents, **options):
            passed.update(options)
            return super().rerank(query, documents, **options)

    monkeypatch.setattr("fastrerank.commands.arguments.Reranker", Noted)
    options = {
        "precision": "fp32",
        "runtime": "onnxruntime",
        "threads": 3,
        "max_length": 20,
        "window": 9,
        "top_n": 2,
        "max_tokens_per_doc": 5,
        "truncate": "start",
        "instruction": "w7",
    }
    arguments = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
    run(capsys, "rerank", "-q", "w9", "-m", tiny_bundle, *arguments, documents)
    assert passed == {**options, "return_documents": True, "rank_fields": None}


def test_a_table_shows_rank_score_index_and_text_and_what_was_cut(capsys, documents, tiny_bundle):
    documents.write_text('w8\nw90\n{"text": "w50 w50"}\n')
    arguments = ["rerank", "-q", "w9", "-m", tiny_bundle, "--table", "--max-tokens-per-doc", 1]
    _, out, _ = run(capsys, *arguments, documents)
    header, *rows, note = out.splitlines()
    assert header.split() == ["rank", "score", "index", "document"]
    shown = [row.split(maxsplit=3) for row in rows]
    assert [(rank, index, text) for rank, _, index, text in shown] == [
        ("1", "1", "w90"),
        ("2", "2", '{"text": "w50 w50"}'),
        ("3", "0", "w8"),
    ]
    assert note == "cut to fit: 2"


def test_standard_input_is_read_and_a_terminal_gets_a_table(tiny_bundle):
    command = [sys.executable, "-m", "fastrerank", "rerank", "-q", "w9", "-m", str(tiny_bundle)]
    piped = subprocess.run(command, input="w8\nw7\n", capture_output=True, text=True, check=True)
    assert len(json.loads(piped.stdout)["results"]) == 2
    ours, theirs = pty.openpty()
    subprocess.run(command, input=b"w8\nw7\n", stdout=theirs, check=True)
    assert os.read(ours, 10_000).decode().split()[:4] == ["rank", "score", "index", "document"]
    os.close(ours)
    os.close(theirs)


def test_only_line_feeds_end_a_document(capsys, documents, tiny_bundle):
    """json.dumps(..., ensure_ascii=False) leaves U+2028 and U+0085 as they are."""
    texts = ["w9\u2028w8", "w7\x85w6", "w5\x0cw4"]
    lines = [json.dumps({"text": text}, ensure_ascii=False) for text in texts]
    documents.write_bytes("\r\n".join(["a\x0cb", *lines, ""]).encode())
    _, out, _ = run(capsys, "rerank", "-q", "w9", "-m", tiny_bundle, documents)
    found = {r["index"]: r["document"]["text"] for r in json.loads(out)["results"]}
    assert [found[index] for index in sorted(found)] == ["a\x0cb", *texts]


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("d.txt", ['{"text": "w9"}', "", '{"text": "w8"']),
        ("d.txt", ['{"text": "w9"}', "w8"]),
        ("d.txt", ["w9", '{"text": "w8", "score": NaN}']),
        ("d.txt", ["w9", '{"text": "w8", "score": -Infinity}']),
        ("d.txt", ["w9", "[1, -1e999]"]),
        ("d.jsonl", ["w9"]),
        ("d.jsonl", ['"w9"', "7"]),
        ("d.jsonl", ['{"text": "w9"}', '["w8"]']),
    ],
)
def test_a_broken_line_among_json_is_an_error(capsys, tmp_path, tiny_bundle, name, lines):
    path = tmp_path / name
    path.write_text("\n".join(lines))
    status, out, err = run(capsys, "rerank", "-q", "w9", "-m", tiny_bundle, path)
    assert (status, out) == (2, "")
    assert f"line {len(lines)} of {path}" in err


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('["w9", null]', "element 1 of"),
        ('["w9", NaN]', "NaN is no JSON number"),
        ('{"text": "w9", "score": 1e999}', "1e999 is no JSON number"),
        ('[\n  "w9",\n]', "line 3 column 1"),
        ('{\n  "text": "w9"\n}\n{\n  "text": "w8"\n}', "jq -c"),
    ],
)
def test_broken_json_is_no_text(capsys, documents, tiny_bundle, text, said):
    documents.write_text(text)
    status, out, err = run(capsys, "rerank", "-q", "w9", "-m", tiny_bundle, documents)
    assert (status, out) == (2, "")
    assert said in err


def test_an_object_over_several_lines_is_one_document(capsys, documents, tiny_bundle):
    documents.write_text(json.dumps({"text": "w9", "id": 1}, indent=2))
    _, out, _ = run(capsys, "rerank", "-q", "w9", "-m", tiny_bundle, documents)
    assert [r["document"] for r in json.loads(out)["results"]] == [{"text": "w9", "id": 1}]


def test_a_text_may_look_like_json(capsys, documents, tiny_bundle):
    documents.write_text('[NaN] is no number\n"w9" and {w8\nNaN')
    _, out, _ = run(capsys, "rerank", "-q", "w9", "-m", tiny_bundle, documents)
    found = {r["index"]: r["document"]["text"] for r in json.loads(out)["results"]}
    assert found == {0: "[NaN] is no number", 1: '"w9" and {w8', 2: "NaN"}


@pytest.mark.parametrize("indent", [None, 2])
def test_a_json_array_is_a_list_of_documents(capsys, documents, tiny_bundle, indent):
    documents.write_text(json.dumps([{"text": "w9", "id": 1}, "w8"], indent=indent))
    _, out, _ = run(capsys, "rerank", "-q", "w9", "-m", tiny_bundle, documents)
    found = {r["index"]: r["document"] for r in json.loads(out)["results"]}
    assert found == {0: {"text": "w9", "id": 1}, 1: {"text": "w8"}}
    documents.write_text("[1, 2]\n[see above]")
    _, out, _ = run(capsys, "rerank", "-q", "w9", "-m", tiny_bundle, documents)
    found = {r["index"]: r["document"]["text"] for r in json.loads(out)["results"]}
    assert found == {0: "[1, 2]", 1: "[see above]"}


def test_a_dash_is_standard_input(capsys, monkeypatch, tiny_bundle):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"w9\nw8\n")))
    status, out, _ = run(capsys, "rerank", "-q", "w9", "-m", tiny_bundle, "-")
    assert (status, len(json.loads(out)["results"])) == (0, 2)


def test_a_cut_query_is_told_beside_the_table(capsys, documents, tiny_bundle):
    arguments = ("rerank", "-m", tiny_bundle, "--table", documents, "-q")
    assert "the query was cut" in run(capsys, *arguments, "w9 " * 40)[1]
    assert "the query was cut" not in run(capsys, *arguments, "w9")[1]


def test_a_byte_order_mark_is_no_part_of_the_first_document(capsys, documents, tiny_bundle):
    documents.write_text("w8\n", encoding="utf-8-sig")
    _, out, _ = run(capsys, "rerank", "-q", "w9", "-m", tiny_bundle, documents)
    assert json.loads(out)["results"][0]["document"] == {"text": "w8"}


@pytest.mark.parametrize("encoding", ["utf-8", "cp1252"])
@pytest.mark.parametrize("form", ["--json", "--table"])
def test_what_the_output_cannot_encode_is_escaped(tiny_bundle, encoding, form):
    command = [sys.executable, "-m", "fastrerank", "rerank", "-q", "w9", "-m", str(tiny_bundle)]
    documents = ["w9 \ud83d cut", "→ Peru"]
    done = subprocess.run(
        [*command, form],
        input="\n".join(map(json.dumps, documents)).encode(),
        capture_output=True,
        check=True,
        env={**os.environ, "PYTHONIOENCODING": encoding},
    )
    text = done.stdout.decode(encoding)
    if form == "--json":
        echoes = [r["document"]["text"] for r in json.loads(text)["results"]]
        assert sorted(echoes) == sorted(documents)
    else:
        assert "w9 ? cut" in text


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_has_seen_enough_ends_it_quietly(documents, tiny_bundle, unbuffered):
    documents.write_text("".join(f"w{n % 90 + 4}\n" for n in range(3000)))
    command = [sys.executable, "-m", "fastrerank", "rerank", "-q", "w9", "-m", str(tiny_bundle)]
    environment = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    with subprocess.Popen(
        [*command, str(documents)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
    ) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == PIPE_CLOSED


def test_ctrl_c_has_the_status_that_a_shell_reports(monkeypatch):
    def stopped(_):
        raise KeyboardInterrupt

    monkeypatch.setattr("fastrerank.commands.inspect.run", stopped)
    status = None
    with suppress(KeyboardInterrupt):  # it would end the test run
        status = main(["inspect"])
    assert status == 130


@pytest.mark.parametrize(("closed", "word"), [("<&-", "input"), (">&-", "output")])
def test_closed_streams_are_named(documents, tiny_bundle, closed, word):
    file = "" if word == "input" else str(documents)
    command = f"{sys.executable} -m fastrerank rerank -q w9 -m {tiny_bundle} {file} {closed}"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True)
    assert done.returncode == 2
    assert f"standard {word} is closed" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["rerank", "-q", "x", "--top-n", "0", "FILE"], 2, "top_n is 0"),
        (["rerank", "-q", "x", "--precision", "fp16", "FILE"], 2, "int8 (onnxruntime)"),
        (["rerank", "-q", "x", "-m", "no-such", "FILE"], 1, "no bundle at 'no-such'"),
        (["rerank", "-q", "x", "/no/such/file"], 1, "/no/such/file"),
        (["rerank", "-q", "x", "--truncate", "none", "--max-length", "8", "FILE"], 2, "tokens"),
        (["verify", "/no/such"], 1, "no bundle"),
        (["inspect", "/no/such"], 1, "no bundle"),
    ],
)
def test_errors_are_one_line_without_a_traceback(capsys, documents, arguments, status, words):
    arguments = [str(documents) if a == "FILE" else a for a in arguments]
    found, out, err = run(capsys, *arguments)
    assert (found, out) == (status, "")
    assert err.startswith("fastrerank: ")
    assert words in err
    assert "Traceback" not in err
    assert err.count("\n") == 1


def test_text_that_is_not_utf8_is_named(capsys, tmp_path):
    (tmp_path / "latin1.txt").write_bytes("café".encode("latin-1"))
    status, _, err = run(capsys, "rerank", "-q", "x", tmp_path / "latin1.txt")
    assert status == 2
    assert "not UTF-8" in err


@pytest.mark.parametrize("arguments", [[], ["rerank"], ["nonsense"], ["rerank", "-q"]])
def test_wrong_usage_has_status_2(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2


@pytest.mark.parametrize("command", ["rerank", "export", "verify", "inspect", "tune", "serve"])
def test_every_command_has_help_with_an_example(command, capsys):
    with pytest.raises(SystemExit) as caught:
        main([command, "--help"])
    assert caught.value.code == 0
    assert f"fastrerank {command}" in capsys.readouterr().out.split("examples:")[1]


def test_verify_proves_the_bundled_model(capsys):
    status, out, _ = run(capsys, "verify")
    assert status == 0
    assert "ok    int8: 10 golden pairs" in out


def test_verify_fails_where_scores_or_files_differ(capsys, tiny_bundle, tmp_path):
    bundle = shutil.copytree(tiny_bundle, tmp_path / "bundle")
    golden = {"pairs": [{"query": "w9", "document": "w8", "logits": {"fp32": 9.0, "int8": -4.6}}]}
    edit_manifest(bundle, golden={**golden, "tolerance": {"fp32": 0.1, "int8": 0.1}})
    status, out, _ = run(capsys, "verify", bundle)
    assert status == 1
    assert "WRONG fp32" in out
    assert "ok    int8" in out
    (bundle / "tokenizer.json").write_text("{}")
    status, _, err = run(capsys, "verify", bundle)
    assert status == 1
    assert "tokenizer.json" in err


def test_verify_names_a_precision_without_golden_logits(capsys, tiny_bundle, tmp_path):
    bundle = shutil.copytree(tiny_bundle, tmp_path / "bundle")
    golden = {"pairs": [{"query": "w9", "document": "w8", "logits": {"fp32": -4.6}}]}
    edit_manifest(bundle, golden={**golden, "tolerance": {"fp32": 0.1, "int8": 0.1}})
    status, out, err = run(capsys, "verify", bundle)
    assert status == 1
    assert "ok    fp32" in out
    assert "no golden logits for 'int8'" in err


def test_inspect_prints_the_facts(capsys, tiny_bundle):
    status, out, _ = run(capsys, "inspect")
    assert status == 0
    for fact in ("512 tokens a pair", "sigmoid", "Spearman", "<101> query <102> document <102>"):
        assert fact in out
    _, out, _ = run(capsys, "inspect", "--json", tiny_bundle)
    assert json.loads(out) == json.loads((tiny_bundle / MANIFEST_NAME).read_text())


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_inspect_prints_where_names_cannot_be_printed(tmp_path, options):
    bundle = write_tiny_bundle(tmp_path)
    precisions = json.loads((bundle / MANIFEST_NAME).read_text())["precisions"]
    precisions["fp32"]["pooled_position_note"] = "\u65e5\x1b[2J"
    edit_manifest(bundle, name="mod\u00e8le \u65e5\u672c \x1b[31m", precisions=precisions)
    done = subprocess.run(
        [sys.executable, "-m", "fastrerank", "inspect", *options, bundle],
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "\x1b" not in done.stdout
    assert "mod" in done.stdout


@pytest.mark.parametrize("command", [["inspect"], ["rerank", "-q", "w9"]])
def test_a_closed_output_is_said(capsys, monkeypatch, command):
    monkeypatch.setattr(sys, "stdout", None)
    status = main(command)
    assert status == 2
    assert "standard output is closed" in capsys.readouterr().err


@pytest.mark.parametrize("key", ["", " "])
def test_a_server_whose_key_is_empty_does_not_start(capsys, monkeypatch, key):
    monkeypatch.setenv("FASTRERANK_API_KEY", key)
    status, _, err = run(capsys, "serve", "--port", "0")
    assert status == 2
    assert "FASTRERANK_API_KEY is empty" in err


@pytest.mark.parametrize(
    ("model", "name", "bundle"),
    [
        ("small", "small", "small"),
        ("a=b=c", "a", "b=c"),
        ("a=run=3/x", "a", "run=3/x"),
        ("./run=3/x", "x", "./run=3/x"),
        ("models/tiny.fastrerank.json", "tiny", "models/tiny.fastrerank.json"),
        (".", Path.cwd().name, "."),
    ],
)
def test_a_model_is_served_by_its_name_or_that_of_its_directory(model, name, bundle):
    loaded = serve._loaded([model, "other=x"], lambda reference: reference)
    assert loaded == {name: bundle, "other": "x"}
