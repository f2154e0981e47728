"""A sweep on a Ray cluster of local nodes, started in other folders: the job travels, the recordings stay."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager

import pytest

from coconut import voicepack
from tests.demo import recordings

RAY = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--disable-usage-stats"]
TOKEN = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "a" * 64}  # every node and every driver names the same
ENVIRONMENT = {**os.environ, **TOKEN}
QUICK = ("--budget", "30", "--es.popsize", "4", "--window.size", "1", "--heldout", "1", "--test", "1")

pytestmark = pytest.mark.slow


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


@contextmanager
def node(folder, *words):
    """A Ray node that has started, its processes in a folder of their own."""
    folder.mkdir()
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [*RAY, *words], cwd=folder, stdout=log, stderr=log, start_new_session=True,
            env=ENVIRONMENT,
        )  # fmt: skip
    try:
        wait_for(lambda: "Ray runtime started" in (folder / "log").read_text() or process.poll() is not None)
        yield
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        time.sleep(1)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(30)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """The address of a head that takes no trial, with two nodes of one CPU each."""
    home, port = tmp_path_factory.mktemp("cluster"), free_port()
    address = f"127.0.0.1:{port}"
    with node(home / "head", "--head", f"--port={port}", "--num-cpus=0", "--include-dashboard=false"):
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
plan = Plan("x", "", DEFAULT_SPACE)
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
