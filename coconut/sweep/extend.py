"""`--resume --trials` and `--resume --budget`: a sweep that has more to do than when it began.

More trials: the search goes on with the study that it has; trials that have ended stay as they are.

A larger budget: a trial that used all of the smaller one goes on from its last checkpoint. That is exact: no strategy
looks at its budget, so that its search is to the last bit what it would have been; only the mean may have been scored
once more, where the smaller budget ended. A trial that its own guard ended would have ended there under any budget,
and one that ASHA stopped was behind at a rung that has not moved: ASHA's rungs stay, and go on above. Both stay. One
that was refused, perhaps as the budget had no room for a generation of it, is tried again.

Tune keeps what it knows of its trials in a snapshot; to go on with one, its status there is set back.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from coconut.config import InputError
from coconut.sweep import storage
from coconut.sweep.plan import Plan, Record, trial_name

PENDING, TERMINATED, ERROR = "PENDING", "TERMINATED", "ERROR"  # Tune's names of what a trial is
STATE, SEARCHER = "experiment_state-", "searcher-state-"  # how Tune's files begin

State = Sequence[Sequence[str]]  # of each trial, what it is and what became of it, as JSON


@dataclass(frozen=True)
class Opened:
    """The trials of a snapshot that have something left to do, by key, and the names of those that had ended before."""

    keys: list[str]
    again: list[str]


def enlarge(record: Record, budget: int | None, trials: int | None, larger: int | None) -> Record:
    """The record of a sweep that has `trials` and `larger` syntheses a trial from now on; `budget`: what it has.

    It is the same record where nothing changes. Raises InputError for less than the sweep has.
    """
    plan = record.plan
    _refuse("trials", trials, plan.trials)
    _refuse("budget", larger, budget)
    said, settings = [], dict(plan.settings)
    if trials and trials > plan.trials:
        said.append(f"Extended from {plan.trials} to {trials} trials.")
        plan = replace(plan, trials=trials)
    if larger and budget and larger > budget:
        said.append(f"Budget raised from {budget:,} to {larger:,} syntheses a trial.")
        settings["budget"] = larger
        plan = replace(plan, settings=settings, first_budget=plan.first_budget or budget)
    if not said:
        return record
    return replace(record, plan=plan, endings=[], history=[*record.history, *said])


def _refuse(option: str, asked: int | None, there: int | None) -> None:
    if asked is not None and there is not None and asked < there:
        raise InputError(f"--{option} is {asked}, and this sweep has {there} already; give more, or leave it away.")


def go_on(record: Record, budget: int | None) -> Record:
    """The record with what is told of trials that go on under the larger `budget` of its plan: their tests are void."""
    if record.plan.first_budget is None or not (state := storage.newest(record.plan, STATE)):
        return record
    again = set_back(json.loads(state.read())["trial_data"], budget, record.plan.first_budget)[1].again
    if not again:
        return record
    tests = {name: score for name, score in record.tests.items() if name not in again}
    left_out = {name: scores for name, scores in record.left_out.items() if name not in again}
    said = f"Went on from where the smaller budget had left them: {', '.join(sorted(again))}."
    return replace(record, tests=tests, left_out=left_out, history=[*record.history, said])


def reopen(plan: Plan, budget: int | None) -> Opened:
    """Set trials back that used all of a smaller budget than the `budget` of now, in the sweep's last snapshot.

    What they left counts as old before their state does: killed in between, it is done again.
    """
    state = storage.newest(plan, STATE)
    assert state is not None, "a sweep that is gone on with has a snapshot"
    content = json.loads(state.read())
    content["trial_data"], opened = set_back(content["trial_data"], budget, plan.first_budget)
    for name in opened.again:
        storage.reopen(plan, name)
    if opened.again:
        state.write(json.dumps(content).encode())
    return opened


def set_back(trials: State, budget: int | None, first: int | None) -> tuple[list[list[str]], Opened]:
    """Tune's trials, those set back that go on (`goes_on`); `first`: the budget of reports that do not name theirs."""
    found, opened = [], Opened([], [])
    for told, became in trials:
        trial, result = json.loads(told), json.loads(became)["last_result"]
        if goes_on(trial["status"], {"budget": first, **result}, trial["config"], budget):
            opened.again.append(trial_name(trial["config"]["number"]))
            trial["status"], told = PENDING, json.dumps(trial | {"status": PENDING})
        if trial["status"] != TERMINATED:
            opened.keys.append(trial["trial_id"])
        found.append([told, became])
    return found, opened


def goes_on(status: str, result: Mapping[str, Any], settings: Mapping[str, Any], budget: int | None) -> bool:
    """Whether a trial that has ended goes on: it used all of its budget, or was refused under it, and that of its
    settings, or else the sweep's, is larger now.
    """
    used, allowed = result.get("budget"), settings.get("budget", budget)
    ended = status == TERMINATED and (result.get("stop") == "budget" or "refused" in result)
    return ended and used is not None and allowed is not None and allowed > used
