"""Files of the Hugging Face hub, read in pieces: each piece is asked for once, ever, and waiting has an end."""

from __future__ import annotations

import hashlib
import io
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from coconut.files import replacing
from coconut.waiting import traffic

T = TypeVar("T")
SECONDS = 20.0  # without an answer
PATIENCE = 30.0  # s in all, over an answer that says to ask again later
LATER = (429, 500, 502, 503, 504)
# Errors of httpx and of requests, one of which huggingface_hub is built on; ConnectError means that nobody is there.
BROKEN = ("TimeoutException", "RemoteProtocolError", "ReadError", "Timeout", "ChunkedEncodingError")


@dataclass(frozen=True)
class RemoteFile:
    """A file of a data set's repository at one commit."""

    repo: str
    revision: str
    name: str
    size: int

    def open(self, cache: Path) -> Pieces:
        """A new seekable file, whose pieces are kept in `cache`."""
        return Pieces(self, cache)

    def fetch(self, start: int, end: int) -> bytes:
        """Bytes [start, end) from the hub. Raises UnreachedError."""
        from huggingface_hub import hf_hub_url
        from huggingface_hub.utils import build_hf_headers, get_session, hf_raise_for_status  # type: ignore[attr-defined]

        url = hf_hub_url(self.repo, self.name, repo_type="dataset", revision=self.revision)
        headers = {**build_hf_headers(), "Range": f"bytes={start}-{end - 1}", "Accept-Encoding": "identity"}

        def ask() -> bytes:
            response = get_session().get(url, headers=headers, timeout=SECONDS)
            hf_raise_for_status(response)
            content: bytes = response.content
            if len(content) != end - start:
                raise OSError(f"{self.name}: {len(content)} bytes came instead of {end - start}")
            return content

        try:
            content = patiently(ask)
        except Exception as error:  # httpx, requests and the hub's own errors share no base class
            raise UnreachedError(self.name) from error
        traffic.count(len(content))
        return content


class UnreachedError(OSError):
    """Bytes that did not come; its cause tells why."""


class Pieces(io.RawIOBase):
    """A remote file that remembers on disk what was read of it. Equal reads ask the hub but once."""

    def __init__(self, file: RemoteFile, cache: Path) -> None:
        self.file, self.at = file, 0
        key = f"{file.repo}\n{file.revision}\n{file.name}"
        self.folder = cache / hashlib.sha256(key.encode()).hexdigest()[:32]

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self.at = {io.SEEK_SET: 0, io.SEEK_CUR: self.at, io.SEEK_END: self.file.size}[whence] + offset
        return self.at

    def tell(self) -> int:
        return self.at

    def read(self, size: int | None = -1) -> bytes:
        end = self.file.size if size is None or size < 0 else min(self.at + size, self.file.size)
        if end <= self.at:
            return b""
        start, self.at = self.at, end
        return self._piece(start, end)

    def _piece(self, start: int, end: int) -> bytes:
        kept = self.folder / f"{start}-{end}"
        try:
            content = kept.read_bytes()
            if len(content) == end - start:
                return content
        except OSError:
            pass
        content = self.file.fetch(start, end)
        with replacing(kept) as temporary:
            temporary.write_bytes(content)
        return content


def patiently(ask: Callable[[], T], sleep: Callable[[float], Any] = time.sleep) -> T:
    """What `ask` gives, asked again while the hub is busy or the line is cut, for PATIENCE seconds at most."""
    waited, pause = 0.0, 1.0
    while True:
        try:
            return ask()
        except Exception as error:
            if not passing(error) or waited >= PATIENCE:
                raise
            pause = min(float(_retry_after(error) or pause), PATIENCE - waited)
            traffic.waiting = f"the hub is busy ({status_of(error) or 'cut off'}), asked again in {pause:.0f} s"
            sleep(pause)
            traffic.waiting = ""
            waited, pause = waited + pause, 2 * pause


def passing(error: Exception) -> bool:
    """Whether it may work a little later: the hub is busy, or an answer broke off."""
    status = status_of(error)
    if status is not None:
        return status in LATER
    return any(kind.__name__ in BROKEN for kind in type(error).__mro__)


def status_of(error: Exception) -> int | None:
    """The HTTP status behind an error of the hub's library; None where there was no answer."""
    return getattr(getattr(error, "response", None), "status_code", None)


def _retry_after(error: Exception) -> float | None:
    header = getattr(getattr(error, "response", None), "headers", {}).get("Retry-After", "")
    return max(float(header), 0.1) if header.replace(".", "", 1).isdigit() else None
