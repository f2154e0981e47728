"""What a search must not depend on: the scale of the loss, the place and size of the space, the order."""

from __future__ import annotations

import pytest
import torch

from coconut.strategy import Strategy, build
from tests.test_strategy import kinds, ranking, told

DIM = 6


def bowl(x: torch.Tensor) -> torch.Tensor:
    return (x * x) @ (10.0 ** torch.arange(DIM, dtype=x.dtype)) + x[:, 0] * x[:, 1]


def start(kind: str, factor: float = 1.0, shift: float = 0.0, **more) -> Strategy:
    mean = torch.linspace(-1, 2, DIM, dtype=torch.float64) * factor + shift
    return build(kind, mean=mean, sigma=0.4 * factor, popsize=9, seed=5, **more)


def trajectory(s: Strategy, f, generations: int = 25) -> list[torch.Tensor]:
    points = []
    for _ in range(generations):
        x = s.ask()
        points.append(x)
        told(s, x, f) if s.needs_gradient else s.tell(x, f(x))
    return [*points, s.mean]


@ranking
@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize(
    "transform",
    [
        lambda v: v.argsort().argsort().double(),
        lambda v: 1024 * v,
        lambda v: v**3 - 7,
        lambda v: (v.argsort().argsort() - 4).int(),
    ],
)
def test_monotone_transforms_of_the_loss_change_no_bit(kind, transform, mirrored):
    a = trajectory(start(kind, mirrored=mirrored), bowl)
    b = trajectory(start(kind, mirrored=mirrored), lambda x: transform(bowl(x)))
    assert all(torch.equal(p, q) for p, q in zip(a, b, strict=True))


@ranking
@pytest.mark.parametrize("power", [-20, 1, 30])
def test_scaling_by_a_power_of_two_changes_no_bit(kind, power):
    factor = 2.0**power
    a = trajectory(start(kind), bowl)
    b = trajectory(start(kind, factor), lambda x: bowl(x / factor))
    assert all(torch.equal(p * factor, q) for p, q in zip(a, b, strict=True))


@kinds
def test_translation_moves_the_search_along(kind):
    a = trajectory(start(kind), bowl)
    b = trajectory(start(kind, shift=3.0), lambda x: bowl(x - 3))
    assert all(torch.allclose(p + 3, q, atol=1e-7) for p, q in zip(a, b, strict=True))


@pytest.mark.parametrize("kind", ["cmaes", "xnes"])
def test_rotation_turns_the_search_along(kind):
    turn = torch.linalg.qr(torch.randn(DIM, DIM, dtype=torch.float64, generator=torch.Generator().manual_seed(0)))[0]
    a = start(kind)
    b = build(kind, mean=a.mean @ turn.T, sigma=0.4, popsize=9)
    for _ in range(40):
        x = a.ask()
        losses = bowl(x)
        a.tell(x, losses)
        b.tell(x @ turn.T, losses)
        assert torch.allclose(a.mean @ turn.T, b.mean, atol=1e-8)
        assert a.sigma == pytest.approx(b.sigma, rel=1e-8)


@ranking
def test_the_order_of_candidates_changes_no_bit(kind):
    shuffle = torch.randperm(9, generator=torch.Generator().manual_seed(1))
    a, b = start(kind), start(kind)
    for _ in range(25):
        x, y = a.ask(), b.ask()
        assert torch.equal(x, y)
        a.tell(x, bowl(x))
        b.tell(x[shuffle], bowl(x)[shuffle])
    assert torch.equal(a.mean, b.mean)
    assert a.sigma == b.sigma


@ranking
def test_losses_may_be_a_list_or_of_another_dtype(kind):
    """Losses that are equal in float32 must not become ties."""
    x = start(kind).ask()
    ranks = bowl(x).argsort().argsort()
    close = 1 + 1e-12 * ranks.double()
    means = []
    for losses in (ranks, ranks.float(), 2**40 + ranks, close, close.tolist()):
        s = start(kind)
        s.tell(x, losses)
        means.append(s.mean)
    assert all(torch.equal(means[0], other) for other in means)
