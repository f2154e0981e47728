"""What a sweep is and what becomes of its trials, in plain data that knows no Ray."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from coconut.config import FitConfig, from_dict

METRIC = "best_score"  # best so far: monotone, so that the last report of a trial is its best
Row = dict[str, Any]


@dataclass(frozen=True)
class Plan:
    """All that a sweep is, apart from its search space. `storage` is a folder or a URI (s3://...)."""

    name: str
    storage: str
    base: FitConfig
    trials: int = 8
    concurrent: int = 2
    cpus: float = 1.0
    gpus: float = 0.0
    scheduler: str = "asha"
    seed: int = 0

    @property
    def folder(self) -> str:
        """Where the trials live: a path, or a URI when `remote`."""
        return f"{self.storage.rstrip('/')}/{self.name}"

    @property
    def remote(self) -> bool:
        return "://" in self.storage


@dataclass(frozen=True)
class Ticket:
    """Which trial: `key` is unique over all lives of a sweep, `trial` counts from 0."""

    key: str
    trial: int
    preset: str
    settings: dict[str, Any]

    @property
    def name(self) -> str:
        return trial_name(self.trial)


@dataclass(frozen=True)
class Outcome:
    """What became of a trial. `status`: finished, failed (with `error`) or unfinished.

    `stop` is the fit's own reason, "asha", or "" while unfinished; `rows` has one entry per
    generation; `folder` holds the artifacts where there are any.
    """

    ticket: Ticket
    status: str
    stop: str
    error: str | None
    rows: list[Row]
    folder: Path


class Monitor(Protocol):
    """Something that watches a sweep from the driver's process."""

    def began(self, ticket: Ticket) -> None: ...

    def reported(self, ticket: Ticket, row: Row) -> None: ...

    def ended(self, ticket: Ticket, error: str | None) -> None: ...

    def tick(self) -> None:
        """Called about ten times a second."""


def trial_name(number: int) -> str:
    return f"trial_{number:03d}"


def configure(plan: Plan, suggestion: Mapping[str, Any]) -> FitConfig:
    """The settings of a trial: what was suggested, over the sweep's base."""
    return from_dict({k: v for k, v in suggestion.items() if k not in ("trial", "preset")}, plan.base)
