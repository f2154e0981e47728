"""The gradient of the whole objective with the embedded model: losses as before, slopes that lead downhill."""

from __future__ import annotations

import math
import warnings

import pytest
import torch

from coconut import style
from coconut.config import SpaceConfig
from coconut.objective import COST, Objective
from coconut.synthesis import Synthesizer, stock_voices
from tests.test_objective import WEIGHTS, room, runaway  # noqa: F401  (room is a fixture)


@pytest.fixture
def objective(room):  # noqa: F811
    space, synth, terms, _ = room
    return Objective(space, synth, terms, WEIGHTS)


@pytest.fixture
def genomes(room):  # noqa: F811
    return 0.5 * torch.randn(2, room[0].dim, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_losses_are_those_without_a_gradient(objective, room, genomes):  # noqa: F811
    plain = objective(genomes, room[3])
    found, gradient = objective.gradient(genomes, room[3])
    assert list(found.terms) == list(plain.terms)
    assert torch.allclose(found.total, plain.total, rtol=0.02)
    for name, value in found.terms.items():
        assert torch.allclose(value, plain.terms[name], rtol=0.02, atol=0.02), name
    assert gradient.shape == genomes.shape
    assert {x.dtype for x in (found.total, gradient)} == {torch.float64}
    assert {x.device.type for x in (found.total, gradient)} == {"cpu"}
    assert (gradient.norm(dim=1) > 0).all()
    assert found.flat == ()


@pytest.mark.parametrize("kind", list(style.KINDS))
def test_a_step_against_the_gradient_leads_downhill(room, kind):  # noqa: F811
    _, synth, terms, spoken = room
    voices = dict(list(stock_voices(synth.model).items())[:8])
    space = style.build(SpaceConfig(kind=kind, components=4, slopes=1, start=list(voices)[5]), stock=voices)
    objective = Objective(space, synth, terms, WEIGHTS)
    here = space.init()[None]
    losses, gradient = objective.gradient(here, spoken)
    ahead = objective(here - 0.05 * gradient / gradient.norm(), spoken)
    assert float(ahead.total) < float(losses.total)


def test_the_same_call_gives_the_same_bits_whoever_is_beside(objective, room, genomes):  # noqa: F811
    one, two = (objective.gradient(genomes, room[3][:1]) for _ in range(2))
    alone = objective.gradient(genomes[1:], room[3][:1])
    assert torch.equal(one[1], two[1])
    assert torch.equal(one[0].total, two[0].total)
    assert torch.equal(alone[1][0], one[1][1])


def test_three_syntheses_are_counted_for_one(objective, room, genomes):  # noqa: F811
    objective.gradient(genomes, room[3][:2])
    assert objective.syntheses == COST * 2 * 2
    assert 4 * 0.3 < objective.audio_seconds < 4 * 4


@pytest.mark.parametrize("bad", [math.nan, math.inf, 1e30])
def test_a_bad_candidate_has_no_slope_and_harms_no_neighbour(objective, room, genomes, bad):  # noqa: F811
    clean = objective.gradient(genomes, room[3][:1])
    spoilt = torch.cat([genomes, torch.full_like(genomes[:1], bad)])
    losses, gradient = objective.gradient(spoilt, room[3][:1])
    assert torch.equal(losses.total[:2], clean[0].total)
    assert torch.equal(gradient[:2], clean[1])
    assert gradient.isfinite().all()
    if not math.isfinite(bad):
        assert losses.total[2] == math.inf
        assert all(value[2] == math.inf for value in losses.terms.values())
        assert gradient[2].abs().sum() == 0


def test_a_gradient_that_is_not_finite_is_none(objective, room, genomes, monkeypatch):  # noqa: F811
    class Cliff:
        differentiable = True

        def reference(self, utterance):
            return None

        def __call__(self, refs, syn):
            return (syn.styles - syn.styles).sum(-1).sqrt()

    losses, gradient = Objective(objective.space, objective.synth, {"cliff": Cliff()}, {"cliff": 1.0}).gradient(
        genomes, room[3][:1]
    )
    assert (losses.total == math.inf).all()
    assert gradient.abs().sum() == 0


def test_a_runaway_has_no_slope(room, genomes, monkeypatch):  # noqa: F811
    space, usual, terms, spoken = room
    synth = Synthesizer(usual.model, seed=0, max_seconds=0.2)
    losses, gradient = Objective(space, synth, terms, WEIGHTS).gradient(genomes, spoken[1:2])
    assert (losses.total == math.inf).all()
    assert gradient.abs().sum() == 0


def test_a_term_without_a_gradient_counts_in_the_losses_alone_and_is_named_once(objective, room, genomes):  # noqa: F811
    class Steps:
        differentiable = False

        def reference(self, utterance):
            return None

        def __call__(self, refs, syn):
            assert not syn.audio.wav.requires_grad
            return torch.tensor(syn.audio.wav.numpy()).abs().amax(-1).round(decimals=2)

    terms, weights = {"prior": objective.terms["prior"], "steps": Steps()}, {"prior": 1.0, "steps": 5.0}
    both = Objective(objective.space, objective.synth, terms, weights)
    with pytest.warns(UserWarning, match="No gradient comes from steps"):
        losses, gradient = both.gradient(genomes, room[3][:1])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        both.gradient(genomes, room[3][:1])
    alone = Objective(objective.space, objective.synth, {"prior": terms["prior"]}, {"prior": 1.0})
    assert torch.equal(alone.gradient(genomes, room[3][:1])[1], gradient)
    assert losses.flat == ("steps",)
    assert (losses.terms["steps"] > 0).all()
