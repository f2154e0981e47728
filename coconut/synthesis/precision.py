"""Which arithmetic is used where.

exact: the model's own dtype everywhere, no TF32.
fast: bfloat16 in the generator's convolutions, where the device multiplies it faster than float32,
and TF32 in the decoder's; residual sums, norms, sines, phases, transforms and all of prosody stay
float32. On CUDA the elementwise layers of the generator are compiled into single kernels.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from coconut.config import InputError

PRECISIONS = ("exact", "fast")


@dataclass(frozen=True)
class Precision:
    """What `settle` decided. `name` is what is really used: exact where fast has nothing to offer."""

    name: str
    convolutions: torch.dtype | None = None  # of the generator; None: the model's own
    compiled: bool = False


def settle(name: str, device: torch.device, dtype: torch.dtype) -> Precision:
    """Raises InputError for an unknown name. Warns where fast is asked for and exact is used."""
    if name not in PRECISIONS:
        raise InputError(f"Unknown precision {name!r}: choose one of {', '.join(PRECISIONS)}.")
    if name == "exact":
        return Precision("exact")
    if dtype == torch.float32 and _multiplies_bfloat16(device):
        return Precision("fast", torch.bfloat16, compiled=device.type == "cuda")
    warnings.warn(f"precision fast gains nothing on {device} in {dtype}: exact is used.", stacklevel=3)
    return Precision("exact")


def _multiplies_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type == "cpu" and hasattr(torch.cpu, "get_capabilities"):
        has = torch.cpu.get_capabilities()
        return bool(has.get("avx512_bf16") or has.get("amx_bf16"))
    return False


class Fused:
    """A function of tensors, compiled into few kernels where that works; if not, it says so and runs plainly."""

    def __init__(self, function: Callable[..., Tensor], compiled: bool) -> None:
        self.plain = function
        self.function = torch.compile(function, dynamic=True) if compiled else function

    def __call__(self, *args: Any) -> Tensor:
        if self.function is self.plain:
            return self.plain(*args)
        try:
            return self.function(*args)
        except torch.OutOfMemoryError:
            raise
        except Exception as error:
            warnings.warn(
                f"torch.compile is of no use here ({type(error).__name__}): running uncompiled.", stacklevel=2
            )
            self.function = self.plain
            return self.plain(*args)


@contextlib.contextmanager
def tensor_cores(device: torch.device, allowed: bool) -> Iterator[None]:
    """TF32 allowed or not, whatever the caller has set; deterministic kernels. Only CUDA has either."""
    if device.type != "cuda":
        yield
        return
    matmul = torch.backends.cuda.matmul
    before = matmul.allow_tf32
    matmul.allow_tf32 = allowed
    try:
        with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=allowed):
            yield
    finally:
        matmul.allow_tf32 = before
