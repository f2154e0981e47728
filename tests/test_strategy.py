"""The contract of every strategy: shapes, robustness, options, resumption."""

from __future__ import annotations

import inspect
import io
import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from coconut.config import EsConfig, InputError
from coconut.strategy import KINDS, Strategy, build, options
from coconut.strategy.gaussian import orthogonalise

GAUSSIAN = ["snes", "xnes", "cmaes", "sepcmaes", "cem"]
kinds = pytest.mark.parametrize("kind", list(KINDS))
ranking = pytest.mark.parametrize("kind", [kind for kind, found in KINDS.items() if not found.needs_gradient])
gaussian = pytest.mark.parametrize("kind", GAUSSIAN)


def sphere(x: torch.Tensor) -> torch.Tensor:
    return (x * x).sum(1)


def start(kind: str, dim: int = 6, popsize: int | None = None, **more) -> Strategy:
    return build(kind, mean=torch.ones(dim), sigma=0.3, popsize=popsize, seed=3, **more)


def told(s: Strategy, x: torch.Tensor, f=sphere) -> None:
    """Losses and their gradient, which evolution strategies leave aside."""
    leaf = x.clone().requires_grad_()
    losses = f(leaf)
    (gradient,) = torch.autograd.grad(losses.sum(), leaf)
    s.tell(x, losses.detach(), gradient)


def walk_on(s: Strategy, generations: int, f=sphere) -> Strategy:
    for _ in range(generations):
        told(s, s.ask(), f)
    return s


@kinds
@pytest.mark.parametrize(("dim", "popsize"), [(1, 4), (1, 5), (7, None), (20, 33), (54, 16)])
def test_ask_and_tell_make_progress(kind, dim, popsize):
    s = start(kind, dim, popsize)
    before = sphere(s.mean[None])
    assert s.ask().shape == (s.popsize, dim)
    walk_on(s, 60)
    assert s.mean.shape == (dim,)
    assert sphere(s.mean[None]) < before
    assert isinstance(s.sigma, float)
    assert s.sigma > 0
    assert s.generation == 60


@kinds
@pytest.mark.parametrize("device", ["cpu", *["cuda"] * torch.cuda.is_available()])
def test_a_search_lives_on_the_cpu_in_float64_whatever_it_is_given(kind, device):
    """A mean, candidates, losses of lower precision or another device: the search of the same numbers."""
    mean = torch.linspace(-1, 1, 6) / 3
    a = build(kind, mean=mean.to(device).requires_grad_(), sigma=0.3, seed=3)
    b = build(kind, mean=mean.double(), sigma=0.3, seed=3)
    for _ in range(8):
        asked = a.ask()
        assert torch.equal(asked, b.ask())
        x = asked.float()
        losses = sphere(x)
        a.tell(x.to(device).requires_grad_(), losses.to(device), gradient=2 * x.to(device))
        b.tell(x.double(), losses.double(), gradient=2 * x.double())
    assert torch.equal(a.mean, b.mean)
    numbers = [v for k, v in a.state_dict().items() if isinstance(v, torch.Tensor) and k != "generator"]
    assert {(v.dtype, v.device.type) for v in (asked, a.mean, *numbers)} == {(torch.float64, "cpu")}


@pytest.mark.parametrize("kind", [k for k in KINDS if k != "cosyne"])
@pytest.mark.parametrize("popsize", [2, 3])
def test_the_smallest_populations_work(kind, popsize):
    s = walk_on(start(kind, 2, popsize), 300)
    assert s.mean.isfinite().all()
    assert sphere(s.mean[None]) < 1


@kinds
def test_two_seeds_differ_and_one_seed_repeats_without_the_global_generator(kind):
    state = torch.random.get_rng_state()
    a, b = walk_on(start(kind), 5), walk_on(start(kind), 5)
    assert torch.equal(a.ask(), b.ask())
    other = build(kind, mean=torch.ones(6), sigma=0.3, seed=4)
    assert not torch.equal(a.ask(), other.ask())
    assert torch.equal(state, torch.random.get_rng_state())


@kinds
def test_callers_tensors_stay_as_they_are(kind):
    mean = torch.ones(6, dtype=torch.float64)
    s = build(kind, mean=mean, sigma=0.3)
    x = s.ask()
    losses = sphere(x)
    losses[1] = torch.nan
    kept, kept_losses = x.clone(), losses.clone()
    s.tell(x, losses, 2 * x)
    s.mean.zero_()
    s.ask().zero_()
    assert torch.equal(x, kept)
    assert torch.equal(losses.nan_to_num(9), kept_losses.nan_to_num(9))
    assert bool((mean == 1).all())
    twin = build(kind, mean=mean, sigma=0.3)
    twin.tell(twin.ask(), losses, 2 * x)
    assert torch.equal(s.mean, twin.mean)


@kinds
def test_state_resumes_bit_for_bit_between_ask_and_tell(kind):
    a = walk_on(start(kind), 7)
    x = a.ask()
    file = io.BytesIO()
    torch.save(a.state_dict(), file)
    file.seek(0)
    b = start(kind)
    b.load_state_dict(torch.load(file, weights_only=True))
    for _ in range(4):
        for s in (a, b):
            told(s, x)
        y = a.ask()
        x = b.ask()
        assert torch.equal(x, y)
    assert torch.equal(a.mean, b.mean)
    assert a.sigma == b.sigma
    assert a.generation == b.generation


@kinds
def test_a_state_brings_its_own_sigma_and_seed(kind):
    a = walk_on(start(kind), 7)
    b = build(kind, mean=torch.zeros(6), sigma=0.9, seed=4)
    b.load_state_dict(a.state_dict())
    for _ in range(10):
        x, y = a.ask(), b.ask()
        assert torch.equal(x, y)
        told(a, x)
        told(b, y)
        assert torch.equal(a.mean, b.mean)
        assert a.sigma == b.sigma


@kinds
def test_a_state_is_a_copy(kind):
    s = walk_on(start(kind), 3)
    state = s.state_dict()
    kept = {k: v.clone() for k, v in state.items() if isinstance(v, torch.Tensor)}
    walk_on(s, 3)
    assert all(torch.equal(state[k], v) for k, v in kept.items())
    twin = start(kind)
    twin.load_state_dict(state)
    walk_on(twin, 3)
    assert all(torch.equal(state[k], v) for k, v in kept.items())
    assert torch.equal(twin.mean, s.mean)


CHILD = """
import sys, torch
from coconut.strategy import build
saved = torch.load(sys.argv[1], weights_only=True)
for kind, (state, x) in saved.items():
    s = build(kind, mean=torch.zeros(6), sigma=0.9, seed=99)
    s.load_state_dict(state)
    s.tell(x, (x * x).sum(1), 2 * x)
    saved[kind] = (s.mean, s.ask())
torch.save(saved, sys.argv[2])
"""


def test_every_kind_resumes_in_a_new_process(tmp_path):
    alive = {kind: walk_on(start(kind), 4) for kind in KINDS}
    asked = {kind: s.ask() for kind, s in alive.items()}
    torch.save({k: (s.state_dict(), asked[k]) for k, s in alive.items()}, tmp_path / "in.pt")
    subprocess.run([sys.executable, "-c", CHILD, tmp_path / "in.pt", tmp_path / "out.pt"], check=True)
    for kind, (mean, x) in torch.load(tmp_path / "out.pt", weights_only=True).items():
        told(alive[kind], asked[kind])
        assert torch.equal(mean, alive[kind].mean), kind
        assert torch.equal(x, alive[kind].ask()), kind


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"kind": "xnes"}, "kind"),
        ({"dim": 7}, "dim"),
        ({"popsize": 99}, "popsize"),
        ({"std": None}, "std"),
        ({"std": torch.ones(6)}, "float64"),
        ({"mean": torch.zeros(5, dtype=torch.float64)}, "mean"),
        ({"generation": None}, "generation"),
        ({"sigma0": None}, "sigma0"),
        ({"generator": torch.zeros(3)}, "generator"),
    ],
)
def test_a_state_that_does_not_fit_is_refused_and_changes_nothing(change, word):
    s, other = start("snes"), walk_on(start("snes"), 3)
    with pytest.raises(InputError, match=word):
        s.load_state_dict({**other.state_dict(), **change})
    assert torch.equal(s.ask(), start("snes").ask())


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ({"kind": "pso"}, "snes, xnes, cmaes"),
        ({"popsize": 1}, "popsize"),
        ({"popsize": -3}, "popsize"),
        ({"popsize": 2.5}, "popsize"),
        ({"popsize": float("nan")}, "popsize"),
        ({"kind": "cosyne", "popsize": 3}, "at least 4"),
        ({"sigma": 0.0}, "sigma"),
        ({"sigma": -1.0}, "sigma"),
        ({"sigma": float("nan")}, "sigma"),
        ({"sigma": 2.0, "sigma_max": 1.0}, "sigma_max"),
        ({"sigma_min": 1.0, "sigma_max": 0.1}, "sigma_min"),
        ({"mean": torch.tensor([0.0, torch.nan])}, "mean"),
        ({"mean": torch.zeros(2, 2)}, "mean"),
        ({"mean": torch.zeros(2, dtype=torch.long)}, "mean"),
        ({"mean_rate": 0.0}, "mean_rate"),
        ({"kind": "cem", "rho": 0.0}, "rho"),
        ({"kind": "cem", "rho": 1.5}, "rho"),
        ({"step": 1.0}, "mirrored"),
    ],
)
def test_bad_arguments_are_one_clear_sentence(arguments, word):
    good = {"kind": "cmaes", "mean": torch.zeros(2), "sigma": 0.3}
    with pytest.raises(InputError, match=word):
        build(**{**good, **arguments})


@kinds
def test_tell_refuses_wrong_shapes(kind):
    s = start(kind)
    with pytest.raises(InputError, match="losses"):
        s.tell(s.ask(), torch.zeros(s.popsize + 1))
    with pytest.raises(InputError, match="candidates"):
        s.tell(s.ask()[:, :3], torch.zeros(s.popsize))


@kinds
def test_one_record_of_options_serves_every_kind(kind):
    record = EsConfig(kind=kind)
    s = build(mean=torch.zeros(4), seed=0, **vars(record) | {"popsize": record.candidates})
    assert s.kind == kind
    assert s.popsize == (1 if kind == "adam" else 16)
    assert s.sigma == pytest.approx(EsConfig().sigma)


@kinds
def test_the_settings_of_a_kind_are_the_options_of_its_constructor(kind):
    signatures = [inspect.signature(cls.__init__) for cls in KINDS[kind].__mro__ if "__init__" in vars(cls)]
    options_ = [p.name for s in signatures for p in s.parameters.values() if p.kind is p.KEYWORD_ONLY]
    assert sorted(options_) == sorted(options(kind))


@kinds
def test_sigma_keeps_to_its_floor_and_ceiling(kind):
    s = build(kind, mean=torch.ones(5), sigma=0.3, popsize=8, sigma_min=0.2, sigma_max=0.4)
    for f in (sphere, lambda x: x[:, 0], sphere):
        for _ in range(40):
            walk_on(s, 1, f)
            assert 0.2 * (1 - 1e-5) <= s.sigma <= 0.4 * (1 + 1e-5)


@gaussian
@pytest.mark.parametrize("popsize", [2, 7, 12])
def test_mirrored_candidates_come_in_pairs_around_the_mean(kind, popsize):
    s = walk_on(start(kind, 5, popsize, mirrored=True), 3)
    x, half = s.ask(), popsize // 2
    assert torch.allclose(x[:half] + x[popsize - half :], 2 * s.mean.expand(half, -1), atol=1e-12)


@gaussian
def test_mean_rate_scales_the_first_step(kind):
    full, slow = start(kind), start(kind, mean_rate=0.25)
    for s in (full, slow):
        walk_on(s, 1)
    ones = torch.ones(6, dtype=torch.float64)
    assert torch.allclose((slow.mean - ones) * 4, full.mean - ones, atol=1e-12)


@settings(max_examples=25, deadline=None)
@given(popsize=st.integers(1, 40), dim=st.integers(1, 24), block=st.integers(1, 40), seed=st.integers(0, 99))
def test_orthogonal_noise_keeps_lengths_and_turns_rows_to_right_angles(popsize, dim, block, seed):
    z = torch.randn(popsize, dim, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    q = orthogonalise(z, block)
    assert torch.allclose(q.norm(dim=1), z.norm(dim=1))
    for rows in q.split(min(block, dim)):
        gram = rows @ rows.T
        assert torch.allclose(gram, torch.diag(gram.diagonal()), atol=1e-9)
    assert torch.allclose(q[0], z[0])


def test_orthogonal_noise_is_standard_normal_candidate_by_candidate():
    draw = torch.Generator().manual_seed(0)
    blocks = [orthogonalise(torch.randn(4, 5, generator=draw), 5) for _ in range(3000)]
    for k in range(4):
        rows = torch.stack([b[k] for b in blocks])
        assert rows.mean(0).abs().max() < 0.08
        assert (rows.T.cov() - torch.eye(5)).abs().max() < 0.12
        assert ((rows < 0).float().mean(0) - 0.5).abs().max() < 0.04
