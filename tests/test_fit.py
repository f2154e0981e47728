"""The fit loop on a model problem: it finds the peak, rolls back to it, and resumes bit for bit."""

import subprocess
import sys
from itertools import islice
from pathlib import Path

import pytest
import torch

from coconut.config import FitConfig, InputError, from_dict
from coconut.fit import fit
from coconut.stop import StopReason
from coconut.strategy import KINDS
from tests.toys import Objective, Score, Windows

ROOT = Path(__file__).parent.parent
RESUME = """
import sys, torch
from tests.test_fit import config, run
states = torch.load(sys.argv[1], weights_only=True)
fits = {kind: run(config(kind), state) for kind, state in states.items()}
rows = {kind: [step.row() | {"genome": step.best.genome} for step in fit] for kind, fit in fits.items()}
torch.save(rows, sys.argv[2])
"""


def config(kind: str = "snes", **options: object) -> FitConfig:
    settings = {"es.kind": kind, "es.sigma": 0.3, "es.popsize": 8, "generations": 12}
    return from_dict({**settings, "stop.patience": 0, "stop.every": 1, **options})


def run(settings: FitConfig, state=None, bad: bool = False):
    return fit(settings, Objective(bad), Score(), Windows(), state)


def numbers(steps):
    """Rows without the clock, and the kept genomes."""
    rows = [step if isinstance(step, dict) else step.row() | {"genome": step.best.genome} for step in steps]
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


def same(one, two):
    assert len(one) == len(two)
    for left, right in zip(numbers(one), numbers(two), strict=True):
        assert left.keys() == right.keys()
        assert all(torch.equal(torch.as_tensor(left[k]), torch.as_tensor(right[k])) for k in left)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_one_seed_gives_one_fit(kind):
    before = torch.random.get_rng_state()
    same(list(run(config(kind))), list(run(config(kind))))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_another_seed_gives_another_fit():
    one, two = (list(run(config(seed=seed)))[-1].best.score for seed in (0, 1))
    assert one != two


@pytest.mark.parametrize("kind", sorted(KINDS))
@pytest.mark.parametrize("at", [0, 1, 5, 11])
def test_resuming_from_any_step_equals_going_on(kind, at):
    whole = list(run(config(kind)))
    same(list(run(config(kind), whole[at].state())), whole[at + 1 :])


@pytest.mark.slow
def test_resuming_in_a_new_process_equals_going_on(tmp_path):
    whole = {kind: list(run(config(kind))) for kind in ("cmaes", "snes")}
    torch.save({kind: steps[4].state() for kind, steps in whole.items()}, tmp_path / "states.pt")
    command = [sys.executable, "-c", RESUME, str(tmp_path / "states.pt"), str(tmp_path / "rows.pt")]
    subprocess.run(command, check=True, cwd=ROOT)
    rows = torch.load(tmp_path / "rows.pt", weights_only=True)
    for kind, steps in whole.items():
        same(rows[kind], steps[5:])


def test_a_step_stays_what_it_was_while_the_fit_goes_on():
    steps = run(config("cmaes"))
    early = next(islice(steps, 3, None))
    kept = torch.load(_saved(early.state()), weights_only=True)
    list(steps)
    same(list(run(config("cmaes"), early.state())), list(run(config("cmaes"), kept)))


def _saved(state):
    import io

    buffer = io.BytesIO()
    torch.save(state, buffer)
    buffer.seek(0)
    return buffer


def test_it_overcooks_and_rolls_back_to_the_peak():
    steps = list(run(config(generations=150, **{"stop.patience": 10, "es.sigma": 0.2})))
    scores = [step.metrics.score for step in steps]
    last = steps[-1]
    assert last.stop is StopReason.OVERCOOKED
    assert last.generation < 150
    assert last.best.score == max(scores) > scores[-1] + 1
    assert scores[last.best.generation] == last.best.score
    assert Score()(last.best.genome).score == last.best.score


def test_the_start_is_step_zero_and_may_be_the_best():
    steps = list(run(config(**{"es.sigma": 1e-7, "es.sigma_min": 0.0, "generations": 2})))
    assert [step.generation for step in steps] == [0, 1, 2]
    assert steps[0].losses is None
    assert steps[0].metrics is not None
    assert steps[-1].stop is StopReason.GENERATIONS


def test_best_so_far_never_falls_and_rows_are_finite():
    rows = [step.row() for step in run(config("xnes"), bad=True)]
    best = [row["best_score"] for row in rows]
    assert best == sorted(best)
    assert all(row["bad_candidates"] == 1 for row in rows[1:])
    assert all(torch.isfinite(torch.tensor(list(row.values()))).all() for row in rows)


def test_scoring_every_third_generation_and_the_last():
    steps = list(run(config(**{"stop.every": 3, "generations": 8})))
    assert [step.generation for step in steps if step.metrics] == [0, 3, 6, 8]


def test_the_ledger_counts_over_processes():
    whole = list(run(config()))
    resumed = list(run(config(), whole[6].state()))
    assert whole[-1].ledger["syntheses"] == 12 * 8 * 2 + 13 * 4 == resumed[-1].ledger["syntheses"]


def test_an_ended_fit_stays_ended_unless_given_more_generations():
    state = list(run(config()))[-1].state()
    assert list(run(config(), state)) == []
    longer = list(run(config(generations=15), state))
    same(longer, list(run(config(generations=15)))[13:])


@pytest.mark.parametrize(("popsize", "budget"), [(8, 100), (8, 104), (8, 123), (32, 400), (4, 16)])
def test_a_budget_is_never_exceeded_and_used_to_within_a_generation(popsize, budget):
    """A generation costs 2 utterances for each candidate, and 4 to score its mean; so does the start."""
    settings = {"es.popsize": popsize, "generations": None, "budget": budget}
    steps = list(run(config(**settings)))
    spent = [step.ledger["syntheses"] for step in steps]
    assert steps[-1].stop is StopReason.BUDGET
    assert budget - (2 * popsize + 4) < spent[-1] <= budget
    assert spent == [4 + generation * (2 * popsize + 4) for generation in range(len(steps))]


def test_the_last_generation_a_budget_allows_is_scored():
    steps = list(run(config(**{"generations": None, "budget": 4 + 20 * 6 + 7, "stop.every": 4})))
    assert steps[-1].metrics is not None
    assert steps[-1].stop is StopReason.BUDGET


def test_a_fit_goes_on_with_a_larger_budget_as_if_it_had_always_had_it():
    settings = {"generations": None, "stop.patience": 0}
    state = list(run(config(budget=100, **settings)))[-1].state()
    assert list(run(config(budget=100, **settings), state)) == []
    longer = list(run(config(budget=200, **settings), state))
    assert longer
    same(longer, list(run(config(budget=200, **settings)))[len(state["history"]) :])


@pytest.mark.parametrize("budget", [8, 23])
def test_a_budget_without_room_for_a_generation_is_one_sentence(budget):
    with pytest.raises(InputError, match="a fit of one generation takes 24 syntheses"):
        next(run(config(budget=budget)))


def test_a_state_of_another_search_is_refused():
    state = next(run(config("snes"))).state()
    with pytest.raises(InputError, match="resume it with the settings"):
        next(run(config("xnes"), state))


def test_orthogonal_sampling_can_be_turned_off():
    plain, same_again, off = (list(run(config(**{"es.orthogonal": flag})))[-1] for flag in (True, True, False))
    assert torch.equal(plain.best.genome, same_again.best.genome)
    assert not torch.equal(plain.best.genome, off.best.genome)
