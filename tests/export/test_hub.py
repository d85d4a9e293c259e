"""A hub id is downloaded through the real client, from a small hub on the loopback interface."""

import hashlib
import json
import os
import subprocess
import sys
import threading
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from checkpoints import save_checkpoint

from fastrerank.bundle import open_bundle

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub(BaseHTTPRequestHandler):
    """The three routes of a model hub that a snapshot download asks for."""

    def __init__(self, directory: Path, *args) -> None:
        self.directory = directory
        super().__init__(*args)

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        api, file = "/api/models/team/ranker/revision/", f"/team/ranker/resolve/{COMMIT}/"
        if self.path.startswith(api) and self.path[len(api) :] in ("main", "v1", COMMIT):
            names = [{"rfilename": path.name} for path in self.directory.iterdir()]
            body = json.dumps({"id": "team/ranker", "sha": COMMIT, "siblings": names})
            self._answer(body.encode())
        elif self.path.startswith(file):
            self._answer((self.directory / self.path[len(file) :]).read_bytes())
        else:
            self.send_error(404)

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", f'"{hashlib.sha256(body).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *args) -> None:
        pass


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    directory = save_checkpoint(tmp_path_factory.mktemp("hub"))
    (directory / "README.md").write_text("---\nlicense: apache-2.0\n---\n")
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Hub, directory)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def export(hub, tmp_path, *arguments):
    environment = {**os.environ, "HF_ENDPOINT": hub, "HF_HOME": str(tmp_path / "cache")}
    command = [sys.executable, "-m", "fastrerank", "export", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True)


def test_a_hub_id_is_downloaded_and_its_commit_kept(hub, tmp_path):
    output = tmp_path / "bundle"
    done = export(
        hub, tmp_path, "team/ranker", str(output), "--precision", "fp32", "--revision", "v1"
    )
    assert done.returncode == 0, done.stderr
    source = open_bundle(output).manifest.source
    assert (source.name, source.revision, source.license) == ("team/ranker", COMMIT, "apache-2.0")


def test_what_the_hub_does_not_have_is_an_error(hub, tmp_path):
    done = export(hub, tmp_path, "team/missing", str(tmp_path / "bundle"))
    assert done.returncode == 1
    assert "the hub gives no model of that name" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "bundle").exists()
