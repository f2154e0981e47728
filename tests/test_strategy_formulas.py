"""Strategies against golden numbers, closed forms and a plain transcription of the papers."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.linalg
import torch

from coconut.strategy import build, default_popsize
from coconut.strategy.ranking import CmaWeights, nes_utilities, ranked, share_ties

GOLDEN = {  # (n, popsize): mu_eff, c_sigma, c_c, c_1, c_mu, eta of snes, eta of xnes
    (20, 12): (3.7295, 0.19943, 0.17177, 4.3724e-3, 8.1914e-3, 0.26814, 4.0221e-2),
    (54, 16): (4.8409, 0.10716, 0.07029, 6.5297e-4, 1.9406e-3, 0.19022, 1.0568e-2),
    (310, 24): (7.0264, 0.02803, 0.01281, 2.0637e-5, 1.0619e-4, 0.09924, 9.6039e-4),
}


def zeros(n: int) -> torch.Tensor:
    return torch.zeros(n, dtype=torch.float64)


@pytest.mark.parametrize(("size", "golden"), GOLDEN.items())
def test_learning_rates(size, golden):
    n, popsize = size
    s = build("cmaes", mean=zeros(n), sigma=1.0, popsize=popsize)
    mine = (s.weights.mu_eff, s.c_sigma, s.c_c, s.c_1, s.c_mu)
    assert mine == pytest.approx(golden[:5], rel=2e-4)
    assert build("snes", mean=zeros(n), sigma=1.0).eta == pytest.approx(golden[5], rel=1e-4)
    assert build("xnes", mean=zeros(n), sigma=1.0).eta == pytest.approx(golden[6], rel=1e-4)
    separable = build("sepcmaes", mean=zeros(n), sigma=1.0, popsize=popsize)
    # Ros & Hansen 2008: (n + 2)/3 times faster, which the rates of today keep to within a third
    assert 0.9 < separable.c_1 / (s.c_1 * (n + 2) / 3) < 1.35
    assert 0.9 < separable.c_mu / (s.c_mu * (n + 2) / 3) < 1.35


def test_learning_rates_of_the_separable_kind_are_those_pycma_prints():
    """`cma.evolution_strategy` documents c1_sep and cmu_sep of n = 20 and the default population."""
    s = build("sepcmaes", mean=zeros(20), sigma=1.0)
    assert s.c_1 == pytest.approx(0.0343279, abs=1e-7)
    assert s.c_mu == pytest.approx(0.0565385, abs=1e-7)


@pytest.mark.parametrize(("n", "popsize"), [(1, 4), (2, 6), (20, 12), (54, 15), (310, 21)])
def test_default_population(n, popsize):
    assert default_popsize(n) == popsize == build("snes", mean=zeros(n), sigma=1.0).popsize


@pytest.mark.parametrize("popsize", [2, 3, 12, 129])
def test_utilities_sum_to_zero_and_fall_with_the_rank(popsize):
    u = nes_utilities(popsize)
    assert abs(float(u.sum())) < 1e-12
    assert bool((u.diff() <= 0).all())
    assert u[0] > 0
    raw = [max(0.0, math.log(popsize / 2 + 1) - math.log(k)) for k in range(1, popsize + 1)]
    assert float(u[0]) == pytest.approx(raw[0] / sum(raw) - 1 / popsize)


def test_active_weights_keep_the_covariance_definite():
    """(1 - c_1 - c_mu sum w) C stays positive even if every negative term hit one axis (eq. 52)."""
    for n, popsize in GOLDEN:
        s = build("cmaes", mean=zeros(n), sigma=1.0, popsize=popsize)
        w = CmaWeights.of(popsize).active(n, s.c_1, s.c_mu)
        assert float(w.clamp(min=0).sum()) == pytest.approx(1)
        assert s.decay + s.c_mu * n * float(w.clamp(max=0).sum()) > -1e-9


def test_ranking_shares_the_weights_of_ties():
    order, ordered = ranked(torch.tensor([2.0, -torch.inf, 1.0, torch.nan, 2.0, 0.5]))
    assert order.tolist() == [5, 2, 0, 4, 1, 3]
    shared = share_ties(torch.tensor([0.6, 0.3, 0.1, 0.0, -0.2, -0.8]), ordered)
    assert shared.tolist() == pytest.approx([0.6, 0.3, 0.05, 0.05, -0.5, -0.5])


def test_one_step_of_snes():
    s = build("snes", mean=torch.tensor([1.0, 2.0], dtype=torch.float64), sigma=0.5, popsize=4)
    x = torch.tensor([[1.5, 2.0], [1.0, 3.0], [0.0, 2.0], [1.0, 1.0]], dtype=torch.float64)
    s.tell(x, [0.0, 1.0, 2.0, 3.0])
    raw = np.array([math.log(3), math.log(3) - math.log(2), 0, 0])
    u = raw / raw.sum() - 0.25
    z = np.array([[1, 0], [0, 2], [-2, 0], [0, -2]])
    eta = (3 + math.log(2)) / (5 * math.sqrt(2))
    assert np.allclose(s.mean, [1, 2] + 0.5 * u @ z)
    assert np.allclose(s._std, 0.5 * np.exp(eta / 2 * u @ (z**2 - 1)))


def test_steps_of_xnes_by_the_matrix_exponential():
    n = 4
    s = build("xnes", mean=zeros(n), sigma=0.7, popsize=8, seed=1)
    mean, sigma, shape, eta = np.zeros(n), 0.7, np.eye(n), 3 * (3 + math.log(n)) / (5 * n * math.sqrt(n))
    u = nes_utilities(8).numpy()
    for _ in range(15):
        x = s.ask()
        losses = (x[:, 0] - 1) ** 2 + 9 * (x[:, 1] + x[:, 2]) ** 2 + x[:, 3] ** 4
        z = np.linalg.solve(sigma * shape, (x.numpy() - mean)[losses.argsort().numpy()].T).T
        gradient = sum(u[k] * (np.outer(z[k], z[k]) - np.eye(n)) for k in range(8))
        part = np.trace(gradient) / n
        mean = mean + sigma * shape @ (u @ z)
        sigma *= math.exp(eta / 2 * part)
        shape = shape @ scipy.linalg.expm(eta / 2 * (gradient - part * np.eye(n)))
        s.tell(x, losses)
    assert np.allclose(s.mean, mean)
    assert s.sigma == pytest.approx(sigma)
    assert np.allclose(s._shape, shape)


class Tutorial:
    """CMA-ES as printed in arXiv:1604.00772, figure 6, without regard to speed.

    diagonal: variances alone, by the exponential update of Akimoto and Hansen (ECJ 28, 405).
    """

    def __init__(self, n: int, popsize: int, sigma: float, rates, weights, diagonal: bool) -> None:
        self.n, self.sigma, self.diagonal, self.w = n, sigma, diagonal, weights
        self.mu = popsize // 2
        self.c_sigma, self.d_sigma, self.c_c, self.c_1, self.c_mu = rates
        self.m, self.p_sigma, self.p_c, self.C, self.g = np.zeros(n), np.zeros(n), np.zeros(n), np.eye(n), 0
        self.chi = math.sqrt(n) * (1 - 1 / (4 * n) + 1 / (21 * n * n))

    def tell(self, x: np.ndarray, losses: np.ndarray) -> None:
        y = (x[np.argsort(losses)] - self.m) / self.sigma
        values, axes = np.linalg.eigh(self.C)
        whiten = axes @ np.diag(values**-0.5) @ axes.T
        w = self.w[: self.mu]
        mu_eff = 1 / (w**2).sum()
        step = w @ y[: self.mu]
        self.m = self.m + self.sigma * step
        c = self.c_sigma
        self.p_sigma = (1 - c) * self.p_sigma + math.sqrt(c * (2 - c) * mu_eff) * whiten @ step
        length = np.linalg.norm(self.p_sigma)
        self.g += 1
        h = float(length / math.sqrt(1 - (1 - c) ** (2 * self.g)) < (1.4 + 2 / (self.n + 1)) * self.chi)
        c = self.c_c
        self.p_c = (1 - c) * self.p_c + h * math.sqrt(c * (2 - c) * mu_eff) * step
        if self.diagonal:
            self.C = np.diag(self._exponential(np.diag(self.C), y, h))
        else:
            self.C = self._additive(y, whiten, h)
        self.sigma *= math.exp(self.c_sigma / self.d_sigma * (length / self.chi - 1))

    def _exponential(self, c: np.ndarray, y: np.ndarray, h: float) -> np.ndarray:
        path = self.p_c**2 / c - 1 + (1 - h) * self.c_c * (2 - self.c_c)
        moments = sum(v * (step**2 / c - 1) for v, step in zip(self.w, y, strict=True))
        return c * np.exp(np.clip(self.c_1 * path + self.c_mu * moments, -1, 1))

    def _additive(self, y: np.ndarray, whiten: np.ndarray, h: float) -> np.ndarray:
        relative = [v if v >= 0 else v * self.n / np.sum((whiten @ y[k]) ** 2) for k, v in enumerate(self.w)]
        rank_mu = sum(relative[k] * np.outer(y[k], y[k]) for k in range(len(y)))
        lost = (1 - h) * self.c_c * (2 - self.c_c)
        kept = 1 + self.c_1 * lost - self.c_1 - self.c_mu * self.w.sum()
        return kept * self.C + self.c_1 * np.outer(self.p_c, self.p_c) + self.c_mu * rank_mu


@pytest.mark.parametrize(("kind", "n", "popsize"), [("cmaes", 5, 8), ("sepcmaes", 5, 8), ("cmaes", 2, 25)])
def test_cma_follows_the_tutorial_generation_by_generation(kind, n, popsize):
    s = build(kind, mean=zeros(n), sigma=0.4, popsize=popsize, seed=2)
    assert kind != "cmaes" or s.lazy_gap == 1
    plain = Tutorial(
        n,
        popsize,
        0.4,
        (s.c_sigma, s.d_sigma, s.c_c, s.c_1, s.c_mu),
        s.weights.active(n, s.c_1, s.c_mu, definite=kind == "cmaes").numpy(),
        kind == "sepcmaes",
    )
    for _ in range(25):
        x = s.ask()
        losses = ((x - 5) ** 2 * 10 ** torch.linspace(0, 3, n)).sum(1) + x[:, 0] * x[:, 1]
        plain.tell(x.numpy(), losses.numpy())
        s.tell(x, losses)
    assert np.allclose(s.mean, plain.m, rtol=1e-8)
    values = np.linalg.eigvalsh(plain.C)
    assert s.sigma == pytest.approx(plain.sigma * math.exp(np.log(values).mean() / 2), rel=1e-7)


def test_one_step_of_cem_with_one_elite_keeps_a_spread():
    s = build("cem", mean=zeros(2), sigma=1.0, popsize=4, rho=0.1)
    s.tell(torch.tensor([[2.0, 0.0], [5.0, 5.0], [6.0, 6.0], [7.0, 7.0]], dtype=torch.float64), [0, 1, 2, 3])
    rate = 1 / (1 + 2)
    assert np.allclose(s.mean, [2, 0])
    assert np.allclose(s._std**2, [1 - rate + rate * 4, 1 - rate])


def evaluations(kind: str, f, x0: float, sigma: float, budget: int, seed: int, dim: int = 20, **more) -> int:
    s = build(kind, mean=zeros(dim) + x0, sigma=sigma, seed=seed, **more)
    for count in range(s.popsize, budget + 1, s.popsize):
        x = s.ask()
        losses = f(x)
        s.tell(x, losses)
        if float(losses.min()) <= 1e-8:
            return count
    return budget + 1


AXES = 10 ** (6 * torch.arange(20, dtype=torch.float64) / 19)


def sphere(x):
    return (x * x).sum(1)


def ellipsoid(x):
    return (x * x) @ AXES


# medians of the best peer at n = 20, popsize 12, start 1, sigma 0.5 (pycma, cmaes, EvoTorch), times 1.05
@pytest.mark.parametrize(
    ("kind", "f", "peer"),
    [
        ("cmaes", sphere, 2422),
        ("sepcmaes", sphere, 2113),
        ("sepcmaes", ellipsoid, 4229),
        ("snes", sphere, 3855),
        ("snes", ellipsoid, 5484),
    ],
)
def test_evaluations_to_target_are_those_of_the_best_peer(kind, f, peer):
    counts = sorted(evaluations(kind, f, 1.0, 0.5, 2 * peer, seed) for seed in range(5))
    assert counts[2] <= 1.05 * peer


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "f", "peer"), [("cmaes", ellipsoid, 12782), ("xnes", sphere, 24663)])
def test_evaluations_to_target_of_the_longer_runs(kind, f, peer):
    counts = sorted(evaluations(kind, f, 1.0, 0.5, 2 * peer, seed) for seed in range(3))
    assert counts[1] <= 1.05 * peer


@pytest.mark.parametrize("rho", [0.1, 0.25, 0.5])
def test_cem_reaches_the_optimum_of_the_sphere(rho):
    assert evaluations("cem", sphere, 1.0, 0.5, 30_000, 0, rho=rho) <= 30_000
