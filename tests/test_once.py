"""What a sweep does once: recordings, hub and model, over four trials with one worker."""

import dataclasses
import json
import os
from collections import Counter
from pathlib import Path

import pytest

from coconut import build, cli, data, resources
from coconut.data import parquet as files
from coconut.data import sources, treated
from coconut.sweep import run
from tests.test_data import parquet

LOG = "COCONUT_TEST_LOG"


def note(what):
    with Path(os.environ[LOG]).open("a") as file:
        file.write(json.dumps([what, os.getpid()]) + "\n")


def counted(name, function):
    """`function` that leaves a line in the log each time."""

    def call(*args, **kwargs):
        note(name)
        return function(*args, **kwargs)

    return call


PLACES = [(resources, "load_model"), (resources, "SpeakerEncoder"), (treated, "treat"), (files, "local")]


def wire(job, config):
    """build.wire in a worker, whose loading is counted from the first trial on."""
    if resources.load_model.__name__ != "call":
        for module, name in PLACES:
            setattr(module, name, counted(name, getattr(module, name)))
    note("wire")
    return build.wire(job, config)


@pytest.mark.slow
def test_recordings_are_read_once_the_hub_is_asked_once_and_each_process_builds_one_model(tmp_path, monkeypatch):
    monkeypatch.setenv(LOG, str(tmp_path / "log"))
    source = dataclasses.replace(data.SOURCES["expresso"], path=parquet(tmp_path / "set", "expresso"))
    monkeypatch.setitem(sources.SETS, "expresso", source)
    resources.forget()
    for module, name in PLACES:
        monkeypatch.setattr(module, name, counted(name, getattr(module, name)))
    sweep = run.ray.run
    monkeypatch.setattr(run.ray, "run", lambda *given, **options: sweep(*given, **options | {"wire": wire}))
    words = ["--data", "expresso", "--speaker", "ex01", "--min_seconds", "0.3", "--heldout", "1", "--test", "1"]
    words += ["--budget", "20", "--es.popsize", "4", "--window.size", "1"]
    storage = ["--storage", str(tmp_path / "runs"), "--name", "once", "--trials", "4", "--concurrent", "1"]
    assert cli.main(["sweep", *words, *storage]) == 0
    monkeypatch.undo()

    seen = Counter((what, "here" if pid == os.getpid() else "worker") for what, pid in lines(tmp_path / "log"))
    workers = {pid for what, pid in lines(tmp_path / "log") if what == "wire"}
    assert len(workers) == 1
    assert seen["wire", "worker"] == 4
    assert seen["local", "here"] == 1
    assert seen["treat", "here"] == 4  # rows of the speaker
    assert seen["load_model", "here"] == seen["load_model", "worker"] == 1
    assert seen["SpeakerEncoder", "here"] == seen["SpeakerEncoder", "worker"] == 1
    assert not {what for what, where in seen if where == "worker"} & {"treat", "local"}


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]
