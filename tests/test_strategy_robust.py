"""Losses that say nothing, or too much: non-finite, tied, flat, endless."""

from __future__ import annotations

import math
import warnings

import pytest
import torch

from coconut.strategy import build
from coconut.strategy.xnes import conditioned
from tests.test_strategy import gaussian, kinds, ranking, sphere, start, told, walk_on


@ranking
@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("generation", [0, 3])
def test_a_non_finite_loss_ranks_worst_from_the_first_generation_on(kind, bad, generation):
    a, b = walk_on(start(kind), generation), walk_on(start(kind), generation)
    x = a.ask()
    b.ask()
    losses = sphere(x)
    worst = losses.clone()
    losses[2], worst[2] = bad, 1e9
    a.tell(x, losses)
    b.tell(x, worst)
    assert torch.equal(a.mean, b.mean)
    assert torch.equal(a.ask(), b.ask())


@kinds
def test_a_non_finite_candidate_ranks_worst_and_spoils_nothing(kind):
    s = start(kind)
    for _ in range(20):
        x = s.ask()
        x[0, 0], x[1] = torch.nan, torch.inf
        s.tell(x, sphere(x).nan_to_num(-1.0), 2 * x)
        assert s.mean.isfinite().all()
        assert 0 < s.sigma < 1e3
    assert s.ask().isfinite().all()


@ranking
def test_a_generation_without_any_finite_loss_changes_nothing_and_warns_once(kind):
    s = walk_on(start(kind), 2)
    before = s.state_dict()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(3):
            s.tell(s.ask(), torch.full((s.popsize,), torch.nan))
    assert len(caught) == 1
    assert kind in str(caught[0].message)
    after = s.state_dict()
    for name in before.keys() - {"generation", "generator"}:
        assert torch.as_tensor(before[name] == after[name]).all(), name


@gaussian
def test_equal_losses_move_nothing(kind):
    s = walk_on(start(kind), 2)
    mean, sigma = s.mean, s.sigma
    for _ in range(5):
        s.tell(s.ask(), torch.ones(s.popsize))
    assert torch.equal(s.mean, mean)
    assert s.sigma == sigma


@gaussian
def test_ties_count_alike_whatever_their_order(kind):
    a, b = start(kind, popsize=10), start(kind, popsize=10)
    x = a.ask()
    losses = torch.tensor([3.0, 1, 1, 1, 2, 2, 5, 5, 5, 0])
    swap = torch.tensor([0, 3, 1, 2, 5, 4, 8, 7, 6, 9])
    a.tell(x, losses)
    b.tell(x[swap], losses[swap])
    assert torch.allclose(a.mean, b.mean, rtol=1e-13)
    assert a.sigma == pytest.approx(b.sigma, rel=1e-12)


@pytest.mark.parametrize("kind", ["cmaes", "sepcmaes", "snes", "xnes"])
def test_many_ties_do_not_drive_the_step_size(kind):
    """Losses of two classes that say nothing: the step size must neither collapse nor explode."""
    draw = torch.Generator().manual_seed(0)
    s = start(kind, 10, 10)
    lengths = []
    for _ in range(400):
        s.tell(s.ask(), (torch.rand(10, generator=draw) < 0.5).double())
        lengths.append(float(getattr(s, "_path_sigma", torch.ones(10)).square().mean()))
    assert 0.8 < sum(lengths) / 400 < 1.25
    assert kind == "sepcmaes" or 0.03 < s.sigma / 0.3 < 30


@kinds
def test_candidates_changed_by_the_caller_are_taken_as_they_are(kind):
    """Told better candidates than asked, a strategy follows them."""
    s = start(kind, 6, 8)
    for _ in range(30):
        told(s, s.ask() * 0.5)
    assert sphere(s.mean[None]) < 1
    s.tell(s.ask() * 1e30, torch.arange(8.0), torch.ones(8, 6))
    assert s.mean.isfinite().all()
    assert s.ask().isfinite().all()


@pytest.mark.parametrize("kind", ["cmaes", "sepcmaes"])
@pytest.mark.parametrize("popsize", [4, 9, 12])
@pytest.mark.parametrize("tied", [False, True])
def test_mirrored_pairs_do_not_shrink_the_step_size(kind, popsize, tied):
    """z and -z cancel out where both are selected; the path must know (Auger et al., GECCO 2011)."""
    draw = torch.Generator().manual_seed(0)
    s = start(kind, 20, popsize, mirrored=True)
    lengths = []
    for _ in range(500):
        losses = torch.rand(popsize, generator=draw)
        s.tell(s.ask(), (4 * losses).floor() if tied else losses)
        lengths.append(float(s._path_sigma.square().mean()))
    assert 0.85 < sum(lengths) / 500 < 1.15


def endless(x: torch.Tensor) -> torch.Tensor:
    return x[:, 0]


def valley(x: torch.Tensor) -> torch.Tensor:
    return 1e3 * (x[:, 1:] ** 2).sum(1) - x[:, 0]


def run(kind, dim, f, generations, bounds):
    """All must stay finite and within bounds; without `f`, losses are noise."""
    draw = torch.Generator().manual_seed(0)
    s = build(kind, mean=torch.ones(dim), sigma=0.3, popsize=8, seed=1, **bounds)
    for _ in range(generations):
        x = s.ask()
        s.tell(x, f(x) if f else torch.rand(8, generator=draw))
    state = s.state_dict().values()
    assert all(v.isfinite().all() for v in state if isinstance(v, torch.Tensor))
    assert s.ask().isfinite().all()
    assert s.sigma_min * (1 - 1e-3) <= s.sigma <= s.sigma_max * (1 + 1e-3)


BOUNDS = {"sigma_min": 1e-4, "sigma_max": 10.0}


@gaussian
@pytest.mark.parametrize("f", [endless, valley, sphere, lambda x: torch.zeros(len(x)), None])
@pytest.mark.parametrize("bounds", [{}, BOUNDS])
def test_slopes_without_end_noise_and_the_end_of_precision(kind, f, bounds):
    run(kind, 6, f, 800, bounds)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "dim", "f", "bounds"), [("cmaes", 2, sphere, {}), ("xnes", 6, endless, BOUNDS)])
def test_no_run_is_too_long(kind, dim, f, bounds):
    """These fail without what keeps numbers in range: the unit of the covariance, the condition of its root."""
    run(kind, dim, f, 6000, bounds)


@pytest.mark.parametrize("kind", ["cmaes", "xnes", "sepcmaes", "snes"])
def test_ill_conditioned_ellipsoids_are_solved(kind):
    axes = 1e12 ** torch.linspace(0, 1, 5, dtype=torch.float64)
    s = walk_on(start(kind, 5), 3000, lambda x: (x * x) @ axes)
    assert float((s.mean**2) @ axes) < 1e-6


def test_the_covariance_stays_symmetric_and_near_unit_volume():
    s = build("cmaes", mean=torch.ones(5), sigma=0.3, popsize=8, sigma_min=1e-3)
    for _ in range(1000):
        x = s.ask()
        s.tell(x, sphere(x))
        matrix = s._covariance
        assert torch.allclose(matrix, matrix.T, rtol=1e-3, atol=1e-4 * float(matrix.diagonal().max()))
    assert 0.7 < s._volume < 1.5


@pytest.mark.parametrize("kind", ["cmaes", "sepcmaes"])
def test_the_unit_of_the_covariance_changes_nothing_else(kind, monkeypatch):
    """The same search, with and without the unit that keeps numbers in range."""
    kept, plain = (start(kind, 2, 8, sigma_min=0.1) for _ in range(2))
    monkeypatch.setattr(plain, "_rescaled", lambda volume: 1.0)
    for _ in range(60):
        x = plain.ask()
        assert torch.allclose(kept.ask(), x, rtol=1e-9)
        for s in (kept, plain):
            s.tell(x, sphere(x))
        assert kept.sigma == pytest.approx(plain.sigma)
    assert plain._step > 100 * kept._step


def test_a_root_of_a_covariance_is_touched_only_where_float64_cannot_invert_it():
    q = torch.linalg.qr(torch.randn(4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0)))[0]
    fine = q * torch.tensor([1e3, 1.0, 1e-1, 1e-2], dtype=torch.float64) @ q.T
    assert torch.equal(conditioned(fine), fine)
    broken = q * torch.tensor([1e12, 1e3, 1e-3, 1e-12], dtype=torch.float64) @ q.T
    repaired = torch.linalg.svdvals(conditioned(broken))
    assert float(repaired.log().mean()) == pytest.approx(0, abs=0.01)
    assert float(repaired[0] / repaired[-1]) == pytest.approx(1 / (64 * 2.0**-52), rel=0.05)


@gaussian
def test_no_bound_of_sigma_extends_what_float64_has_room_for(kind):
    s = build(kind, mean=torch.ones(4), sigma=0.3, popsize=8, sigma_max=math.inf, sigma_min=1e-200)
    assert s.sigma_max < 1e77
    assert s.sigma_min > 1e-154


@pytest.mark.parametrize("kind", ["snes", "sepcmaes", "cem", "walk", "adam"])
def test_separable_kinds_need_memory_linear_in_the_dimension(kind):
    s = walk_on(build(kind, mean=torch.ones(300_000), sigma=0.3, popsize=4, seed=0), 2)
    assert s.mean.isfinite().all()
