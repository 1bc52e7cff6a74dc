"""Fetching official weights from a server on this machine: resumed, checked, and never trusted."""

from __future__ import annotations

import hashlib
import http.client
import io
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from weights_files import write_bomb, write_official

from dacfile.errors import ModelMismatch, ModelNotFound, OutputExists, UnsafeWeights
from dacfile.model import store
from dacfile.model.checkpoint import load_model
from dacfile.model.fetch import RELEASES, Release, SameSchemeOnly, fetch, recorded


class Server(ThreadingHTTPServer):
    """Serves one file; the attributes say how badly."""

    content = b""
    etag = '"one"'
    kind = "application/octet-stream"
    status = 0  # an error to answer with
    cut_after = 0  # bytes, then the connection is closed; 0 = never
    redirect = ""
    requests: list[tuple[str, int]]  # Range header, bytes sent


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        server = self.server
        if server.redirect and self.path != "/moved":
            self.send_response(302)
            self.send_header("Location", server.redirect)
            self.end_headers()
            return
        if server.status:
            self.send_error(server.status)
            return
        wanted = self.headers.get("Range", "")
        fresh = not wanted or self.headers.get("If-Range") != server.etag
        start = 0 if fresh else int(wanted.removeprefix("bytes=").removesuffix("-"))
        if start and start >= len(server.content):
            self.send_error(416)
            return
        body = server.content[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Type", server.kind)
        self.send_header("Content-Length", str(len(body)))
        if server.etag:
            self.send_header("ETag", server.etag)
        self.end_headers()
        sent = body[: server.cut_after] if server.cut_after else body
        server.requests.append((wanted, len(sent)))
        self.wfile.write(sent)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with Server(("127.0.0.1", 0), Handler) as found:
        found.requests = []
        found.content = write_official(tmp_path / "official.pth").read_bytes()
        thread = threading.Thread(target=found.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        yield found
        found.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DACZ_MODELS", str(tmp_path / "user"))
    monkeypatch.delenv("http_proxy", raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    return tmp_path / "user"


def releases(server: Server, sha256: str = "", size: int = 0) -> dict[str, Release]:
    url = f"http://127.0.0.1:{server.server_port}/weights.pth"
    return {"descript-test": Release(url, "a test", "MIT", sha256, size)}


def left_over(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if "part" in path.name)


def test_fetching_installs_and_records(server: Server, folder: Path, tmp_path: Path) -> None:
    seen: list[tuple[int, int | None]] = []
    entry = fetch("descript-test", lambda done, total: seen.append((done, total)), releases(server))
    assert store.find("descript-test") == entry
    assert entry.id == load_model(tmp_path / "official.pth")[1].id
    assert (entry.description, entry.licence) == ("a test", "MIT")
    assert entry.source.endswith("/weights.pth")
    assert seen[-1] == (len(server.content), len(server.content))
    assert recorded()["descript-test"]["sha256"] == hashlib.sha256(server.content).hexdigest()
    assert left_over(folder) == []
    with pytest.raises(OutputExists):
        fetch("descript-test", None, releases(server))


def test_an_interrupted_download_goes_on(server: Server, folder: Path) -> None:
    server.cut_after = 5000
    with pytest.raises(ModelNotFound, match=r"5000 of .* again"):
        fetch("descript-test", None, releases(server))
    assert store.list_models() == [entry for entry in store.list_models() if entry.bundled]
    with pytest.raises(ModelNotFound, match="10000 of"):
        fetch("descript-test", None, releases(server))
    server.cut_after = 0
    entry = fetch("descript-test", None, releases(server, hashlib.sha256(server.content).hexdigest()))
    assert entry.name == "descript-test"
    assert server.requests == [("", 5000), ("bytes=5000-", 5000), ("bytes=10000-", len(server.content) - 10000)]
    assert left_over(folder) == []


@pytest.mark.parametrize("etag", ['"two"', "", 'W/"one"'])
def test_a_changed_file_is_downloaded_afresh(server: Server, etag: str) -> None:
    server.cut_after = 5000
    with pytest.raises(ModelNotFound):
        fetch("descript-test", None, releases(server))
    server.cut_after, server.etag = 0, etag
    fetch("descript-test", None, releases(server))
    assert server.requests[-1][1] == len(server.content)


def test_a_part_longer_than_the_file_is_thrown_away(server: Server, folder: Path) -> None:
    folder.mkdir()
    (folder / "descript-test.pth.part").write_bytes(b"x" * (len(server.content) + 10))
    (folder / "descript-test.pth.part.etag").write_text(server.etag)
    fetch("descript-test", None, releases(server))
    assert server.requests == [("", len(server.content))]


def test_a_wrong_hash_is_refused_before_parsing(server: Server, folder: Path, tmp_path: Path) -> None:
    server.content = write_bomb(tmp_path / "bomb.pth", tmp_path / "canary").read_bytes()
    with pytest.raises(ModelMismatch, match="SHA-256"):
        fetch("descript-test", None, releases(server, "0" * 64))
    with pytest.raises(ModelMismatch, match="bytes in place of 7"):
        fetch("descript-test", None, releases(server, size=7))
    assert left_over(folder) == []
    assert recorded() == {}


def test_the_hash_of_the_first_time_is_remembered(server: Server, tmp_path: Path) -> None:
    fetch("descript-test", None, releases(server))
    store.remove("descript-test")
    server.content = write_official(tmp_path / "other.pth", "descript_2458").read_bytes()
    server.etag = '"two"'
    with pytest.raises(ModelMismatch, match="SHA-256"):
        fetch("descript-test", None, releases(server))
    with pytest.raises(ModelNotFound):
        store.find("descript-test")


def test_a_web_page_is_not_weights(server: Server, folder: Path) -> None:
    server.content = b"<html><body>Please log in</body></html>"
    with pytest.raises(UnsafeWeights, match="web page"):
        fetch("descript-test", None, releases(server))
    server.kind = "text/html; charset=utf-8"
    with pytest.raises(UnsafeWeights, match="web page"):
        fetch("descript-test", None, releases(server))
    assert left_over(folder) == []


def test_a_pickle_bomb_does_not_go_off(server: Server, folder: Path, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    server.content = write_bomb(tmp_path / "bomb.pth", canary).read_bytes()
    with pytest.raises(UnsafeWeights):
        fetch("descript-test", None, releases(server))
    assert not canary.exists()
    assert left_over(folder) == []
    assert recorded() == {}


@pytest.mark.parametrize("status", [403, 404, 500])
def test_server_errors_are_one_line(server: Server, status: int) -> None:
    server.status = status
    with pytest.raises(ModelNotFound, match=str(status)) as caught:
        fetch("descript-test", None, releases(server))
    assert "\n" not in str(caught.value)


def test_redirects_are_followed(server: Server) -> None:
    server.redirect = "/moved"
    assert fetch("descript-test", None, releases(server)).name == "descript-test"


def test_redirects_never_give_up_encryption() -> None:
    request = urllib.request.Request("https://example.org/weights.pth")
    headers = http.client.HTTPMessage()
    with pytest.raises(urllib.error.HTTPError, match="unencrypted"):
        SameSchemeOnly().redirect_request(request, io.BytesIO(), 302, "Found", headers, "http://example.org/x")
    followed = SameSchemeOnly().redirect_request(request, io.BytesIO(), 302, "Found", headers, "https://a.org/x")
    assert followed is not None
    assert followed.full_url == "https://a.org/x"


def test_no_server_and_no_such_name(server: Server) -> None:
    known = releases(server)
    nowhere = {"descript-test": Release("http://127.0.0.1:9/weights.pth", "nobody listens")}
    with pytest.raises(ModelNotFound, match="failed"):
        fetch("descript-test", None, nowhere)
    with pytest.raises(ModelNotFound, match="descript-test"):
        fetch("descript-48k", None, known)


def test_the_official_table_is_complete() -> None:
    from dacfile.model.dac import PUBLISHED

    assert RELEASES.keys() == PUBLISHED.keys()
    for release in RELEASES.values():
        assert release.url.startswith("https://github.com/descriptinc/descript-audio-codec/releases/download/")
        assert "MIT" in release.licence
