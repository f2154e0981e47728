"""A sweep that loses nothing: full disks, damaged files, errors that repeat, stores that are away."""

import json
import os
import pickle
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
from dataclasses import replace
from functools import partial
from http.server import BaseHTTPRequestHandler, HTTPServer
from types import SimpleNamespace

import pytest
from ray.exceptions import ActorDiedError, RayTaskError

from coconut import cli
from coconut.config import InputError
from coconut.sweep import DEFAULT_SPACE, preflight, run, snapshots, storage, tracking, unchanged, worker
from coconut.sweep import ray as sweeps
from coconut.sweep.command import absolute_uri
from coconut.sweep.ended import Ended, how_it_ended
from coconut.sweep.errors import jackknife
from coconut.sweep.interrupt import Cut, interruptible
from coconut.sweep.plan import Outcome, Plan, Record, Ticket
from coconut.sweep.runs import Runs, grouped
from coconut.sweep.search import Search
from coconut.sweep.tracking import Tracker, bare
from tests.toys import Fitting, job

SQLITE = "sqlite:///nowhere.db"


def plan(folder, trials=2):
    """A plan of toy trials whose job lies in its storage."""
    made = Plan("toy", str(folder), DEFAULT_SPACE, trials=trials, scheduler="none")
    storage.save_job(made, job())
    return made


# --- snapshots --------------------------------------------------------------------------------


def snapshot(folder, trials):
    """The files of Tune's that matter, for a sweep that has come to `trials`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "experiment_state-2026-01-01_00-00-00.json").write_text(json.dumps({"trial_data": trials}))
    (folder / "searcher-state-2026-01-01_00-00-00.pkl").write_bytes(pickle.dumps(("study", trials)))
    (folder / "tuner.pkl").write_bytes(b"tuner")


def test_a_snapshot_is_copied_again_only_when_there_is_a_new_one(tmp_path, monkeypatch):
    settings, copies = Plan("toy", str(tmp_path), DEFAULT_SPACE), []
    monkeypatch.setattr(snapshots, "PERIOD", -1.0)
    monkeypatch.setattr(snapshots, "keep", copies.append)
    keeper = snapshots.Keeper(settings)
    snapshot(tmp_path / "toy", [1])
    for seconds in (1, 1, 2):
        os.utime(next((tmp_path / "toy").glob("experiment_state-*")), (seconds, seconds))
        keeper.tick()
    assert len(copies) == 2


def cut(path):
    path.write_bytes(path.read_bytes()[:-3])


@pytest.mark.parametrize("part", ["experiment_state-*.json", "searcher-state-*.pkl", "tuner.pkl"])
def test_a_snapshot_that_a_full_disk_cut_gives_way_to_the_one_before(tmp_path, part):
    settings = Plan("toy", str(tmp_path), DEFAULT_SPACE)
    folder = tmp_path / "toy"
    snapshot(folder, [1, 2])
    snapshots.keep(settings)
    snapshot(folder, [1, 2, 3])
    damaged = next(folder.glob(part))
    damaged.write_bytes(damaged.read_bytes()[:-3] if part != "tuner.pkl" else b"")
    snapshots.keep(settings)  # the copy is of whole ones alone
    snapshots.mend(settings)
    assert json.loads(next(folder.glob("experiment_state-*")).read_text()) == {"trial_data": [1, 2]}
    assert snapshots.whole(folder)


def test_a_damaged_snapshot_without_an_earlier_one_is_told_and_nothing_is_begun_anew(tmp_path):
    settings = Plan("toy", str(tmp_path), DEFAULT_SPACE)
    snapshot(tmp_path / "toy", [1])
    cut(next((tmp_path / "toy").glob("experiment_state-*")))
    with pytest.raises(InputError, match="no earlier one was kept"):
        snapshots.mend(settings)


@pytest.mark.slow
def test_errors_of_a_fit_are_not_repeated_and_the_sweep_goes_on_from_a_cut_snapshot(tmp_path):
    """A MemoryError is tried once; then the state is cut, and the sweep is resumed with a fit that works."""
    settings, tries = plan(tmp_path, trials=1), tmp_path / "tries"
    with sweeps.Session(settings, None) as session:
        session.wait()
        check_failures(settings, tries)


def check_failures(settings, tries):
    search = partial(Search, DEFAULT_SPACE, settings.configure(job()), {"es.popsize": 4, "loss.prior": 0.0})
    outcomes, how = sweeps.run(settings, search(), wire=partial(failing, tries=tries))
    assert how == "complete"
    assert [(o.status, o.error) for o in outcomes] == [("failed", "MemoryError: no room for the toy")]
    assert tries.read_text() == "x"
    cut(max(settings.home.glob("experiment_state-*")))
    again, how = sweeps.run(settings, search(), again=True, wire=Fitting)
    assert how == "complete"
    assert [(o.status, o.ticket) for o in again] == [("finished", o.ticket) for o in outcomes]


def failing(job, config, tries):
    return Failing(job, config, tries)


class Failing(Fitting):
    def __init__(self, job, config, tries):
        super().__init__(job, config)
        self.tries = tries

    def steps(self, state=None):
        with self.tries.open("a") as file:
            file.write("x")
        yield next(super().steps(state))
        raise MemoryError("no room for the toy")


# --- how it ended -----------------------------------------------------------------------------


def trial(status, done=False, error=None, **result):
    return Ended(Ticket("key", 0, "", {}), status, {"done": done, **result}, 4, error)


def test_a_shortfall_is_no_interruption():
    settings, asked, late = Plan("toy", "", DEFAULT_SPACE, trials=2), Cut(), Cut()
    asked.asked, late.late = True, True
    over, open_ = trial("TERMINATED", True), trial("TERMINATED")
    assert how_it_ended(settings, [over, over], asked) == "complete"
    assert how_it_ended(settings, [over, open_], asked) == "interrupted"
    assert how_it_ended(settings, [over, open_], late) == "budget"
    assert "ended after 1 of its 2 trials" in how_it_ended(settings, [over], Cut())
    assert "ended after 1 of its 2 trials" in how_it_ended(settings, [over, open_], Cut())


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (RayTaskError("step", "Traceback:\nMemoryError: no room", MemoryError("no room")), "MemoryError: no room"),
        (ActorDiedError(), None),
        (
            ActorDiedError(
                RayTaskError("setup", "Traceback:\nImportError: no kokoro here", ImportError(), actor_id="a")
            ),
            "ImportError: no kokoro here",
        ),
    ],
)
def test_a_trial_that_cannot_begin_says_why_and_one_that_is_gone_cannot(error, said):
    assert sweeps._raised(SimpleNamespace(get_pickled_error=lambda: pickle.loads(pickle.dumps(error)))) == said


def test_ctrl_c_is_noticed_although_tune_handles_it():
    stopped = []
    with interruptible(None) as ending:
        signal.signal(signal.SIGINT, lambda *_: stopped.append(True))  # as Tune does
        ending.follow()
        os.kill(os.getpid(), signal.SIGTERM)
    assert (stopped, ending.asked, ending.late) == ([True], True, False)


def test_a_trial_whose_process_always_died_says_what_may_help():
    assert trial("TERMINATED", True).why is None
    assert "died 4 times, most often for want of memory" in trial("ERROR").why
    assert trial("ERROR", failing="ValueError: bad").why == "ValueError: bad"
    assert trial("ERROR", error="OSError: gone").why == "OSError: gone"
    cut_too = SimpleNamespace(get_pickled_error=partial(pickle.loads, b""))  # by a full disk
    assert "is the disk full?" in sweeps._raised(cut_too)


# --- the closing steps ------------------------------------------------------------------------


@pytest.fixture
def sent(monkeypatch):
    """What would have gone to MLflow, in order."""
    events = []
    monkeypatch.setattr(tracking._Store, "send", lambda store, batch: events.extend(batch))
    return events


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The storage of a sweep of two toy trials without Ray, and what became of them."""
    settings = plan(tmp_path_factory.mktemp("sweep"))
    return settings.storage, [finished(settings, number) for number in range(2)]


def finished(settings, number):
    ticket = Ticket(f"key{number}", number, "", {"es.kind": "snes"})
    one = worker.Worker(settings, ticket, Fitting)
    while not one.trial.ended:
        one.report()
    return Outcome(ticket, "finished", one.trial.stop, None, one.trial.rows, settings.home / ticket.name)


@pytest.fixture
def swept(written, tmp_path, sent):
    """Its record, its runs and its outcomes, in a folder of the test's own."""
    before, outcomes = written
    shutil.copytree(before, tmp_path, dirs_exist_ok=True)
    settings = Plan("toy", str(tmp_path), DEFAULT_SPACE, trials=2)
    record = Record(settings, "id", SQLITE, tests={"nearest": 40.0, "trial_000": 41.0, "trial_001": 42.0})
    runs = Runs(settings, job(), Tracker(SQLITE, settings.home / "tracking"), "id", {})
    return record, runs, [replace(o, folder=settings.home / o.ticket.name) for o in outcomes]


def ends(events):
    return {event["key"]: event["status"] for event in events if event["op"] == "end"}


def test_one_bad_clip_costs_the_page_and_nothing_else(swept, sent, monkeypatch, capsys):
    def page(board, folder):
        raise InputError("voice_0.wav is damaged.")

    record, runs, outcomes = swept
    monkeypatch.setattr(run.page, "write", page)
    assert run.report(record, job(), runs, outcomes, "complete", None) == 1
    said = capsys.readouterr().out
    assert "The page could not be written: voice_0.wav is damaged." in said
    assert "Best voice:" in said
    home = record.plan.home
    assert (home / "best" / "voice.pt").is_file()
    assert json.loads((home / "sweep.json").read_text())["tests"] == record.tests
    assert ends(sent) == {"id/key0": "FINISHED", "id/key1": "FINISHED", "id": "FINISHED"}


def test_a_best_voice_that_cannot_be_kept_costs_no_page(swept, monkeypatch, capsys):
    def full(board, folder):
        raise OSError(28, "No space left on device")

    record, runs, outcomes = swept
    monkeypatch.setattr(run, "keep_best", full)
    monkeypatch.setattr(run.page, "write", lambda board, folder: (folder / "report.html").write_text("page"))
    assert run.report(record, job(), runs, outcomes, "complete", None) == 1
    assert "The best voice could not be kept: [Errno 28] No space left on device" in capsys.readouterr().out
    assert (record.plan.home / "report.html").is_file()


def test_a_sweep_without_a_finished_trial_is_a_failed_one(swept, sent, monkeypatch):
    record, runs, outcomes = swept
    monkeypatch.setattr(run.page, "write", lambda board, folder: None)
    failed = [Outcome(o.ticket, "failed", "", "ValueError: bad", o.rows, o.folder) for o in outcomes]
    assert run.report(record, job(), runs, failed, "complete", None) == 1
    assert ends(sent) == {"id/key0": "FAILED", "id/key1": "FAILED", "id": "FAILED"}


def test_whatever_broke_a_sweep_off_its_last_words_say_how_to_go_on(swept, monkeypatch, capsys):
    record, runs, outcomes = swept
    monkeypatch.setattr(run.page, "write", lambda board, folder: None)
    assert run.report(record, job(), runs, outcomes[:1], "The sweep broke off (its disk is full).", None) == 1
    said = capsys.readouterr().out
    assert "The sweep broke off (its disk is full). Go on with: coconut sweep --name toy" in said
    assert "Interrupted" not in said


def test_a_finished_sweep_is_told_again_from_what_it_left_and_anew_where_that_changed(swept, sent, monkeypatch, capsys):
    record, runs, outcomes = swept
    pages = []

    def page(board, folder):
        pages.append((folder / "leaderboard.json").write_text(json.dumps(board.summary())))

    monkeypatch.setattr(run.page, "write", page)
    record.endings, record.tracking_uri = [run.ending(outcome) for outcome in outcomes], absolute_uri(SQLITE)
    assert run.report(record, job(), runs, outcomes, "complete", None) == 0
    first, before = capsys.readouterr().out, len(sent)
    monkeypatch.setattr(sweeps, "Session", None)
    words = ["--resume", "--name", "toy", "--storage", record.plan.storage]
    assert Record.load(record.plan.home).finished
    for written, changed in ((1, None), (2, outcomes[0].folder / "voice_0.wav"), (2, None)):
        if changed:
            changed.touch()
        assert cli.main(["sweep", *words]) == 0
        assert capsys.readouterr().out == first
        assert len(pages) == written
        assert (len(sent) == before) is (written == 1)
    rows = [event for event in sent if event["op"] == "row"]
    assert len(rows) == len({(event["key"], event["step"]) for event in rows})


@pytest.mark.parametrize("lost", ["report.html", "best/voice.pt", "leaderboard.csv"])
def test_a_sweep_that_lost_a_part_of_its_end_is_told_anew(tmp_path, lost):
    record = Record(Plan("toy", str(tmp_path), DEFAULT_SPACE), "id", SQLITE)
    for name in unchanged.MADE:
        (record.plan.home / name).parent.mkdir(parents=True, exist_ok=True)
        (record.plan.home / name).write_text("made")
    assert not unchanged.holds(record, SQLITE)
    unchanged.mark(record)
    assert unchanged.holds(Record.load(record.plan.home), SQLITE)
    assert not unchanged.holds(record, "sqlite:///another.db")
    (record.plan.home / lost).unlink()
    assert not unchanged.holds(record, SQLITE)


@pytest.mark.slow
def test_to_say_the_last_words_again_neither_models_nor_charts_are_loaded():
    code = "import sys, coconut.cli, coconut.sweep.unchanged; print(sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "'coconut.sweep.lastwords'" in done.stdout
    assert not any(f"'{name}'" in done.stdout for name in ("torch", "ray", "optuna", "plotly", "matplotlib", "mlflow"))


def test_state_that_a_resume_needs_lies_in_the_storage(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = Plan("far", f"file://{tmp_path}/shared", DEFAULT_SPACE)
    (tmp_path / "shared" / "far").mkdir(parents=True)
    record = Record(settings, "id", SQLITE, {"es.kind": "snes"})
    storage.save_record(record)
    (settings.home / "sweep.json").unlink()  # as on another machine
    assert storage.load_record(settings.storage, settings.home) == record
    with pytest.raises(InputError, match="holds no sweep other"):
        storage.load_record(settings.storage, settings.home.with_name("other"))


def test_a_cluster_without_a_node_for_a_trial_says_so(monkeypatch, capsys):
    monkeypatch.setattr(sweeps, "fitting_nodes", lambda plan: [])
    run._join(SimpleNamespace(wait=lambda: None), Plan("toy", "", DEFAULT_SPACE, gpus=0.5))
    assert "No node of the cluster has 1 CPUs and 0.5 GPUs now" in capsys.readouterr().out


# --- MLflow -----------------------------------------------------------------------------------


def test_a_run_ends_when_its_trial_does_with_its_artifacts(tmp_path, sent):
    settings = plan(tmp_path)
    runs = Runs(settings, job(), Tracker(SQLITE, tmp_path / "journal"), "id", {})
    ticket = Ticket("key0", 0, "seed", {"es.kind": "snes"})
    runs.began(ticket)
    runs.ended(ticket, None)  # stopped by ASHA: its artifacts come a moment later
    assert not runs.tracker.closed("id/key0")
    finished(settings, 0)
    runs.looked = 0.0
    runs.tick()
    assert runs.tracker.closed("id/key0")
    runs.began(Ticket("key1", 1, "", {}))
    runs.ended(Ticket("key1", 1, "", {}), "ValueError: bad")
    assert runs.tracker.close() is None
    assert ends(sent) == {"id/key0": "FINISHED", "id/key1": "FAILED"}
    files = next(event["paths"] for event in sent if event["op"] == "files" and event["key"] == "id/key0")
    assert {"voice.pt", "voice_0.wav", "steps.jsonl"} <= {path.rpartition("/")[2] for path in files}


def test_a_beginning_clears_an_old_end(tmp_path, sent):
    tracker = Tracker(SQLITE, tmp_path)
    tracker.begin("one", "one", {})
    tracker.end("one", "FAILED")
    assert tracker.closed("one")
    tracker.begin("one", "one", {})
    assert not tracker.closed("one")
    assert tracker.close() is None
    again = Tracker(SQLITE, tmp_path)
    assert not again.closed("one")
    assert again.close() is None


def test_scores_stand_in_mlflow_with_their_errors(swept, sent):
    """Those that the board has, at steps of their own after each trial's rows."""
    record, runs, outcomes = swept
    record.left_out = {"nearest": [40.0, 41.0, 39.0], "trial_000": [41.0, 42.0, 43.0]}
    board = run.make_board(record, job(), outcomes)
    runs.conclude(board, outcomes, "complete")
    runs.tracker.close()
    last = {outcome.ticket.key: int(outcome.rows[-1]["syntheses"]) for outcome in outcomes}
    logged = {(event["key"], event["step"]): event["row"] for event in sent if event["op"] == "row"}
    heldout = jackknife([50.0, 51.0, 52.0, 53.0])
    for entry, key in ((e, f"key{int(e.trial[-3:])}") for e in board.entries):
        assert logged[f"id/{key}", last[key] + 1] == {"best_score_error": pytest.approx(heldout)}
        tested = {"test_score": entry.test_score}
        tested |= {"test_score_error": pytest.approx(jackknife([41.0, 42.0, 43.0]))} if key == "key0" else {}
        assert logged[f"id/{key}", last[key] + 2] == tested
    parent = max((event for event in sent if event["key"] == "id" and event["op"] == "row"), key=lambda e: e["step"])
    errors = {name: value for name, value in parent["row"].items() if name.endswith("_error")}
    assert errors["best_score_error"] == errors["nearest_score_error"] == pytest.approx(heldout)
    assert errors["gain_error"] == pytest.approx(0)  # both voices scatter alike
    assert errors["nearest_test_score_error"] == pytest.approx(jackknife([40.0, 41.0, 39.0]))
    assert ("test_score_error" in errors) is (board.best.trial == "trial_000")


def test_runs_are_named_by_what_they_are_and_hold_what_differs(tmp_path, sent):
    runs = Runs(plan(tmp_path), job(), Tracker(SQLITE, tmp_path / "journal"), "id", {"es.popsize": 20})
    runs.began(Ticket("a", 5, "", {"es.kind": "snes", "space.kind": "pca", "es.sigma": 0.371, "es.popsize": 20}))
    runs.began(Ticket("b", 1, "default", {"es.kind": "adam", "space.kind": "bias"}))
    assert runs.tracker.close() is None
    parent, one, two = (event for event in sent if event["op"] == "begin")
    assert [one["name"], two["name"]] == ["005 snes pca s.37 p20", "001 default adam bias"]
    assert one["params"] == {"es.kind": "snes", "space.kind": "pca", "es.sigma": "0.371"}
    assert {"es.popsize", "window.size", "seed"} <= set(parent["params"])


def test_metrics_are_few_and_grouped():
    row = {"generation": 3.0, "syntheses": 90.0, "score": 50.0, "best_score": 51.0, "score.speaker": 0.5, "loss": 1.0}
    row |= {"loss.best": 0.9, "loss.f0": 0.1, "loss.f0.best": 0.1, "sigma": 0.2, "seconds": 3.0, "bad_candidates": 0.0}
    assert sorted(grouped(row)) == [
        "best_score", "cost/seconds", "loss/f0", "loss/total", "score", "score/speaker", "search/generation",
        "search/sigma",
    ]  # fmt: skip


class Refusal(Exception):
    def __init__(self, status):
        super().__init__(f"status {status}")
        self.status = status

    def get_http_status_code(self):
        return self.status


@pytest.mark.parametrize(("status", "dropped"), [(404, 0), (401, 0), (503, 0), (400, 1)])
def test_only_what_is_refused_for_good_is_dropped(tmp_path, monkeypatch, status, dropped):
    answers, sent = [Refusal(status)], []

    def send(store, batch):
        if answers:
            raise answers.pop()
        sent.extend(batch)

    monkeypatch.setattr(tracking, "PAUSE", 0.01)
    monkeypatch.setattr(tracking._Store, "send", send)
    tracker = Tracker(SQLITE, tmp_path)
    tracker.note("one", "text")
    while tracker._events:
        pass
    tracker.close()
    assert (tracker.dropped, len(sent)) == (dropped, 1 - dropped)


def test_a_password_is_neither_printed_nor_kept(tmp_path, monkeypatch, capsys):
    assert bare("postgresql+psycopg2://me:s3:c@ret@host:5432/db") == "postgresql+psycopg2://me@host:5432/db"
    assert bare("http://host:5000") == "http://host:5000"
    assert bare(SQLITE) == SQLITE
    monkeypatch.chdir(tmp_path)
    assert cli.main(["sweep", "--tracking-uri", "postgresql+nodriver://me:secret@127.0.0.1:1/db", "--name", "x"]) == 2
    assert "secret" not in (said := capsys.readouterr().err)
    assert "postgresql+nodriver" in said
    assert list(tmp_path.iterdir()) == []


def test_a_sqlite_file_that_is_not_mlflows_is_refused_before_anything_is_spent(tmp_path):
    (tmp_path / "text.db").write_text("no database at all, but some text")
    with sqlite3.connect(tmp_path / "other.db") as other:
        other.execute("CREATE TABLE cakes (name TEXT)")
    other.close()
    (tmp_path / "folder.db").mkdir()
    for name, why in (("text", "is no database"), ("other", "something else than MLflow"), ("folder", "be written")):
        with pytest.raises(InputError, match=why):
            Tracker.preflight(f"sqlite:///{tmp_path}/{name}.db")
    Tracker.preflight(f"sqlite:///{tmp_path}/fresh/mlflow.db")
    assert not (tmp_path / "fresh").exists()


def test_a_database_without_its_driver_is_told_with_the_package_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "psycopg2", None)
    with pytest.raises(InputError, match="needs the package psycopg2; install it"):
        preflight.look_at_driver("postgresql+psycopg2://me@127.0.0.1:1/db")


@pytest.fixture(scope="module")
def server():
    """An HTTP server that answers with the status that its path begins with."""

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(int(self.path.split("/")[1]))
            self.end_headers()

        do_POST = do_GET

        def log_message(self, *_):
            pass

    made = HTTPServer(("127.0.0.1", 0), Answers)
    threading.Thread(target=made.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{made.server_port}"
    made.shutdown()
    made.server_close()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("status", "why"), [(401, "wants another user or password"), (403, "does not let"), (404, "is no MLflow server")]
)
def test_a_server_that_does_not_take_runs_is_told_in_the_preflight(server, status, why):
    with pytest.raises(InputError, match=why):
        Tracker.preflight(f"{server}/{status}")


@pytest.mark.slow
def test_a_server_that_is_away_is_told_in_the_preflight():
    with pytest.raises(InputError, match="does not answer: start it"):
        Tracker.preflight("http://127.0.0.1:1")
