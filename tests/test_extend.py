"""A sweep that has more to do than when it began: more trials, a larger budget."""

import json
import math
from dataclasses import replace
from types import SimpleNamespace

import pytest

from coconut.config import InputError
from coconut.sweep import DEFAULT_SPACE, extend, storage
from coconut.sweep import ray as sweeps
from coconut.sweep.pace import rungs
from coconut.sweep.plan import Plan, Record, Repeat
from coconut.sweep.search import Search
from coconut.trial import Trial
from tests.toys import Fitting as wire
from tests.toys import job

BASE = {"generations": None, "budget": 64, "stop.patience": 0}  # 4 syntheses for the start, 12 a generation


def record(**options):
    plan = Plan("toy", "/nowhere", DEFAULT_SPACE, {"device": "cpu"}, 8)
    return Record(replace(plan, **options), "id", "sqlite:///x.db", endings=[{"status": "finished"}])


# trials and budget of now, asked for -> what is refused, or (trials, budget, first budget, endings kept)
ASKED = {
    "nothing": ((None, None), (8, None, None, True)),
    "the same": ((8, 100), (8, None, None, True)),
    "more trials": ((32, None), (32, None, None, False)),
    "a larger budget": ((None, 200), (8, 200, 100, False)),
    "both": ((9, 101), (9, 101, 100, False)),
    "fewer trials": ((7, None), "--trials is 7, and this sweep has 8 already"),
    "a smaller budget": ((32, 99), "--budget is 99, and this sweep has 100 already"),
}


@pytest.mark.parametrize("name", ASKED)
def test_a_sweep_grows_and_never_shrinks(name):
    asked, expected = ASKED[name]
    if isinstance(expected, str):
        with pytest.raises(InputError, match=expected):
            extend.enlarge(record(), 100, *asked)
        return
    fresh = extend.enlarge(record(), 100, *asked)
    plan = fresh.plan
    assert (plan.trials, plan.settings.get("budget"), plan.first_budget, bool(fresh.endings)) == expected
    assert bool(fresh.history) is not expected[3]
    assert plan.first_budget is None or extend.enlarge(fresh, 200, None, 400).plan.first_budget == 100


# Tune's status, the trial's last report, its settings, under a budget of 100 -> whether it goes on
ENDED = {
    "it used all of a smaller one": ("TERMINATED", {"stop": "budget", "budget": 60}, {}, True),
    "it used all of this one": ("TERMINATED", {"stop": "budget", "budget": 100}, {}, False),
    "its guard ended it": ("TERMINATED", {"stop": "patience", "budget": 60}, {}, False),
    "it overcooked": ("TERMINATED", {"stop": "overcooked", "budget": 60}, {}, False),
    "asha stopped it": ("TERMINATED", {"stop": "", "budget": 60}, {}, False),
    "its generations are used": ("TERMINATED", {"stop": "generations", "budget": 60}, {}, False),
    "its settings name a budget": ("TERMINATED", {"stop": "budget", "budget": 60}, {"budget": 60}, False),
    "it was refused under a smaller one": ("TERMINATED", {"refused": "no", "budget": 60}, {}, True),
    "it was refused under this one": ("TERMINATED", {"refused": "no", "budget": 100}, {}, False),
    "it failed": ("ERROR", {"stop": "budget", "budget": 60}, {}, False),
    "it still runs": ("RUNNING", {"stop": "", "budget": 60}, {}, False),
    "of an older version": ("TERMINATED", {"stop": "budget"}, {}, True),
}


@pytest.mark.parametrize("name", ENDED)
def test_who_goes_on_under_a_larger_budget(name):
    status, result, settings, expected = ENDED[name]
    told = json.dumps({"trial_id": "a", "status": status, "config": {"number": 5, **settings}})
    ((after, became),), opened = extend.set_back([[told, json.dumps({"last_result": result})]], 100, 60)
    assert opened.again == (["trial_005"] if expected else [])
    assert json.loads(after)["status"] == ("PENDING" if expected else status)
    assert opened.keys == (["a"] if expected or status != "TERMINATED" else [])
    assert json.loads(became) == {"last_result": result}


def test_what_is_told_of_trials_that_go_on_is_void(monkeypatch):
    state = {"trial_data": [trial("TERMINATED", 0), trial("RUNNING", 1)]}
    monkeypatch.setattr(storage, "newest", lambda plan, prefix: Fixed(json.dumps(state)))
    before = extend.enlarge(record(), 60, None, 100)
    before.tests, before.left_out = {"nearest": 1.0, "trial_000": 2.0}, {"nearest": [1.0], "trial_000": [2.0]}
    after = extend.go_on(before, 100)
    assert (after.tests, after.left_out) == ({"nearest": 1.0}, {"nearest": [1.0]})
    assert after.history[-1] == "Went on from where the smaller budget had left them: trial_000."


def trial(status, number):
    told = {"trial_id": str(number), "status": status, "config": {"number": number}}
    return json.dumps(told), json.dumps({"last_result": {"stop": "budget", "budget": 60}})


class Fixed:
    def __init__(self, content):
        self.content = content

    def read(self):
        return self.content


def asked_of(asha, spent, score, **config):
    trial = SimpleNamespace(trial_id="new", config=config)
    asha.on_trial_add(None, trial)
    return asha.on_trial_result(None, trial, {"syntheses": spent, "best_score": score})


@pytest.mark.parametrize(("score", "config", "goes_on"), [(59, {}, False), (61, {}, True), (59, {"draw": 1}, True)])
def test_the_rungs_of_asha_stay_and_remember_an_earlier_life(score, config, goes_on):
    """Repeats are not asked: they are of other sentences."""
    seen = {"a": ({4: 50.0, 17: 60.0}, None), "b": ({4: 50.0, 30: 60.0, 70: 70.0}, None)}
    asha = sweeps.Asha(400, -math.inf, first=100, seen=seen)
    asha.set_search_properties("best_score", "max")
    assert [rung for rung, _ in reversed(asha._brackets[0]._rungs)] == rungs(400, 100) == [17, 68, 272]
    assert asked_of(asha, 17, score, **config) == ("CONTINUE" if goes_on else "STOP")


@pytest.mark.parametrize(
    ("stop", "score", "goes_on"), [("patience", 59, False), ("patience", 61, True), ("", 59, True)]
)
@pytest.mark.parametrize("earlier", [False, True])
def test_a_trial_that_has_ended_by_itself_stands_at_the_later_rungs(stop, score, goes_on, earlier):
    """It is as if it had gone on without a gain; one that was stopped from outside might have gained."""
    seen = {"first": ({4: 50.0}, 60.0 if stop else None)} if earlier else {}
    asha, first = sweeps.Asha(600, -math.inf, seen=seen), SimpleNamespace(trial_id="first", config={})
    asha.set_search_properties("best_score", "max")
    if not earlier:
        asha.on_trial_add(None, first)
        asha.on_trial_complete(None, first, {"syntheses": 300, "best_score": 60.0, "stop": stop})
    assert rungs(600) == [100, 400]
    assert asked_of(asha, 400, score) == ("CONTINUE" if goes_on else "STOP")


def three(trial, base, fixed):
    """Step sizes that differ."""
    return {"es.sigma": [0.2, 0.1, 0.3][trial.number]}


def search(plan):
    return Search("tests.test_extend:three", plan.configure(job(**BASE)), {}, presets={}, repeats=plan.repeats)


@pytest.fixture(scope="module")
def ray_here():
    import ray

    sweeps.connect(Plan("toy", "", DEFAULT_SPACE))
    yield
    ray.shutdown()


@pytest.mark.slow
def test_more_trials_of_a_larger_budget_and_a_repeat_go_on_with_one_search(tmp_path, ray_here):
    plan = Plan("toy", str(tmp_path), DEFAULT_SPACE, trials=2, concurrent=2, scheduler="none")
    storage.save_job(plan, job(**BASE))
    before, how = sweeps.run(plan, search(plan), wire=wire)
    assert (how, [o.stop for o in before]) == ("complete", ["budget", "budget"])
    began = Record(plan, "id", "sqlite:///x.db")
    after = extend.go_on(extend.enlarge(began, 64, 3, 100), 100)
    assert after.history[-1].endswith("trial_000, trial_001.")
    plan = replace(after.plan, repeats=(Repeat(3, 0, 7, before[0].ticket.settings),))
    storage.save_job(plan, job(**BASE, seed=7), 7)
    grown = search(plan)
    outcomes, how = sweeps.run(plan, grown, again=True, wire=wire)
    assert how == "complete"
    assert [(o.status, o.stop, o.ticket.number) for o in outcomes] == [("finished", "budget", n) for n in range(4)]
    assert [(o.ticket.preset, o.ticket.draw) for o in outcomes[2:]] == [("", None), ("repeat of 000, seed 7", 7)]
    for o in outcomes:
        own = job(**BASE, seed=o.ticket.draw or 0)
        assert told(o.rows) == told(whole(own, {"budget": 100, **o.ticket.settings}))
        assert json.loads((o.folder / "config.json").read_text())["budget"] == 100
    assert told(outcomes[3].rows) != told(outcomes[0].rows)
    assert [o.ticket for o in before] == [o.ticket for o in outcomes[:2]]
    assert [t.state.name for t in grown.study.trials] == ["COMPLETE"] * 3
    assert [t.value for t in grown.study.trials] == [o.rows[-1]["best_score"] for o in outcomes[:3]]
    again, how = sweeps.run(plan, search(plan), again=True, wire=wire)
    assert (again, how) == (outcomes, "complete")  # nobody goes on twice


def whole(job, settings):
    """The rows of a fit that nothing interrupted."""
    trial = Trial(job, settings, wire)
    while not trial.ended:
        trial.advance()
    return trial.rows


def told(rows):
    """Rows without what depends on the time of day."""
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]
