"""The sweep's command line: what it asks, refuses, plans, and one whole small run on the embedded model."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from coconut import voicepack
from coconut.config import flatten
from experiments import conduct, spaces, sweep

ROOT = Path(__file__).parent.parent


def make(*options):
    return sweep.make_plan(sweep.parse(sweep.parser(), list(options)))


BAD = {
    "no trial": (["--trials", "0"], "--trials is 0"),
    "nothing at once": (["--concurrent", "0"], "--concurrent is 0"),
    "negative gpus": (["--gpus-per-trial", "-1"], "--gpus-per-trial is -1"),
    "no time": (["--time-budget", "0"], "--time-budget is 0"),
    "unknown option": (["--trails", "3"], "did you mean --trials"),
    "unknown setting": (["--es.sgima", "3"], "did you mean --es.sigma"),
    "bad setting": (["--es.popsize", "1"], "es.popsize is 1"),
    "unknown scheduler": (["--scheduler", "best"], "invalid choice"),
    "bad name": (["--name", "../up"], "cannot name a folder"),
    "bad store": (["--tracking-uri", "ftp://x"], "of no known kind"),
    "missing data": (["--data", "no-such-folder"], "no-such-folder"),
    "resume without name": (["--resume"], "needs the --name"),
    "resume of nothing": (["--resume", "--name", "never-was"], "holds no sweep"),
    "resume with other settings": (["--resume", "--name", "x", "--trials", "9", "--es.sigma", "1"], "es.sigma, trials"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_sentence_and_exit_code_2(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    options, words = BAD[name]
    assert sweep.main([*options, "--storage", str(tmp_path / "runs")]) == 2
    said = capsys.readouterr().err
    assert said.startswith("sweep: ")
    assert said.count("\n") == 1
    assert words in said
    assert not (tmp_path / "runs").exists()


def test_a_name_is_taken_once(tmp_path, capsys):
    (tmp_path / "me").mkdir()
    assert sweep.main(["--name", "me", "--storage", str(tmp_path)]) == 2
    assert "exists already" in capsys.readouterr().err


def test_the_demo_is_the_default():
    plan = make()
    assert (plan.trials, plan.cpus, plan.scheduler) == (8, 1.0, "asha")
    assert (plan.base.data, plan.base.model, plan.base.generations) == ("demo", "mini", sweep.SHORT["generations"])
    assert 1 <= plan.concurrent <= 8
    assert plan.name.startswith("sweep-")


def test_what_is_given_beats_what_the_sweep_would_choose():
    plan = make("--generations", "77", "--trials", "3", "--concurrent", "2", "--seed", "5", "--stop.patience", "3")
    assert (plan.base.generations, plan.base.stop.patience) == (77, 3)
    assert (plan.trials, plan.concurrent, plan.seed, plan.base.seed) == (3, 2, 5, 5)
    assert make("--model", "hexgrad/Kokoro-82M").base.generations == sweep.LONG["generations"]


def test_a_remote_storage_stays_a_uri_and_results_come_home():
    plan = make("--storage", "s3://bucket/coconut", "--name", "me", "--address", "auto")
    assert (plan.folder, plan.remote, plan.concurrent) == ("s3://bucket/coconut/me", True, plan.trials)
    assert conduct.home(plan) == Path("runs/me")


def test_a_plan_survives_its_file(tmp_path):
    plan = make("--es.kind", "cem", "--name", "me", "--storage", str(tmp_path))
    conduct.save(tmp_path, {"id": "x", "plan": conduct.record(plan)})
    again, kept = conduct.load(tmp_path)
    assert again == plan
    assert kept["id"] == "x"


def test_a_dry_run_says_what_would_run_and_writes_nothing(tmp_path, capsys):
    options = ["--trials", "5", "--es.kind", "snes", "--dry-run", "--name", "me", "--storage", str(tmp_path / "runs")]
    assert sweep.main(options) == 0
    said = capsys.readouterr().out
    assert "5 trials" in said
    assert "'es.kind': 'snes'" in said
    assert "s of audio" in said
    assert not (tmp_path / "runs").exists()


def test_the_space_names_settings_that_exist():
    known = flatten(make().base)
    assert set(spaces.seed(True)) | set(spaces.WEIGHTS) <= set(known)
    assert set(spaces.presets({}, True)["default"]) <= set(known)


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


def run_sweep(folder, *options):
    command = [sys.executable, str(ROOT / "experiments" / "sweep.py"), "--storage", str(folder), *options]
    return subprocess.run(
        command, capture_output=True, text=True, cwd=folder, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )


SMALL = ("--trials", "2", "--generations", "2", "--es.popsize", "4", "--window.size", "1", "--limit", "6",
         "--heldout", "2")  # fmt: skip


@pytest.mark.slow
def test_a_small_sweep_of_the_demo_ends_with_a_voice_and_nested_runs(tmp_path):
    done = run_sweep(tmp_path, *SMALL, "--name", "small")
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    folder = tmp_path / "small"
    board = json.loads((folder / "leaderboard.json").read_text())
    assert board["trials_finished"] == 2
    assert {r["preset"] for r in board["leaderboard"]} == {"seed", "default"}
    assert voicepack.load(folder / "best" / "voice.pt").shape == (510, 1, 256)
    assert (folder / "best" / "voice_0.wav").is_file()
    assert "mlflow ui --backend-store-uri sqlite:///mlflow.db" in done.stdout
    assert f"{board['nearest']['score']:.2f} nearest stock voice" in done.stdout
    _check_runs(tmp_path, board)


@pytest.mark.slow
def test_a_sweep_whose_time_is_up_says_how_to_go_on_and_does(tmp_path):
    short = run_sweep(tmp_path, *SMALL, "--name", "short", "--time-budget", "1")
    assert short.returncode == 1, short.stdout + short.stderr[-2000:]
    assert "The time budget is used up." in short.stdout
    assert f"--name short --storage {tmp_path} --resume" in short.stdout
    assert json.loads((tmp_path / "short" / "leaderboard.json").read_text())["trials_finished"] == 0
    done = run_sweep(tmp_path, "--name", "short", "--resume")
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    board = json.loads((tmp_path / "short" / "leaderboard.json").read_text())
    assert board["trials_finished"] == 2
    assert {r["preset"] for r in board["leaderboard"]} == {"seed", "default"}
    assert (tmp_path / "short" / "best" / "voice.pt").is_file()


def _check_runs(folder, board):
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{folder}/mlflow.db")
    experiment = client.get_experiment_by_name("coconut")
    runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    assert set(runs) == {"small", "trial_000", "trial_001"}
    parent = runs.pop("small")
    assert {run.data.tags["mlflow.parentRunId"] for run in runs.values()} == {parent.info.run_id}
    assert {run.info.status for run in [parent, *runs.values()]} == {"FINISHED"}
    assert "| rank | trial |" in parent.data.tags["mlflow.note.content"]
    assert "report.html" in [item.path for item in client.list_artifacts(parent.info.run_id)]
    best = runs[board["best"]]
    assert [m.step for m in client.get_metric_history(best.info.run_id, "score")] == [0, 1, 2]
    assert best.data.params["es.popsize"] == "4"
    files = {item.path for item in client.list_artifacts(best.info.run_id)}
    assert {"voice.pt", "voice_0.wav", "target_0.wav", "train.png", "config.json", "steps.jsonl"} <= files
