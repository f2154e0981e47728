"""ask and tell on devices that one should not wait for, acted out on the CPU."""

from __future__ import annotations

from typing import Any

import pytest
import scipy.linalg
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from coconut.strategy import Strategy, build
from coconut.strategy.xnes import conditioned, exponential
from tests.test_strategy import kinds, sphere, start, walk_on

# what reads a tensor's values on the host, or gives a tensor a shape that depends on them
WAITING = {
    "_local_scalar_dense", "item", "is_nonzero", "nonzero", "equal", "allclose", "masked_select", "_unique2",
    "_linalg_eigh", "linalg_eigh", "_linalg_svd", "linalg_svd", "linalg_matrix_exp", "_linalg_check_errors",
}  # fmt: skip


class NoWaiting(TorchDispatchMode):
    """Raises at every operation that would wait for a device."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        masks = args[1] if name in ("index", "index_put", "index_put_") else ()
        if name in WAITING or any(m is not None and m.dtype in (torch.bool, torch.uint8) for m in masks):
            raise AssertionError(f"{name} waits for the device")
        return func(*args, **(kwargs or {}))


def elsewhere(s: Strategy, monkeypatch: pytest.MonkeyPatch) -> Strategy:
    """`s` as if its tensors were on another device."""
    for module in ("paths", "cmaes", "sepcmaes"):
        monkeypatch.setattr(f"coconut.strategy.{module}.scalar", lambda value: value)
    s._on_cpu = False
    return s


@kinds
def test_the_path_of_other_devices_gives_the_same_search(kind, monkeypatch):
    """What runs without waiting for a device, run on the CPU."""
    a = elsewhere(start(kind), monkeypatch)
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


@kinds
@pytest.mark.parametrize("mirrored", [False, True])
def test_ask_and_tell_read_no_value_on_the_host(kind, mirrored, monkeypatch):
    """Apart from a factorisation that comes once in many generations."""
    s = elsewhere(start(kind, 20, 12, mirrored=mirrored, sigma_min=1e-3, sigma_max=3.0), monkeypatch)
    s.lazy_gap = 1000
    ties, bad = torch.arange(12) // 3, torch.full((12,), torch.nan)
    for method in ("tolist", "numpy", "cpu", "__bool__", "__float__", "__int__", "__index__"):
        monkeypatch.setattr(torch.Tensor, method, lambda *_: pytest.fail("a tensor was read on the host"))
    with NoWaiting():
        for losses in (None, ties, None, bad, ties.double(), None):
            x = s.ask()
            s.tell(x, sphere(x) if losses is None else losses)
        s.mean  # noqa: B018
    monkeypatch.undo()
    assert s.generation == 6
    assert s.mean.isfinite().all()
    assert s.ask().isfinite().all()
    assert not torch.equal(s.ask(), start(kind, 20, 12, mirrored=mirrored).ask())


@pytest.mark.parametrize("read", [float, bool, lambda v: v.item(), lambda v: v.nonzero(), lambda v: v[v > 0]])
def test_the_watch_for_waiting_sees_it(read):
    with NoWaiting(), pytest.raises(AssertionError, match="waits"):
        read(torch.ones(1))


@pytest.mark.parametrize("norm", [0.0, 1e-3, 0.5, 2.0])
def test_the_exponential_that_never_waits(norm):
    a = torch.randn(9, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    a = (a + a.T) * norm / (a + a.T).norm()
    assert torch.allclose(exponential(a), torch.from_numpy(scipy.linalg.expm(a.numpy())), rtol=1e-11, atol=1e-12)


def test_a_root_of_a_covariance_is_touched_only_where_its_dtype_cannot_invert_it():
    q = torch.linalg.qr(torch.randn(4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0)))[0]
    fine = q * torch.tensor([1e3, 1.0, 1e-1, 1e-2], dtype=torch.float64) @ q.T
    assert torch.equal(conditioned(fine), fine)
    broken = q * torch.tensor([1e12, 1e3, 1e-3, 1e-12], dtype=torch.float64) @ q.T
    repaired = torch.linalg.svdvals(conditioned(broken))
    assert float(repaired.log().mean()) == pytest.approx(0, abs=0.01)
    assert float(repaired[0] / repaired[-1]) == pytest.approx(1 / (64 * 2.0**-52), rel=0.05)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@kinds
def test_ask_and_tell_do_not_wait_for_a_cuda_device(kind):
    s = build(kind, mean=torch.ones(40, device="cuda"), sigma=0.3, popsize=16)
    walk_on(s, 2)
    s.lazy_gap = 1000
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        walk_on(s, 5)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert s.mean.device.type == "cuda"
    assert s.mean.isfinite().all()
