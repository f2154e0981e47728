"""A sweep's folder in its storage, a path or a URI: the job, and each trial's artifacts."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyarrow import fs

from coconut.config import InputError
from coconut.files import replacing, write_text
from coconut.sweep.plan import FILE, Plan, Record

if TYPE_CHECKING:
    from coconut.job import Job

JOB = "job"
DONE = "trial.json"  # written last: the artifacts of a folder that has it are complete


def save_job(plan: Plan, job: Job, draw: int | None = None) -> None:
    """Lay the job down, that of the repeats of seed `draw` or the sweep's own, where every node finds it.

    Raises InputError where the storage cannot be written.
    """
    name = _job(draw)
    if not plan.remote:
        Path(plan.folder).mkdir(parents=True, exist_ok=True)
        if draw is not None:  # one that was made and never used, as the sweep was killed
            shutil.rmtree(Path(plan.folder) / name, ignore_errors=True)
        job.save(Path(plan.folder) / name)
        return
    with tempfile.TemporaryDirectory() as temporary:
        _upload(job.save(Path(temporary) / name), f"{plan.folder}/{name}")


def _job(draw: int | None) -> str:
    return JOB if draw is None else f"{JOB}-{draw}"


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


def load_job(plan: Plan, draw: int | None = None) -> Job:
    """The sweep's job, or that of the repeats of seed `draw`, read once per process."""
    return _read(f"{plan.folder}/{_job(draw)}", plan.remote)


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


def reopen(plan: Plan, name: str) -> None:
    """Take a trial's artifacts as those of an earlier time: it goes on, and will leave others."""
    (plan.home / name / DONE).unlink(missing_ok=True)
    if plan.remote:
        remote, path = fs.FileSystem.from_uri(f"{plan.folder}/{name}/{DONE}")
        if remote.get_file_info(path).type == fs.FileType.File:
            remote.delete_file(path)


@dataclass(frozen=True)
class Stored:
    """A file of a sweep's folder, here or in a remote storage."""

    filesystem: fs.FileSystem
    path: str

    def read(self) -> bytes:
        with self.filesystem.open_input_stream(self.path) as file:
            return bytes(file.read())

    def write(self, content: bytes) -> None:
        """Anew, whole or not at all."""
        if isinstance(self.filesystem, fs.LocalFileSystem):
            with replacing(self.path) as temporary:
                temporary.write_bytes(content)
            return
        with self.filesystem.open_output_stream(self.path) as file:
            file.write(content)


def newest(plan: Plan, prefix: str) -> Stored | None:
    """The file of a sweep's folder whose name begins so and sorts last."""
    there, path = fs.FileSystem.from_uri(plan.folder) if plan.remote else (fs.LocalFileSystem(), plan.folder)
    found = there.get_file_info(fs.FileSelector(path, allow_not_found=True))
    names = [info.path for info in found if info.base_name.startswith(prefix)]
    return Stored(there, max(names)) if names else None


def snapshots(plan: Plan) -> bool:
    """Whether Tune has written down the state of any trial."""
    return newest(plan, "experiment_state") is not None


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
