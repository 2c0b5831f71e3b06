"""Downloading files: verified, resumed after a cut, at most once.

A download ends with a rename, so that whatever has its final name is whole.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

import pooch  # type: ignore[import-untyped]
import requests
import urllib3

from corolla.errors import DataError, UsageError
from corolla.files import locked, writing
from corolla.progress import OnProgress, megabytes_of

Progress = Callable[[int, int | None], None]

_LOG = logging.getLogger("corolla")
_CHUNK = 1 << 16
_TIMEOUT_SECONDS = (10.0, 60.0)  # to connect, and between two pieces
_BUSY = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS}
_CUTS = (requests.RequestException, urllib3.exceptions.HTTPError)


@dataclass(frozen=True)
class OfficialFile:
    """A file as its authors publish it: its address, checksum (such as "md5:0123") and size in bytes, if known."""

    url: str
    checksum: str | None = None
    size: int | None = None

    @property
    def name(self) -> str:
        """The last part of the address."""
        return self.url.rpartition("/")[2]


def mirror_folder(mirror: str | None) -> Path | None:
    """The folder that a mirror is, None for an address or none. Raises UsageError if it is neither."""
    if mirror is None or mirror.lower().startswith(("http://", "https://")):
        return None
    folder = Path(mirror).expanduser().absolute()
    if not folder.is_dir():
        raise UsageError(f"mirror {mirror}: no such folder, and no address that starts with https://")
    return folder


def official_files(
    files: Sequence[OfficialFile], downloads: Path, *, mirror: str | None, progress: OnProgress | None = None
) -> dict[str, Path]:
    """The files by name, verified: those of a mirror that is a folder where they are, others in `downloads`.

    Raises UsageError if the mirror is no folder and no address, DataError if a file cannot be had or is another one.
    """
    folder = mirror_folder(mirror)
    paths = {file.name: (folder or downloads) / file.name for file in files}
    for file, path in zip(files, paths.values(), strict=True):
        if folder is None:
            download(
                file.url if mirror is None else f"{mirror.rstrip('/')}/{file.name}",
                path,
                size=file.size,
                checksum=file.checksum,
                progress=megabytes_of(progress, f"downloading {file.name}"),
            )
        elif not path.is_file():
            raise DataError(f"mirror {mirror}: holds no {file.name}; a mirror of this set holds {', '.join(paths)}")
        elif (fault := _fault(path, file.size, file.checksum)) is not None:
            raise DataError(f"{path}: not the official file: {fault}")
    return paths


class _CutError(Exception):
    """The connection broke, or the server is busy: worth another attempt."""


def download(
    url: str,
    path: Path,
    *,
    size: int | None = None,
    checksum: str | None = None,
    attempts: int = 5,
    pause_seconds: float = 1.0,
    progress: Progress | None = None,
) -> Path:
    """Download a file, at most once, and verify it; go on from where an earlier attempt was cut.

    What has come so far lies in `<path>.part` and is continued only if the server says that the file is still the
    same one. A file already at `path` is verified, and kept if it is right. `pooch` downloads too, but cannot resume;
    its hashing and its own dependency `requests` are used here. It gives up after so many attempts in a row that bring
    nothing new, between which the pauses double. `checksum` is such as "md5:0123"; `progress` gets the bytes that have
    come, and those in all if known.

    Raises WriteError, or DataError: the server refuses or cannot be reached, or the file has the wrong size or checksum
    (it is then deleted).
    """
    with locked(path):
        if path.exists() and _fault(path, size, checksum) is None:
            return path
        part = path.with_name(path.name + ".part")
        while True:  # a piece from last time may be to blame: then take the whole file again before giving up
            resumed = part.exists()
            _transfer(url, part, size, attempts, pause_seconds, progress)
            if (fault := _fault(part, size, checksum)) is None:
                break
            _discard(part)
            if not resumed:
                raise DataError(f"{url}: {fault}; the file was deleted; try again later, or use a mirror")
        with writing(path.parent):
            part.replace(path)
        _discard(part)
    return path


def _fault(path: Path, size: int | None, checksum: str | None) -> str | None:
    """What is wrong with a file, or None."""
    actual = path.stat().st_size
    if size is not None and actual != size:
        return f"the file has {actual:,} bytes instead of {size:,}"
    algorithm, _, expected = (checksum or "").lower().partition(":")
    if algorithm and (digest := pooch.file_hash(str(path), alg=algorithm)) != expected:
        return f"the file's {algorithm.upper()} is {digest} instead of {expected}"
    return None


def _validator_file(part: Path) -> Path:
    """Holds what identifies the version of the file that the part was cut from."""
    return part.with_name(part.name + ".json")


def _discard(part: Path) -> None:
    part.unlink(missing_ok=True)
    _validator_file(part).unlink(missing_ok=True)


def _transfer(
    url: str, part: Path, size: int | None, attempts: int, pause_seconds: float, progress: Progress | None
) -> None:
    """Fill the part, however often the connection breaks, as long as attempts bring something new."""
    furthest = part.stat().st_size if part.exists() else 0
    fruitless = 0
    with requests.Session() as session:
        while True:
            try:
                _receive(session, url, part, size, progress)
                return
            except _CutError as cut:
                reached = part.stat().st_size if part.exists() else 0
                fruitless = 1 if reached > furthest else fruitless + 1
                furthest = max(furthest, reached)
                if fruitless >= attempts:
                    raise DataError(
                        f"{url}: not received after {attempts} attempts: {cut}; check the connection and try again "
                        "(what has come is kept), or use a mirror"
                    ) from None
                _LOG.info("%s: %s; trying again", url, cut)
                time.sleep(pause_seconds * 2 ** (fruitless - 1))


def _receive(session: requests.Session, url: str, part: Path, size: int | None, progress: Progress | None) -> None:
    """One attempt: ask for what is missing, append what comes. Raises _CutError if it is worth another one."""
    start, headers = _resumption(url, part)
    # Bytes are counted and verified as stored, so none of the transport's compression.
    headers["Accept-Encoding"] = "identity"
    try:
        response = session.get(url, headers=headers, stream=True, timeout=_TIMEOUT_SECONDS)
    except (requests.exceptions.MissingSchema, requests.exceptions.InvalidSchema, requests.exceptions.InvalidURL):
        raise DataError(f"{url}: not an address to download from; it should start with https://") from None
    except _CUTS as error:
        raise _CutError(_reason(error)) from None
    with response:
        status = response.status_code
        if status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and start:
            if response.headers.get("Content-Range") == f"bytes */{start}":
                return  # nothing was missing
            _discard(part)
            raise _CutError("the file has changed on the server")
        if status in _BUSY or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise _CutError(f"the server answered {status} {response.reason}")
        if status not in (HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT):
            raise DataError(
                f"{url}: the server answered {status} {response.reason}; check the address, or use a mirror"
            )
        if status == HTTPStatus.OK:
            start = 0  # the server does not resume, or has another version by now
        elif not response.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
            _discard(part)
            raise _CutError("the server sent another range than asked for")
        length = response.headers.get("Content-Length", "")
        total = start + int(length) if length.isdigit() else size
        if size is not None and total != size:
            raise DataError(f"{url}: the server offers {total:,} bytes instead of {size:,}; use a mirror")
        validator = response.headers.get("ETag", "")
        if not validator or validator.startswith("W/"):  # weak ones do not promise the same bytes
            validator = response.headers.get("Last-Modified", "")
        with writing(part.parent):
            if validator:
                text = json.dumps({"url": url, "validator": validator})
                _validator_file(part).write_text(text, encoding="utf-8")
            else:
                _validator_file(part).unlink(missing_ok=True)
        _append(response, part, start, total, progress)


def _resumption(url: str, part: Path) -> tuple[int, dict[str, str]]:
    """How many bytes are already here, and the headers that ask for the rest of the same version."""
    try:
        known = json.loads(_validator_file(part).read_text(encoding="utf-8"))
        start = part.stat().st_size
    except (OSError, ValueError):
        return 0, {}
    if known.get("url") != url or not start:
        return 0, {}
    return start, {"Range": f"bytes={start}-", "If-Range": known["validator"]}


def _append(response: requests.Response, part: Path, start: int, total: int | None, progress: Progress | None) -> None:
    done = start
    with writing(part.parent), part.open("r+b" if start else "wb") as file:
        file.seek(start)
        file.truncate()
        try:
            for piece in response.raw.stream(_CHUNK, decode_content=False):
                file.write(piece)
                done += len(piece)
                if total is not None and done > total:
                    raise DataError(f"{response.url}: more bytes than the {total:,} announced; use a mirror")
                if progress is not None:
                    progress(done, total)
        except _CUTS as error:
            raise _CutError(_reason(error)) from None
    if total is not None and done < total:
        raise _CutError(f"the connection ended after {done:,} of {total:,} bytes")


def _reason(error: Exception) -> str:
    """The innermost cause: what requests and urllib3 wrap it in says little more."""
    cause: BaseException = error
    while cause.__context__ is not None:
        cause = cause.__context__
    return " ".join(str(getattr(cause, "strerror", None) or cause).split()) or type(error).__name__
