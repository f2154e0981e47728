"""A sweep's folder in its storage, a path or a URI: the job, and each trial's artifacts."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyarrow import fs

from coconut.config import InputError
from coconut.files import write_text
from coconut.sweep.plan import FILE, Plan, Record

if TYPE_CHECKING:
    from coconut.job import Job

JOB = "job"
DONE = "trial.json"  # written last: the artifacts of a folder that has it are complete


def save_job(plan: Plan, job: Job) -> None:
    """Lay the job down where every node finds it. Raises InputError where the storage cannot be written."""
    if not plan.remote:
        Path(plan.folder).mkdir(parents=True, exist_ok=True)
        job.save(Path(plan.folder) / JOB)
        return
    with tempfile.TemporaryDirectory() as temporary:
        _upload(job.save(Path(temporary) / JOB), f"{plan.folder}/{JOB}")


def save_record(record: Record) -> None:
    """sweep.json beside the results, and in a remote storage too: another machine can go on with the sweep."""
    path = record.save()
    if record.plan.remote:
        remote, folder = fs.FileSystem.from_uri(record.plan.folder)
        fs.copy_files(str(path), f"{folder}/{FILE}", fs.LocalFileSystem(), remote)


def load_record(storage: str, home: Path) -> Record:
    """The record of a sweep whose results lie in `home`. Raises InputError where no sweep was begun."""
    if "://" in storage:
        try:
            remote, folder = fs.FileSystem.from_uri(f"{storage.rstrip('/')}/{home.name}/{FILE}")
            home.mkdir(parents=True, exist_ok=True)
            fs.copy_files(folder, str(home / FILE), remote, fs.LocalFileSystem())
        except OSError as error:
            raise InputError(f"{storage} holds no sweep {home.name}; check --name and --storage.") from error
    return Record.load(home)


def load_job(plan: Plan) -> Job:
    """The sweep's job, read once per process."""
    return _read(f"{plan.folder}/{JOB}", plan.remote)


@lru_cache(2)
def _read(place: str, remote: bool) -> Job:
    from coconut.job import Job

    if not remote:
        return Job.load(place)
    with tempfile.TemporaryDirectory() as temporary:
        _download(place, Path(temporary))
        return Job.load(temporary)


@contextmanager
def writing(plan: Plan, name: str, record: dict[str, Any]) -> Iterator[Path]:
    """A local folder whose content ends up in the trial's folder of the storage, `record` last."""
    if not plan.remote:
        folder = Path(plan.folder) / name
        yield folder
        _finish(folder, record)
        return
    with tempfile.TemporaryDirectory() as temporary:
        yield Path(temporary)
        _finish(Path(temporary), record)
        _upload(Path(temporary), f"{plan.folder}/{name}")


def fetch(plan: Plan, name: str, folder: Path) -> None:
    """Copy a remote trial's folder, but not its checkpoints, to a local one."""
    remote, path = fs.FileSystem.from_uri(f"{plan.folder}/{name}")
    folder.mkdir(parents=True, exist_ok=True)
    for info in remote.get_file_info(fs.FileSelector(path, allow_not_found=True)):
        if info.type == fs.FileType.File:
            fs.copy_files(info.path, str(folder / info.base_name), remote, fs.LocalFileSystem())


def complete(folder: Path, key: str) -> bool:
    """Whether a folder holds the artifacts of the trial `key`, not of an earlier life's."""
    try:
        return json.loads((folder / DONE).read_text(encoding="utf-8"))["key"] == key
    except (OSError, ValueError, KeyError):
        return False


def snapshots(plan: Plan) -> bool:
    """Whether Tune has written down the state of any trial."""
    there, path = fs.FileSystem.from_uri(plan.folder) if plan.remote else (fs.LocalFileSystem(), plan.folder)
    found = there.get_file_info(fs.FileSelector(path, allow_not_found=True))
    return any(info.base_name.startswith("experiment_state") for info in found)


def _finish(folder: Path, record: dict[str, Any]) -> None:
    write_text(folder / DONE, json.dumps(record, indent=2) + "\n")


def _upload(folder: Path, uri: str) -> None:
    try:
        remote, path = fs.FileSystem.from_uri(uri)
        remote.create_dir(path, recursive=True)
        fs.copy_files(str(folder), path, fs.LocalFileSystem(), remote)
    except OSError as error:
        raise InputError(f"{uri} cannot be written ({str(error).splitlines()[0]}); check --storage.") from error


def _download(uri: str, folder: Path) -> None:
    try:
        remote, path = fs.FileSystem.from_uri(uri)
        fs.copy_files(path, str(folder), remote, fs.LocalFileSystem())
    except OSError as error:
        raise InputError(f"{uri} cannot be read ({str(error).splitlines()[0]}); check --storage.") from error
