"""The outer search: presets first, then TPE over what is registered; results that come twice do no harm."""

from dataclasses import replace

import optuna
import pytest
from optuna.trial import FixedTrial

from coconut import losses, strategy, style
from coconut.config import FitConfig, InputError, complete, defaults, flatten, from_dict, walk
from coconut.sweep import DEFAULT_SPACE
from coconut.sweep import space as spaces
from coconut.sweep.search import Search

KINDS = [kind for kind, found in strategy.KINDS.items() if found.searched]
FIXED = {"es.popsize": 4, "loss.prior": 0.0}
ROW = {"best_score": 50.0, "syntheses": 100}


def search(fixed=FIXED, seed=0, space=DEFAULT_SPACE, **options):
    return Search(space, from_dict(fixed, defaults()), fixed, seed=seed, startup=2, **options)


def settings(suggestion):
    return from_dict({k: v for k, v in suggestion.items() if k not in ("number", "preset")}, defaults())


def test_the_seed_comes_first_then_the_defaults_then_the_search():
    searcher = search()
    found = [searcher.suggest(key) for key in "abcdef"]
    assert [f["preset"] for f in found] == ["seed", "default", "", "", "", ""]
    assert [f["number"] for f in found] == list(range(6))
    assert (found[0]["es.sigma"], found[0]["space.whiten"], found[0]["window.stride"]) == (0.01, False, 4)
    known = flatten(FitConfig())
    assert all(found[1][name] == known[name] for name in ("es.kind", "es.learning_rate", "space.kind", "loss.speaker"))
    assert all(settings(f).es.popsize == 4 for f in found)
    assert found[1]["es.kind"] == "adam"
    assert all(("es.rho" in f) == (f["es.kind"] == "cem") for f in found[2:])


def test_one_seed_suggests_one_sweep():
    one, two, other = ([s.suggest(str(i)) for i in range(8)] for s in (search(), search(), search(seed=1)))
    assert one == two != other


def test_it_goes_on_from_what_it_dumped():
    searcher, again = search(), search()
    for key in "abc":
        searcher.suggest(key)
    searcher.complete("b", ROW)
    again.restore(searcher.dump())
    assert again.suggest("d") == searcher.suggest("d")


def test_ends_are_told_as_what_they_are():
    """A trial that ASHA stopped is pruned: its score is that of a cut run, not of a whole one."""
    searcher = search()
    for key in "abcd":
        searcher.suggest(key)
    searcher.report("b", {"best_score": 40.0, "syntheses": 60})
    searcher.complete("b", ROW, pruned=True)
    searcher.complete("c", ROW)
    searcher.complete("d", None)
    states = {key: searcher.study.trials[trial.number] for key, trial in searcher.asked.items()}
    assert [states[key].state.name for key in "bcd"] == ["PRUNED", "COMPLETE", "FAIL"]
    assert states["b"].intermediate_values == {60: 40.0, 100: 50.0}  # by the last of which Optuna ranks it
    assert states["c"].value == 50.0
    assert len(searcher.study.trials) == 3  # the seed's preset is none of Optuna's


def test_a_trial_that_goes_on_is_told_of_again():
    searcher = search()
    for key in "abcd":
        searcher.suggest(key)
    searcher.report("b", {"best_score": 40.0, "syntheses": 60})
    for key in "bc":
        searcher.complete(key, ROW)
    before = searcher.study.trials
    searcher.reopen(["a", "b", "d", "never seen"])
    assert [trial.state.name for trial in searcher.study.trials] == ["RUNNING", "COMPLETE", "RUNNING"]
    assert [trial.params for trial in searcher.study.trials] == [trial.params for trial in before]
    assert searcher.seen()["b"] == ({60: 40.0}, None)
    searcher.report("b", {"best_score": 70.0, "syntheses": 200})
    searcher.complete("b", {"best_score": 70.0, "syntheses": 200})
    assert searcher.study.best_value == 70.0
    assert searcher.seen()["b"] == ({60: 40.0, 200: 70.0}, 70.0)
    assert searcher.suggest("e")["number"] == 4


def test_the_study_is_a_file_that_optuna_reads(tmp_path):
    searcher = search()
    for key in "abc":
        searcher.suggest(key)
    searcher.report("b", {"best_score": 40.0, "syntheses": 60})
    searcher.complete("b", ROW)
    for _ in range(2):  # the second one in the place of the first
        searcher.export(tmp_path / "study.db", "me")
    assert [path.name for path in tmp_path.iterdir()] == ["study.db"]
    study = optuna.load_study(study_name="me", storage=f"sqlite:///{tmp_path}/study.db")
    assert [trial.params for trial in study.trials] == [trial.params for trial in searcher.study.trials]
    assert [trial.user_attrs["trial"] for trial in study.trials] == ["trial_001", "trial_002"]
    assert (study.best_value, study.best_trial.intermediate_values) == (50.0, {60: 40.0})


def test_replayed_and_unknown_results_do_no_harm():
    searcher = search()
    for key in "abc":
        searcher.suggest(key)
    for _ in range(2):
        searcher.report("b", ROW)
        searcher.complete("b", ROW)
    searcher.report("never seen", ROW)
    searcher.complete("never seen", ROW)
    searcher.complete("a", ROW)
    assert [trial.state.name for trial in searcher.study.trials] == ["COMPLETE", "RUNNING"]
    assert searcher.suggest("d")["number"] == 3


@pytest.mark.parametrize("kind", KINDS)
def test_fixed_settings_hold_for_every_trial_the_seed_included(kind):
    fixed = {"es.kind": kind, "space.kind": "bias", "loss.speaker": 3.0}
    searcher = search(fixed)
    for i in range(4):
        config = settings(searcher.suggest(str(i)))
        assert (config.es.kind, config.space.kind, config.loss.speaker) == (kind, "bias", 3.0)


class Asked(FixedTrial):
    """A trial that says yes to everything, and remembers what it was asked."""

    def __init__(self, **fixed):
        super().__init__(fixed)
        self.names = {}

    def suggest_categorical(self, name, choices):
        self.names[name] = list(choices)
        return self._params.get(name, choices[0])

    def suggest_float(self, name, low, high, **_):
        self.names[name] = (low, high)
        return low

    def suggest_int(self, name, low, high, **_):
        self.names[name] = (low, high)
        return low


def test_whatever_is_registered_is_searched(monkeypatch):
    """No second list: a new strategy, a new space and a new weight of a loss are asked for by themselves."""
    trial = Asked()
    spaces.voices(trial, complete(FitConfig(model="some/model")), {})
    assert trial.names["es.kind"] == KINDS
    assert trial.names["space.kind"] == list(style.KINDS)
    assert {f"loss.{name}" for name in losses.TERMS} <= set(trial.names)
    monkeypatch.setitem(style.KINDS, "new", style.KINDS["bias"])
    monkeypatch.setitem(strategy.KINDS, "newer", strategy.KINDS["snes"])
    spaces.voices(trial, defaults(), {})
    assert trial.names["space.kind"][-1] == "new"
    assert trial.names["es.kind"][-1] == "newer"


def test_every_loss_term_has_a_weight_and_every_weight_a_range():
    weights = {name: spec for name, spec, _ in walk(FitConfig()) if name.startswith("loss.")}
    assert {name.removeprefix("loss.") for name in weights} == set(losses.TERMS)
    assert all(spec.metadata["search"] for spec in weights.values())


def test_only_what_does_something_is_asked_for():
    names = {}
    for kind, space in (("snes", "bias"), ("cem", "pca")):
        trial = Asked(**{"es.kind": kind, "space.kind": space})
        spaces.voices(trial, defaults(), {})
        names[kind] = set(trial.names)
    assert "es.rho" in names["cem"]
    assert "es.rho" not in names["snes"]
    assert "space.components" in names["cem"]
    assert "space.components" not in names["snes"]
    assert "loss.mimi" in names["snes"]  # off by default, but 0 is in its range


def test_what_follows_a_gradient_climbs_from_one_point_unless_told_otherwise():
    trial = Asked(**{"es.kind": "adam"})
    assert spaces.voices(trial, defaults(), {}) == {}
    assert from_dict({"es.kind": "adam"}, defaults()).es.candidates == 1
    assert {"es.learning_rate", "es.decay"} <= set(trial.names)
    assert not {"es.sigma", "es.popsize"} & set(trial.names)
    assert spaces.voices(trial, defaults(), {"es.popsize": 3}) == {"es.popsize": 3}


def test_one_candidate_is_for_the_kinds_that_can_do_with_one():
    asked = Asked()
    spaces.voices(asked, defaults(), {"es.popsize": 1})
    assert asked.names["es.kind"] == ["adam"]


def test_ranges_hold_the_defaults():
    for name, spec, value in walk(defaults("some/model")):
        where = spec.metadata["search"]
        assert where is None or value is None or where.low <= value <= where.high, name


MINE = """
def only_sigma(trial, base, fixed):
    trial.suggest_float("es.sigma", 0.1, 0.2)
    return {"es.kind": "cem", **fixed}
"""


def test_a_space_of_ones_own_is_found_by_file_or_module(tmp_path, monkeypatch):
    file = tmp_path / "mine.py"
    file.write_text(MINE)
    monkeypatch.chdir(tmp_path)
    reference = spaces.locate("mine.py:only_sigma")
    assert reference == f"{file}:only_sigma"
    found = search({}, space=reference, presets={}).suggest("a")
    assert set(found) == {"es.sigma", "es.kind", "number", "preset"}
    assert spaces.locate("experiments.spaces:steps") == "experiments.spaces:steps"


@pytest.mark.parametrize("reference", ["nowhere.py:f", "no.such.module:f", "coconut.fit:nothing", "coconut.fit", ":f"])
def test_a_space_that_is_not_there_is_one_sentence(reference, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="--space"):
        spaces.locate(reference)


def test_a_preset_is_in_the_order_it_is_given():
    one = search(presets={"mine": {"es.kind": "cem"}})
    assert (one.suggest("a")["preset"], one.suggest("b")["preset"]) == ("mine", "")
    assert replace(defaults(), seed=1).seed == 1
