"""A fit that follows gradients: what it costs, that it lives through bad slopes, and resumes bit for bit."""

from __future__ import annotations

import math

import pytest
import torch

from coconut import build, objective, resources
from coconut.config import from_dict
from coconut.job import prepare
from coconut.stop import StopReason
from tests.test_build import QUICK, rows, same
from tests.test_fit import config, run


@pytest.mark.parametrize(("popsize", "budget"), [(1, 100), (3, 104), (8, 123)])
def test_a_generation_costs_three_times_its_utterances(popsize, budget):
    steps = list(run(config("adam", **{"es.popsize": popsize, "generations": None, "budget": budget})))
    spent = [step.ledger["syntheses"] for step in steps]
    each = objective.COST * 2 * popsize + 4
    assert steps[-1].stop is StopReason.BUDGET
    assert budget - each < spent[-1] <= budget
    assert spent == [4 + generation * each for generation in range(len(steps))]


def test_it_finds_the_peak():
    steps = list(run(config("adam", **{"es.popsize": 1, "generations": 40, "es.learning_rate": 0.1})))
    assert steps[-1].best.score > 90
    assert steps[-1].best.score > steps[0].best.score + 20


def test_a_point_whose_gradient_explodes_harms_no_other():
    steps = list(run(config("adam", generations=40), bad=True))
    assert steps[-1].best.score > 75
    assert all(step.row()["bad_candidates"] == 1 for step in steps[1:])


@pytest.mark.filterwarnings("ignore:All 1 losses")
def test_a_single_point_whose_gradient_explodes_stays_and_the_fit_lives():
    steps = list(run(config("adam", **{"es.popsize": 1}), bad=True))
    assert steps[-1].generation == 12
    assert torch.equal(steps[-1].best.genome, torch.zeros_like(steps[-1].best.genome))


SMALL = {**QUICK, "es.kind": "adam", "es.popsize": 1, "space.components": 8, "window.size": 1, "loss.mimi": 0.0}


@pytest.fixture(scope="module")
def job():
    return prepare(from_dict(SMALL))


@pytest.mark.slow
def test_on_the_embedded_model_a_fit_is_one_fit_and_resumes_bit_for_bit(job):
    before = torch.random.get_rng_state()
    whole = rows(build.wire(job))
    resources.forget()
    same(whole, rows(build.wire(job)))
    same(whole[2:], rows(build.wire(job), whole[1][2]))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert len(whole) == 3
    assert whole[-1][0]["syntheses"] == 3 * 2 + 2 * 3
    assert not torch.equal(whole[-1][2]["strategy"]["points"], whole[-2][2]["strategy"]["points"])


@pytest.mark.slow
def test_a_nan_loss_on_the_embedded_model_ends_nothing(job, monkeypatch):
    fitting = build.wire(job)
    term = fitting.objective.terms["logmel"]
    calls = []

    def spoilt(self, refs, syn):
        if syn.soft is None:  # the score's own
            return plain(self, refs, syn)
        calls.append(1)
        return plain(self, refs, syn) * (math.nan if len(calls) == 1 else 1.0)

    plain = type(term).__call__
    monkeypatch.setattr(type(term), "__call__", spoilt)
    with pytest.warns(RuntimeWarning, match="non-finite"):
        steps = list(fitting.steps())
    assert [int(step.row().get("bad_candidates", 0)) for step in steps] == [0, 1, 0]
    assert steps[-1].losses.total.isfinite().all()
