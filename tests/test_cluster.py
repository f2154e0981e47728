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
from pathlib import Path

import pytest
import soundfile

from coconut import voicepack
from tests.test_cli import DEMO, demo_rows

RAY = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--disable-usage-stats"]
TOKEN = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "a" * 64}  # every node and every driver names the same
ENVIRONMENT = {**os.environ, **TOKEN, "OMP_NUM_THREADS": "1", "RAY_worker_niceness": "0"}
QUICK = ("--budget", "30", "--es.popsize", "4", "--window.size", "1", "--heldout", "2", "--test", "2")


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


@contextmanager
def node(folder, *words):
    """A Ray node whose processes were started in a folder of its own."""
    folder.mkdir()
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [*RAY, *words], cwd=folder, stdout=log, stderr=log, start_new_session=True,
            env=ENVIRONMENT,
        )  # fmt: skip
    try:
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
        wait_for(lambda: cpus(address) == 0)
        with node(home / "one", f"--address={address}", "--num-cpus=1"):
            wait_for(lambda: cpus(address) == 1)
            with node(home / "two", f"--address={address}", "--num-cpus=1"):
                wait_for(lambda: cpus(address) == 2)
                yield address


def cpus(address):
    code = f"import ray; ray.init('{address}', log_to_driver=False); print(ray.cluster_resources().get('CPU', 0))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=ENVIRONMENT)
    return float(done.stdout.split()[-1]) if done.returncode == 0 else None


def wait_for(condition, seconds=180):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.2)


def sweep(folder, *words):
    return subprocess.Popen(
        [sys.executable, "-m", "coconut.cli", "sweep", *words], cwd=folder, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True, env=ENVIRONMENT,
    )  # fmt: skip


@pytest.mark.slow
def test_relative_recordings_travel_to_nodes_that_never_had_them(cluster, tmp_path):
    recordings = tmp_path / "rec"
    recordings.mkdir()
    for name, text in demo_rows(8):
        audio, rate = soundfile.read(str(DEMO / name))
        soundfile.write(recordings / f"{Path(name).stem}.wav", audio, rate)
        (recordings / f"{Path(name).stem}.txt").write_text(text, encoding="utf-8")
    running = sweep(tmp_path, "--data", "rec", "--trials", "4", "--name", "far", "--address", cluster, *QUICK)
    wait_for(lambda: (tmp_path / "runs" / "far" / "job" / "job.json").exists() or running.poll() is not None)
    shutil.rmtree(recordings)
    said, errors = running.communicate(timeout=400)
    assert running.returncode == 0, said + errors[-3000:]
    board = json.loads((tmp_path / "runs" / "far" / "leaderboard.json").read_text())
    assert board["trials_finished"] == 4
    assert board["nearest"]["test_score"] > 0
    assert voicepack.load(tmp_path / "runs" / "far" / "best" / "voice.pt").shape == (510, 1, 256)


CHECK = """
import sys
from coconut.sweep import ray as sweeps
from coconut.sweep.plan import Plan
from coconut.sweep import DEFAULT_SPACE
plan = Plan("x", "", DEFAULT_SPACE)
sweeps.connect(plan, sys.argv[1])
sweeps.check_nodes(plan, sys.argv[2:])
"""


@pytest.mark.slow
def test_a_model_folder_that_a_node_lacks_is_named(cluster, tmp_path):
    for folder, sentence in ((tmp_path, ""), (tmp_path / "gone", f"has no folder {tmp_path / 'gone'}; put it there")):
        command = [sys.executable, "-c", CHECK, cluster, str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT)
        assert (done.returncode == 0) == (not sentence), done.stderr
        assert sentence in done.stderr
