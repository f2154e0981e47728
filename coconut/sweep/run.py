"""A sweep from its job to its last words."""

from __future__ import annotations

import dataclasses
import logging
import shutil
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from coconut import build, resources, voicepack
from coconut import job as jobs
from coconut.config import FitConfig, flatten, from_dict
from coconut.job import Job, Nearest
from coconut.sweep import board as boards
from coconut.sweep import page, ray, repeat, storage, unchanged, warm
from coconut.sweep.aside import aside
from coconut.sweep.board import Board, Entry
from coconut.sweep.lastwords import again, code, conclude, console
from coconut.sweep.plan import Outcome, Plan, Record, Ticket, trial_name
from coconut.sweep.ray import Session
from coconut.sweep.room import Room
from coconut.sweep.runs import Runs, artifacts_in
from coconut.sweep.screen import Screen
from coconut.sweep.search import Search
from coconut.sweep.tracking import Tracker
from coconut.sweep.witness import witnessed
from coconut.sweep.worker import rows

HEARD = 5  # of a ranking's first voices the test is heard: the winner and the runners-up
NEAREST = "nearest"
STUDY = "study.db"
HASTE = 5.0  # seconds that MLflow gets after a second Ctrl-C
LIBRARIES = "libraries.log"  # what Ray and others had to say, if anything
log = logging.getLogger(__name__)


def prepare(plan: Plan, config: FitConfig, session: Session, address: str | None) -> Job:
    """The sweep's job, laid down in its storage. Raises InputError for what cannot be used, before any trial starts.

    Recordings are read here; which voice is nearest is found where the trials will run, if that is not here.
    """
    job = jobs.collect(from_dict({"device": "cpu"}, config))
    if address or plan.gpus:
        _join(session, plan)
        ray.check_nodes(plan, _folders(plan.configure(job)))
        job = ray.remotely(plan, partial(jobs.settle_start, job, True, plan.settings["device"]))
    else:
        job = jobs.settle_start(job, True, plan.settings["device"])
    storage.save_job(plan, job)
    return job


def _folders(config: FitConfig) -> list[str]:
    """Model folders that every node must have."""
    return [name for name in (config.model, config.mimi_model, config.score.encoder) if name and Path(name).is_dir()]


def describe(plan: Plan, config: FitConfig, fixed: Mapping[str, object], uri: str) -> None:
    """What would run, and about how much speech it would synthesise."""
    job = jobs.collect(from_dict({"device": "cpu"}, config))
    base = plan.configure(job)
    seconds = sum(u.seconds for u in job.fit) / len(job.fit)
    share = f"{plan.cpus:g} CPUs" + (f" and {plan.gpus:g} GPUs" if plan.gpus else "")
    console.print(f"{plan.trials} trials, {plan.concurrent} at once, {share} each, scheduler {plan.scheduler}.")
    parts = f"{len(job.fit)} utterances to fit, {len(job.heldout)} held out, {len(job.test)} to test"
    console.print(f"{base.data}: {parts}.")
    for note in job.notes:
        console.print(note, style="dim", markup=False)
    total = plan.trials * (base.budget or 0)
    console.print(f"At most {total:,} syntheses, about {total * seconds:,.0f} s of audio; early stops make it less.")
    console.print(f"Results: {plan.home}; storage: {plan.storage}; MLflow: {uri}")
    console.print(f"Fixed: {dict(fixed) or 'nothing; all that ' + plan.space + ' names is searched'}")
    for name, value in flatten(base).items():
        console.print(f"  {name} = {value}", style="dim")


def carry_out(record: Record, job: Job, uri: str, session: Session, resumed: bool, budget: float | None) -> int:
    """Run or go on with a sweep, and repeat the best of it where that was asked; report whatever came of it.

    `budget` in seconds. The exit code. Whatever ends the sweep, the last words say how to go on with it.
    """
    return _with_last_words(record.plan, partial(_carry_out, record, job, uri, session, resumed, budget))


def _with_last_words(plan: Plan, task: Callable[[], int]) -> int:
    """The exit code of a task of a sweep, after which it can be gone on with, whatever ended it."""
    with witnessed(f"The process of the sweep died. Go on with: {again(plan)}"), aside(plan.home / LIBRARIES, console):
        try:
            return task()
        except KeyboardInterrupt:
            console.print(f"Interrupted. Go on with: {again(plan)}", style="yellow")
            return 130


def _carry_out(record: Record, job: Job, uri: str, session: Session, resumed: bool, budget: float | None) -> int:
    assert job.nearest is not None
    began, search = time.monotonic(), None
    runs = Runs(record.plan, job, _tracker(record, uri), record.id, record.fixed)
    _join(session, record.plan)
    if resumed:
        ray.check_nodes(record.plan, _folders(record.plan.configure(job)))
    console.print(f"Whatever ends this sweep early: {again(record.plan)} goes on with it.", style="dim")
    try:
        outcomes, how = [_outcome(record.plan, end) for end in record.endings], "complete"
        if not record.finished:
            outcomes, how, search = _run(record, job, runs, resumed, budget)
        if how == "complete" and _repeat(record, job, outcomes):
            left = budget and max(1.0, budget - (time.monotonic() - began))
            outcomes, how, search = _run(record, job, runs, True, left)
    except KeyboardInterrupt:
        runs.tracker.close(HASTE)
        raise
    record.seconds += time.monotonic() - began
    if how == "complete":
        record.endings = [ending(outcome) for outcome in outcomes]
    return report(record, job, runs, outcomes, how, session, search)


def _run(
    record: Record, job: Job, runs: Runs, resumed: bool, budget: float | None
) -> tuple[list[Outcome], str, Search]:
    """The trials that are left: what became of all, how it ended, and what the search knows."""
    assert job.nearest is not None
    plan, base = record.plan, record.plan.configure(job)
    startup = min(10, max(4, plan.trials // 4))
    search = Search(plan.space, base, record.fixed, plan.seed, startup, repeats=plan.repeats)
    said = warm.teach(search, warm.restored(record.earlier), base.budget)
    if said and not resumed:
        record.history = said
        storage.save_record(record)
        console.print(*said, sep="\n", markup=False)
    with Screen(plan, job, console) as screen, Room(plan) as room:
        outcomes, how = ray.run(
            plan, search, wire=build.wire, floor=job.nearest.score, again=resumed, watchers=[screen, runs, room],
            budget=budget,
        )  # fmt: skip
    return outcomes, room.explain(how), search


def _repeat(record: Record, job: Job, outcomes: list[Outcome]) -> bool:
    """Choose what is to be repeated, where that was asked; whether there is anything new to run."""
    if not record.top:
        return False
    plan, board = record.plan, make_board(record, job, outcomes)
    tickets = {outcome.ticket.name: outcome.ticket for outcome in outcomes}
    ranked = [tickets[entry.trial] for entry in boards.ranked(board.entries) if entry.voice]
    return repeat.prepare(record, job, ranked, lambda drawn: ray.remotely(plan, partial(_settle, plan, drawn)))


def _settle(plan: Plan, drawn: list[Job]) -> list[Job]:
    return [jobs.settle_start(job, True, plan.settings["device"]) for job in drawn]


def tell_again(record: Record, job: Job, uri: str) -> int:
    """The end of a sweep that has nothing left to run, as it was; MLflow gets what it lacks. It needs no Ray."""
    runs = Runs(record.plan, job, _tracker(record, uri), record.id, record.fixed)
    outcomes = [_outcome(record.plan, end) for end in record.endings]
    return _with_last_words(record.plan, partial(report, record, job, runs, outcomes, "complete"))


def report(
    record: Record, job: Job, runs: Runs, outcomes: list[Outcome], how: str, session: Session | None = None,
    search: Search | None = None,
) -> int:  # fmt: skip
    """What comes after the trials, each step on its own: where one fails it says so, and the next ones go on."""
    plan, folder, tracker = record.plan, record.plan.home, runs.tracker
    well = True
    if how == "complete":
        task = partial(hear_test, record, job, make_board(record, job, outcomes))
        well = attempt("The test could not be heard", task)
    if session:
        session.end()
    board = make_board(record, job, outcomes)
    for problem, step in (
        ("sweep.json could not be written", partial(storage.save_record, record)),
        ("study.db could not be written", partial(keep_study, search, plan)),
        ("The best voice could not be kept", partial(keep_best, board, folder)),
        ("MLflow could not be told", partial(runs.conclude, board, outcomes, how)),
        ("The page could not be written", partial(page.write, board, folder)),
        ("MLflow could not be told of the end", partial(runs.close, board, folder, how)),
    ):
        well = attempt(problem, step) and well
    unsent, summary = tracker.close(), board.summary()
    if record.finished and well and not tracker.dropped:
        attempt("sweep.json could not be written", partial(unchanged.mark, record))
    conclude(plan, summary, how, tracker.uri, unsent)
    return code(summary, how) if well or how == "interrupted" else 1


def attempt(problem: str, step: Callable[[], object]) -> bool:
    """Whether a step went well; what stopped it is told after `problem`."""
    try:
        step()
    except Exception as error:
        log.debug("a step failed", exc_info=True)
        console.print(f"{problem}: {error}", style="red")
        return False
    return True


def ending(outcome: Outcome) -> dict[str, Any]:
    """An outcome as sweep.json keeps it; its rows are in its folder."""
    ticket = dataclasses.asdict(outcome.ticket)
    return {"ticket": ticket, "status": outcome.status, "stop": outcome.stop, "error": outcome.error}


def _outcome(plan: Plan, end: dict[str, Any]) -> Outcome:
    ticket = Ticket(**end["ticket"])
    found = rows(plan, ticket) or []
    return Outcome(ticket, end["status"], end["stop"], end["error"], found, plan.home / ticket.name)


def _tracker(record: Record, uri: str) -> Tracker:
    return Tracker(uri, record.plan.home / "tracking", record.plan.home.parent / "mlartifacts")


def _join(session: Session, plan: Plan) -> None:
    """Wait for Ray; say so where it has no place for a trial yet."""
    session.wait()
    if not ray.fitting_nodes(plan):
        share = f"{plan.cpus:g} CPUs" + (f" and {plan.gpus:g} GPUs" if plan.gpus else "")
        console.print(f"No node of the cluster has {share} now; the sweep waits until one joins.", style="yellow")


def make_board(record: Record, job: Job, outcomes: list[Outcome]) -> Board:
    assert job.nearest is not None
    plan, entries, tests = record.plan, [], record.tests
    for o in outcomes:
        config, score = plan.configure(job, o.ticket.settings), tests.get(o.ticket.name)
        found = (o.ticket.name, o.ticket.preset, config, o.folder, o.status, o.stop, o.rows, o.error)
        entries.append(Entry(*found, score, record.left_out.get(o.ticket.name, []), *_draw(record, o.ticket)))
    repeats, asked = [entry for entry in entries if entry.of], len(plan.repeats)
    ranked = boards.ranked([entry for entry in entries if not entry.of], repeats, asked)
    return Board(
        plan.name, ranked, job.nearest, plan.total, record.seconds, tests.get(NEAREST), len(job.test),
        record.left_out.get(NEAREST, []), [utterance.text for utterance in job.heldout], repeats, asked, record.history,
    )  # fmt: skip


def _draw(record: Record, ticket: Ticket) -> tuple[Nearest | None, str, int | None]:
    """Of a repeat: the nearest stock voice on its held-out sentences, the trial that it repeats, and its seed."""
    of = next((repeat.of for repeat in record.plan.repeats if repeat.number == ticket.number), None)
    return (None, "", None) if of is None else (Nearest(**record.draws[str(ticket.draw)]), trial_name(of), ticket.draw)


def hear_test(record: Record, job: Job, board: Board) -> None:
    """The test, once: the nearest stock voice, the winner, the runners-up and the repeats, where the trials ran."""
    if not job.test:
        return
    plan, first = record.plan, [entry for entry in board.entries if entry.voice][:HEARD]
    first += [entry for entry in board.repeats if entry.voice]
    packs = {entry.trial: voicepack.load(entry.voice) for entry in first if entry.voice}
    missing = {name: pack for name, pack in packs.items() if name not in record.tests}
    if missing or NEAREST not in record.tests:
        task = partial(_hear, job, missing, plan.configure(job))
        heard = ray.remotely(plan, task) if plan.gpus else task()
        record.tests |= {name: score for name, (score, _) in heard.items()}
        record.left_out |= {name: scores for name, (_, scores) in heard.items()}


def _hear(job: Job, packs: Mapping[str, Tensor], config: FitConfig) -> dict[str, tuple[float, list[float]]]:
    assert job.nearest is not None
    nearest = resources.model(config.model, config.device).voices[job.nearest.name]
    heard = {name: (build.hear_test(job, pack, config), pack) for name, pack in {NEAREST: nearest, **packs}.items()}
    return {
        n: (metrics.score, build.hear_left_out(job, pack, config)) for n, (metrics, pack) in heard.items() if metrics
    }


def keep_study(search: Search | None, plan: Plan) -> None:
    """study.db, for optuna-dashboard; what it was where no trial has run since."""
    if search is not None:
        search.export(plan.home / STUDY, plan.name)


def keep_best(board: Board, folder: Path) -> None:
    """Copy the best trial's artifacts to best/, whole or not at all."""
    if board.best is None:
        return
    fresh = folder / ".best.tmp"
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir()
    for path in artifacts_in(board.best.folder):
        shutil.copy2(path, fresh / path.name)
    shutil.rmtree(folder / "best", ignore_errors=True)
    fresh.rename(folder / "best")
