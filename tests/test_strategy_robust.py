"""Losses that say nothing, or too much: non-finite, tied, flat, endless."""

from __future__ import annotations

import math
import warnings

import pytest
import torch

from coconut.strategy import build
from tests.test_strategy import gaussian, kinds, sphere, start, walk_on


@kinds
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
        s.tell(x, sphere(x).nan_to_num(-1.0))
        assert s.mean.isfinite().all()
        assert 0 < s.sigma < 1e3
    assert s.ask().isfinite().all()


@kinds
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
    for name in (n.removeprefix("_") for n in s.tensors):
        assert torch.equal(before[name], after[name])


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
        x = s.ask() * 0.5
        s.tell(x, sphere(x))
    assert sphere(s.mean[None]) < 1
    s.tell(s.ask() * 1e30, torch.arange(8.0))
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


@gaussian
@pytest.mark.parametrize("f", [endless, valley, sphere, lambda x: torch.zeros(len(x)), None])
@pytest.mark.parametrize("bounds", [{}, {"sigma_min": 1e-4, "sigma_max": 10.0}])
def test_no_run_is_too_long_for_float32(kind, f, bounds):
    """Slopes without end, noise, a search at the end of its precision: all stays finite and within bounds."""
    draw = torch.Generator().manual_seed(0)
    s = build(kind, mean=torch.ones(6), sigma=0.3, popsize=8, seed=1, **bounds)
    for _ in range(1800):
        x = s.ask()
        s.tell(x, f(x) if f else torch.rand(8, generator=draw))
    state = s.state_dict()
    assert all(v.isfinite().all() for v in state.values() if isinstance(v, torch.Tensor) and v.is_floating_point())
    assert s.ask().isfinite().all()
    assert s.sigma_min * (1 - 1e-3) <= s.sigma <= s.sigma_max * (1 + 1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["cmaes", "xnes"])
@pytest.mark.parametrize(("dtype", "f"), [(torch.float32, None), (torch.float64, endless)])
def test_no_run_is_too_long(kind, dtype, f):
    draw = torch.Generator().manual_seed(0)
    s = build(kind, mean=torch.ones(6, dtype=dtype), sigma=0.3, popsize=8, seed=1, sigma_max=10.0)
    for _ in range(8500):
        x = s.ask()
        s.tell(x, f(x) if f else torch.rand(8, generator=draw))
    assert s.ask().isfinite().all()
    assert 0 < s.sigma <= 10.01


@pytest.mark.parametrize("kind", ["cmaes", "xnes", "sepcmaes", "snes"])
@pytest.mark.parametrize(("dtype", "condition"), [(torch.float64, 1e12), (torch.float32, 1e4)])
def test_ill_conditioned_ellipsoids_are_solved(kind, dtype, condition):
    axes = condition ** torch.linspace(0, 1, 5, dtype=dtype)
    s = walk_on(start(kind, 5, None, dtype), 3000, lambda x: (x * x) @ axes)
    assert float((s.mean**2) @ axes) < 1e-6


def test_the_covariance_stays_symmetric_and_near_unit_volume():
    s = build("cmaes", mean=torch.ones(5), sigma=0.3, popsize=8, sigma_min=1e-3)
    for _ in range(1000):
        x = s.ask()
        s.tell(x, sphere(x))
        matrix = s._covariance
        assert torch.allclose(matrix, matrix.T, rtol=1e-3, atol=1e-4 * float(matrix.diagonal().max()))
    assert 2**-9 < float(s._volume) < 2**9


@pytest.mark.parametrize("kind", ["cmaes", "sepcmaes"])
def test_a_change_of_the_covariances_unit_changes_nothing_else(kind, monkeypatch):
    """The same search, with and without the unit that keeps numbers in range."""
    far = start(kind, 5, 8, covariance=[1e-8] * 5)
    monkeypatch.setattr("coconut.strategy.paths.PathStrategy._rescaled", lambda self, volume: None)
    plain = start(kind, 5, 8, covariance=[1e-8] * 5)
    assert far.sigma == pytest.approx(plain.sigma)
    assert far.sigma == pytest.approx(0.3e-4)
    monkeypatch.undo()
    for _ in range(40):
        x = plain.ask()
        assert torch.allclose(far.ask() - 1, x - 1, rtol=1e-6, atol=1e-12)
        for s in (far, plain):
            monkeypatch.setattr("coconut.strategy.paths.PathStrategy._rescaled", lambda self, volume: None)
            s.tell(x, sphere(x))
            monkeypatch.undo()
    assert float(far._step) == pytest.approx(float(plain._step) / 2**13, rel=1e-6)


@gaussian
def test_no_bound_of_sigma_extends_what_a_dtype_has_room_for(kind):
    s = build(kind, mean=torch.ones(4), sigma=0.3, popsize=8, sigma_max=math.inf, sigma_min=1e-40)
    assert s.sigma_max < 1e10
    assert s.sigma_min > 1e-20


@kinds
def test_losses_as_a_list_keep_their_precision(kind):
    a, b = start(kind, 6, 8), start(kind, 6, 8)
    x = a.ask()
    a.tell(x, [1 + 1e-12 * k for k in range(8)])
    b.tell(x, torch.arange(8))
    assert torch.equal(a.mean, b.mean)
    c = build(kind, mean=torch.ones(6), sigma=0.3, popsize=8)
    d = build(kind, mean=torch.ones(6), sigma=0.3, popsize=8)
    x = c.ask()
    c.tell(x, 2**40 + torch.arange(8))  # equal in float32
    d.tell(x, torch.arange(8))
    assert torch.equal(c.mean, d.mean)


@pytest.mark.parametrize("kind", ["snes", "sepcmaes", "cem", "walk"])
def test_separable_kinds_need_memory_linear_in_the_dimension(kind):
    s = walk_on(build(kind, mean=torch.ones(300_000), sigma=0.3, popsize=4, seed=0), 2)
    assert s.mean.isfinite().all()
