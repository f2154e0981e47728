"""A sweep that has ended and been told, where nothing has changed since: only its last words are said again."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

from coconut.sweep import lastwords, storage
from coconut.sweep.plan import Record
from coconut.sweep.tracking import Tracker, bare

MADE = ("report.html", "leaderboard.json", "leaderboard.csv", "leaderboard.md", "best/voice.pt")
LEADERBOARD = MADE[1]


def fingerprint(record: Record) -> str:
    """Of all that a sweep's end is made of and of what was made of it: the record, the trials' files by name, size
    and time, page and leaderboard, and the code that makes them.
    """
    said = dataclasses.asdict(dataclasses.replace(record, told=""))
    digest = hashlib.sha256(json.dumps(said, sort_keys=True).encode())
    for path in sorted(Path(__file__).parent.rglob("*")):
        if path.is_file() and path.suffix != ".pyc":
            digest.update(path.read_bytes())
    for path in _files(record):
        found = path.stat() if path.is_file() else None
        digest.update(f"{path} {found and (found.st_size, found.st_mtime_ns)}\n".encode())
    return digest.hexdigest()


def _files(record: Record) -> Iterator[Path]:
    """The files of a sweep's trials, by name, and those that its end makes."""
    home = record.plan.home
    for trial in sorted(home.glob("trial_*")):
        yield from sorted(path for path in trial.iterdir() if path.is_file())
    yield from (home / name for name in MADE)


def mark(record: Record) -> None:
    """Remember that a sweep has ended, and that page, best voice and MLflow's journal have all that came of it."""
    record.told = fingerprint(record)
    storage.save_record(record)


def holds(record: Record, uri: str) -> bool:
    """Whether all is as it was when the sweep was told, and to the same MLflow."""
    there = bool(record.told) and (record.plan.home / LEADERBOARD).is_file()
    return there and bare(uri) == record.tracking_uri and record.told == fingerprint(record)


def tell(record: Record, uri: str) -> int:
    """The last words again; MLflow gets what waits in the journal. The exit code."""
    plan = record.plan
    summary = json.loads((plan.home / LEADERBOARD).read_text(encoding="utf-8"))
    tracker = Tracker(uri, plan.home / "tracking", plan.home.parent / "mlartifacts")
    lastwords.conclude(plan, summary, "complete", tracker.uri, tracker.close())
    return lastwords.code(summary, "complete")
