"""`--warm-start`: what earlier sweeps tell a new one.

A score is of certain held-out sentences, spoken by one model and heard by one judge. Where those are the same, the
trials of the earlier sweep enter Optuna's study as if they had been its own, whatever else differs: settings that the
new space does not have are left out, a curve is read as far as the new budget goes, and a trial that had less of it
counts as one that was pruned there.

Of any other sentences the scores say nothing here: how much can be gained depends on how far the speaker is from the
stock voices, so that neither scores nor gains nor ranks of two speakers can be put in one order, which is all that
Optuna's TPE looks at. Of such a sweep the best settings are tried first, and count with the score that they get here.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from coconut import artifacts
from coconut.config import InputError, flatten, from_dict
from coconut.sweep import storage
from coconut.sweep.board import GUARD
from coconut.sweep.plan import FILE, Record, Row
from coconut.sweep.space import SEED

if TYPE_CHECKING:
    from coconut.job import Job

IMITATED = 3  # trials of a sweep of other sentences whose settings are tried first


@dataclass(frozen=True)
class Earlier:
    """A trial of an earlier sweep: its name, such as `me 005`, all its settings by dotted name, its best score by
    syntheses, what ended it, and whether its scores are of the same sentences as those of the new sweep.
    """

    sweep: str
    trial: str
    preset: str
    settings: dict[str, Any]
    curve: dict[int, float]
    stop: str
    same: bool

    @property
    def name(self) -> str:
        return f"{self.sweep} {self.trial.removeprefix('trial_')}"

    @property
    def best(self) -> float:
        return self.curve[max(self.curve)]

    def within(self, budget: int | None) -> tuple[dict[int, float], bool]:
        """Its best scores within a budget of syntheses, and whether a fit of that budget would have come to its end."""
        curve = {spent: score for spent, score in self.curve.items() if budget is None or spent <= budget}
        own = self.settings["budget"]
        ended = self.stop in (*GUARD, "generations") or (self.stop == "budget" and (own or 0) >= (budget or 0))
        return curve, ended or len(curve) < len(self.curve)


class Learner(Protocol):
    """What is told of earlier trials (search.py)."""

    presets: dict[str, dict[str, Any]]

    def learn(
        self, name: str, settings: Mapping[str, Any], curve: Mapping[int, float], whole: bool
    ) -> list[str] | None: ...

    def imitate(self, name: str, settings: Mapping[str, Any]) -> bool: ...


def find(references: Sequence[str], root: Path) -> list[Path]:
    """The folders of sweeps by name, in `root`, or by path. Raises InputError where there is none."""
    found = []
    for reference in references:
        places = [place for place in (root / reference, Path(reference).expanduser()) if (place / FILE).is_file()]
        if not places:
            raise InputError(f"--warm-start {reference}: there is no sweep of that name in {root}, and no such folder.")
        found.append(places[0].resolve())
    return found


def read(folder: Path, job: Job) -> list[Row]:
    """The finished trials of a sweep's folder as sweep.json keeps them, but for repeats; `job` is the new sweep's.

    Raises InputError where the sweep's job cannot be read.
    """
    record = Record.load(folder)
    theirs = _job(folder, record)
    same = ground(theirs) == ground(job)
    found = [_trial(path, folder.name, same) for path in sorted(folder.glob("trial_*"))]
    return [asdict(one) for one in found if one]


def _job(folder: Path, record: Record) -> Job:
    from coconut.job import Job

    here = folder / storage.JOB
    return Job.load(here) if here.is_dir() else storage.load_job(record.plan)


def _trial(folder: Path, sweep: str, same: bool) -> Earlier | None:
    """A trial that has left its artifacts; None for a repeat and for one that another version of coconut made."""
    try:
        told = json.loads((folder / storage.DONE).read_text(encoding="utf-8"))
        config = from_dict(json.loads((folder / "config.json").read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return None
    curve = {int(row["syntheses"]): row["best_score"] for row in artifacts.read_rows(folder) if "score" in row}
    if "draw" in told or not curve:
        return None
    settings = flatten(config) | {"es.popsize": config.es.candidates}
    return Earlier(sweep, folder.name, told["preset"], settings, curve, told["stop"], same)


def ground(job: Job) -> str:
    """What its scores are of: model, judge, noise and held-out sentences. Equal where two jobs' scores compare."""
    heard = [(utterance.phonemes, utterance.fingerprint) for utterance in job.heldout]
    said = [job.config.model, job.config.score.encoder, job.config.seed, heard]
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()


def restored(rows: Sequence[Row]) -> list[Earlier]:
    """What `read` gave, out of sweep.json, whose keys are text."""
    return [Earlier(**row | {"curve": {int(spent): score for spent, score in row["curve"].items()}}) for row in rows]


def teach(search: Learner, earlier: Sequence[Earlier], budget: int | None) -> list[str]:
    """Tell a search that has not begun of earlier trials; a sentence for each sweep about what came of it.

    A preset that was tried on the same sentences is known, and is not tried again.
    """
    said = []
    for sweep in dict.fromkeys(one.sweep for one in earlier):
        trials = [one for one in earlier if one.sweep == sweep]
        said.append(_learn(search, trials, budget) if trials[0].same else _imitate(search, trials))
    for preset in {one.preset for one in earlier if one.same} & set(search.presets):
        del search.presets[preset]
    return said


def _learn(search: Learner, trials: Sequence[Earlier], budget: int | None) -> str:
    outside = [search.learn(one.name, one.settings, *one.within(budget)) for one in trials if one.preset != SEED]
    placed = [names for names in outside if names is not None]
    left = sorted({name for found in placed for name in found})
    name, count = trials[0].sweep, len(trials)
    said = f"{len(placed)} of the {count} trials of {name} inform the search, as they heard the same sentences"
    if left:
        said += f"; {sum(map(len, placed))} of their settings lie outside it and are left out: {', '.join(left)}"
    return f"{said}."


def _imitate(search: Learner, trials: Sequence[Earlier]) -> str:
    best = sorted((one for one in trials if one.preset != SEED), key=lambda one: -one.best)[:IMITATED]
    tried = [one.name for one in best if search.imitate(f"from {one.name}", one.settings)]
    said = f"The scores of {trials[0].sweep} are of other sentences and say nothing here"
    return f"{said}; its best settings are tried first: {', '.join(tried)}." if tried else f"{said}."
