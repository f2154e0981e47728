"""When a trial reports: rarely, at once where something is decided, and never with a row less."""

import math
from dataclasses import replace

import pytest

from coconut.sweep import DEFAULT_SPACE, pace, storage, worker
from coconut.sweep.pace import Pace, rungs
from coconut.sweep.plan import Plan, Ticket
from coconut.trial import Trial
from tests.toys import Fitting, job

BASE = {"generations": None, "budget": 184, "stop.patience": 0}  # 4 syntheses for the start, 12 a generation


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def test_rungs_grow_by_the_reduction_up_to_the_budget():
    assert rungs(600) == [100, 400]
    assert rungs(7) == [1, 4]
    assert rungs(None) == []


def test_the_first_row_a_rung_and_a_while_are_reported():
    clock = Clock()
    made = Pace(600, clock)
    assert made.due({"syntheses": 4})
    made.reported({"syntheses": 4})
    assert [made.due({"syntheses": spent}) for spent in (16, 99, 100, 399)] == [False, False, True, True]
    made.reported({"syntheses": 104})
    assert not made.due({"syntheses": 399})
    assert made.due({"syntheses": 401})
    clock.now = pace.PERIOD
    assert made.due({"syntheses": 120})


@pytest.fixture
def settings(tmp_path):
    made = Plan("toy", str(tmp_path), DEFAULT_SPACE)
    storage.save_job(made, job(**BASE))
    return made


def reports(settings, wire=Fitting):
    """All that a trial says."""
    one = worker.Worker(settings, Ticket("one", 0, "", {}), wire)
    one.write = lambda: None
    said = []
    while not said or not (said[-1].get("done") or said[-1].get("failing")):
        said.append(one.report())
    return said


def bare():
    one = Trial(job(**BASE), {}, Fitting)
    while not one.ended:
        one.advance()
    return one.rows


def told(said):
    """Rows without what depends on the time of day."""
    return [{name: value for name, value in row.items() if name != "seconds"} for row in said]


def test_a_trial_that_goes_on_first_tells_all_its_rows(settings, tmp_path, monkeypatch):
    """The driver may be another one, whose MLflow knows none of them."""
    monkeypatch.setattr(pace, "PERIOD", 0.0)
    first, later = (worker.Worker(settings, Ticket("one", 0, "", {}), Fitting) for _ in range(2))
    before = [first.report() for _ in range(5)]
    first.trial.save(tmp_path)
    later.trial.load(tmp_path)
    after = [later.report() for _ in range(2)]
    assert [len(one["rows"]) for one in (*before, *after)] == [1, 1, 1, 1, 1, 6, 1]
    assert told(row for one in after for row in one["rows"]) == told(bare())[:7]


def test_rows_in_between_travel_with_the_next_report_and_none_is_lost(settings, monkeypatch):
    monkeypatch.setattr(pace, "PERIOD", math.inf)
    said = reports(settings)
    assert told(row for one in said for row in one["rows"]) == told(bare())
    assert [one["syntheses"] for one in said] == [4, 40, 124, 184]  # the start, the first past 31, past 124, the end
    assert all(one["syntheses"] == one["rows"][-1]["syntheses"] for one in said)
    best = [one["best_score"] for one in said]
    assert best == sorted(best)
    assert [one["should_checkpoint"] for one in said] == [True] * 4  # each has a new best, or came far
    monkeypatch.setattr(pace, "PERIOD", 0.0)
    slow = reports(settings)
    assert [len(one["rows"]) for one in slow] == [1] * len(bare())


def test_a_best_in_the_middle_of_a_report_asks_for_a_checkpoint(tmp_path):
    one = Trial(job(**BASE), {}, Fitting)
    one.advance()
    one.save(tmp_path)
    for _ in range(3):
        one.advance()
    best, last = one.best.generation, one.rows[-1]["generation"]
    one.rows[-1] = one.rows[-1] | {"best_generation": last - 1}  # of an earlier generation, and after the save
    assert best > 0
    assert one.due
    one.rows[-1] = one.rows[-1] | {"best_generation": 0.0}
    assert not one.due


class Breaking(Fitting):
    def steps(self, state=None):
        for step in super().steps(state):
            if step.generation == 2:
                raise MemoryError("no room for the toy")
            yield step


def test_what_was_scored_before_a_failure_is_reported_with_it(settings, monkeypatch):
    monkeypatch.setattr(pace, "PERIOD", math.inf)
    first, last = reports(settings, Breaking)
    assert [row["generation"] for row in first["rows"] + last["rows"]] == [0, 1]
    assert last["failing"] == "MemoryError: no room for the toy"
    assert "best_score" not in last


def test_the_clock_is_that_of_the_sweep_whose_scheduler_it_is(settings):
    other = replace(settings, settings={"budget": 600})
    assert worker.Worker(other, Ticket("one", 0, "", {"budget": 900}), Fitting).pace._rungs == rungs(600)
