"""What a sweep is and what becomes of its trials, in plain data that knows no Ray."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from coconut.config import FitConfig, InputError, from_dict
from coconut.files import write_text

if TYPE_CHECKING:
    from coconut.job import Job

METRIC = "best_score"  # best so far: monotone, so that the last report of a trial is its best
GPU_SHARE = 0.25  # of a GPU, for a trial that nobody gave a share
FILE = "sweep.json"
DRAW = "draw"  # of a suggestion: the seed of a repeat
Row = dict[str, Any]


@dataclass(frozen=True)
class Repeat:
    """A trial that is another one again (repeat.py): which `number` it gets, the number it is a repeat `of`, the `seed`
    of its fit and of its held-out sentences, and its settings.
    """

    number: int
    of: int
    seed: int
    settings: dict[str, Any]


@dataclass(frozen=True)
class Plan:
    """All that a sweep is, apart from its job.

    storage: a folder or a URI (s3://...); settings: what holds for all trials, over the job's own;
    trials: that are searched, without `repeats`; cpus, gpus: of a trial; space: the function that says what is
    searched (space.py); first_budget: that of the sweep as it began, where it has a larger one now (extend.py).
    """

    name: str
    storage: str
    space: str
    settings: dict[str, Any] = field(default_factory=dict)
    trials: int = 8
    concurrent: int = 2
    cpus: float = 1.0
    gpus: float = 0.0
    scheduler: str = "asha"
    seed: int = 0
    repeats: tuple[Repeat, ...] = ()
    first_budget: int | None = None

    @property
    def total(self) -> int:
        """Trials in all, repeats included."""
        return self.trials + len(self.repeats)

    @property
    def folder(self) -> str:
        """Where job and trials lie, within reach of every node: a path, or a URI when `remote`."""
        return f"{self.storage.rstrip('/')}/{self.name}"

    @property
    def remote(self) -> bool:
        return "://" in self.storage

    @property
    def home(self) -> Path:
        """Where the results lie on this machine: in the storage, or under runs/ beside a remote one."""
        return (Path("runs").resolve() if self.remote else Path(self.storage)) / self.name

    def configure(self, job: Job, suggestion: Mapping[str, Any] | None = None) -> FitConfig:
        """The settings of a trial: what was suggested, over the sweep's, over the job's."""
        return from_dict({**self.settings, **(suggestion or {})}, job.config)


@dataclass(frozen=True)
class Ticket:
    """Which trial: `key` is unique over all lives of a sweep, `number` counts from 0. `preset` is a word about where
    its settings come from, "" where the search chose them; `draw` the seed of the job of a repeat, None for others.
    """

    key: str
    number: int
    preset: str
    settings: dict[str, Any]
    draw: int | None = None

    @property
    def name(self) -> str:
        return trial_name(self.number)


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


@dataclass
class Record:
    """sweep.json: all that --resume needs beside the job and Tune's state.

    id: of the sweep's run in MLflow; tracking_uri: without a password; fixed: the searchable settings that were
    typed; tests: test scores by trial name, and of "nearest"; left_out: the same with each utterance in turn left
    out; endings: how each trial ended, once all have; told: what its end was told from (unchanged.py); history: what
    was asked of the sweep since it began, a sentence each; top, seeds: how many of the best trials are to be repeated,
    and how often; draws: the nearest stock voice by the seed of a repeat; earlier: trials of other sweeps (warm.py).
    """

    plan: Plan
    id: str
    tracking_uri: str
    fixed: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    tests: dict[str, float] = field(default_factory=dict)
    endings: list[Row] = field(default_factory=list)
    left_out: dict[str, list[float]] = field(default_factory=dict)
    told: str = ""
    history: list[str] = field(default_factory=list)
    top: int = 0
    seeds: int = 0
    draws: dict[str, Row] = field(default_factory=dict)
    earlier: list[Row] = field(default_factory=list)

    @property
    def finished(self) -> bool:
        """Whether nothing is left to run: all trials came to an end of their own, and none failed."""
        return len(self.endings) >= self.plan.total and all(end["status"] == "finished" for end in self.endings)

    def save(self) -> Path:
        return write_text(self.plan.home / FILE, json.dumps(dataclasses.asdict(self), indent=2) + "\n")

    @classmethod
    def load(cls, folder: Path) -> Record:
        """Raises InputError where no sweep was begun."""
        try:
            values = json.loads((folder / FILE).read_text(encoding="utf-8"))
            plan = values["plan"]
            repeats = tuple(Repeat(**one) for one in plan.get("repeats", ()))
            return cls(**values | {"plan": Plan(**plan | {"repeats": repeats})})
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"{folder} holds no sweep to resume; check --name and --storage.") from error


def trial_name(number: int) -> str:
    return f"trial_{number:03d}"


def settle_devices(
    device: str, gpus: float | None, here: int, address: str | None = None, there: float = 0
) -> tuple[str, float]:
    """The device of every trial and its share of a GPU, of what was typed (None: nothing).

    here: GPUs that this machine has; there: GPUs that the cluster at `address` has now. No share
    means no GPU, whatever Ray leaves visible. Raises InputError where the options contradict each other.
    """
    kind = device.split(":")[0]
    if gpus is not None and (gpus < 0 or (gpus > 1 and gpus != int(gpus))):
        raise InputError(f"--gpus-per-trial is {gpus:g}; it must be a share from 0 to 1, or a whole number of GPUs.")
    if kind == "cuda" and ":" in device:
        raise InputError(
            f"Ray chooses the GPU of a trial, so --device {device} cannot hold; give --device cuda, and set "
            "CUDA_VISIBLE_DEVICES to leave it only some GPUs."
        )
    if kind not in ("auto", "cuda"):
        if gpus:
            raise InputError(f"--device {device} and --gpus-per-trial {gpus:g} contradict each other; leave one away.")
        return device, 0.0
    if gpus is None:
        gpus = GPU_SHARE if kind == "cuda" or (there if address else here) else 0.0
    if kind == "cuda" and not gpus:
        raise InputError("--device cuda and --gpus-per-trial 0 contradict each other; leave one away.")
    if gpus and not address and gpus > here:
        raise InputError(f"A trial asks for {gpus:g} GPUs and this machine has {here}; ask for less.")
    return ("cuda", float(gpus)) if gpus else ("cpu", 0.0)
