"""What may befall a sweep: `pytest -m kills` goes through the whole table, plain `pytest` through the brief story.

A story is one sweep of toy trials (killing.py) that suffers the rows of the table it names, one after another. Most
rows end it: then its exit code, what the user was told and its runs in MLflow are looked at, and it is resumed. At its
end all must be as if nothing had happened: every trial finished, no curve with a gap or a row twice, and voices equal
to the bit.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.gate import Gate, Server
from tests.killing import Sweep, check, check_words, make_database, states

ROOT = Path(__file__).parent.parent
GO_ON = r"Go on with: coconut sweep --name toy --resume$"
INTERRUPTED, DIED = rf"^Interrupted\. {GO_ON}", rf"^The process of the sweep died\. {GO_ON}"
TIME_IS_UP = rf"^The time budget is used up\. {GO_ON}"
FULL = rf"^The disk of .* is full, and the sweep was stopped while its state could still be written\. {GO_ON}"
FAILED = r"^trial_000 failed: MemoryError: no room for the toy$"
DIED_OFTEN = r"^trial_00\d failed: Its process died \d times, most often for want of memory"
UNSENT = r"^\d+ records are not in MLflow at http://127\.0\.0\.1:\d+ yet .* This sends them: coconut sweep .* --resume$"


@dataclass(frozen=True)
class Row:
    """hurt: what is done to the sweep; code: its exit code then, None where it goes on; says: a pattern of a line that
    the user sees. left: its trials' runs in MLflow by state; empty where that depends on the moment. words, toy:
    options of the command and of the toy in this life; between: what is done before the next one.
    """

    hurt: Callable[[Any], None]
    code: int | None = None
    says: str = ""
    left: dict[str, int] = field(default_factory=dict)
    words: tuple[str, ...] = ()
    toy: dict[str, Any] = field(default_factory=dict)
    between: Callable[[Any], None] | None = None


# --- what is done -----------------------------------------------------------------------------


def midway(act, *args, go=False):
    """Do something while a trial waits in the middle; `go`: and let it go on."""

    def hurt(sweep):
        sweep.until(sweep.midway)
        act(sweep, *args)
        if go:
            sweep.go()

    return hurt


def at_the_end(act, *args):
    """Do something while the page is made, which a slow one makes easy to hit."""

    def hurt(sweep):
        sweep.go()
        sweep.until(lambda: "PAGE" in sweep.said)
        act(sweep, *args)

    return hurt


def as_it_begins(act, *args):
    def hurt(sweep):
        sweep.until(lambda: "Whatever ends this sweep" in sweep.said)
        act(sweep, *args)

    return hurt


def in_the_next_trial(act, *args):
    """Let the trial that waits finish, and do something once another one waits."""

    def hurt(sweep):
        sweep.until(sweep.midway)
        sweep.next()
        sweep.until(sweep.midway)
        act(sweep, *args)

    return hurt


def send(sweep, *numbers):
    """Signals to the process of the sweep, a moment apart; its trials go on."""
    for number in numbers:
        with suppress(ProcessLookupError):
            os.kill(sweep.pid, number)
        time.sleep(0.4)
    sweep.go()


def send_all(sweep, number):
    """A signal to the sweep's group of processes, as a terminal sends it."""
    os.killpg(sweep.pid, number)
    sweep.go()


def to_workers(sweep, number):
    """A signal to the processes of the trials, which others take up."""
    gone = sweep.workers()
    for worker in gone:
        worker.send_signal(number)
    sweep.until(lambda: sweep.workers() and not {worker.pid for worker in gone} & {w.pid for w in sweep.workers()})


def freeze_workers(sweep):
    for worker in (workers := sweep.workers()):
        worker.suspend()
    time.sleep(3)
    for worker in workers:
        worker.resume()


def kill_each_worker(sweep):
    """Kill every process that takes up a trial, until one has been given up."""
    while not re.search(r"Its process died \d times", sweep.said):
        assert sweep.process.is_alive(), sweep.said
        for worker in sweep.workers():
            with suppress(psutil.NoSuchProcess):
                worker.kill()
        time.sleep(0.2)
    sweep.go()


def kill_part(sweep, word):
    sweep.part(word).kill()


def kill_ray(sweep):
    """All that Ray has started, at once."""
    for process in sweep.family():
        with suppress(psutil.NoSuchProcess):
            process.kill()


def lock_store(sweep):
    """Another program holds MLflow's file while a trial ends and the next one begins."""
    with closing(sqlite3.connect(sweep.store, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        sweep.next()
        time.sleep(5)


def let_go(sweep):
    sweep.go()


def wait(sweep):
    """Nothing is done but wait for the end of its time, while its trial waits too."""
    as_it_begins(lambda _: sweep.process.join(20))(sweep)
    sweep.go()


def shut(state):
    """MLflow answers so while a trial ends and the next one begins, and then well again."""

    def hurt(sweep):
        sweep.until(sweep.midway)
        sweep.gate.turn(state)
        sweep.next()
        time.sleep(4)
        sweep.gate.turn("open")

    return hurt


def shut_for_good(state):
    def hurt(sweep):
        sweep.until(sweep.midway)
        sweep.gate.turn(state)
        sweep.go()

    return hurt


def restart_server(sweep):
    sweep.server.stop()
    sweep.next()
    sweep.server.start()


def fill_disk(sweep):
    """Take what room there is, but for a MB."""
    free = shutil.disk_usage(sweep.home).free
    (sweep.folder / "runs" / "other").write_bytes(bytes(max(0, free - 2**20)))
    time.sleep(3)


# --- what is done between two lives -------------------------------------------------------------


def drop_checkpoints(sweep):
    for folder in sweep.home.glob("trial_*/checkpoint_*"):
        shutil.rmtree(folder)


def cut_snapshot(sweep):
    newest = max(sweep.home.glob("experiment_state-*"))
    newest.write_bytes(newest.read_bytes()[:-30])


def open_gate(sweep):
    sweep.gate.turn("open")


def make_room(sweep):
    (sweep.folder / "runs" / "other").unlink()


KILL, INT, TERM, SEGV, HUP = signal.SIGKILL, signal.SIGINT, signal.SIGTERM, signal.SIGSEGV, signal.SIGHUP
SLOW_PAGE = {"slow_page": 5.0}

TABLE = {
    "a worker killed": Row(midway(to_workers, KILL)),
    "a worker told to go": Row(midway(to_workers, TERM)),
    "a worker crashes": Row(midway(to_workers, SEGV)),
    "a worker stands still for a while": Row(midway(freeze_workers)),
    "a worker killed each time": Row(midway(kill_each_worker), 0, DIED_OFTEN, {"FAILED": 1, "FINISHED": 1}),
    "a fit fails of itself": Row(let_go, 1, FAILED, {"FAILED": 2}, toy={"broken": True}),
    "driver killed": Row(midway(send, KILL), -9, DIED, {"RUNNING": 1}),
    "driver killed as it begins": Row(as_it_begins(send, KILL), -9, DIED),
    "driver killed in the next trial": Row(in_the_next_trial(send, KILL), -9, DIED),
    "driver killed while it tells the end": Row(at_the_end(send, KILL), -9, DIED, toy=SLOW_PAGE),
    "driver killed, checkpoints lost": Row(midway(send, KILL), -9, DIED, between=drop_checkpoints),
    "driver crashes": Row(midway(send, SEGV), -11, DIED),
    "terminal closed": Row(midway(send, HUP), -1, DIED),
    "Ctrl-C": Row(midway(send, INT), 130, INTERRUPTED, {"KILLED": 1}),
    "Ctrl-C to the whole group": Row(midway(send_all, INT), 130, INTERRUPTED, {"KILLED": 1}),
    "Ctrl-C twice": Row(midway(send, INT, INT), 130, INTERRUPTED),
    "Ctrl-C three times": Row(midway(send, INT, INT, INT), 130, INTERRUPTED),
    "Ctrl-C as it begins": Row(as_it_begins(send, INT), 130, INTERRUPTED),
    "Ctrl-C while it tells the end": Row(at_the_end(send, INT), 130, INTERRUPTED, toy=SLOW_PAGE),
    "Ctrl-C, then the snapshot is cut": Row(midway(send, INT), 130, INTERRUPTED, {"KILLED": 1}, between=cut_snapshot),
    "SIGTERM": Row(midway(send, TERM), 130, INTERRUPTED, {"KILLED": 1}),
    "SIGTERM, then killed": Row(midway(send, TERM, KILL), -9, DIED),
    "its time is up": Row(wait, 1, TIME_IS_UP, words=("--time-budget", "15")),
    "raylet killed": Row(midway(kill_part, "raylet"), 1, DIED),
    "GCS killed": Row(midway(kill_part, "gcs_server"), 1, DIED),
    "all of Ray killed": Row(midway(kill_ray), 1, DIED),
    "MLflow's file is locked for a while": Row(midway(lock_store)),
    "MLflow down for a while": Row(shut("down")),
    "MLflow hung for a while": Row(shut("hung")),
    "MLflow says 404 for a while": Row(shut(404)),
    "MLflow says 401 for a while": Row(shut(401)),
    "MLflow restarted": Row(midway(restart_server)),
    "MLflow down for good": Row(shut_for_good("down"), 0, UNSENT, between=open_gate),
    "the disk is full": Row(midway(fill_disk, go=True), 1, FULL, between=make_room),
}

STORIES = {
    "brief": ("driver killed", "Ctrl-C", "Ctrl-C twice", "raylet killed", "a worker killed"),
    "workers": ("a fit fails of itself", "a worker killed each time", "a worker told to go", "a worker crashes",
                "a worker stands still for a while"),
    "driver": ("driver killed as it begins", "driver crashes", "terminal closed", "driver killed, checkpoints lost",
               "driver killed in the next trial", "driver killed while it tells the end"),
    "signals": ("Ctrl-C as it begins", "Ctrl-C to the whole group", "Ctrl-C three times", "SIGTERM",
                "Ctrl-C, then the snapshot is cut", "SIGTERM, then killed", "its time is up",
                "MLflow's file is locked for a while", "Ctrl-C while it tells the end"),
    "Ray": ("GCS killed", "all of Ray killed"),
}  # fmt: skip
SERVED = ("MLflow down for a while", "MLflow hung for a while", "MLflow says 404 for a while",
          "MLflow says 401 for a while", "MLflow restarted", "MLflow down for good")  # fmt: skip


def test_every_row_is_in_one_story():
    told = [name for story in (*STORIES.values(), SERVED, ON_DISK) for name in story]
    assert sorted(told) == sorted(TABLE)


def lives(story):
    """The rows of a story by the life of the sweep that they befall: the last row of each ends it."""
    found = [[]]
    for name in story:
        found[-1].append(name)
        if TABLE[name].code is not None:
            found.append([])
    return found


def go_through(story, sweep, trials=2):
    """Begin a sweep, let it suffer the rows of a story, and see it end well."""
    for number, names in enumerate(lives(story)):
        rows = [TABLE[name] for name in names]
        words = [word for row in rows for word in row.words]
        toy = {name: value for row in rows for name, value in row.toy.items()}
        if number:
            sweep.resume(*words, **toy)
        else:
            sweep.start("--trials", str(trials), "--concurrent", "1", *words, **toy)
        for row in rows:
            row.hurt(sweep)
        if rows and (last := rows[-1]).code is not None:
            check_life(names[-1], last, sweep)
    sweep.go()
    assert sweep.wait() == 0, sweep.said
    check(sweep, trials)


def check_life(name, row, sweep):
    """The exit code of a life of the sweep, its words, its runs in MLflow."""
    began = time.monotonic()
    code = sweep.wait()
    print(
        f"{name}: exit code {code}, {time.monotonic() - began:.1f} s later; {dict(states(sweep))}; {last_words(sweep)}"
    )
    assert code == row.code, f"{name}: {sweep.said}"
    check_words(name, sweep, row.says)
    assert not row.left or states(sweep) == row.left, name
    if row.between:
        row.between(sweep)


def last_words(sweep):
    return sweep.said.splitlines()[-1:]


@pytest.fixture(scope="session")
def database(tmp_path_factory):
    """An empty sqlite file of MLflow's, which takes seconds to make."""
    return make_database(tmp_path_factory.mktemp("store"))


@pytest.fixture
def sweep(tmp_path, database):
    store = shutil.copy(database, tmp_path / "mlflow.db")
    made = Sweep(tmp_path, f"sqlite:///{store}", store)
    yield made
    made.end()


@pytest.mark.slow
@pytest.mark.kills
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.brief] * (name == "brief")) for name in STORIES]
)
def test_whatever_befalls_a_sweep_it_says_how_to_go_on_and_loses_nothing(name, sweep):
    go_through(STORIES[name], sweep)


@pytest.mark.slow
@pytest.mark.kills
def test_whatever_becomes_of_mlflow_it_has_all_in_the_end(tmp_path, database):
    server = Server(tmp_path, shutil.copy(database, tmp_path / "mlflow.db"))
    server.start()
    gate = Gate(server.port)
    sweep = Sweep(tmp_path, gate.uri, server.database)
    sweep.server, sweep.gate = server, gate
    try:
        go_through(SERVED, sweep, trials=len(SERVED) + 1)
    finally:
        sweep.end()
        gate.close()
        server.stop()


ON_DISK = ("the disk is full",)
SMALL = "mount -t tmpfs -o size=64m tmpfs '{}' && exec '{}' -c '{}' '{}'"
WITHIN = (
    "from pathlib import Path; import sys; from tests.test_kills import on_a_small_disk as go; go(Path(sys.argv[1]))"
)


@pytest.mark.slow
@pytest.mark.kills
def test_a_disk_that_fills_up_costs_nothing_either(tmp_path, database):
    (tmp_path / "runs").mkdir()
    shutil.copy(database, tmp_path / "mlflow.db")
    inside = [shutil.which("unshare") or "", "--user", "--map-root-user", "--mount", "sh", "-c"]
    if not inside[0] or subprocess.run([*inside, f"mount -t tmpfs tmpfs '{tmp_path}/runs'"]).returncode:
        pytest.skip("no file system of one's own here")
    script = SMALL.format(tmp_path / "runs", sys.executable, WITHIN, tmp_path)
    done = subprocess.run([*inside, script], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


def on_a_small_disk(folder):
    """The story of a sweep in `folder`, whose results lie on a disk of 64 MB."""
    sweep = Sweep(folder, f"sqlite:///{folder}/mlflow.db", folder / "mlflow.db")
    try:
        go_through(ON_DISK, sweep)
    finally:
        sweep.end()
