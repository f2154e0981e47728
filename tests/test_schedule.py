"""Staged fits: the prosody first, without decoding, then all of the voice; as one fit to whoever watches."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from coconut import build, losses, stage, style
from coconut.config import InputError, SpaceConfig, from_dict
from coconut.fit import fit
from coconut.job import prepare
from coconut.objective import COST, Objective
from coconut.prosody import Held, ProsodyObjective
from coconut.stage import staged
from coconut.stop import StopReason
from coconut.synthesis import stock_voices
from tests import test_build, toys
from tests.test_fit import same
from tests.test_fit_gradient import SMALL
from tests.test_objective import WEIGHTS, room  # noqa: F401  (room is a fixture)
from tests.voices import stock

MOVING = 3  # of the toy's dims, in stage 1
SHARE = 0.25


class Half(toys.Line):
    """The last dims move alone."""

    def settle(self, genome: Tensor) -> Tensor:
        return torch.cat([torch.zeros_like(genome[..., :-MOVING]), genome[..., -MOVING:]], -1)


class Early(toys.Objective):
    """The toy's objective, over half its dims, for a quarter of the cost; `sign` -1 leads away from every voice."""

    def __init__(self, sign: float = 1.0) -> None:
        super().__init__()
        self.space, self.share, self.sign, self.heard = Half(), SHARE, sign, 0

    def __call__(self, population, utterances, generation=0):
        self.heard += len(population) * len(utterances)
        found = super().__call__(self.space.settle(population), utterances, generation)
        self.syntheses = self.heard * SHARE
        return type(found)(self.sign * found.total, found.terms)

    def gradient(self, population, utterances, generation=0):
        found, gradient = super().gradient(population, utterances, generation)
        self.syntheses = self.heard * SHARE * COST
        return found, self.sign * self.space.settle(gradient)


def config(kind: str = "adam", **options: object):
    settings = {"es.kind": kind, "es.sigma": 0.3, "es.popsize": 4, "generations": 16, "schedule": "staged"}
    return from_dict({**settings, "stop.patience": 0, "stop.every": 2, **options})


@pytest.fixture(autouse=True)
def short(monkeypatch):
    monkeypatch.setattr(stage, "FIRST", 8)


def run(settings, state=None, sign=1.0):
    return staged(settings, Early(sign), toys.Objective(), toys.Score(), toys.Windows(), state)


@pytest.mark.parametrize("kind", ["adam", "snes", "cmaes"])
def test_the_first_generations_move_the_prosody_alone_and_are_scored_once(kind):
    steps = list(run(config(kind)))
    assert [step.generation for step in steps] == list(range(17))
    assert [step.row()["stage"] for step in steps] == [1.0] * 9 + [2.0] * 8
    assert [step.generation for step in steps if step.metrics] == [0, 8, 10, 12, 14, 16]
    assert all((step.mean[:-MOVING] == 0).all() for step in steps[:9])
    assert (steps[8].best.genome[-MOVING:] != 0).all()
    assert (steps[-1].mean != 0).all()
    assert steps[-1].stop is StopReason.GENERATIONS
    assert not any(step.stop for step in steps[:-1])


@pytest.mark.parametrize("kind", ["adam", "snes"])
def test_the_second_stage_begins_where_the_first_one_was_best(kind):
    steps = list(run(config(kind)))
    first = next(step for step in steps if step.stage == 2)
    assert steps[8].best.generation == 8
    assert (first.mean - steps[8].best.genome).norm() < 1
    assert steps[-1].best.score > steps[8].best.score > steps[0].best.score


def test_a_first_stage_that_harms_is_taken_back():
    steps = list(run(config(), sign=-1.0))
    assert steps[8].metrics.score < steps[0].metrics.score
    assert steps[8].best.generation == 0
    assert (steps[9].mean.abs() <= 0.11).all()
    assert steps[-1].best.score > steps[0].metrics.score


@pytest.mark.parametrize("kind", ["adam", "snes", "cmaes"])
@pytest.mark.parametrize("at", [0, 3, 7, 8, 9, 15])
def test_resuming_from_any_step_of_either_stage_equals_going_on(kind, at):
    whole = list(run(config(kind)))
    same(list(run(config(kind), whole[at].state())), whole[at + 1 :])


@pytest.mark.parametrize("kind", ["adam", "snes"])
@pytest.mark.parametrize("budget", [84, 100, 300])
def test_a_budget_covers_both_stages_and_is_never_exceeded(kind, budget):
    steps = list(run(config(kind, budget=budget, generations=None)))
    early, late = (4 * 2 * (COST if kind == "adam" else 1) * share for share in (SHARE, 1))
    spent, count = [step.ledger["syntheses"] for step in steps], 8
    assert [step.stage for step in steps[: count + 2]] == [1] * (count + 1) + [2]
    assert spent[count] == pytest.approx(2 * 4 + count * early)
    assert steps[-1].stage == 2
    assert steps[-1].stop is StopReason.BUDGET
    assert budget - 2 * late - 4 < spent[-1] <= budget


def test_an_ended_fit_goes_on_with_a_larger_budget():
    state = list(run(config(budget=200, generations=None)))[-1].state()
    assert list(run(config(budget=200, generations=None), state)) == []
    longer = list(run(config(budget=300, generations=None), state))
    assert longer
    rest = list(run(config(budget=300, generations=None)))[-len(longer) :]
    assert torch.equal(rest[-1].best.genome, longer[-1].best.genome)


@pytest.mark.parametrize(
    ("options", "said"),
    [({"budget": 83}, "staged fit takes at least 84 syntheses"), ({"generations": 8}, "takes 8 for the prosody alone")],
)
def test_no_room_for_two_stages_is_one_sentence(options, said):
    with pytest.raises(InputError, match=said):
        next(run(config(**options)))


def test_a_fit_of_one_schedule_is_not_resumed_with_the_other():
    whole, rest = list(run(config())), (toys.Objective(), toys.Score(), toys.Windows())
    joint = next(fit(config(schedule="joint"), *rest))
    for step in (whole[2], whole[-2]):
        with pytest.raises(InputError, match="adam, staged; resume it with the settings it began with"):
            next(fit(config(schedule="joint"), *rest, step.state()))
    with pytest.raises(InputError, match="adam, joint; resume"):
        next(run(config(), joint.state()))
    assert "stage" not in joint.row()


@pytest.mark.parametrize("kind", ["whole", "bias"])
def test_what_is_held_keeps_its_sound_and_moves_its_prosody_alike_on_all_rows(kind):
    space = style.build(SpaceConfig(kind=kind, start="v_03"), stock=stock(8))
    held, rows = Held(space), torch.tensor([0, 99, 509])
    points = space.init() + torch.randn(3, space.dim, generator=torch.Generator().manual_seed(1))
    moved = held.styles(points, rows) - space.styles(space.init()[None], rows)
    assert moved[..., :128].abs().max() < 1e-5
    assert (moved - moved[:, :1]).abs().max() < 1e-5
    assert (moved[..., 128:].abs().mean(1) > 1e-3).float().mean() > 0.9
    settled = held.settle(points)
    torch.testing.assert_close(held.settle(settled), settled)
    torch.testing.assert_close(space.decode(settled), held.decode(points))
    assert torch.equal(held.settle(held.init()), space.init())
    others = (
        space.init() + held.onto.float() @ torch.randn(space.dim, 5, generator=torch.Generator().manual_seed(2)).T[0]
    )
    assert all((point - others).norm() >= (point - near).norm() for point, near in zip(points, settled, strict=True))


@pytest.mark.parametrize("kind", ["pca", "interp", "interp+bias"])
def test_a_space_without_dims_of_the_prosody_is_refused(kind):
    with pytest.raises(InputError, match=r"set space\.kind to whole or bias, or schedule to joint"):
        Held(style.build(SpaceConfig(kind=kind), stock=stock(8)))


def test_a_schedule_that_does_not_exist_is_refused():
    with pytest.raises(InputError, match="schedule is twice; it must be joint or staged"):
        from_dict({"schedule": "twice"})


@pytest.fixture(scope="module")
def pair(room):  # noqa: F811
    """(objective of all terms, that of the prosody) over the same held space, and the utterances."""
    _, synth, terms, spoken = room
    voices = dict(list(stock_voices(synth.model).items())[:8])
    space = Held(style.build(SpaceConfig(kind="whole", start=list(voices)[5]), stock=voices))
    return Objective(space, synth, terms, WEIGHTS), ProsodyObjective(space, synth, terms, WEIGHTS), spoken


def test_without_decoding_the_terms_say_what_they_say_with_it(pair):
    whole, early, spoken = pair
    genomes = early.space.init() + 0.3 * torch.randn(3, early.space.dim, generator=torch.Generator().manual_seed(0))
    plain, found = whole(genomes, spoken), early(genomes, spoken)
    taped, _ = early.gradient(genomes, spoken)
    assert list(found.terms) == ["f0", "duration", "prior"]
    for term in ("f0", "prior"):
        assert torch.allclose(found.terms[term], plain.terms[term], atol=1e-4), term
        assert torch.allclose(found.terms[term], taped.terms[term], atol=0.02), term
    assert (found.terms["duration"] - plain.terms["duration"]).abs().max() < 0.1
    assert (found.terms["duration"] - taped.terms["duration"]).abs().max() < 0.1
    assert early.syntheses == pytest.approx((3 + 3 * COST) * len(spoken) * early.share)
    assert early.audio_seconds == 0


def test_a_step_against_the_gradient_of_the_prosody_leads_downhill_and_moves_nothing_else(pair):
    _, early, spoken = pair
    here = early.space.init()[None]
    losses_, gradient = early.gradient(here, spoken)
    ahead = early(here - 0.05 * gradient / gradient.norm(), spoken)
    assert float(ahead.total) < float(losses_.total)
    torch.testing.assert_close(gradient @ early.space.onto, gradient, atol=1e-5, rtol=1e-4)


def test_a_bad_candidate_of_the_first_stage_harms_no_neighbour(pair):
    _, early, spoken = pair
    good = early.space.init()[None]
    both = torch.cat([good, torch.full_like(good, math.nan)])
    for found in (early(both, spoken), early.gradient(both, spoken)[0]):
        assert found.total.isfinite().tolist() == [True, False]


def test_a_first_stage_needs_a_term_of_the_prosody(room):  # noqa: F811
    space, synth, terms, _ = room
    with pytest.raises(InputError, match=r"give loss\.f0 or loss\.duration a weight"):
        ProsodyObjective(space, synth, {"logmel": terms["logmel"]}, losses.TERMS | WEIGHTS)


@pytest.mark.slow
def test_on_the_embedded_model_both_stages_resume_bit_for_bit(monkeypatch):
    monkeypatch.setattr(stage, "FIRST", 3)
    job = prepare(from_dict({**SMALL, "space.kind": "whole", "schedule": "staged", "generations": 5}))
    fitting = build.wire(job)
    whole = test_build.rows(fitting)
    assert [row["stage"] for row, *_ in whole] == [1, 1, 1, 1, 2, 2]
    assert [row["generation"] for row, *_ in whole if "score" in row] == [0, 3, 4, 5]
    for at in (1, 3):
        test_build.same(whole[at + 1 :], test_build.rows(build.wire(job), whole[at][2]))
    early, late = (whole[at][2]["strategy"]["points"][0].float() for at in (2, 5))
    genomes = fitting.space.init(), fitting.prosody.space.settle(early), late
    start, held, free = (fitting.voicepack(genome) for genome in genomes)
    assert (held - start)[..., :128].abs().max() < 1e-5 < (held - start)[..., 128:].abs().max()
    assert (free - start)[..., :128].abs().max() > 1e-3
