"""Files that appear whole or not at all, and a reserve for those that matter on a full disk."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar, TypeVar

FULL = (errno.ENOSPC, errno.EDQUOT)
RESERVE = 2**25  # bytes
T = TypeVar("T")


class Reserve:
    """Room on the disk of `folder`, kept in a file of `size` bytes until the disk is full.

    with Reserve(folder):
        write_text(path, text)  # finds the room free where the disk has none left

    Raises OSError where there is not even so much room.
    """

    _held: ClassVar[list[Reserve]] = []  # of the process: what runs out of room asks for all of them

    def __init__(self, folder: Path, size: int = RESERVE) -> None:
        self.folder, self.size, self.path = folder, size, folder / ".reserve"

    def __enter__(self) -> Reserve:
        try:
            self.path.write_bytes(os.urandom(self.size))  # zeros may take no room on the disk
        except OSError:
            self.path.unlink(missing_ok=True)
            raise
        self._held.append(self)
        return self

    def __exit__(self, *_: object) -> None:
        self.free()

    @property
    def held(self) -> bool:
        return self in self._held

    def free(self) -> None:
        """Give the room back to whoever writes next."""
        if self.held:
            self._held.remove(self)
            self.path.unlink(missing_ok=True)


def rescued(write: Callable[[], T]) -> T:
    """The result of `write`, which is called again with the reserves free where the disk was full."""
    try:
        return write()
    except OSError as error:
        if error.errno not in FULL or not Reserve._held:
            raise
        for reserve in list(Reserve._held):
            reserve.free()
        return write()


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """A temporary name beside `path` to write to, which then takes its place in one move.

    Its folder is made where there is none. On an error nothing is left behind, and what was at
    `path` before stays.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> Path:
    """Write UTF-8 text, whole or not at all, if need be into a reserve; returns the path."""

    def write() -> None:
        with replacing(path) as temporary:
            temporary.write_text(text, encoding="utf-8")

    rescued(write)
    return Path(path)


def cache_folder() -> Path:
    """Where coconut keeps what can be computed again: $XDG_CACHE_HOME/coconut, else ~/.cache/coconut.

    XDG Base Directory Specification 0.8: a relative path there is to be ignored.
    """
    named = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (named if named.is_absolute() else Path.home() / ".cache") / "coconut"
