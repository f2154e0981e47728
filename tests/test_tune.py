"""A sweep on a model problem with the real Ray, Tune and Optuna: it ends well whatever dies."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from ray.tune import Checkpoint

from coconut import tune, voicepack
from coconut.config import FitConfig, InputError, flatten, from_dict
from coconut.fit import fit
from coconut.tune import Plan, Search, Ticket
from coconut.tune.outcome import interruptible
from coconut.tune.plan import configure
from coconut.tune.trial import CHECKPOINT_EVERY, Trial, complete
from coconut.tune.tune import finish
from experiments import spaces
from tests.toys import Objective, Score, Windows
from tests.voices import stock

ROOT = Path(__file__).parent.parent
BASE = {"device": "cpu", "generations": 8, "stop.patience": 4, "es.popsize": 4, "space.start": "mean"}
FIXED = {"es.popsize": 4, "loss.prior": 0.0}


class Fitting:
    """What a trial needs of a wired fit, over the toy problem; `config.limit` 2 is refused."""

    def __init__(self, config):
        if config.limit == 2:
            raise InputError("The toy has no data; give it some.")
        self.config, self.space, self.voices = config, Objective().space, stock(2)
        heldout = [Windows()[0][0]]
        self.synth = Synth()
        self.dataset = SimpleNamespace(heldout=heldout, fit=heldout)

    def steps(self, state=None):
        for step in fit(self.config, Objective(), Score(), Windows(), state):
            time.sleep(float(os.environ.get("TOY_SLEEP", 0)))
            mark = os.environ.get("TOY_KILL")
            if mark and step.generation == 4 and not Path(mark).exists():
                Path(mark).touch()
                os.kill(os.getpid(), signal.SIGKILL)
            yield step

    def voicepack(self, genome):
        return self.voices["v_00"] + genome.mean()


class Synth:
    def prepare(self, texts):
        return SimpleNamespace(rows=torch.zeros(len(texts), dtype=torch.long))

    def __call__(self, script, styles):
        return SimpleNamespace(wav=0.1 * torch.ones(*styles.shape[:2], 2400), lens=torch.full(styles.shape[:2], 2400))


wire = Fitting


def plan(folder, **options):
    keep = {"name": "toy", "storage": str(folder), "trials": 3, "concurrent": 2, "cpus": 1, "scheduler": "none"}
    base = from_dict(BASE | options.pop("base", {}))
    return Plan(base=base, **(keep | options))


def search(fixed=FIXED, seed=0):
    return Search(partial(spaces.voices, fixed=fixed, mimi=False), spaces.presets(fixed, False), seed=seed, startup=2)


class Watcher:
    def __init__(self):
        self.events = []

    def began(self, ticket):
        self.events.append(("began", ticket.trial))

    def reported(self, ticket, row):
        self.events.append((ticket.trial, row["generation"]))

    def ended(self, ticket, error):
        self.events.append(("ended", ticket.trial))

    def tick(self):
        pass


@pytest.fixture(scope="module")
def ray_here():
    import ray

    tune.connect(plan("."))
    yield
    ray.shutdown()


# --- a trial alone ----------------------------------------------------------------------------


def suggestion(**settings):
    return {"trial": 0, "preset": "", "es.kind": "cmaes", **settings}


def run_to_the_end(trial):
    reports = [trial.advance()]
    while not reports[-1]["stop"]:
        reports.append(trial.advance())
    return reports


def test_a_trial_asks_for_a_checkpoint_at_each_new_best_and_every_few_generations(tmp_path):
    reports = run_to_the_end(Trial(plan(tmp_path, base={"generations": 40, "es.sigma": 1.0}), suggestion(), wire))
    due = [report["generation"] for report in reports if report["due"]]
    assert all(report["due"] for report in reports if report["best_generation"] == report["generation"])
    assert max(b - a for a, b in pairwise(due)) <= CHECKPOINT_EVERY
    assert len(due) < len(reports)
    assert due[-1] == reports[-1]["generation"]


@pytest.mark.parametrize("at", [1, 3, 8])
def test_a_trial_resumed_from_a_checkpoint_equals_one_that_never_stopped(tmp_path, at):
    whole = run_to_the_end(Trial(plan(tmp_path), suggestion(), wire))
    early = Trial(plan(tmp_path), suggestion(), wire)
    for _ in range(at):
        early.advance()
    early.save(tmp_path)
    late = Trial(plan(tmp_path), suggestion(), wire)
    late.load(tmp_path)
    assert late.best.score == early.best.score
    reports = run_to_the_end(late)
    assert [r["score"] for r in reports] == [r["score"] for r in whole[at:]]
    assert [r["generation"] for r in late.rows] == [r["generation"] for r in whole]


def test_a_trial_resumed_after_its_end_only_says_so_again(tmp_path):
    trial = Trial(plan(tmp_path), suggestion(), wire)
    last = run_to_the_end(trial)[-1]
    trial.save(tmp_path)
    again = Trial(plan(tmp_path), suggestion(), wire)
    again.load(tmp_path)
    report = again.advance()
    assert (report["stop"], report["generation"]) == (last["stop"], last["generation"])


def test_artifacts_are_complete_only_for_the_life_that_wrote_them(tmp_path):
    trial = Trial(plan(tmp_path), suggestion(), wire, key="one")
    trial.advance()
    trial.write("stopped early")
    folder = tmp_path / "toy" / "trial_000"
    assert complete(folder, "one")
    assert not complete(folder, "two")
    assert not complete(tmp_path, "one")
    assert voicepack.load(folder / "voice.pt").shape == (510, 1, 256)
    assert json.loads((folder / "trial.json").read_text())["es.kind"] == "cmaes"


def test_missing_artifacts_are_made_from_a_checkpoint(tmp_path):
    trial = Trial(plan(tmp_path), suggestion(), wire)
    for _ in range(4):
        trial.advance()
    (tmp_path / "checkpoint").mkdir()
    trial.save(tmp_path / "checkpoint")
    whose = Ticket("one", 0, "", {"es.kind": "cmaes"})
    finish(plan(tmp_path), whose, Checkpoint.from_directory(tmp_path / "checkpoint"), wire)
    folder = tmp_path / "toy" / "trial_000"
    assert complete(folder, "one")
    assert len((folder / "steps.jsonl").read_text().splitlines()) == 4
    assert voicepack.load(folder / "voice.pt").shape == (510, 1, 256)


def test_the_end_of_the_budget_acts_as_ctrl_c_and_sigterm_too():
    with pytest.raises(KeyboardInterrupt), interruptible(0.2) as late:
        time.sleep(20)
    assert late.is_set()
    with pytest.raises(KeyboardInterrupt), interruptible(None) as late:  # noqa: PT012
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(20)
    assert not late.is_set()
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_a_background_job_that_ignores_ctrl_c_still_ends_with_its_budget():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with pytest.raises(KeyboardInterrupt), interruptible(0.2):
            time.sleep(20)
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


# --- the search -------------------------------------------------------------------------------


def test_the_seed_comes_first_then_the_defaults_then_the_search():
    searcher = search()
    found = [searcher.suggest(key) for key in "abcdef"]
    assert [f["preset"] for f in found] == ["seed", "default", "", "", "", ""]
    assert [f["trial"] for f in found] == list(range(6))
    assert (found[0]["es.sigma"], found[0]["space.whiten"], found[0]["window.stride"]) == (0.01, False, 4)
    defaults = flatten(FitConfig())
    assert all(found[1][name] == defaults[name] for name in ("es.kind", "es.sigma", "space.kind", "loss.speaker"))
    configs = [configure(plan("."), f) for f in found]
    assert all(config.es.popsize == 4 for config in configs)
    assert all(("es.rho" in f) == (f["es.kind"] == "cem") for f in found[1:])


def test_one_seed_suggests_one_sweep():
    one, two, other = ([s.suggest(str(i)) for i in range(8)] for s in (search(), search(), search(seed=1)))
    assert one == two != other


def test_a_searcher_survives_its_snapshot(tmp_path):
    searcher, again = search(), search()
    for key in "abc":
        searcher.suggest(key)
    searcher.on_trial_complete("a", {"best_score": 50.0, "training_iteration": 1})
    searcher.save(str(tmp_path / "search"))
    again.restore(str(tmp_path / "search"))
    assert again.suggest("d") == searcher.suggest("d")


def test_replayed_unknown_and_refused_results_do_no_harm():
    searcher = search()
    for key in "ab":
        searcher.suggest(key)
    result = {"best_score": 50.0, "training_iteration": 1}
    searcher.on_trial_result("a", result)
    searcher.on_trial_complete("a", result)
    searcher.on_trial_complete("a", result)
    searcher.on_trial_result("never seen", result)
    searcher.on_trial_complete("never seen", result)
    searcher.on_trial_result("b", {"refused": "no data", "training_iteration": 1})
    searcher.on_trial_complete("b", {"refused": "no data"})
    assert [trial.state.name for trial in searcher._ot_study.trials] == ["COMPLETE", "FAIL"]
    assert searcher.suggest("c")["trial"] == 2


@pytest.mark.parametrize("kind", spaces.KINDS)
def test_fixed_settings_hold_for_every_trial_the_seed_included(kind):
    fixed = {"es.kind": kind, "space.kind": "bias", "loss.speaker": 3.0}
    searcher = search(fixed)
    for i in range(4):
        config = configure(plan("."), searcher.suggest(str(i)))
        assert (config.es.kind, config.space.kind, config.loss.speaker) == (kind, "bias", 3.0)


# --- sweeps -----------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_sweep_ends_with_a_voice_for_every_trial(tmp_path, ray_here):
    watcher = Watcher()
    outcomes, how = tune.run(plan(tmp_path), search(), local=tmp_path / "toy", watchers=[watcher], wire=wire)
    assert how == "complete"
    assert [o.status for o in outcomes] == ["finished"] * 3
    assert [o.ticket.preset for o in outcomes] == ["seed", "default", ""]
    for o in outcomes:
        assert o.stop in ("generations", "patience", "overcooked")
        assert (o.folder / "voice.pt").is_file()
        assert [row["generation"] for row in o.rows] == list(range(len(o.rows)))
        best = [row["best_score"] for row in o.rows]
        assert best == sorted(best)
        assert watcher.events.count(("began", o.ticket.trial)) >= 1
        assert watcher.events.count(("ended", o.ticket.trial)) == 1
        assert [g for t, g in watcher.events if t == o.ticket.trial] == [row["generation"] for row in o.rows]
    again, how = tune.run(plan(tmp_path), search(), again=True, local=tmp_path / "toy", wire=wire)  # nothing left to do
    assert (again, how) == (outcomes, "complete")


def fading(trial):
    """A good first trial, then ones that stay where they began."""
    return {"es.sigma": 0.5 if trial.number == 0 else 2e-4, "es.popsize": 8}


@pytest.mark.slow
def test_asha_stops_trials_and_each_still_has_its_voice_brought_back_from_a_remote_storage(tmp_path, ray_here):
    base = {"generations": 9, "stop.patience": 0}
    settings = plan("unused", storage=f"file://{tmp_path}/shared", scheduler="asha", concurrent=1, base=base)
    outcomes, how = tune.run(settings, Search(fading, {}), local=tmp_path / "here", wire=wire)
    assert how == "complete"
    assert [(o.status, o.stop) for o in outcomes] == [
        ("finished", "generations"), ("finished", "asha"), ("finished", "asha")
    ]  # fmt: skip
    assert [o.rows[-1]["generation"] for o in outcomes] == [9, 3, 3]
    for o in outcomes:
        assert o.folder.parent == tmp_path / "here"
        assert (o.folder / "voice.pt").is_file()
        assert not any(path.is_dir() for path in o.folder.iterdir())


@pytest.mark.slow
def test_bad_settings_of_one_trial_end_that_trial_with_its_sentence(tmp_path, ray_here):
    settings = plan(tmp_path, base={"limit": 2}, trials=2, concurrent=1)
    outcomes, how = tune.run(settings, search(), local=tmp_path / "toy", wire=wire)
    assert how == "complete"
    assert [o.status for o in outcomes] == ["failed", "failed"]
    assert outcomes[0].error == "The toy has no data; give it some."


@pytest.mark.slow
def test_a_killed_worker_resumes_without_forgetting_its_peak(tmp_path):
    out, _ = drive(tmp_path, {"TOY_KILL": str(tmp_path / "killed")}, trials=1)
    assert (tmp_path / "killed").exists()
    calm = Trial(plan(tmp_path / "calm"), search().suggest("a"), wire)
    run_to_the_end(calm)
    assert out["trials"] == [
        {
            "status": "finished",
            "error": None,
            "preset": "seed",
            "generations": [row["generation"] for row in calm.rows],
            "best": calm.best.score,
            "voice": True,
        }
    ]


@pytest.mark.slow
def test_a_killed_driver_resumes_with_its_search_and_its_finished_trials(tmp_path):
    began = subprocess.Popen(command(tmp_path, trials=3, again=False), cwd=ROOT, env=environment({"TOY_SLEEP": "0.5"}))
    wait_for(lambda: (tmp_path / "toy" / "trial_000" / "trial.json").exists())
    time.sleep(7)  # past a snapshot
    began.kill()
    began.wait()
    before = (tmp_path / "toy" / "trial_000" / "trial.json").read_text()
    out, code = drive(tmp_path, {}, trials=3, again=True)
    assert code == 0
    assert out["how"] == "complete"
    assert [(t["status"], t["error"]) for t in out["trials"]] == [("finished", None)] * 3
    assert [t["preset"] for t in out["trials"]] == ["seed", "default", ""]
    assert all(t["generations"] == list(range(len(t["generations"]))) for t in out["trials"])
    assert all(t["voice"] for t in out["trials"])
    assert (tmp_path / "toy" / "trial_000" / "trial.json").read_text() == before


@pytest.mark.slow
def test_an_interrupted_sweep_says_so_and_can_be_resumed(tmp_path):
    began = subprocess.Popen(
        command(tmp_path, trials=3, again=False), cwd=ROOT, env=environment({"TOY_SLEEP": "1"}), stdout=subprocess.PIPE
    )
    wait_for(lambda: any((tmp_path / "toy").glob("trial_*/checkpoint_*")))
    began.send_signal(signal.SIGTERM)  # taken as Ctrl-C
    out = json.loads(began.communicate()[0].splitlines()[-1])
    assert out["how"] == "interrupted"
    assert "unfinished" in {t["status"] for t in out["trials"]}
    for checkpoint in (tmp_path / "toy").glob("trial_000/checkpoint_*"):
        shutil.rmtree(checkpoint)  # as if dropped after the last snapshot: the trial begins anew
    done, _ = drive(tmp_path, {}, trials=3, again=True)
    assert done["how"] == "complete"
    assert [t["status"] for t in done["trials"]] == ["finished"] * 3


def environment(extra):
    return {**os.environ, "OMP_NUM_THREADS": "1", "RAY_USAGE_STATS_ENABLED": "0", **extra}


def command(folder, **options):
    return [sys.executable, "-c", "from tests.test_tune import driver; driver()", json.dumps([str(folder), options])]


def drive(folder, extra, **options):
    """A sweep in a process of its own: what it found, and its exit code."""
    options = {"again": False, **options}
    done = subprocess.run(command(folder, **options), cwd=ROOT, env=environment(extra), capture_output=True, text=True)
    assert done.stdout, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1]), done.returncode


def driver():
    folder, options = json.loads(sys.argv[1])
    again = options.pop("again")
    settings = plan(folder, **options)
    tune.connect(settings)
    home = Path(settings.folder)
    outcomes, how = tune.run(settings, search(), again=again, local=home, wire=wire)
    trials = [
        {
            "status": o.status,
            "error": o.error,
            "preset": o.ticket.preset,
            "generations": [row["generation"] for row in o.rows],
            "best": o.rows[-1]["best_score"] if o.rows else None,
            "voice": (o.folder / "voice.pt").is_file(),
        }
        for o in outcomes
    ]
    print(json.dumps({"how": how, "trials": trials}))


def wait_for(condition, seconds=180):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.1)


def test_a_trial_that_could_never_be_placed_is_refused():
    with pytest.raises(InputError, match="asks for 999 CPUs"):
        tune.connect(plan(".", cpus=999))
