"""adam against torch's own, and what becomes of its points where there is no slope to follow."""

from __future__ import annotations

import math
import warnings

import pytest
import torch

from coconut.config import EsConfig, FitConfig, InputError
from coconut.strategy import KINDS, build
from tests.test_strategy import told, walk_on

DIM = 5
SCALES = 10.0 ** torch.arange(DIM, dtype=torch.float64)


def bowl(x: torch.Tensor) -> torch.Tensor:
    return (x * x) @ SCALES + (x[:, 0] * x[:, 1]).sin()


def start(popsize: int = 1, **more):
    mean = torch.linspace(-1, 2, DIM, dtype=torch.float64)
    return build("adam", mean=mean, sigma=0.4, popsize=popsize, seed=5, **more)


@pytest.mark.parametrize("clip", [0.0, 0.7])
@pytest.mark.parametrize("decay", [0.0, 0.1])
@pytest.mark.parametrize("popsize", [1, 3])
def test_its_steps_are_those_of_torch(clip, decay, popsize):
    s = start(popsize, learning_rate=0.05, beta1=0.8, beta2=0.99, clip=clip, decay=decay)
    theirs = [x.clone().requires_grad_() for x in s.ask()]
    adams = [torch.optim.Adam([x], lr=0.05, betas=(0.8, 0.99)) for x in theirs]
    rates = [torch.optim.lr_scheduler.ExponentialLR(adam, 1 - decay) for adam in adams]
    for _ in range(30):
        told(s, s.ask(), bowl)
        for x, adam, rate in zip(theirs, adams, rates, strict=True):
            adam.zero_grad()
            bowl(x[None]).sum().backward()
            if clip and float(x.grad.norm()) > clip:
                x.grad.mul_(clip / x.grad.norm())
            adam.step()
            rate.step()
        assert torch.allclose(s.ask(), torch.stack([x.detach() for x in theirs]), rtol=0, atol=1e-12)


def test_the_first_step_is_the_learning_rate_in_every_coordinate():
    """Known answer: m / sqrt(v) is the sign of the gradient then."""
    s = start(learning_rate=0.25, clip=0.0)
    before = s.mean
    s.tell(s.ask(), torch.ones(1), torch.tensor([[3.0, -2.0, 1e-3, 0.0, 50.0]]))
    expected = torch.tensor([-0.25, 0.25, -0.25, 0.0, -0.25], dtype=torch.float64)
    assert torch.allclose(s.mean - before, expected, atol=1e-5)


def test_its_points_are_the_mean_and_draws_around_it():
    s = build("adam", mean=torch.ones(2000), sigma=0.4, popsize=4, seed=1)
    x = s.ask()
    assert torch.equal(x[0], torch.ones(2000, dtype=torch.float64))
    assert torch.equal(s.mean, x[0])
    assert ((x[1:].std(1) - 0.4).abs() < 0.03).all()
    assert torch.equal(s.ask(), x)


def test_the_mean_is_the_point_that_was_best_of_late():
    s = start(3)
    x = s.ask()
    for losses in ([3.0, 1.0, 2.0], [3.0, 1.5, 1.0]):
        s.tell(x, torch.tensor(losses), torch.zeros(3, DIM))
    assert torch.equal(s.mean, x[1])  # one lucky window does not do
    for _ in range(10):
        s.tell(x, torch.tensor([3.0, 1.5, 1.0]), torch.zeros(3, DIM))
    assert torch.equal(s.mean, x[2])


@pytest.mark.parametrize("popsize", [1, 3])
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("where", ["loss", "gradient", "candidate"])
def test_where_something_is_not_finite_a_point_goes_back_and_loses_its_momentum(popsize, bad, where):
    s, twin = walk_on(start(popsize), 3, bowl), walk_on(start(popsize), 3, bowl)
    last = s.ask()
    for one in (s, twin):
        told(one, last, bowl)
    x = s.ask()
    losses, gradient = bowl(x), 2 * x
    twin.tell(x, losses, gradient)
    x, losses, gradient = x.clone(), losses.clone(), gradient.clone()
    {"loss": losses, "gradient": gradient[:, 1], "candidate": x[:, 1]}[where][0] = bad
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        s.tell(x, losses, gradient)
    assert torch.equal(s.ask()[0], last[0])
    assert torch.equal(s.ask()[1:], twin.ask()[1:])
    assert s._first[0].abs().sum() == 0
    assert s.mean.isfinite().all()
    walk_on(s, 200, bowl)
    assert float(bowl(s.mean[None])) < float(bowl(last[:1]))


def test_a_start_without_a_slope_stays_and_warns_once():
    s = start()
    before = s.ask()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(3):
            s.tell(s.ask(), torch.tensor([math.nan]), torch.zeros(1, DIM))
    assert len(caught) == 1
    assert torch.equal(s.ask(), before)
    assert torch.equal(s.mean, before[0])


def test_gradients_of_any_length_leave_numbers():
    s = start(3)
    for size in (1e300, 1e-300, 1e90, 0.0, 1.0):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            s.tell(s.ask(), torch.ones(3), torch.full((3, DIM), size, dtype=torch.float64))
        assert s.ask().isfinite().all()
    assert all(v.isfinite().all() for v in s.state_dict().values() if isinstance(v, torch.Tensor))


def test_without_a_gradient_it_says_what_it_needs():
    s = start(2)
    with pytest.raises(InputError, match="adam follows a gradient"):
        s.tell(s.ask(), torch.zeros(2))
    with pytest.raises(InputError, match=r"gradient \[2, 5\]"):
        s.tell(s.ask(), torch.zeros(2), torch.zeros(2, 4))
    assert s.generation == 0


@pytest.mark.parametrize(
    "bad", [{"learning_rate": 0.0}, {"beta1": 1.0}, {"beta2": -0.1}, {"decay": 1.0}, {"clip": -1.0}]
)
def test_bad_options_are_one_sentence(bad):
    with pytest.raises(InputError, match=next(iter(bad))):
        start(**bad)


def test_only_adam_is_content_with_one_candidate():
    assert FitConfig(es=EsConfig(kind="adam", popsize=1)).es.popsize == 1
    with pytest.raises(InputError, match=r"popsize is 1; it must be from 2"):
        FitConfig(es=EsConfig(kind="snes", popsize=1))
    for kind, found in KINDS.items():
        if kind != "adam":
            assert not found.needs_gradient
            with pytest.raises(InputError, match="at least"):
                build(kind, mean=torch.zeros(3), sigma=0.3, popsize=1)
