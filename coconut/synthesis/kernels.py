"""Operations that Triton computes in one pass on CUDA, and plain torch computes everywhere else.

    NAME = Kernel("name(Tensor x) -> Tensor", plain, example)
    NAME(x)                                   # triton_kernels.name(x) on CUDA, plain(x) elsewhere

A kernel is an operation of torch's own dispatcher, so that profilers see it by its name. It is used where Triton is
installed (it comes with torch's CUDA wheels), on float32 and bfloat16, off the tape; and only once it has agreed with
`plain` on an example, on the very device. Where it is not used on CUDA, that is said once.
"""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Callable, Sequence
from functools import cache, reduce
from operator import add
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from coconut.synthesis import ragged
from coconut.synthesis.memory import ran_out
from coconut.synthesis.ragged import Lengths

LIBRARY = torch.library.Library("coconut", "FRAGMENT")
SERVED = (torch.float32, torch.bfloat16)
KERNELS: dict[str, Kernel] = {}
SAME = 1e-5  # of the largest number: so far a kernel and torch may differ


class Kernel:
    """`schema`: its name and types as torch writes them. `plain`: the same in torch. `example(device)`: arguments to
    compare the two on. `launches`: of how many kernels it consists."""

    def __init__(
        self, schema: str, plain: Callable[..., Any], example: Callable[[torch.device], tuple], launches: int = 1
    ) -> None:
        self.name, self.plain, self.example, self.launches = schema.split("(")[0], plain, example, launches
        LIBRARY.define(schema)
        LIBRARY.impl(self.name, plain, "CompositeExplicitAutograd")
        LIBRARY.impl(self.name, self.fused, "CUDA")
        self.operation = getattr(torch.ops.coconut, self.name).default
        self.refused: dict[torch.device, str] = {}
        self.agreed: set[torch.device] = set()
        KERNELS[self.name] = self

    def __call__(self, *args: Any) -> Any:
        return self.operation(*args) if self.serves(args) else self.plain(*args)

    def fused(self, *args: Any) -> Any:
        """What Triton makes of it."""
        from coconut.synthesis import triton_kernels

        return getattr(triton_kernels, self.name)(*args)

    def serves(self, args: Sequence[Any]) -> bool:
        """Whether the kernel, not `plain`, is to compute it."""
        given = [x for arg in args for x in (arg if isinstance(arg, list) else [arg]) if isinstance(x, Tensor)]
        device, dtype = given[0].device, given[0].dtype
        if device.type != "cuda" or dtype not in SERVED or (torch.is_grad_enabled() and _taped(given)):
            return False
        return device in self.agreed or (device not in self.refused and self.agrees(device))

    def agrees(self, device: torch.device) -> bool:
        """Whether the kernel and `plain` agree on the example. Warns where not; asked once for each device."""
        try:
            reason = self._apart(device) if installed() else "Triton is not installed"
        except Exception as error:
            if ran_out(error):
                raise
            reason = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        if not reason:
            self.agreed.add(device)
            return True
        if reason not in {found for kernel in KERNELS.values() for found in kernel.refused.values()}:
            warnings.warn(f"{self.name} is computed step by step on {device}, which is slower: {reason}.", stacklevel=4)
        self.refused[device] = reason
        return False

    def _apart(self, device: torch.device) -> str:
        args = self.example(device)
        for found, expected in zip(_flat(self.operation(*args)), _flat(self.plain(*args)), strict=True):
            size = expected.nan_to_num(posinf=0.0).abs().max().clamp_min(1.0)
            if not torch.allclose(found, expected, rtol=0.0, atol=SAME * float(size)):
                return "its kernel gives other numbers than torch"
        return ""


def _flat(found: Any) -> Sequence[Tensor]:
    return [found] if isinstance(found, Tensor) else found


def _taped(tensors: Sequence[Tensor]) -> bool:
    return any(x.requires_grad for x in tensors)


@cache
def installed() -> bool:
    """Whether Triton can be imported."""
    return importlib.util.find_spec("triton") is not None


def launches(operation: Any) -> int:
    """How many kernels an operation of the dispatcher takes, by its own account: one, if it is none of these."""
    kernel = KERNELS.get(operation.name().removeprefix("coconut::"))
    return 1 if kernel is None else kernel.launches


def state(device: torch.device) -> str:
    """How elementwise layers and alignments are computed on a CUDA device, tried there and then, in a few words."""
    for kernel in KERNELS.values():
        kernel.agrees(device)
    return used(device)


def used(device: torch.device) -> str:
    """The same by what was tried so far; "" where nothing was, as on a CPU."""
    refused = {name: kernel.refused[device] for name, kernel in KERNELS.items() if device in kernel.refused}
    if refused:
        return f"no fused {', '.join(refused)}: {'; '.join(sorted(set(refused.values())))}"
    return "fused kernels" if any(device in kernel.agreed for kernel in KERNELS.values()) else ""


# Of features [B, T, C]. `steps` [B]: how many of T are valid, None where all are. Moments are mean and biased
# variance over these, [B, 2, C], in float32 at least.


def ends(lengths: Lengths) -> Tensor | None:
    """The `steps` of a batch."""
    return None if lengths.equal else lengths.tensor


def _moments(x: Tensor, steps: Tensor | None) -> Tensor:
    x = x.float() if x.dtype == torch.bfloat16 else x
    if steps is None:
        var, mean = ragged.var_mean(x)
        return torch.cat([mean, var], 1)
    beyond, count = _beyond(x, steps), steps[:, None, None]
    mean = x.masked_fill(beyond, 0.0).sum(1, keepdim=True) / count
    var = (x - mean).masked_fill(beyond, 0.0).square().sum(1, keepdim=True) / count
    return torch.cat([mean, var], 1)


def _beyond(x: Tensor, steps: Tensor) -> Tensor:
    """[B, T, 1] true past an item's end."""
    return (torch.arange(x.shape[1], device=x.device) >= steps[:, None])[..., None]


def _add(terms: Sequence[Tensor], bias: Tensor | None, steps: Tensor | None) -> tuple[Tensor, Tensor]:
    x = _sum(terms, bias)
    return x, _moments(x, steps)


def _sum(terms: Sequence[Tensor], bias: Tensor | None) -> Tensor:
    x = reduce(add, terms)
    return x if bias is None else x + bias


def _activate(
    x: Tensor,
    moments: Tensor,
    scale: Tensor,
    shift: Tensor,
    eps: float,
    slope: float | None,
    steps: Tensor | None,
    dtype: torch.dtype,
) -> Tensor:
    mean, var = moments[:, :1], moments[:, 1:]
    v = (x - mean) * (scale * (var + eps).rsqrt()) + shift
    v = v + v.sin().square() if slope is None else F.leaky_relu(v, slope)
    return (v if steps is None else v.masked_fill(_beyond(v, steps), 0.0)).to(dtype)


def _blend(terms: Sequence[Tensor], bias: Tensor | None, factor: float, slope: float, steps: Tensor | None) -> Tensor:
    x = F.leaky_relu(_sum(terms, bias) * factor, slope)
    return x if steps is None else x.masked_fill(_beyond(x, steps), 0.0)


def _features(device: torch.device, count: int) -> list[Tensor]:
    """Numbers [2, 300, 5] that no generator has to draw."""
    line = torch.arange(3000.0 * count, device=device).view(count, 2, 300, 5)
    return list((line * 0.7).sin() + 3)


def _two(device: torch.device) -> Tensor:
    return torch.arange(2, device=device) * 43 + 257  # [257, 300] steps


def _styled(device: torch.device) -> tuple:
    (x,) = _features(device, 1)
    columns = x[:, :1] - 2
    return x, x[:, :2].contiguous(), columns, columns, 1e-5, None, _two(device), torch.float32


MOMENTS = Kernel(
    "moments(Tensor x, Tensor? steps) -> Tensor",
    _moments,
    lambda device: (*_features(device, 1), _two(device)),
    launches=2,
)
ADD = Kernel(  # up to three terms and a bias [C]: their sum, and its moments
    "add(Tensor[] terms, Tensor? bias, Tensor? steps) -> (Tensor, Tensor)",
    _add,
    lambda device: (_features(device, 3), torch.arange(5.0, device=device), None),
    launches=2,
)
ACTIVATE = Kernel(  # AdaIN, then leaky ReLU, or snake where there is no slope; 0 past the end
    "activate(Tensor x, Tensor moments, Tensor scale, Tensor shift, float eps, float? slope, Tensor? steps, "
    "ScalarType dtype) -> Tensor",
    _activate,
    _styled,
)
BLEND = Kernel(  # leaky ReLU of factor times the sum of up to three terms and a bias [C]; 0 past the end
    "blend(Tensor[] terms, Tensor? bias, float factor, float slope, Tensor? steps) -> Tensor",
    _blend,
    lambda device: (_features(device, 3), torch.arange(5.0, device=device) - 9, 0.5, 0.1, _two(device)),
)
