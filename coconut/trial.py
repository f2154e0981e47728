"""One fit that can be advanced, saved, resumed and written down: what the command line and a sweep both drive.

    trial = Trial(job)
    while not trial.ended:
        row = trial.advance()       # one generation
        trial.save(folder)          # state and rows: a new process goes on from them
    trial.write(folder)             # voice, audio, curves

It knows no platform. Everything but the wiring may be done without a model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from coconut import artifacts, build
from coconut.build import Fitting
from coconut.config import FitConfig, from_dict
from coconut.fit import Best, Step
from coconut.job import Job

CHECKPOINT_EVERY = 5  # generations between checkpoints that a new best does not ask for anyway

Row = dict[str, Any]
Wire = Callable[[Job, FitConfig], Fitting]


class Trial:
    """A fit of `job` with `settings` (dotted names) over the job's own, wired when first needed.

    rows: one per generation, the start included; best: the voice so far; stop: why the fit ended,
    "" while it goes on.
    """

    def __init__(self, job: Job, settings: Mapping[str, Any] | None = None, wire: Wire = build.wire) -> None:
        self.job, self.settings, self.wire = job, dict(settings or {}), wire
        self.rows: list[Row] = []
        self.best: Best | None = None
        self.stop = ""
        self._fitting: Fitting | None = None
        self._state: dict[str, Any] | None = None
        self._steps: Iterator[Step] | None = None
        self._saved = -CHECKPOINT_EVERY

    @property
    def fitting(self) -> Fitting:
        """Raises InputError for settings that cannot be used."""
        if self._fitting is None:
            self._fitting = self.wire(self.job, from_dict(self.settings, self.job.config))
        return self._fitting

    @property
    def ended(self) -> bool:
        return bool(self.stop)

    def advance(self) -> Row:
        """Run one generation (at first: score the start) and return its row.

        After the end it returns the last row again. Raises InputError when settings or data cannot be used.
        """
        if self._steps is None:
            self._steps = self.fitting.steps(self._state)
        step = next(self._steps, None)
        if step is None:  # it had ended when it was saved
            assert self._state is not None
            self.stop = self._state["stop"]
            return self.rows[-1]
        self._state, self.best = step.state(), step.best
        self.stop = step.stop.value if step.stop else ""
        self.rows.append(step.row())
        return self.rows[-1]

    @property
    def due(self) -> bool:
        """Whether a checkpoint is worth its time: after a new best, at the end, and every few generations."""
        row = self.rows[-1]
        generation = row["generation"]
        news = self.ended or row["best_generation"] > self._saved or generation - self._saved >= CHECKPOINT_EVERY
        return news and generation != self._saved

    def save(self, folder: Path) -> None:
        """State and rows, into a folder."""
        assert self._state is not None, "a trial is saved after a step"
        self._saved = self.rows[-1]["generation"]
        artifacts.write_rows(folder, self.rows)
        artifacts.save_state(folder, self._state)

    def load(self, folder: Path) -> None:
        """Go on from what `save` wrote, peak and history included. Raises InputError where it cannot be read."""
        state = artifacts.load_state(folder)
        assert state is not None, f"{folder} holds no fit"
        self._state, self._steps = state, None
        self.rows = artifacts.read_rows(folder, state["generation"])
        self.best = Best(**state["best"])
        self._saved = state["generation"]

    def write(self, folder: Path, stop: str = "") -> dict[str, Path]:
        """Leave the artifacts of the peak in `folder`; {file name: path}.

        `stop` says what ended it from outside. Raises InputError for a rough voice.
        """
        assert self.best is not None, "a trial is written after its start was scored"
        return artifacts.write(folder, self.fitting, self.rows, self.best, self.stop or stop)
