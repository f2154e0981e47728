"""Tracking against a real sqlite store: nothing is lost, nothing is sent twice, nobody waits."""

import json
import socket
import time

import pytest

from coconut.config import InputError
from coconut.sweep.tracking import Tracker, _batch, _calls, _hopeless, _Store


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A migrated sqlite store: migrating takes seconds, and once is enough."""
    folder = tmp_path_factory.mktemp("store")
    uri = f"sqlite:///{folder}/mlflow.db"
    tracker = Tracker(uri, folder / "first", folder / "artifacts")
    tracker.begin("first", "first", {})
    assert tracker.close(120) is None
    return uri, folder


def client(uri):
    from mlflow.tracking import MlflowClient

    return MlflowClient(tracking_uri=uri)


def run_of(uri, key):
    (experiment,) = client(uri).search_experiments(filter_string="name = 'coconut'")
    found = client(uri).search_runs([experiment.experiment_id], f"tags.`coconut.key` = '{key}'")
    assert len(found) == 1
    return found[0]


def steps(uri, key, metric="score"):
    return [m.step for m in client(uri).get_metric_history(run_of(uri, key).info.run_id, metric)]


def row(generation, score=50.0):
    return {"generation": float(generation), "score": score, "loss.logmel": 1.0}


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


@pytest.mark.slow
def test_parent_children_params_curves_files_and_notes(store, tmp_path):
    uri, folder = store
    (tmp_path / "voice_0.wav").write_bytes(b"RIFF")
    (tmp_path / "other.bin").write_bytes(b"no")
    tracker = Tracker(uri, tmp_path / "journal", folder / "artifacts")
    tracker.begin("s", "sweep", {"trials": 2})
    for trial in range(2):
        tracker.begin(
            f"s/{trial}", f"trial_{trial}", {"es.kind": "snes", "loss.mimi": None}, {"trial": str(trial)}, "s"
        )
        for generation in range(4):
            tracker.log(f"s/{trial}", row(generation, 50.0 + generation), generation)
    tracker.files("s/0", tmp_path, ["voice_0.wav"], "audio")
    tracker.end("s/0", "FINISHED", {"stop": "overcooked"})
    tracker.end("s/1", "FAILED")
    tracker.note("s", "**best**: 53")
    tracker.end("s", "KILLED")
    assert tracker.close(60) is None
    parent, one, two = (run_of(uri, key) for key in ("s", "s/0", "s/1"))
    assert [run.data.tags["mlflow.parentRunId"] for run in (one, two)] == [parent.info.run_id] * 2
    assert [run.info.status for run in (parent, one, two)] == ["KILLED", "FINISHED", "FAILED"]
    assert one.data.params == {"es.kind": "snes", "loss.mimi": "None"}
    assert one.data.tags["stop"] == "overcooked"
    assert parent.data.tags["mlflow.note.content"] == "**best**: 53"
    assert steps(uri, "s/0") == [0, 1, 2, 3]
    assert [f.path for f in client(uri).list_artifacts(one.info.run_id, "audio")] == ["audio/voice_0.wav"]
    assert one.info.artifact_uri.startswith((folder / "artifacts").as_uri())


@pytest.mark.slow
def test_a_new_process_finds_the_run_again_and_skips_what_is_logged(store, tmp_path):
    uri, _ = store
    for generations in (range(0, 5), range(3, 8), range(0, 8)):  # a resumed trial repeats itself
        tracker = Tracker(uri, tmp_path / "journal")
        tracker.begin("again", "again", {"seed": generations.start})  # another param would be an error
        for generation in generations:
            tracker.log("again", row(generation), generation)
        tracker.end("again", "FINISHED")
        assert tracker.close(60) is None
    assert steps(uri, "again") == list(range(8))
    assert run_of(uri, "again").info.status == "FINISHED"


@pytest.mark.slow
def test_what_was_sent_but_not_marked_is_sent_again_without_effect(store, tmp_path):
    uri, _ = store
    tracker = Tracker(uri, tmp_path / "journal")
    tracker.begin("twice", "twice", {"a": 1})
    for generation in range(3):
        tracker.log("twice", row(generation), generation)
    assert tracker.close(60) is None
    (tmp_path / "journal" / "sent").write_text("0")  # as if killed before the mark
    assert Tracker(uri, tmp_path / "journal").close(60) is None
    assert steps(uri, "twice") == [0, 1, 2]


@pytest.mark.slow
def test_a_server_that_is_down_costs_nothing_and_gets_it_later(store, tmp_path):
    uri, _ = store
    down = f"http://127.0.0.1:{free_port()}"
    tracker = Tracker(down, tmp_path / "journal")
    began = time.perf_counter()
    tracker.begin("late", "late", {})
    for generation in range(200):
        tracker.log("late", row(generation), generation)
    assert time.perf_counter() - began < 1.0
    began = time.perf_counter()
    said = tracker.close(60)
    assert time.perf_counter() - began < 45
    assert said is not None
    assert "201 records are not in MLflow" in said
    assert str(tmp_path / "journal") in said
    assert Tracker(uri, tmp_path / "journal").close(60) is None
    assert steps(uri, "late") == list(range(200))


@pytest.mark.slow
def test_a_record_that_the_store_refuses_does_not_block_the_others(store, tmp_path):
    uri, _ = store
    tracker = Tracker(uri, tmp_path / "journal")
    tracker.begin("some", "some", {})
    tracker.log("never begun", row(0), 0)
    tracker.log("some", row(0), 0)
    tracker.note("some", "text")
    assert "refused 1 records" in tracker.close(60)
    assert run_of(uri, "some").data.tags["mlflow.note.content"] == "text"
    assert steps(uri, "some") == [0]


@pytest.mark.slow
def test_of_a_run_that_a_hung_server_made_twice_one_is_kept(store, tmp_path):
    uri, _ = store
    tracker = Tracker(uri, tmp_path / "journal")
    tracker.begin("double", "double", {})
    tracker.log("double", row(0), 0)
    assert tracker.close(60) is None
    first = run_of(uri, "double")
    client(uri).create_run(first.info.experiment_id, tags={"coconut.key": "double"})
    sender = _Store(uri, None)
    sender._connect()
    kept = sender._run("double")
    sender._drop_doubles("double")
    assert run_of(uri, "double").info.run_id == kept


def test_a_line_cut_by_a_crash_is_dropped_and_the_journal_goes_on(tmp_path):
    whole = json.dumps({"op": "row", "key": "k", "step": 4, "row": {}, "time": 1})
    (tmp_path / "events.jsonl").write_text(whole + "\n" + whole[:20])
    tracker = Tracker(f"http://127.0.0.1:{free_port()}", tmp_path)
    tracker.log("k", row(4), 4)
    tracker.log("k", row(5), 5)
    assert [event["step"] for event in tracker._events] == [4, 5]
    lines = (tmp_path / "events.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [4, 5]


def test_an_unknown_kind_of_store_is_refused(tmp_path):
    with pytest.raises(InputError, match="of no known kind"):
        Tracker("ftp://somewhere", tmp_path)


def test_rows_travel_together_and_nothing_else_does():
    rows = [{"op": "row", "row": {}} for _ in range(100)]
    begin = {"op": "begin"}
    assert _batch([begin, *rows]) == [begin]
    assert _batch(rows) == rows
    assert len(_batch([*rows[:3], begin, *rows])) == 3
    assert _batch([]) == []


def calls(seconds):
    """What is sent of rows that a fit came to at these seconds."""
    row = {"score": 50.0, "best_score": 51.0, **{f"loss/{number}": 1.0 for number in range(12)}}
    rows = [row | ({} if at is None else {"cost/seconds": at}) for at in seconds]
    return list(_calls([{"row": row, "time": 0, "step": step} for step, row in enumerate(rows)]))


def test_a_call_takes_what_a_server_takes_and_of_what_only_grows_the_last_value():
    made = calls([2.0 * step for step in range(100)])
    assert [len(call) for call in made] == [896, 505]
    assert [metric.step for call in made for metric in call if metric.key == "loss/3"] == list(range(100))
    assert [(metric.key, metric.step) for call in made for metric in call if "cost" in metric.key] == [
        ("cost/seconds", 99)
    ]


@pytest.mark.parametrize(
    ("seconds", "whole"),
    [
        ([0.0, 0.2, 0.9, 1.1, 1.3, 5.0, 5.1, 5.2], [0, 3, 5, 7]),  # the last one whatever it is
        ([0.0, 1.0, 2.0], [0, 1, 2]),
        ([None, None, None], [0, 1, 2]),
        ([3.0], [0]),
    ],
)
def test_of_generations_within_a_second_the_scores_are_told_and_the_rest_of_one(seconds, whole):
    (made,) = calls(seconds)
    assert [metric.step for metric in made if metric.key == "loss/3"] == whole
    for name in ("score", "best_score"):
        assert [metric.step for metric in made if metric.key == name] == list(range(len(seconds)))


@pytest.mark.parametrize(("status", "hopeless"), [(400, True), (404, False), (429, False), (500, False), (503, False)])
def test_only_a_refusal_is_hopeless(status, hopeless):
    error = RuntimeError()
    error.get_http_status_code = lambda: status
    assert _hopeless(error) is hopeless
    assert not _hopeless(ConnectionError())
