"""Sweeps of toy trials as a user starts them, each in a process of its own that a test may hurt.

    sweep.start("--trials", "2")        # its trials wait in the middle
    sweep.until(sweep.midway)
    os.kill(sweep.pid, signal.SIGKILL)
    sweep.wait()                        # the exit code
    sweep.said                          # all that the user has seen
    sweep.resume()
    check(sweep, 2)                     # curves, voices and MLflow's runs of the sweep that has come to its end

The command is `coconut sweep` with the real Ray, Tune, Optuna, MLflow, signals and last words; recordings, model and
test are toys. Its processes are forked off one that has imported everything, and so begin at once.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import re
import signal
import sqlite3
import sys
import time
from collections import Counter
from contextlib import closing, suppress
from functools import cache, partial
from pathlib import Path

import psutil
import torch

from coconut import voicepack
from tests import toys

BASE = {"generations": None, "budget": 184, "stop.patience": 0}  # 4 syntheses for the start, 12 a generation
FIXED = ("--es.kind", "snes", "--es.popsize", "4", "--loss.prior", "0", "--scheduler", "none")
HELD = 6  # the generation at which trials wait
SNAPSHOTS = "1"  # seconds between Tune's snapshots, which else come every 10
PRELOADED = ["coconut.cli", "coconut.sweep.run", "tests.toys", "mlflow.tracking"]
NOISE = re.compile(r"Traceback|core_worker|\(raylet\)|\.cc:\d|\*\*\* |^\[\d{4}-\d\d-\d\d|^Exception", re.MULTILINE)


@cache
def forks():
    made = multiprocessing.get_context("forkserver")
    made.set_forkserver_preload(PRELOADED)
    return made


class Sweep:
    """A sweep named `toy`: results in `folder/runs`, runs in the MLflow at `uri`, which keeps them in a sqlite file."""

    def __init__(self, folder, uri, store, shared=None):
        self.folder, self.uri, self.store = folder, uri, Path(store)
        self.home = folder / "runs" / "toy"
        self.state = shared / "toy" if shared else self.home  # where Tune keeps its own
        self.log, self.hold = folder / "said", folder / "hold"
        self.process = None

    def start(self, *words, **toy):
        """Begin the sweep; `toy`: see `drive`."""
        self._run(["--tracking-uri", self.uri, *FIXED, *words], toy)

    def resume(self, *words, **toy):
        """Go on with it, as its last words say."""
        self._run(["--resume", *words], toy)

    def _run(self, words, toy):
        """A life of it, whose trials wait in the middle until they are let go."""
        for left in (self.log, *self.folder.glob("waits-*")):  # a process that was killed leaves its own
            left.unlink(missing_ok=True)
        self.hold.touch()
        words = ["sweep", "--name", "toy", *words]
        toy = {"hold": self.hold, **toy}
        self.process = forks().Process(target=drive, args=(self.folder, self.log, words), kwargs=toy)
        self.process.start()

    @property
    def pid(self):
        return self.process.pid

    @property
    def said(self):
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def go(self):
        """Let its trials go on."""
        self.hold.unlink(missing_ok=True)

    def next(self):
        """Let the trial that waits go on to its end; the one after it will wait."""
        before = self.said.count(": ended")
        for waits in self.folder.glob("waits-*"):
            waits.unlink()
        self.until(lambda: self.said.count(": ended") > before)

    def wait(self, seconds=400):
        """Its exit code, once it has ended; that of a signal is negative."""
        self.process.join(seconds)
        if self.process.is_alive():
            self.end()
            raise AssertionError(f"It did not end in {seconds} s:\n{self.said}")
        return self.process.exitcode

    def end(self):
        """End it, with all processes that it has started."""
        for process in [*self.family(), psutil.Process(self.pid)] if self.process and self.process.is_alive() else ():
            with suppress(psutil.NoSuchProcess):
                process.kill()

    def until(self, condition, seconds=300):
        """Wait for a moment of the sweep; it must not end before."""
        until = time.monotonic() + seconds
        while not condition():
            assert self.process.is_alive(), self.said
            assert time.monotonic() < until, self.said
            time.sleep(0.05)

    def midway(self):
        """Whether a trial waits, with checkpoints beyond the start that Tune's snapshot has, and MLflow knows of it."""
        newest = max((path.stat().st_mtime_ns for path in self.state.glob("experiment_state*")), default=0)
        found = sorted(self.state.glob("trial_*/checkpoint_*"))
        known = len(found) > 1 and found[1].stat().st_mtime_ns < newest and states(self)["RUNNING"] > 0
        return known and bool(self.waiting())

    def waiting(self):
        """The processes of trials that wait."""
        found = [int(path.name.rpartition("-")[2]) for path in self.folder.glob("waits-*")]
        return [pid for pid in found if psutil.pid_exists(pid)]

    def family(self):
        """Its processes but for itself: Ray's own, and those of its trials."""
        found = psutil.Process(self.pid).children(recursive=True)
        return [process for process in found if _title(process).split()[0] != "sh"]

    def workers(self):
        """The processes of its trials."""
        return [process for process in self.family() if "Trainable" in _title(process)]

    def part(self, word):
        """Ray's own process whose program is called so: raylet, gcs_server."""
        return next(process for process in self.family() if Path(_title(process).split()[0]).name == word)


def _title(process):
    with suppress(psutil.Error):
        return " ".join(process.cmdline()) or "-"
    return "-"


def make_database(folder):
    """An empty sqlite file of MLflow's, which takes seconds to make."""
    from coconut.sweep.tracking import Tracker

    tracker = Tracker(f"sqlite:///{folder}/mlflow.db", folder / "journal")
    tracker.begin("first", "first", {})
    tracker.end("first", "FINISHED")
    assert tracker.close(120) is None
    with closing(sqlite3.connect(folder / "mlflow.db")) as made, made:
        made.execute("DELETE FROM tags")
        made.execute("DELETE FROM runs")
    return folder / "mlflow.db"


# --- the process of a sweep -------------------------------------------------------------------


def drive(folder, log, words, hold, broken=False, slow_page=0.0):
    """`coconut WORDS` in `folder`, its output in a file; it leads a group of processes, as in a shell.

    hold: trials wait while this file is there; broken: they fail then; slow_page: seconds that the page takes more.
    """
    os.setsid()
    os.chdir(folder)
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(out, 1)
    os.dup2(out, 2)
    sys.stdout, sys.stderr = (os.fdopen(number, "w", buffering=1) for number in (1, 2))
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ["TUNE_GLOBAL_CHECKPOINT_S"] = SNAPSHOTS

    from coconut import build, cli
    from coconut.sweep import page, run, tracking

    run.prepare, run._hear, build.wire = prepare, hear, partial(wire, hold, broken)
    page.write = partial(later, slow_page, page.write)
    tracking.PAUSE = 1.0
    sys.exit(cli.main(words))


def prepare(plan, config, session, address):
    from coconut.sweep import storage

    made = toys.job(**BASE)
    storage.save_job(plan, made)
    return made


def hear(job, packs, config):
    return {name: (50.0, [49.0, 50.0, 51.0]) for name in ("nearest", *packs)}


def later(seconds, function, *args):
    """A function that first says that it was called, and then takes a while, where it shall."""
    if seconds:
        os.write(1, b"PAGE\n")
        time.sleep(seconds)
    return function(*args)


def wire(hold, broken, job, config):
    """A fit of the toy, in a worker that reports each generation."""
    from coconut.sweep import pace

    pace.PERIOD = 0.0
    return Held(job, config, hold, broken)


class Held(toys.Fitting):
    """A fit that waits in the middle, with a file that says so, named after its process."""

    def __init__(self, job, config, hold, broken):
        super().__init__(job, config)
        self.hold, self.broken = hold, broken

    def steps(self, state=None):
        for step in super().steps(state):
            if step.generation == HELD:
                self.wait()
            yield step

    def wait(self):
        waits = self.hold.with_name(f"waits-{os.getpid()}")
        waits.touch()
        while waits.exists() and self.hold.exists():
            time.sleep(0.05)
        waits.unlink(missing_ok=True)
        if self.broken:
            raise MemoryError("no room for the toy")


# --- what must hold of a sweep that has come to its end ---------------------------------------


def check(sweep, trials):
    """All trials finished; no curve has a gap or a row twice; voices are those of undisturbed fits, to the bit."""
    board = json.loads((sweep.home / "leaderboard.json").read_text())
    assert (board["trials_finished"], len(board["leaderboard"])) == (trials, trials)
    curves = {}
    for number in range(trials):
        folder = sweep.home / f"trial_{number:03d}"
        calm = undisturbed(folder)
        rows = [json.loads(line) for line in (folder / "steps.jsonl").read_text().splitlines()]
        assert timeless(rows) == timeless(calm.rows)
        assert torch.equal(voicepack.load(folder / "voice.pt"), calm.fitting.voicepack(calm.best.genome))
        curves[folder.name] = [(row["syntheses"], row["score"]) for row in rows]
    check_runs(sweep, curves)


def undisturbed(folder):
    """The trial whose artifacts lie in `folder`, run again in peace."""
    from coconut.trial import Trial

    settings = json.loads((folder / "trial.json").read_text())
    settings = {name: value for name, value in settings.items() if name not in ("number", "preset", "key", "stop")}
    calm = Trial(toys.job(**BASE), {"device": "cpu", **settings}, toys.Fitting)
    while not calm.ended:
        calm.advance()
    return calm


def timeless(rows):
    """Rows without what depends on the time of day."""
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


def check_runs(sweep, curves):
    """MLflow has each trial FINISHED once with its whole curve, the parent FINISHED, and nothing RUNNING."""
    runs = read_runs(sweep.store)
    assert "RUNNING" not in {status for status, *_ in runs}, runs
    done = [(trial, curve) for status, trial, curve in runs if status == "FINISHED"]
    assert sorted(trial for trial, _ in done) == ["", *curves]
    assert {trial: curve for trial, curve in done if trial} == curves


def read_runs(database):
    """(status, trial, curve of the score) of the runs in MLflow's sqlite file; the trial of the parent is ""."""
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as store:
        found = store.execute("SELECT run_uuid, status FROM runs WHERE lifecycle_stage = 'active'").fetchall()
        tags = store.execute("SELECT run_uuid, value FROM tags WHERE key = 'coconut.trial'").fetchall()
        scores = store.execute("SELECT run_uuid, step, value FROM metrics WHERE key = 'score' ORDER BY step").fetchall()
    trial, curves = dict(tags), {}
    for run, step, score in scores:
        curves.setdefault(run, []).append((step, score))
    return [(status, trial.get(run, ""), curves.get(run, [])) for run, status in found]


def states(sweep):
    """How many runs of the sweep's trials are in each state."""
    return Counter(status for status, trial, _ in read_runs(sweep.store) if trial)


def check_words(name, sweep, pattern):
    """What a user sees is plain sentences, `pattern` among them, and in the end it says how to go on."""
    until = time.monotonic() + 10  # a witness speaks a moment after the process is gone
    while not re.search(pattern, sweep.said, re.MULTILINE) and time.monotonic() < until:
        time.sleep(0.1)
    said = f"{name}: {sweep.said}"
    assert not NOISE.search(said), said
    assert re.search(pattern, said, re.MULTILINE), said
    assert "coconut sweep --name toy --resume" in said.partition("goes on with it.")[2], said
