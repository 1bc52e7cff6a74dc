"""Download the official weights when asked to, and only then. Standard library, until the file is installed.

A download goes to a `.part` file in the user's store and is resumed from there. Its SHA-256 is compared with the pinned
one, or with the one recorded when this machine fetched the file first (trust on first use), before anything parses it.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from dacfile.atomic import AtomicFile
from dacfile.errors import ModelMismatch, ModelNotFound, UnsafeWeights
from dacfile.folders import user_folder
from dacfile.model import store
from dacfile.model.picklefile import sniff

Progress = Callable[[int, int | None], None]  # bytes so far, bytes in all if known

MAX_BYTES = 4 << 30
TIMEOUT = 60.0  # s without a byte
_CHUNK = 1 << 20
_RECORD = "fetched.json"
_RELEASES = "https://github.com/descriptinc/descript-audio-codec/releases/download/"
LICENCE = "MIT, Copyright (c) 2023 Descript, Inc. (https://github.com/descriptinc/descript-audio-codec)"


@dataclass(frozen=True)
class Release:
    """Official weights: where they are and what is known of them."""

    url: str
    description: str
    licence: str = LICENCE
    sha256: str = ""  # empty: recorded on first use
    size: int = 0  # bytes; 0 where not known


RELEASES: dict[str, Release] = {
    "descript-44k": Release(_RELEASES + "0.0.1/weights.pth", "official DAC, 44.1 kHz, 9 codebooks (7.75 kbit/s)"),
    "descript-24k": Release(_RELEASES + "0.0.4/weights_24khz.pth", "official DAC, 24 kHz, 32 codebooks (24 kbit/s)"),
    "descript-16k": Release(_RELEASES + "0.0.5/weights_16khz.pth", "official DAC, 16 kHz, 12 codebooks (6 kbit/s)"),
    "descript-44k-16kbps": Release(
        _RELEASES + "1.0.0/weights_44khz_16kbps.pth", "official DAC, 44.1 kHz, 18 codebooks (15.5 kbit/s)"
    ),
}


def fetch(name: str, progress: Progress | None = None, releases: Mapping[str, Release] = RELEASES) -> store.ModelEntry:
    """Download official weights, check them and install them in the user's store.

    Raises ModelNotFound (unknown name, or the download failed: run again to resume it), OutputExists (installed
    already), ModelMismatch (wrong hash or size, other network) or UnsafeWeights (a web page, or more than tensors).
    """
    if name not in releases:
        raise ModelNotFound(f"no official weights are called {name!r}; known are {', '.join(releases)}")
    release = releases[name]
    target = store.target_for(name)
    part = target.with_name(name + ".pth.part")
    part.parent.mkdir(parents=True, exist_ok=True)
    try:
        download(release.url, part, progress or (lambda done, total: None))
        digest = _check(name, release, part)
        entry = store.add(part, name, description=release.description, licence=release.licence, source=release.url)
    except (UnsafeWeights, ModelMismatch):
        _forget(part)  # resuming it would only fail again
        raise
    _record(name, {"url": release.url, "sha256": digest, "size": part.stat().st_size})
    _forget(part)
    return entry


def download(url: str, part: Path, progress: Progress) -> None:
    """Download a file to `part`, going on where an earlier attempt stopped.

    A tag beside it tells whether the server still has the same file; without one the download starts afresh. Raises
    ModelNotFound when the server cannot be reached or the transfer breaks off, UnsafeWeights for web pages.
    """
    tag = part.with_name(part.name + ".etag")
    done = part.stat().st_size if part.is_file() and tag.is_file() else 0
    headers = {"User-Agent": "dacfile", "Accept-Encoding": "identity"}
    if done:
        headers |= {"Range": f"bytes={done}-", "If-Range": tag.read_text("utf-8")}
    try:
        with _open(urllib.request.Request(url, headers=headers)) as response:
            _receive(response, part, tag, done, progress)
    except urllib.error.HTTPError as error:
        if error.code == 416 and done:  # the part is not a beginning of what the server has
            _forget(part)
            download(url, part, progress)
            return
        raise ModelNotFound(f"{url}: the server answers {error.code} {error.reason}") from error
    except (OSError, http.client.HTTPException) as error:
        raise ModelNotFound(f"{url}: the download failed ({error}); run it again to go on") from error


class SameSchemeOnly(urllib.request.HTTPRedirectHandler):
    """Follow redirects, but never from https to anything else."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        """Return the next request; raises HTTPError for a redirect that gives up encryption."""
        if req.full_url.startswith("https://") and not newurl.startswith("https://"):
            raise urllib.error.HTTPError(newurl, code, "redirected to an unencrypted address", headers, fp)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _open(request: urllib.request.Request) -> http.client.HTTPResponse:
    response: http.client.HTTPResponse = urllib.request.build_opener(SameSchemeOnly()).open(request, timeout=TIMEOUT)
    return response


def _receive(response: http.client.HTTPResponse, part: Path, tag: Path, done: int, progress: Progress) -> None:
    if response.headers.get_content_type() in ("text/html", "application/xhtml+xml"):
        raise UnsafeWeights(f"{response.url}: a web page, not weights; is a log-in page or proxy in between?")
    done = done if response.status == 206 else 0
    length = response.headers.get("Content-Length", "")
    total = done + int(length) if length.isdigit() else None
    if total is not None and total > MAX_BYTES:
        raise UnsafeWeights(f"{response.url}: {total} bytes are more than any model")
    entity = response.headers.get("ETag", "")
    if entity and not entity.startswith("W/"):  # only a strong tag allows going on later
        tag.write_text(entity, "utf-8")
    else:
        tag.unlink(missing_ok=True)
    with part.open("ab" if done else "wb") as stream:
        while chunk := response.read(_CHUNK):
            stream.write(chunk)
            done += len(chunk)
            progress(done, total)
            if done > MAX_BYTES:
                raise UnsafeWeights(f"{response.url}: more bytes than any model")
    if total is not None and done != total:
        raise ModelNotFound(f"{response.url}: broke off after {done} of {total} bytes; run it again to go on")


def _check(name: str, release: Release, part: Path) -> str:
    """Return the SHA-256 of a download after comparing size, hash and the look of the file."""
    try:
        sniff(part)
    except UnsafeWeights as error:
        raise UnsafeWeights(f"{release.url}: {error}") from error
    if release.size and part.stat().st_size != release.size:
        raise ModelMismatch(f"{release.url}: {part.stat().st_size} bytes in place of {release.size}")
    with part.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    known = release.sha256 or str(recorded().get(name, {}).get("sha256", ""))
    if known and digest != known:
        raise ModelMismatch(
            f"{release.url}: the file has the SHA-256 {digest}, known is {known}: it was changed, or damaged on the way"
        )
    return digest


def recorded() -> dict[str, dict[str, object]]:
    """Return what was fetched on this machine: url, sha256 and size by model name."""
    try:
        found = json.loads((user_folder() / _RECORD).read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return {key: value for key, value in found.items() if isinstance(value, dict)} if isinstance(found, dict) else {}


def _record(name: str, facts: dict[str, object]) -> None:
    text = json.dumps(recorded() | {name: facts}, indent=1, sort_keys=True)
    with AtomicFile(user_folder() / _RECORD) as stream:
        stream.write(text.encode())


def _forget(part: Path) -> None:
    part.unlink(missing_ok=True)
    part.with_name(part.name + ".etag").unlink(missing_ok=True)
