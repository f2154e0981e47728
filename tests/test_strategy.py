"""The contract of every strategy: shapes, robustness, options, resumption."""

from __future__ import annotations

import io
import subprocess
import sys
import warnings

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from coconut.config import EsConfig, InputError
from coconut.strategy import KINDS, Strategy, build, options
from coconut.strategy.gaussian import orthogonalise

GAUSSIAN = ["snes", "xnes", "cmaes", "sepcmaes", "cem"]
kinds = pytest.mark.parametrize("kind", list(KINDS))
gaussian = pytest.mark.parametrize("kind", GAUSSIAN)


def sphere(x: torch.Tensor) -> torch.Tensor:
    return (x * x).sum(1)


def start(kind: str, dim: int = 6, popsize: int | None = None, dtype=torch.float64, **more) -> Strategy:
    return build(kind, mean=torch.ones(dim, dtype=dtype), sigma=0.3, popsize=popsize, seed=3, **more)


def walk_on(s: Strategy, generations: int, f=sphere) -> Strategy:
    for _ in range(generations):
        x = s.ask()
        s.tell(x, f(x))
    return s


@kinds
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("dim", "popsize"), [(1, 4), (1, 5), (7, None), (20, 33), (54, 16)])
def test_ask_and_tell_make_progress_in_the_dtype_of_the_mean(kind, dtype, dim, popsize):
    s = start(kind, dim, popsize, dtype)
    before = sphere(s.mean[None])
    x = s.ask()
    assert x.shape == (s.popsize, dim)
    assert x.dtype == dtype
    walk_on(s, 60)
    assert s.mean.shape == (dim,)
    assert s.mean.dtype == dtype
    assert sphere(s.mean[None]) < before
    assert isinstance(s.sigma, float)
    assert s.sigma > 0
    assert s.generation == 60


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
    other = build(kind, mean=torch.ones(6, dtype=torch.float64), sigma=0.3, seed=4)
    assert not torch.equal(a.ask(), other.ask())
    assert torch.equal(state, torch.random.get_rng_state())


@kinds
def test_callers_tensors_stay_as_they_are(kind):
    mean, scale = torch.ones(6), torch.full((6,), 2.0)
    s = build(kind, mean=mean, sigma=0.3, scale=scale)
    x = s.ask()
    losses = sphere(x)
    losses[1] = torch.nan
    kept, kept_losses = x.clone(), losses.clone()
    s.tell(x, losses)
    s.mean.zero_()
    s.ask().zero_()
    assert torch.equal(x, kept)
    assert torch.equal(losses.nan_to_num(9), kept_losses.nan_to_num(9))
    assert torch.equal(mean, torch.ones(6))
    assert torch.equal(scale, torch.full((6,), 2.0))
    twin = build(kind, mean=mean, sigma=0.3, scale=scale)
    twin.tell(twin.ask(), losses)
    assert torch.equal(s.mean, twin.mean)


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
            s.tell(x, sphere(x))
        y = a.ask()
        x = b.ask()
        assert torch.equal(x, y)
    assert torch.equal(a.mean, b.mean)
    assert a.sigma == b.sigma
    assert a.generation == b.generation


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
    s = build(kind, mean=torch.zeros(6, dtype=torch.float64), sigma=0.3, seed=99)
    s.load_state_dict(state)
    s.tell(x, (x * x).sum(1))
    saved[kind] = (s.mean, s.ask())
torch.save(saved, sys.argv[2])
"""


def test_every_kind_resumes_in_a_new_process(tmp_path):
    alive = {kind: walk_on(start(kind), 4) for kind in KINDS}
    asked = {kind: s.ask() for kind, s in alive.items()}
    torch.save({k: (s.state_dict(), asked[k]) for k, s in alive.items()}, tmp_path / "in.pt")
    subprocess.run([sys.executable, "-c", CHILD, tmp_path / "in.pt", tmp_path / "out.pt"], check=True)
    for kind, (mean, x) in torch.load(tmp_path / "out.pt", weights_only=True).items():
        alive[kind].tell(asked[kind], sphere(asked[kind]))
        assert torch.equal(mean, alive[kind].mean), kind
        assert torch.equal(x, alive[kind].ask()), kind


@pytest.mark.parametrize(
    ("change", "word"),
    [({"kind": "xnes"}, "kind"), ({"dim": 7}, "dim"), ({"popsize": 99}, "popsize"), ({"std": None}, "std")],
)
def test_a_state_that_does_not_fit_is_refused(change, word):
    with pytest.raises(InputError, match=word):
        start("snes").load_state_dict({**start("snes").state_dict(), **change})
    with pytest.raises(InputError, match="float64"):
        start("snes").load_state_dict(start("snes", dtype=torch.float32).state_dict())


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
        ({"scale": torch.tensor([1.0, 0.0])}, "scale"),
        ({"scale": torch.ones(3)}, "scale"),
        ({"covariance": torch.tensor([[1.0, 2.0], [2.0, 1.0]])}, "positive definite"),
        ({"covariance": torch.ones(3, 3)}, "covariance"),
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
    given_ = {f: getattr(EsConfig(), f) for f in EsConfig.__dataclass_fields__}
    assert given_.pop("kind")
    assert set(options(kind)) <= set(options("cem"))
    s = build(kind, mean=torch.zeros(4), seed=0, **given_)
    assert s.popsize == EsConfig().popsize
    assert s.sigma == pytest.approx(EsConfig().sigma)


@kinds
def test_sigma_keeps_to_its_floor_and_ceiling(kind):
    s = build(kind, mean=torch.ones(5), sigma=0.3, popsize=8, sigma_min=0.2, sigma_max=0.4)
    for f in (sphere, lambda x: x[:, 0], sphere):
        for _ in range(40):
            walk_on(s, 1, f)
            assert 0.2 * (1 - 1e-5) <= s.sigma <= 0.4 * (1 + 1e-5)


@kinds
def test_scale_searches_as_if_coordinates_were_divided_by_it(kind):
    scale = torch.tensor([0.25, 1.0, 4.0, 2.0], dtype=torch.float64)
    mean = torch.tensor([1.0, -1.0, 0.5, 2.0], dtype=torch.float64)
    plain = walk_on(build(kind, mean=mean, sigma=0.5, popsize=8), 25)
    scaled = build(kind, mean=mean * scale, sigma=0.5, popsize=8, scale=scale)
    walk_on(scaled, 25, lambda x: sphere(x / scale))
    # which of the rotations of a full covariance is drawn from may differ
    if kind not in ("cmaes", "xnes"):
        assert torch.allclose(scaled.mean / scale, plain.mean, atol=1e-9)
        assert scaled.sigma == pytest.approx(plain.sigma, rel=1e-6)
    assert sphere((scaled.mean / scale)[None]) < sphere(mean[None]) / 2
    assert build(kind, mean=mean, sigma=0.5, scale=scale).sigma == pytest.approx(0.5)


@gaussian
def test_warm_start_draws_from_the_covariance_given(kind):
    root = torch.tensor([[1.0, 0.0, 0.0], [0.8, 0.6, 0.0], [0.0, 0.0, 3.0]], dtype=torch.float64)
    covariance = root @ root.T
    s = build(kind, mean=torch.zeros(3, dtype=torch.float64), sigma=0.5, popsize=20_000, covariance=covariance)
    drawn = s.ask().T.cov() / 0.25
    expected = covariance if kind in ("cmaes", "xnes") else torch.diag(covariance.diagonal())
    assert torch.allclose(drawn, expected, atol=0.2)
    diagonal = build(kind, mean=torch.zeros(3), sigma=0.5, covariance=[1.0, 4.0, 9.0])
    assert diagonal.sigma == pytest.approx(0.5 * 6 ** (1 / 3), rel=1e-5)


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


@kinds
def test_the_path_of_other_devices_gives_the_same_search(kind, monkeypatch):
    """What runs without waiting for a device, run on the CPU."""
    monkeypatch.setattr("coconut.strategy.paths.scalar", lambda value: value)
    monkeypatch.setattr("coconut.strategy.cmaes.scalar", lambda value: value)
    monkeypatch.setattr("coconut.strategy.sepcmaes.scalar", lambda value: value)
    a = start(kind)
    a._on_cpu = False
    for turn in range(12):
        x = a.ask()
        losses = sphere(x)
        losses[0] = torch.nan if turn == 5 else losses[0]
        a.tell(x, losses)
    a.tell(a.ask(), torch.zeros(a.popsize))
    monkeypatch.undo()
    b = start(kind)
    for turn in range(12):
        x = b.ask()
        losses = sphere(x)
        losses[0] = torch.nan if turn == 5 else losses[0]
        b.tell(x, losses)
    b.tell(b.ask(), torch.zeros(b.popsize))
    assert torch.allclose(a.mean, b.mean, rtol=1e-9)
    assert a.sigma == pytest.approx(b.sigma, rel=1e-9)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@kinds
def test_ask_and_tell_do_not_wait_for_a_cuda_device(kind):
    s = build(kind, mean=torch.ones(40, device="cuda"), sigma=0.3, popsize=16)
    walk_on(s, 2)
    if kind == "cmaes":
        s.lazy_gap = 1000
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("default" if kind == "xnes" else "error")
    try:
        walk_on(s, 5)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert s.mean.device.type == "cuda"
    assert s.mean.isfinite().all()
