"""A sweep on a Ray cluster of local nodes, started in other folders: the job travels, the recordings stay.

Nodes come and go, and even the head may be lost: a sweep whose state lies in a storage goes on under another one.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from coconut import voicepack
from tests.demo import recordings
from tests.killing import Sweep, check, check_words, make_database

RAY = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--disable-usage-stats"]
TOKEN = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "a" * 64}  # every node and every driver names the same
ENVIRONMENT = {**os.environ, **TOKEN}
WITH_TOYS = {**os.environ, "RAY_AUTH_MODE": "disabled", "PYTHONPATH": str(Path(__file__).parent.parent)}
QUICK = ("--budget", "30", "--es.popsize", "4", "--window.size", "1", "--heldout", "1", "--test", "1")

pytestmark = pytest.mark.slow


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


@contextmanager
def node(folder, *words, environment=ENVIRONMENT):
    """The process of a Ray node that has started, in a folder of its own; it leads a group of all that it starts."""
    folder.mkdir()
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [*RAY, *words], cwd=folder, stdout=log, stderr=log, start_new_session=True,
            env=environment,
        )  # fmt: skip
    try:
        wait_for(lambda: "Ray runtime started" in (folder / "log").read_text() or process.poll() is not None)
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
            time.sleep(1)
        lose(process)


def lose(process):
    """A node that is gone at once, with all that runs on it."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(30)


@contextmanager
def head(folder, environment=ENVIRONMENT):
    """The process of a head that takes no trial, and its address."""
    port, words = free_port(), ("--num-cpus=0", "--include-dashboard=false")
    with node(folder, "--head", f"--port={port}", *words, environment=environment) as process:
        yield process, f"127.0.0.1:{port}"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """The address of a head that takes no trial, with two nodes of one CPU each."""
    home = tmp_path_factory.mktemp("cluster")
    with head(home / "head") as (_, address):
        joining = (f"--address={address}", "--num-cpus=1")
        with node(home / "one", *joining), node(home / "two", *joining):
            yield address


def python(code, *words):
    """What a driver of the cluster prints."""
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, env=ENVIRONMENT)
    assert done.returncode == 0, done.stderr
    return done.stdout


def wait_for(condition, seconds=400):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.1)


CHECK = """
import sys
import ray
from coconut.config import InputError
from coconut.sweep import DEFAULT_SPACE
from coconut.sweep.ray import check_nodes, connect
from coconut.sweep.plan import Plan
plan = Plan("x", sys.argv[2], DEFAULT_SPACE)
connect(plan, sys.argv[1])
print(sorted(node["Resources"].get("CPU", 0) for node in ray.nodes()))
for folder in sys.argv[2:]:
    try:
        check_nodes(plan, [folder])
        print("all have it")
    except InputError as error:
        print(error)
"""


def test_a_model_folder_that_a_node_lacks_is_named(cluster, tmp_path):
    nodes, there, gone = python(CHECK, cluster, str(tmp_path), str(tmp_path / "gone")).splitlines()
    assert nodes == "[0, 1.0, 1.0]"
    assert there == "all have it"
    assert f"has no folder {tmp_path / 'gone'}; put it there" in gone


def sweep(folder, *words):
    return subprocess.Popen(
        [sys.executable, "-m", "coconut.cli", "sweep", *words], cwd=folder, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True, env=ENVIRONMENT,
    )  # fmt: skip


def test_relative_recordings_travel_to_nodes_that_never_had_them(cluster, tmp_path):
    heard = recordings(tmp_path / "rec", 4)
    running = sweep(tmp_path, "--data", "rec", "--trials", "2", "--name", "far", "--address", cluster, *QUICK)
    wait_for(lambda: (tmp_path / "runs" / "far" / "job" / "job.json").exists() or running.poll() is not None)
    shutil.rmtree(heard)
    said, errors = running.communicate(timeout=400)
    assert running.returncode == 0, said + errors[-3000:]
    board = json.loads((tmp_path / "runs" / "far" / "leaderboard.json").read_text())
    assert board["trials_finished"] == 2
    assert board["nearest"]["test_score"] > 0
    assert voicepack.load(tmp_path / "runs" / "far" / "best" / "voice.pt").shape == (510, 1, 256)


@pytest.mark.kills
def test_nodes_come_and_go_and_the_head_is_lost_without_a_loss(tmp_path):
    """A node is added and one killed while trials wait on them; then the head, and another machine goes on."""
    shared, first, second = (tmp_path / name for name in ("shared", "first", "second"))
    for folder in (shared, first, second):
        folder.mkdir()
    database = make_database(tmp_path / "shared")
    sweep, later = (sweep_in(folder, database, shared) for folder in (first, second))
    try:
        with head(tmp_path / "head", WITH_TOYS) as (process, address), worker(tmp_path / "one", address) as lost:
            words = ("--trials", "3", "--concurrent", "2", "--storage", f"file://{shared}", "--address", address)
            sweep.start(*words)
            sweep.until(sweep.midway)
            with worker(tmp_path / "two", address):
                sweep.until(lambda: len(sweep.waiting()) == 2)
                lose(lost)
                sweep.until(lambda: len(sweep.waiting()) == 1)
                sweep.next()
                sweep.until(sweep.midway)
                lose(process)
                assert sweep.wait() == 1, sweep.said
                check_words("head lost", sweep, "^The process of the sweep died. Go on with: coconut sweep")
        with head(tmp_path / "other", WITH_TOYS) as (_, address), worker(tmp_path / "three", address):
            later.resume("--storage", f"file://{shared}", "--address", address, "--tracking-uri", later.uri)
            later.go()
            assert later.wait() == 0, later.said
            check(later, 3)
    finally:
        sweep.end()
        later.end()


def worker(folder, address):
    """A node of one CPU, with the toys."""
    return node(folder, f"--address={address}", "--num-cpus=1", environment=WITH_TOYS)


def sweep_in(folder, database, shared):
    """A sweep of toy trials as one machine sees it, with an MLflow of its own and its state in a storage."""
    store = shutil.copy(database, folder / "mlflow.db")
    return Sweep(folder, f"sqlite:///{store}", store, shared)
