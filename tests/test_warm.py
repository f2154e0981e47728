"""What earlier sweeps tell a new one: their scores where they heard the same sentences, else settings to try first."""

import json
from dataclasses import asdict, replace

import pytest

from coconut.config import InputError, defaults, flatten, from_dict, to_dict
from coconut.sweep import DEFAULT_SPACE, storage, warm
from coconut.sweep.plan import Plan, Record, Ticket
from coconut.sweep.search import Search
from coconut.sweep.warm import Earlier
from coconut.sweep.worker import Worker
from tests.toys import Fitting as wire
from tests.toys import job

CURVE = {4: 50.0, 40: 60.0, 100: 65.0}


def earlier(trial=5, same=True, stop="budget", budget=100, preset="", curve=None, **settings):
    config = from_dict({"budget": budget, "es.kind": "adam", **settings}, defaults())
    flat = flatten(config) | {"es.popsize": config.es.candidates}
    return Earlier("me", f"trial_{trial:03d}", preset, flat, curve or CURVE, stop, same)


# how it ended, its budget, the budget of now -> the syntheses up to which its curve counts, whether as a whole fit
WITHIN = {
    "the same budget": ("budget", 100, 100, 100, True),
    "a smaller one now": ("budget", 100, 50, 40, True),
    "a larger one now": ("budget", 100, 200, 100, False),
    "its guard ended it": ("patience", 100, 200, 100, True),
    "asha stopped it": ("asha", 200, 200, 100, False),
    "asha stopped it later than it could have gone now": ("asha", 200, 50, 40, True),
    "no budget now": ("generations", 100, None, 100, True),
}


@pytest.mark.parametrize("name", WITHIN)
def test_a_curve_is_read_as_far_as_the_budget_goes(name):
    stop, own, now, last, whole = WITHIN[name]
    curve, ended = earlier(stop=stop, budget=own).within(now)
    assert (max(curve), ended) == (last, whole)


def search(fixed=None, space=DEFAULT_SPACE):
    fixed = fixed or {}
    return Search(space, from_dict({"budget": 100, **fixed}, defaults()), fixed, startup=1)


def test_trials_of_the_same_sentences_inform_the_search():
    made = search()
    trials = [
        earlier(5, **{"es.learning_rate": 0.2}),
        earlier(6, stop="asha", **{"es.learning_rate": 0.9}),  # the space ends at 0.3
        earlier(0, preset="seed"),
        earlier(1, preset="default"),
    ]
    (said,) = warm.teach(made, trials, 100)
    known = made.study.trials
    assert [(t.state.name, t.user_attrs["trial"]) for t in known] == [
        ("COMPLETE", "me 005"), ("PRUNED", "me 006"), ("COMPLETE", "me 001")
    ]  # fmt: skip
    assert (known[0].value, known[0].params["es.learning_rate"], known[0].params["es.kind"]) == (65.0, 0.2, "adam")
    assert "es.sigma" not in known[0].params  # adam has none
    assert "es.learning_rate" not in known[1].params
    assert known[1].intermediate_values == CURVE
    assert "3 of the 4 trials of me inform the search" in said
    assert said.endswith("1 of their settings lie outside it and are left out: es.learning_rate.")
    assert made.presets == {}  # they were tried
    suggested = made.suggest("a")
    assert (suggested["number"], suggested["preset"]) == (0, "")
    assert made.study.trials[3].state.name == "RUNNING"


def test_what_is_fixed_now_and_was_another_kind_then_is_not_learned_from():
    made = search({"es.kind": "snes", "loss.speaker": 3.0})
    other, alike = earlier(5), earlier(6, **{"es.kind": "snes", "es.sigma": 0.5})
    (said,) = warm.teach(made, [other, alike], 100)
    (known,) = made.study.trials
    assert known.params["es.sigma"] == 0.5
    assert not {"es.kind", "loss.speaker"} & set(known.params)
    assert said.startswith("1 of the 2 trials")
    assert "loss.speaker" in said  # it was 2


def test_of_other_sentences_the_best_settings_are_tried_and_no_score_is_believed():
    made = search()
    rates = [0.05, 0.1, 0.15, 0.2]
    trials = [
        earlier(number, same=False, curve={4: 50.0, 40: 60.0 + number}, **{"es.learning_rate": rate})
        for number, rate in enumerate(rates)
    ]
    (said,) = warm.teach(made, trials, 100)
    assert made.study.trials == []
    assert said.endswith("its best settings are tried first: me 003, me 002, me 001.")
    found = [made.suggest(key) for key in "abcde"]
    assert [f["preset"] for f in found] == ["seed", "default", "from me 003", "from me 002", "from me 001"]
    assert [f["es.learning_rate"] for f in found[2:]] == [0.2, 0.15, 0.1]


def test_a_sweep_is_found_by_name_or_folder_or_refused(tmp_path):
    (tmp_path / "runs" / "me").mkdir(parents=True)
    (tmp_path / "runs" / "me" / "sweep.json").touch()
    assert warm.find(["me", str(tmp_path / "runs" / "me")], tmp_path / "runs") == [tmp_path / "runs" / "me"] * 2
    with pytest.raises(InputError, match="--warm-start her: there is no sweep of that name"):
        warm.find(["her"], tmp_path / "runs")


def test_a_folder_is_read_into_what_sweep_json_keeps(tmp_path):
    plan = Plan("me", str(tmp_path), DEFAULT_SPACE)
    storage.save_job(plan, job())
    Record(plan, "id", "sqlite:///x.db").save()
    for number, draw in ((0, None), (1, 7)):
        if draw:
            storage.save_job(plan, job(seed=draw), draw)
        one = Worker(plan, Ticket(str(number), number, "", {"es.sigma": 0.3}, draw), wire)
        while not one.trial.ended:
            one.report()
    (tmp_path / "me" / "trial_002").mkdir()  # one that left nothing
    rows = warm.read(tmp_path / "me", job())
    (found,) = warm.restored(json.loads(json.dumps(rows)))  # without the repeat
    assert (found.name, found.settings["es.sigma"], found.stop, found.same) == ("me 000", 0.3, one.trial.stop, True)
    assert found.best == max(found.curve.values())
    assert asdict(found) == rows[0]
    other = replace(job(), heldout=job().fit)
    assert not warm.restored(warm.read(tmp_path / "me", other))[0].same
    assert warm.ground(job(**{"es.sigma": 0.9, "budget": 50})) == warm.ground(job())  # another fit, the same judge
    assert to_dict(job(seed=3).config) != to_dict(job().config)
    assert warm.ground(job(seed=3)) != warm.ground(job())
