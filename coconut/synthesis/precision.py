"""Which arithmetic is used where.

exact: the model's own dtype everywhere, no TF32.
tf32: the same, but tensor cores multiply what the decoder's and the generator's convolutions and style
projections multiply: operands rounded to 10 bits of mantissa, sums in float32. CUDA only.
fast: tf32, and bfloat16 in the generator's convolutions, where the device multiplies it faster than
float32.
auto: tf32 where there is one, exact elsewhere; `experiments/log/memory.md` says why.

Residual sums, norms, sines, phases, transforms and all of prosody stay float32 under each of them, so that
durations and F0 are those of exact. What is compared (losses, their references, scores) is computed as in
exact: references are shared by fits of all, and a score must not depend on how it was measured.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch

from coconut.config import InputError

EXACT, TF32, FAST, AUTO = "exact", "tf32", "fast", "auto"
PRECISIONS = (EXACT, TF32, FAST)


@dataclass(frozen=True)
class Precision:
    """What `settle` decided. `name` is what is really used: exact where another has nothing to offer."""

    name: str
    convolutions: torch.dtype | None = None  # of the generator; None: the model's own


def settle(name: str, device: torch.device, dtype: torch.dtype) -> Precision:
    """Raises InputError for an unknown name. Warns where another than exact is asked for and exact is used."""
    if name not in (*PRECISIONS, AUTO):
        raise InputError(f"Unknown precision {name!r}: choose one of {', '.join(PRECISIONS)}, {AUTO}.")
    if name == FAST and dtype == torch.float32 and _multiplies_bfloat16(device):
        return Precision(FAST, torch.bfloat16)
    if name in (TF32, AUTO) and dtype == torch.float32 and _has_tf32(device):
        return Precision(TF32)
    if name in (TF32, FAST):
        warnings.warn(f"precision {name} gains nothing on {device} in {dtype}: exact is used.", stacklevel=3)
    return Precision(EXACT)


def available(device: torch.device | str) -> list[str]:
    """Which of PRECISIONS a device has, for a model in float32."""
    device = torch.device(device)
    has = {TF32: _has_tf32, FAST: _multiplies_bfloat16}
    return [name for name in PRECISIONS if name == EXACT or has[name](device)]


def _has_tf32(device: torch.device) -> bool:
    return device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)


def _multiplies_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return _has_tf32(device)  # both came with the same generation
    if device.type == "cpu" and hasattr(torch.cpu, "get_capabilities"):
        has = torch.cpu.get_capabilities()
        return bool(has.get("avx512_bf16") or has.get("amx_bf16"))
    return False


@contextlib.contextmanager
def tensor_cores(device: torch.device, allowed: bool) -> Iterator[None]:
    """TF32 allowed or not, whatever the caller has set; deterministic kernels. Only CUDA has either.

    torch has two ways to say so, `allow_tf32` and, from 2.9 on, `fp32_precision`, and refuses to read the one
    where the other disagrees. Within, both say the same; afterwards both are as they were.
    """
    if device.type != "cuda":
        yield
        return
    before = _Tf32.read()
    try:
        _Tf32.uniform(allowed).write()
        with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=allowed):
            _Tf32.uniform(allowed).write()  # the flags reset the newer settings to their defaults
            yield
    finally:
        before.write()


@dataclass(frozen=True)
class _Tf32:
    """Settings of TF32: of the older interface for cuBLAS and cuDNN, and of the newer by what `_newer` gives."""

    matmul: str
    cudnn: bool
    newer: tuple[str, ...]

    @classmethod
    def uniform(cls, allowed: bool) -> _Tf32:
        return cls("high" if allowed else "highest", allowed, ("tf32" if allowed else "ieee",) * len(_newer()))

    @classmethod
    def read(cls) -> _Tf32:
        """What is set. The older settings can be read only where the newer ones do not contradict them."""
        newer = tuple(setting.fp32_precision for setting in _newer())
        for setting in _newer()[:3]:
            setting.fp32_precision = "ieee"
        matmul = _said(torch.get_float32_matmul_precision, "highest")
        for setting in _newer()[:3]:
            setting.fp32_precision = "tf32"
        return cls(matmul, _said(lambda: torch.backends.cudnn.allow_tf32, False), newer)

    def write(self) -> None:
        torch.set_float32_matmul_precision(self.matmul)
        torch.backends.cudnn.allow_tf32 = self.cudnn
        for setting, value in zip(_newer(), self.newer, strict=True):
            setting.fp32_precision = value


def _newer() -> tuple[Any, ...]:
    """What carries an `fp32_precision`, where torch has it: cuBLAS, cuDNN, and what the older one sets beside them."""
    backends: Any = torch.backends
    if not hasattr(backends.cudnn, "conv"):
        return ()
    return backends.cuda.matmul, backends.cudnn.conv, backends.cudnn.rnn, backends.mkldnn.matmul


def _said(read: Callable[[], Any], otherwise: Any) -> Any:
    """What the older interface answers, `otherwise` where it refuses: then the newer one holds, and is restored."""
    try:
        return read()
    except RuntimeError:
        return otherwise
