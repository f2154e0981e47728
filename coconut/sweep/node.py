"""What a node must have for the trials of a sweep, looked at on the node itself. It knows no Ray."""

from __future__ import annotations

import importlib.metadata
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from pyarrow import fs

from coconut import cached
from coconut.config import InputError

PACKAGES = (*cached.LIBRARIES, "ray")
CODE = "coconut"  # among the versions: a digest of its code


@dataclass(frozen=True)
class Sign:
    """A file that the driver has laid into the storage, for nodes to find."""

    storage: str
    name: str
    text: str


@contextmanager
def sign(storage: str) -> Iterator[Sign]:
    """A sign within the block. Raises InputError where the storage, a path or a URI, cannot be written."""
    laid = Sign(storage, f".sign-{uuid.uuid4().hex}", uuid.uuid4().hex)
    try:
        there, folder = _open(storage)
        path = f"{folder}/{laid.name}"
        there.create_dir(folder, recursive=True)
        _write(there, path, laid.text)
    except OSError as error:
        raise InputError(f"{storage} cannot be written ({_first_line(error)}); check --storage.") from error
    try:
        yield laid
    finally:
        with suppress(OSError):  # of a storage that is gone: what comes next says so
            there.delete_file(path)


def versions() -> dict[str, str | None]:
    """Of coconut's code and of what it computes with; None where a package is not installed."""
    found: dict[str, str | None] = {CODE: cached.program()[:8]}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = None
    return found


def wrong(laid: Sign, folders: Sequence[str], expected: Mapping[str, str | None]) -> str | None:
    """What keeps this machine from running trials, as the end of a sentence that begins with its name; None: nothing.

    It must see the storage's `laid` and write beside it, have the model `folders`, and the `expected` versions.
    """
    return _storage(laid) or _folders(folders) or _versions(expected)


def _storage(laid: Sign) -> str | None:
    beside = f".sign-{uuid.uuid4().hex}"
    try:
        there, folder = _open(laid.storage)
        with there.open_input_stream(f"{folder}/{laid.name}") as file:
            if bytes(file.read()).decode() != laid.text:
                raise FileNotFoundError
        _write(there, f"{folder}/{beside}", laid.text)
        there.delete_file(f"{folder}/{beside}")
    except FileNotFoundError:
        return f"does not see what lies in {laid.storage}; --storage must be one place that all nodes share."
    except OSError as error:
        return f"cannot write to {laid.storage} ({_first_line(error)}); allow it, or give another --storage."
    return None


def _folders(folders: Sequence[str]) -> str | None:
    missing = [folder for folder in folders if not Path(folder).is_dir()]
    return f"has no folder {missing[0]}; put it there, or where all nodes see it under that name." if missing else None


def _versions(expected: Mapping[str, str | None]) -> str | None:
    here = versions()
    unlike = [name for name, version in expected.items() if here.get(name) != version]
    if not unlike:
        return None
    if unlike == [CODE]:
        return "has other code of coconut than this machine; install the same there."
    name = next(name for name in unlike if name != CODE)
    return f"has {name} {here.get(name)} where this machine has {expected[name]}; install the same there."


def _open(storage: str) -> tuple[fs.FileSystem, str]:
    if "://" not in storage:
        return fs.LocalFileSystem(), str(Path(storage).absolute())
    there, path = fs.FileSystem.from_uri(storage)
    return there, path


def _write(there: fs.FileSystem, path: str, text: str) -> None:
    with there.open_output_stream(path) as file:
        file.write(text.encode())


def _first_line(error: OSError) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
