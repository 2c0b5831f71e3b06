"""Downloads from a server on this machine that resumes, refuses to, lies, and hangs up."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from corolla.data.fetch import download
from corolla.errors import DataError, WriteError

BODY = bytes(range(256)) * 4000
MD5 = f"md5:{hashlib.md5(BODY).hexdigest()}"
SHA256 = f"sha256:{hashlib.sha256(BODY).hexdigest()}"


@dataclass
class Site:
    """What the server does; `cuts` and `statuses` are used up, one a request."""

    url: str = ""
    body: bytes = BODY
    etag: str | None = '"one"'
    modified: str | None = None
    ranges: bool = True
    cuts: list[int] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    wrong_range: bool = False
    announce: bool = True
    coding: str | None = None
    stall_after: int | None = None
    go_on: threading.Event = field(default_factory=threading.Event)
    seen: list[str | None] = field(default_factory=list)


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    state = Site()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = self.headers.get("Range")
            state.seen.append(wanted)
            if state.statuses:
                status = state.statuses.pop(0)
                if status != 200:
                    self.send_error(status)
                    return
            start = 0
            same = self.headers.get("If-Range") in (state.etag, state.modified)
            if wanted and state.ranges and same:
                start = int(wanted.removeprefix("bytes=").removesuffix("-"))
                if start >= len(state.body):
                    self.send_response(416)
                    self.send_header("Content-Range", f"bytes */{len(state.body)}")
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                self.send_response(206)
                first = start + 7 if state.wrong_range else start
                self.send_header("Content-Range", f"bytes {first}-{len(state.body) - 1}/{len(state.body)}")
            else:
                self.send_response(200)
            if state.announce:
                self.send_header("Content-Length", str(len(state.body) - start))
            for name, value in (("ETag", state.etag), ("Last-Modified", state.modified)):
                if value:
                    self.send_header(name, value)
            if state.coding:
                self.send_header("Content-Encoding", state.coding)
            self.end_headers()
            if state.stall_after is not None:
                self.wfile.write(state.body[: state.stall_after])
                state.go_on.wait(60)
                return
            end = start + state.cuts.pop(0) if state.cuts else len(state.body)
            self.wfile.write(state.body[start:end])

        def log_message(self, format: str, *args: object) -> None:
            """Keep quiet."""

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_: object) -> None:
            """Keep quiet when the client hangs up."""

    server = Server(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{server.server_port}/flowers.tgz"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield state
    server.shutdown()
    thread.join()
    server.server_close()


def fetch(site: Site, path: Path, **options: object) -> Path:
    return download(site.url, path, pause_seconds=0.0, **options)  # type: ignore[arg-type]


def leftovers(path: Path) -> set[str]:
    return {entry.name for entry in path.parent.iterdir()} - {path.name, path.name + ".lock"}


def test_download_verifies_and_reports_progress(site: Site, tmp_path: Path) -> None:
    calls: list[tuple[int, int | None]] = []
    path = tmp_path / "new" / "flowers.tgz"
    assert fetch(site, path, size=len(BODY), checksum=SHA256.upper(), progress=lambda *c: calls.append(c)) == path
    assert path.read_bytes() == BODY
    assert calls[-1] == (len(BODY), len(BODY))
    assert [done for done, _ in calls] == sorted({done for done, _ in calls})
    assert leftovers(path) == set()


def test_a_file_that_is_there_is_not_downloaded_again(site: Site, tmp_path: Path) -> None:
    path = tmp_path / "flowers.tgz"
    path.write_bytes(BODY)
    fetch(site, path, checksum=MD5)
    assert site.seen == []


def test_a_wrong_file_that_is_there_is_replaced(site: Site, tmp_path: Path) -> None:
    path = tmp_path / "flowers.tgz"
    path.write_bytes(b"half")
    fetch(site, path, checksum=MD5)
    assert path.read_bytes() == BODY


@pytest.mark.parametrize(
    ("etag", "modified"), [('"one"', None), (None, "Fri, 13 Feb 2009 23:31:30 GMT"), ('W/"x"', "then")]
)
def test_cut_connections_are_resumed(site: Site, tmp_path: Path, etag: str | None, modified: str | None) -> None:
    site.etag, site.modified, site.cuts = etag, modified, [1000, 300_000, 5]
    path = fetch(site, tmp_path / "flowers.tgz", checksum=SHA256)
    assert path.read_bytes() == BODY
    assert site.seen == [None, "bytes=1000-", "bytes=301000-", "bytes=301005-"]
    assert leftovers(path) == set()


def test_server_without_ranges_starts_again(site: Site, tmp_path: Path) -> None:
    site.ranges, site.cuts = False, [900_000, 1000]
    assert fetch(site, tmp_path / "flowers.tgz").read_bytes() == BODY
    assert len(site.seen) == 3


def test_without_a_validator_nothing_is_resumed(site: Site, tmp_path: Path) -> None:
    site.etag, site.cuts = None, [1000]
    assert fetch(site, tmp_path / "flowers.tgz").read_bytes() == BODY
    assert site.seen == [None, None]


def test_a_later_call_resumes_what_an_earlier_one_left(site: Site, tmp_path: Path) -> None:
    path = tmp_path / "flowers.tgz"
    site.cuts = [5000]
    with pytest.raises(DataError, match="what has come is kept"):
        fetch(site, path, attempts=1)
    assert not path.exists()
    assert (tmp_path / "flowers.tgz.part").stat().st_size == 5000
    fetch(site, path)
    assert path.read_bytes() == BODY
    assert site.seen == [None, "bytes=5000-"]


def test_a_killed_download_leaves_nothing_that_looks_complete_and_goes_on(site: Site, tmp_path: Path) -> None:
    path, part = tmp_path / "flowers.tgz", tmp_path / "flowers.tgz.part"
    site.stall_after = 500_000
    code = "import sys, pathlib, corolla.data.fetch as f; f.download(sys.argv[1], pathlib.Path(sys.argv[2]))"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen([sys.executable, "-c", code, site.url, str(path)], env=environment) as process:
        while process.poll() is None and not (part.exists() and part.stat().st_size > 100_000):
            time.sleep(0.01)
        process.kill()
    site.go_on.set()
    site.stall_after = None
    assert not path.exists()
    kept = part.stat().st_size
    assert kept > 100_000
    fetch(site, path, checksum=SHA256)
    assert site.seen == [None, f"bytes={kept}-"]
    assert path.read_bytes() == BODY


def test_a_file_that_changed_meanwhile_is_taken_anew(site: Site, tmp_path: Path) -> None:
    path = tmp_path / "flowers.tgz"
    site.cuts = [5000]
    with pytest.raises(DataError):
        fetch(site, path, attempts=1)
    site.body, site.etag = BODY[::-1], '"two"'
    fetch(site, path)
    assert path.read_bytes() == BODY[::-1]


def test_a_part_of_another_address_is_not_used(site: Site, tmp_path: Path) -> None:
    path = tmp_path / "flowers.tgz"
    path.with_name("flowers.tgz.part").write_bytes(b"x" * 100)
    path.with_name("flowers.tgz.part.json").write_text(json.dumps({"url": "http://else", "validator": '"one"'}))
    fetch(site, path)
    assert path.read_bytes() == BODY


def test_a_whole_part_needs_nothing_more(site: Site, tmp_path: Path) -> None:
    path = tmp_path / "flowers.tgz"
    path.with_name("flowers.tgz.part").write_bytes(BODY)
    path.with_name("flowers.tgz.part.json").write_text(json.dumps({"url": site.url, "validator": '"one"'}))
    fetch(site, path, checksum=MD5)
    assert path.read_bytes() == BODY
    assert site.seen == [f"bytes={len(BODY)}-"]


@pytest.mark.parametrize("rubbish", [b"x" * 100, b"x" * (len(BODY) + 100)])
def test_a_spoilt_part_is_replaced(site: Site, tmp_path: Path, rubbish: bytes) -> None:
    path = tmp_path / "flowers.tgz"
    path.with_name("flowers.tgz.part").write_bytes(rubbish)
    path.with_name("flowers.tgz.part.json").write_text(json.dumps({"url": site.url, "validator": '"one"'}))
    fetch(site, path, checksum=MD5)
    assert path.read_bytes() == BODY


def test_another_range_than_asked_for_is_not_appended(site: Site, tmp_path: Path) -> None:
    site.wrong_range, site.cuts = True, [1000]
    assert fetch(site, tmp_path / "flowers.tgz").read_bytes() == BODY
    assert site.seen == [None, "bytes=1000-", None]


@pytest.mark.parametrize("status", [429, 500, 503])
def test_busy_server_is_asked_again(site: Site, tmp_path: Path, status: int) -> None:
    site.statuses = [status, status, 200]
    assert fetch(site, tmp_path / "flowers.tgz").read_bytes() == BODY


def test_attempts_end(site: Site, tmp_path: Path) -> None:
    site.statuses = [503] * 10
    with pytest.raises(DataError, match=r"flowers\.tgz: not received after 3 attempts: the server answered 503"):
        fetch(site, tmp_path / "flowers.tgz", attempts=3)
    assert len(site.seen) == 3


def test_a_server_that_always_cuts_at_the_same_place_is_given_up(site: Site, tmp_path: Path) -> None:
    site.ranges, site.cuts = False, [1000] * 20
    with pytest.raises(DataError, match="after 3 attempts"):
        fetch(site, tmp_path / "flowers.tgz", attempts=3)
    assert len(site.seen) == 3


@pytest.mark.parametrize("status", [403, 404])
def test_refusal_is_one_clear_line(site: Site, tmp_path: Path, status: int) -> None:
    site.statuses = [status]
    with pytest.raises(DataError, match=f"flowers.tgz: the server answered {status}") as caught:
        fetch(site, tmp_path / "flowers.tgz")
    assert "\n" not in str(caught.value)
    assert len(site.seen) == 1
    assert leftovers(tmp_path / "flowers.tgz") == set()


def test_wrong_checksum_leaves_nothing(site: Site, tmp_path: Path) -> None:
    path = tmp_path / "flowers.tgz"
    with pytest.raises(DataError, match=f"MD5 is {MD5[4:]} instead of {'0' * 32}; the file was deleted"):
        fetch(site, path, checksum="md5:" + "0" * 32)
    assert not path.exists()
    assert leftovers(path) == set()


def test_wrong_size_is_seen_before_the_download(site: Site, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="offers 1,024,000 bytes instead of 7"):
        fetch(site, tmp_path / "flowers.tgz", size=7)
    assert leftovers(tmp_path / "flowers.tgz") == set()


def test_unannounced_length(site: Site, tmp_path: Path) -> None:
    site.announce = False
    assert fetch(site, tmp_path / "a", checksum=MD5).read_bytes() == BODY
    with pytest.raises(DataError, match="more bytes than the 7"):
        fetch(site, tmp_path / "b", size=7)
    with pytest.raises(DataError, match="has 1,024,000 bytes instead of 2,000,000"):
        fetch(site, tmp_path / "c", size=2_000_000)


def test_bytes_are_kept_as_they_come_when_the_server_calls_them_gzip(site: Site, tmp_path: Path) -> None:
    site.coding = "gzip"  # some servers label .tgz files so
    assert fetch(site, tmp_path / "flowers.tgz", checksum=MD5).read_bytes() == BODY


def test_no_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    url = "http://127.0.0.1:9/flowers.tgz"
    with pytest.raises(
        DataError, match=r"127\.0\.0\.1:9/flowers.tgz: not received after 2 attempts: Connection refused"
    ):
        download(url, tmp_path / "flowers.tgz", attempts=2, pause_seconds=0.0)


@pytest.mark.parametrize("url", ["ftp://host/x", "no address", "http://"])
def test_no_address(url: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not an address"):
        download(url, tmp_path / "x")


def test_unwritable_folder(site: Site, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(WriteError, match="file: cannot be written"):
        fetch(site, tmp_path / "file" / "flowers.tgz")


def test_full_disk_names_the_folder(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(WriteError, match="No space left on device"):
        fetch(site, tmp_path / "flowers.tgz")


def test_many_at_once_download_once(site: Site, tmp_path: Path) -> None:
    path = tmp_path / "flowers.tgz"
    faults: list[BaseException] = []

    def work() -> None:
        try:
            fetch(site, path, checksum=MD5)
        except BaseException as error:  # carried to the test's own thread
            faults.append(error)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
    assert path.read_bytes() == BODY
    assert len(site.seen) == 1
