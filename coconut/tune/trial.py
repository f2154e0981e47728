"""A trial: one whole fit that can be checkpointed, killed, resumed and stopped from outside.

It holds what a platform needs around `Fitting.steps`, and no platform: `advance` runs to the
next scored generation, `save` and `load` carry state and rows, `write` leaves the artifacts.
"""

from __future__ import annotations

import json
import logging
import os
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from pyarrow import fs

from coconut import artifacts
from coconut.build import Fitting
from coconut.config import FitConfig
from coconut.fit import Best, Step
from coconut.tune.plan import Plan, Row, configure, trial_name

CHECKPOINT_EVERY = 5  # generations between checkpoints that a new best does not ask for anyway
DONE = "trial.json"  # written last: the artifacts of a folder that has it are complete
EARLY = "stopped early"  # what stopped a trial from outside is not known inside

Wire = Callable[[FitConfig], Fitting]


class Trial:
    """One fit with the settings `suggestion` over `plan.base`, wired when first needed."""

    def __init__(self, plan: Plan, suggestion: Mapping[str, Any], wire: Wire, key: str = "") -> None:
        self.plan, self.suggestion, self.wire, self.key = plan, dict(suggestion), wire, key
        self.rows: list[Row] = []
        self.best: Best | None = None
        self.fitting: Fitting | None = None
        self._state: dict[str, Any] | None = None
        self._last: Step | None = None
        self._steps: Iterator[Step] | None = None
        self._saved = -CHECKPOINT_EVERY
        self._written = False

    def advance(self) -> Row:
        """Run to the next scored generation; its row, with `stop` ("" while going on) and `due`.

        `due` asks for a checkpoint: at every new best, at the end, and every few generations.
        Raises InputError when the settings or the data cannot be used.
        """
        if self._steps is None:
            self._steps = self._wired().steps(self._state)
        stop = str(self._state["stop"] or "") if self._state else ""
        for step in self._steps:
            self._last, self.best = step, step.best
            self.rows.append(step.row())
            stop = step.stop.value if step.stop else ""
            if step.metrics is not None or stop:
                break
        row = self.rows[-1]
        due = self._last is not None and self._due(row, bool(stop))
        return {**row, "stop": stop, "due": due}

    def _wired(self) -> Fitting:
        if self.fitting is None:
            self.fitting = self.wire(configure(self.plan, self.suggestion))
        return self.fitting

    def _due(self, row: Row, stop: bool) -> bool:
        generation = row["generation"]
        due = stop or row["best_generation"] == generation or generation - self._saved >= CHECKPOINT_EVERY
        if due:
            self._saved = generation
        return due

    def save(self, folder: Path) -> None:
        """State and rows, into an existing folder."""
        assert self._last is not None, "a trial is saved after a step"
        artifacts.save_state(folder, self._last)
        artifacts.write_rows(folder, self.rows)

    def load(self, folder: Path) -> None:
        """Go on from what `save` wrote, peak and history included."""
        self._state = artifacts.load_state(folder)
        assert self._state is not None, f"{folder} holds no fit"
        self.rows = artifacts.read_rows(folder, self._state["generation"])
        self.best = Best(**self._state["best"])
        self._saved, self._steps = self._state["generation"], None

    def write(self, stop: str) -> None:
        """Leave the artifacts of the peak in the trial's folder, once. InputError for a rough voice."""
        if self.best is None or self._written:
            return
        record = {**self.suggestion, "key": self.key, "stop": stop}
        with _destination(self.plan, trial_name(self.suggestion["trial"])) as folder:
            artifacts.write(folder, self._wired(), self.rows, self.best, stop)
            (folder / DONE).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        self._written = True


def pin(cpus: float, gpus: float) -> None:
    """Keep this process within its share: who counts CPUs and GPUs limits neither threads nor memory."""
    torch.set_num_threads(max(1, int(cpus)))
    if 0 < gpus < 1 and torch.cuda.is_available():
        torch.cuda.set_per_process_memory_fraction(gpus)


def quiet() -> None:
    """No chatter of libraries from a worker."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    logging.getLogger("phonemizer").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")


def fetch(plan: Plan, name: str, folder: Path) -> None:
    """Copy a remote trial's folder, but not its checkpoints, to a local one."""
    remote, path = fs.FileSystem.from_uri(f"{plan.folder}/{name}")
    found = remote.get_file_info(fs.FileSelector(path, allow_not_found=True))
    folder.mkdir(parents=True, exist_ok=True)
    for info in found:
        if info.type == fs.FileType.File:
            fs.copy_files(info.path, str(folder / info.base_name), remote, fs.LocalFileSystem())


def complete(folder: Path, key: str) -> bool:
    """Whether a folder holds the artifacts of the trial `key`, not of an earlier life's."""
    try:
        return json.loads((folder / DONE).read_text(encoding="utf-8"))["key"] == key
    except (OSError, ValueError, KeyError):
        return False


@contextmanager
def _destination(plan: Plan, name: str) -> Iterator[Path]:
    """A local folder whose content ends up in the trial's folder of the storage."""
    if not plan.remote:
        yield Path(plan.folder) / name
        return
    with tempfile.TemporaryDirectory() as temporary:
        yield Path(temporary)
        remote, path = fs.FileSystem.from_uri(f"{plan.folder}/{name}")
        remote.create_dir(path, recursive=True)
        fs.copy_files(temporary, path, fs.LocalFileSystem(), remote)
