"""The sweep's command: what it asks, refuses, plans, and whole small runs on the embedded model."""

import contextlib
import io
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import optuna
import pytest
import yaml

from coconut import cli, options, voicepack
from coconut.config import defaults
from coconut.job import Job
from coconut.sweep import DEFAULT_SPACE, command
from coconut.sweep.plan import Plan, Record

ROOT = Path(__file__).parent.parent


def make(*words):
    parser = cli._parser(options.model_of(words))
    return command.make_plan(options.parse(parser, ["sweep", *words]))


BAD = {
    "no trial": (["--trials", "0"], "--trials is 0"),
    "nothing at once": (["--concurrent", "0"], "--concurrent is 0"),
    "negative gpus": (["--gpus-per-trial", "-1"], "--gpus-per-trial is -1"),
    "a share of nothing": (["--gpus-per-trial", "0.5"], "this machine has 0"),
    "no share of a gpu": (["--device", "cuda", "--gpus-per-trial", "0"], "contradict each other"),
    "one gpu of several": (["--device", "cuda:1"], "Ray chooses the GPU"),
    "no such space": (["--space", "nowhere.py:voices"], "nowhere.py:voices cannot be loaded"),
    "no time": (["--time-budget", "0"], "--time-budget is 0"),
    "unknown option": (["--trails", "3"], "did you mean --trials"),
    "unknown setting": (["--es.sgima", "3"], "did you mean --es.sigma"),
    "bad setting": (["--es.kind", "snes", "--es.popsize", "1"], "es.popsize is 1"),
    "unknown scheduler": (["--scheduler", "best"], "invalid choice"),
    "bad name": (["--name", "../up"], "cannot name a folder"),
    "bad store": (["--tracking-uri", "ftp://x"], "of no known kind"),
    "missing data": (["--data", "no-such-folder"], "no-such-folder"),
    "resume without name": (["--resume"], "needs the --name"),
    "resume of nothing": (["--resume", "--name", "never-was"], "holds no sweep"),
    "resume with other settings": (
        ["--resume", "--name", "x", "--trials", "9", "--es.sigma", "1"],
        "leave es.sigma away",
    ),
    "resume with other options": (["--resume", "--name", "x", "--warm-start", "y"], "leave warm_start away"),
    "seeds of nothing": (["--seeds", "2"], "give --repeat-top too"),
    "one repeat": (["--repeat-top", "2", "--seeds", "1"], "one repeat has no error"),
    "no trial to repeat": (["--repeat-top", "0"], "--repeat-top is 0"),
    "no earlier sweep": (["--warm-start", "never-was"], "no sweep of that name"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_sentence_and_exit_code_2(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    given, words = BAD[name]
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    assert cli.main(["sweep", *given, "--storage", str(tmp_path / "runs")]) == 2
    said = capsys.readouterr().err
    assert said.startswith("coconut: ")
    assert said.count("\n") == 1
    assert words in said
    assert not (tmp_path / "runs").exists()


def test_a_name_is_taken_once(tmp_path, capsys):
    (tmp_path / "me").mkdir()
    assert cli.main(["sweep", "--name", "me", "--storage", str(tmp_path)]) == 2
    assert "exists already" in capsys.readouterr().err


def test_the_demo_is_the_default():
    plan, config = make()
    assert (plan.trials, plan.cpus, plan.scheduler, plan.space) == (8, 1.0, "asha", DEFAULT_SPACE)
    assert (config.data, config.model, config.budget) == ("demo", "mini", None)
    assert 1 <= plan.concurrent <= 8
    assert plan.name.startswith("sweep-")


def test_what_is_given_holds_and_nothing_else_overrides_the_defaults():
    plan, config = make("--budget", "77", "--trials", "3", "--concurrent", "2", "--seed", "5", "--stop.patience", "3")
    assert (config.budget, config.stop.patience, config.seed) == (77, 3, 5)
    assert (plan.trials, plan.concurrent, plan.seed) == (3, 2, 5)
    assert make()[1] == make("--model", "mini")[1]
    assert defaults("hexgrad/Kokoro-82M").budget > defaults().budget


def test_a_remote_storage_stays_a_uri_and_results_come_home(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    plan = Plan("me", "s3://bucket/coconut", DEFAULT_SPACE)
    assert (plan.folder, plan.remote) == ("s3://bucket/coconut/me", True)
    assert plan.home == tmp_path / "runs" / "me"


def test_relative_names_mean_the_folder_the_command_was_typed_in(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    plan, _ = make("--storage", "results", "--name", "me")
    assert plan.folder == str(tmp_path / "results" / "me")
    assert command.absolute_uri("sqlite:///x/mlflow.db") == f"sqlite:///{tmp_path}/x/mlflow.db"
    for kept in (f"sqlite:///{tmp_path}/mlflow.db", "http://host:5000", "postgresql://u@h/db"):
        assert command.absolute_uri(kept) == kept


def test_a_record_survives_its_file(tmp_path):
    plan, _ = make("--name", "me", "--storage", str(tmp_path))
    record = Record(plan, "id", "sqlite:///x.db", {"es.kind": "cem"}, 3.5, {"nearest": 50.0})
    record.save()
    assert Record.load(tmp_path / "me") == record


def test_a_dry_run_says_what_would_run_and_writes_nothing(tmp_path, capsys):
    words = ["--trials", "5", "--es.kind", "snes", "--dry-run", "--name", "me", "--storage", str(tmp_path / "runs")]
    assert cli.main(["sweep", *words, "--repeat-top", "2"]) == 0
    said = capsys.readouterr().out
    assert "the best 2 trials again, with 3 other seeds each" in said
    assert "5 trials" in said
    assert "'es.kind': 'snes'" in said
    assert "At most 3,000 syntheses" in said
    assert "4 held out, 4 to test" in said
    assert not (tmp_path / "runs").exists()


def test_the_cluster_file_passes_rays_own_check():
    from ray.autoscaler._private.util import prepare_config, validate_config

    config = yaml.safe_load((ROOT / "cluster.yaml").read_text())
    ready = prepare_config(config)
    validate_config(ready)
    types = ready["available_node_types"]
    assert "GPU" not in types[ready["head_node_type"]]["resources"]
    worker = types["gpu"]
    assert (worker["min_workers"], worker["resources"]["GPU"]) == (0, 1)
    assert worker["node_config"]["InstanceMarketOptions"]["MarketType"] == "spot"
    assert any("pip install" in command and "coconut" in command for command in ready["setup_commands"])


def test_the_cluster_file_is_really_checked():
    from jsonschema import ValidationError
    from ray.autoscaler._private.util import prepare_config, validate_config

    config = yaml.safe_load((ROOT / "cluster.yaml").read_text())
    config["max_wrokers"] = 3
    with pytest.raises((ValidationError, ValueError)):
        validate_config(prepare_config(config))


SMALL = ("--trials", "2", "--generations", "2", "--es.popsize", "4", "--window.size", "1", "--limit", "6",
         "--heldout", "1", "--test", "2")  # fmt: skip


@dataclass(frozen=True)
class Small:
    """A sweep of the demo, cut short after a second and gone on with: where, and what was said."""

    folder: Path
    short: subprocess.CompletedProcess
    left: dict  # the leaderboard when its time was up
    code: int
    said: str
    board: dict


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    import ray

    folder = tmp_path_factory.mktemp("small")
    entry = [sys.executable, str(ROOT / "experiments" / "sweep.py"), *SMALL, "--time-budget", "1"]
    where = ["--name", "small", "--storage", str(folder)]
    short = subprocess.run([*entry, *where], capture_output=True, text=True, cwd=folder)
    assert short.returncode == 1, short.stdout + short.stderr[-2000:]
    left, said = read_board(folder), io.StringIO()
    with contextlib.chdir(folder), contextlib.redirect_stdout(said):
        code = cli.main(["sweep", *where, "--resume"])
    ray.shutdown()
    return Small(folder, short, left, code, said.getvalue(), read_board(folder))


def read_board(folder):
    return json.loads((folder / "small" / "leaderboard.json").read_text())


@pytest.mark.slow
def test_a_sweep_whose_time_is_up_says_how_to_go_on_and_does(small):
    assert "The time budget is used up." in small.short.stdout
    assert f"--name small --storage {small.folder} --resume" in small.short.stdout
    assert small.left["trials_finished"] == 0
    assert small.code == 0, small.said
    assert small.board["trials_finished"] == 2


def test_a_small_sweep_of_the_demo_ends_with_a_voice_and_nested_runs(small):
    folder, board = small.folder / "small", small.board
    assert {r["preset"] for r in board["leaderboard"]} == {"seed", "default"}
    assert voicepack.load(folder / "best" / "voice.pt").shape == (510, 1, 256)
    assert (folder / "best" / "voice_0.wav").is_file()
    assert "mlflow ui --backend-store-uri sqlite:///mlflow.db" in small.said
    assert f"Held-out score: {board['nearest']['score']:.2f} nearest stock voice" in small.said
    best = next(row for row in board["leaderboard"] if row["trial"] == board["best"])
    assert f"Test score, on 2 sentences that chose nothing: {board['nearest']['test_score']:.2f}" in small.said
    assert f"{best['test_score']:.2f} ± {best['test_error']:.2f} best voice" in small.said
    assert "On 2 test sentences, which chose nothing" in (folder / "report.html").read_text()
    assert (folder / "job" / "job.json").is_file()
    _check_runs(small.folder, board)


def _check_runs(folder, board):
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{folder}/mlflow.db")
    experiment = client.get_experiment_by_name("coconut")
    runs = {
        run.data.tags.get("coconut.trial", run.info.run_name): run
        for run in client.search_runs([experiment.experiment_id])
    }
    assert set(runs) == {"small", *(row["trial"] for row in board["leaderboard"])}
    parent = runs.pop("small")
    assert {run.data.tags["mlflow.parentRunId"] for run in runs.values()} == {parent.info.run_id}
    assert {run.info.status for run in [parent, *runs.values()]} == {"FINISHED"}
    assert "| rank | trial |" in parent.data.tags["mlflow.note.content"]
    assert "report.html" in [item.path for item in client.list_artifacts(parent.info.run_id)]
    best = runs[board["best"]]
    rows = [json.loads(line) for line in (folder / "small" / board["best"] / "steps.jsonl").read_text().splitlines()]
    scored = [row["syntheses"] for row in rows if "score" in row]  # every second generation
    assert [m.step for m in client.get_metric_history(best.info.run_id, "score")] == scored
    assert parent.data.params["es.popsize"] == "4"
    assert "es.popsize" not in best.data.params  # it was typed, and so is the parent's
    scores = {row["trial"]: row["test_score"] for row in board["leaderboard"]}
    assert {name: run.data.metrics["test_score"] for name, run in runs.items()} == scores
    assert parent.data.metrics["test_score"] == scores[board["best"]]
    assert parent.data.metrics["nearest_test_score"] == board["nearest"]["test_score"]
    assert [m.step for m in client.get_metric_history(parent.info.run_id, "best_score")] == [1, 2]  # trials
    files = {item.path for item in client.list_artifacts(best.info.run_id)}
    assert {"voice.pt", "voice_0.wav", "target_0.wav", "train.png", "config.json", "steps.jsonl"} <= files


@pytest.mark.kills
@pytest.mark.slow
def test_a_sweep_goes_on_by_more_trials_and_repeats_the_best(small):
    """After all others: it changes their sweep."""
    said, where = io.StringIO(), ["--name", "small", "--storage", str(small.folder)]
    with contextlib.chdir(small.folder), contextlib.redirect_stdout(said):
        words = ["--resume", "--trials", "3", "--repeat-top", "1", "--seeds", "2"]
        assert cli.main(["sweep", *where, *words]) == 0, said.getvalue()
    board = read_board(small.folder)
    assert [r["preset"] for r in sorted(board["leaderboard"], key=lambda r: r["trial"])] == [
        "seed", "default", "", *(f"repeat of {board['best'][-3:]}, seed {seed}" for seed in (1, 2))
    ]  # fmt: skip
    record = Record.load(small.folder / "small")
    assert (record.plan.trials, record.plan.total, record.history) == (3, 5, ["Extended from 2 to 3 trials."])
    before = Job.load(small.folder / "small" / "job")
    draws = [Job.load(small.folder / "small" / f"job-{seed}") for seed in (1, 2)]
    for drawn in draws:
        assert drawn.hash != before.hash
        assert [u.id for u in drawn.test] == [u.id for u in before.test]
        assert {u.id for u in drawn.fit + drawn.heldout} == {u.id for u in before.fit + before.heldout}
    (repeated,) = board["repeated"]
    again = [row for row in board["leaderboard"] if row["repeat_of"]]
    assert board["best"] == repeated["trial"] == again[0]["repeat_of"]
    assert (repeated["repeats"], repeated["seeds"]) == (["trial_003", "trial_004"], [1, 2])
    scores = [row["best_score"] - drawn.nearest.score for row, drawn in zip(again, draws, strict=True)]
    assert repeated["gains"] == pytest.approx(scores)
    assert f"{repeated['trial']} again, with 2 other seeds: gain {repeated['gain']:+.2f}" in said.getvalue()
    study = optuna.load_study(study_name="small", storage=f"sqlite:///{small.folder}/small/study.db")
    assert [t.user_attrs["trial"] for t in study.trials] == [
        "trial_001",
        "trial_002",
    ]  # no preset of the seed, no repeat
