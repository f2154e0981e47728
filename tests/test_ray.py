"""A sweep on a model problem with the real Ray, Tune and Optuna: it ends well whatever dies."""

import json
import math
import os
import signal
import socket
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from coconut import voicepack
from coconut.config import InputError
from coconut.sweep import DEFAULT_SPACE, storage, worker
from coconut.sweep import ray as sweeps
from coconut.sweep.interrupt import interruptible
from coconut.sweep.pace import rungs
from coconut.sweep.plan import Plan, Ticket, settle_devices
from coconut.sweep.search import Search
from tests.toys import Fitting as wire
from tests.toys import job

ROOT = Path(__file__).parent.parent
FIXED = {"es.popsize": 4, "loss.prior": 0.0}


def plan(folder, **options):
    """A plan whose job lies in its storage."""
    base = options.pop("base", {})
    keep = {"name": "toy", "storage": str(folder), "space": DEFAULT_SPACE, "trials": 3, "scheduler": "none"}
    made = Plan(**(keep | options))
    if not (Path(made.folder.removeprefix("file://")) / "job").exists():
        storage.save_job(made, job(**base))
    return made


def search(settings, fixed=FIXED, seed=0, **options):
    base = settings.configure(storage.load_job(settings))
    return Search(options.pop("space", DEFAULT_SPACE), base, fixed, seed=seed, startup=2, **options)


def run_to_the_end(trial):
    while not trial.ended:
        trial.advance()


class Watcher:
    def __init__(self):
        self.events = []

    def began(self, ticket):
        self.events.append(("began", ticket.number))

    def reported(self, ticket, row):
        self.events.append((ticket.number, row["generation"]))

    def ended(self, ticket, error):
        self.events.append(("ended", ticket.number))

    def tick(self):
        pass


@pytest.fixture(scope="module")
def ray_here():
    import ray

    sweeps.connect(Plan("toy", "", DEFAULT_SPACE))
    yield
    ray.shutdown()


def test_the_end_of_the_budget_acts_as_ctrl_c_and_sigterm_too():
    before = signal.getsignal(signal.SIGTERM)
    signal.signal(signal.SIGINT, lambda *_: None)  # as another library may have left it
    with pytest.raises(KeyboardInterrupt), interruptible(0.2) as cut:
        time.sleep(20)
    assert cut.late
    with pytest.raises(KeyboardInterrupt), interruptible(None) as cut:  # noqa: PT012
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(20)
    assert not cut.late
    assert signal.getsignal(signal.SIGTERM) == before
    assert signal.signal(signal.SIGINT, signal.default_int_handler) is not signal.default_int_handler


def test_a_background_job_that_ignores_ctrl_c_still_ends_with_its_budget():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with pytest.raises(KeyboardInterrupt), interruptible(0.2):
            time.sleep(20)
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


# --- sweeps -----------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_sweep_ends_with_a_voice_for_every_trial(tmp_path, ray_here):
    watcher = Watcher()
    settings = plan(tmp_path)
    outcomes, how = sweeps.run(settings, search(settings), watchers=[watcher], wire=wire)
    assert how == "complete"
    assert [o.status for o in outcomes] == ["finished"] * 3
    assert [o.ticket.preset for o in outcomes] == ["seed", "default", ""]
    for o in outcomes:
        assert o.stop in ("generations", "patience", "overcooked")
        assert (o.folder / "voice.pt").is_file()
        assert [row["generation"] for row in o.rows] == list(range(len(o.rows)))
        best = [row["best_score"] for row in o.rows]
        assert best == sorted(best)
        assert watcher.events.count(("began", o.ticket.number)) >= 1
        assert watcher.events.count(("ended", o.ticket.number)) == 1
        assert [g for t, g in watcher.events if t == o.ticket.number] == [row["generation"] for row in o.rows]
    again, how = sweeps.run(settings, search(settings), again=True, wire=wire)  # nothing left to do
    assert (again, how) == (outcomes, "complete")
    assert sweeps._watch.monitors == []  # what watched one sweep does not watch the next


def fading(trial, base, fixed):
    """A good first trial, then ones that stay where they began."""
    return {"es.sigma": 0.5 if trial.number == 0 else 2e-4, "es.popsize": 8}


@pytest.mark.slow
def test_asha_stops_trials_and_each_still_has_its_voice_brought_back_from_a_remote_storage(
    tmp_path, ray_here, monkeypatch
):
    """Rungs are in syntheses: a sixth of the budget of 184, with 20 a generation after the start's 4."""
    monkeypatch.chdir(tmp_path)
    base = {"generations": None, "budget": 184, "stop.patience": 0}
    settings = plan("unused", storage=f"file://{tmp_path}/shared", scheduler="asha", concurrent=1, base=base)
    searcher = search(settings, {}, space="tests.test_ray:fading", presets={})
    outcomes, how = sweeps.run(settings, searcher, wire=wire)
    assert how == "complete"
    assert [(o.status, o.stop) for o in outcomes] == [
        ("finished", "budget"), ("finished", "asha"), ("finished", "asha")
    ]  # fmt: skip
    assert [o.rows[-1]["syntheses"] for o in outcomes] == [184, 44, 44]
    assert [trial.state.name for trial in searcher.study.trials] == ["COMPLETE", "PRUNED", "PRUNED"]
    for o in outcomes:
        assert o.folder.parent == tmp_path / "runs" / "toy"
        assert (o.folder / "voice.pt").is_file()
        assert not any(path.is_dir() for path in o.folder.iterdir())


COSTS = [(8, 400), (32, 400), (8, 800), (32, 800)]  # popsize, budget


def sizes(trial, base, fixed):
    """Small populations and large ones, each with two budgets, and first of all settings that are refused."""
    if trial.number == 0:
        return {"limit": 2}
    popsize, budget = COSTS[trial.number - 1]
    return {"es.popsize": popsize, "budget": budget}


@pytest.fixture(scope="module")
def unlike(tmp_path_factory, ray_here):
    """The outcomes of a sweep over `sizes`."""
    base = {"generations": None, "budget": 800, "stop.patience": 0}
    settings = plan(tmp_path_factory.mktemp("unlike"), base=base, trials=5, concurrent=1)
    outcomes, how = sweeps.run(settings, search(settings, {}, space="tests.test_ray:sizes", presets={}), wire=wire)
    assert how == "complete"
    return outcomes


@pytest.mark.slow
def test_trials_are_of_equal_cost_whatever_their_popsize(unlike):
    for o, (popsize, budget) in zip(unlike[1:], COSTS, strict=True):
        generation = 2 * popsize + 4
        assert o.stop == "budget"
        assert budget - generation < o.rows[-1]["syntheses"] <= budget
        assert o.rows[-1]["generation"] == (budget - 4) // generation


def test_bad_settings_of_one_trial_end_that_trial_with_its_sentence(unlike):
    assert [o.status for o in unlike] == ["failed"] + ["finished"] * 4
    assert unlike[0].error == "The toy has no data; give it some."


def test_artifacts_are_complete_only_for_the_life_that_wrote_them(tmp_path):
    settings = plan(tmp_path)
    one = worker.Worker(settings, Ticket("one", 0, "", {"es.kind": "cmaes"}), wire)
    one.report()
    one.leave()
    folder = tmp_path / "toy" / "trial_000"
    assert storage.complete(folder, "one")
    assert not storage.complete(folder, "two")
    assert not storage.complete(tmp_path, "one")
    assert voicepack.load(folder / "voice.pt").shape == (510, 1, 256)
    record = json.loads((folder / "trial.json").read_text())
    assert (record["es.kind"], record["stop"]) == ("cmaes", "asha")


def test_missing_artifacts_are_made_from_a_checkpoint(tmp_path):
    settings, ticket = plan(tmp_path), Ticket("one", 0, "", {"es.kind": "cmaes"})
    one = worker.Worker(settings, ticket, wire)
    for _ in range(4):
        one.trial.advance()
    one.trial.save(tmp_path / "checkpoint")
    worker.finish(settings, ticket, tmp_path / "checkpoint", wire)
    folder = tmp_path / "toy" / "trial_000"
    assert storage.complete(folder, "one")
    assert len(worker.rows(settings, ticket)) == 4
    assert voicepack.load(folder / "voice.pt").shape == (510, 1, 256)


def test_a_report_carries_the_row_and_its_clock_or_a_refusal(tmp_path):
    settings = plan(tmp_path)
    said = worker.Worker(settings, Ticket("a", 0, "", {}), wire).report()
    (row,) = said["rows"]
    assert said["best_score"] == row["score"]
    assert (said["syntheses"], said["stop"], said["done"], said["should_checkpoint"]) == (4, "", False, True)
    assert (
        "did you mean es.sigma"
        in worker.Worker(settings, Ticket("b", 1, "", {"es.sgima": 1}), wire).report()["refused"]
    )


def test_a_trial_that_could_never_be_placed_is_refused():
    with pytest.raises(InputError, match="asks for 999 CPUs"):
        sweeps.connect(Plan("toy", "", DEFAULT_SPACE, cpus=999))


@pytest.mark.parametrize(
    ("spent", "score", "floor", "goes_on"),
    [(90, 20.0, 50.0, True), (100, 20.0, 50.0, False), (100, 50.0, 50.0, True), (100, 20.0, -math.inf, True)],
)
def test_the_first_trial_at_a_rung_goes_on_if_it_is_not_below_the_floor(spent, score, floor, goes_on):
    asha, trial = sweeps.Asha(600, floor), SimpleNamespace(trial_id="first", config={})
    asha.set_search_properties("best_score", "max")
    asha.on_trial_add(None, trial)
    found = asha.on_trial_result(None, trial, {"syntheses": spent, "best_score": score})
    assert found == ("CONTINUE" if goes_on else "STOP")


@pytest.mark.parametrize("budget", [7, 24, 64, 184, 600, 1000, 4800, 100_000])
def test_trials_report_at_the_rungs_of_asha(budget):
    (bracket,) = sweeps.Asha(budget, -math.inf)._brackets
    assert [rung for rung, _ in reversed(bracket._rungs)] == rungs(budget)


# device, --gpus-per-trial, GPUs here, --address, GPUs of the cluster -> device and share of each trial, or why not
DEVICES = [
    (("auto", None, 0, None, 0), ("cpu", 0.0)),
    (("auto", None, 1, None, 0), ("cuda", 0.25)),
    (("auto", 0, 1, None, 0), ("cpu", 0.0)),
    (("auto", 0.5, 1, None, 0), ("cuda", 0.5)),
    (("auto", 2, 2, None, 0), ("cuda", 2.0)),
    (("auto", 0.5, 0, None, 0), "this machine has 0"),
    (("auto", 1.5, 4, None, 0), "whole number"),
    (("auto", -1, 1, None, 0), "--gpus-per-trial is -1"),
    (("auto", None, 0, "auto", 4), ("cuda", 0.25)),
    (("auto", None, 1, "auto", 0), ("cpu", 0.0)),
    (("auto", 0.5, 0, "auto", 0), ("cuda", 0.5)),
    (("cuda", None, 1, None, 0), ("cuda", 0.25)),
    (("cuda", None, 0, "auto", 0), ("cuda", 0.25)),
    (("cuda", 0, 1, None, 0), "contradict each other"),
    (("cuda:1", None, 2, None, 0), "Ray chooses the GPU"),
    (("cuda:1", 0.5, 2, None, 0), "Ray chooses the GPU"),
    (("cpu", None, 1, None, 0), ("cpu", 0.0)),
    (("cpu", 0.5, 1, None, 0), "contradict each other"),
    (("cpu", 0, 1, None, 0), ("cpu", 0.0)),
    (("mps", None, 0, None, 0), ("mps", 0.0)),
]


@pytest.mark.parametrize(("asked", "expected"), DEVICES)
def test_a_device_is_what_was_said_or_refused_in_words(asked, expected):
    if isinstance(expected, tuple):
        assert settle_devices(*asked) == expected
    else:
        with pytest.raises(InputError, match=expected):
            settle_devices(*asked)


@pytest.mark.parametrize(
    ("address", "said", "expected"),
    [
        ("127.0.0.1:1", None, "No Ray cluster at 127.0.0.1:1"),
        ("nonsense", None, "No Ray cluster at nonsense"),
        ("HEAD", "gcs_client.cc: Unauthenticated: InvalidAuthToken: missing", "asks for a token that it did not get"),
        ("HEAD", "gcs_client.cc: TimedOut", "No Ray cluster at"),
    ],
)
def test_a_cluster_that_cannot_be_joined_is_named_with_the_reason(address, said, expected, monkeypatch, capfd):
    """`said`: what C++ writes to stderr before Ray gives up, of a head that listens."""

    def init(*_, **__):
        os.write(2, said.encode())
        raise ConnectionError

    with socket.create_server(("", 0)) as server:
        monkeypatch.setattr(sweeps.ray, "is_initialized", lambda: False)
        monkeypatch.setattr(sweeps.ray, "init", init)
        with pytest.raises(InputError, match=expected):
            sweeps.connect(Plan("", "", ""), address.replace("HEAD", f"127.0.0.1:{server.getsockname()[1]}"))
    assert not capfd.readouterr().err
