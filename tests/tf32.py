"""TF32 on a CPU: operands of convolutions and matrix products rounded to its 10 bits of mantissa, sums in float32.

    with pretend.device(), tf32.imitated():
        ...

Whether torch's settings of the moment would let a GPU do so is asked at each operation, so that what a policy
leaves in float32 stays there. Tensor cores round to the nearest, or drop what is too much (`truncated`), as the
library has it; the order of their sums is not imitated.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

DROPPED = 13  # bits of float32's 23
aten = torch.ops.aten


def _convolving() -> bool:
    return torch.backends.cudnn.allow_tf32


def _multiplying() -> bool:
    return torch.backends.cuda.matmul.allow_tf32


OPERANDS: dict[Any, tuple[int, int, Callable[[], bool]]] = {  # where the two are among the arguments, and who allows it
    aten.convolution: (0, 1, _convolving),
    aten.mm: (0, 1, _multiplying),
    aten.bmm: (0, 1, _multiplying),
    aten.addmm: (1, 2, _multiplying),
    aten.baddbmm: (1, 2, _multiplying),
}


def rounded(x: Tensor, truncated: bool = False) -> Tensor:
    """x with 10 bits of mantissa; halves away from 0."""
    bits = x.contiguous().view(torch.int32)
    half = 0 if truncated else 1 << (DROPPED - 1)
    return ((bits + half) & -(1 << DROPPED)).view(torch.float32).view_as(x)


class Imitation(TorchDispatchMode):
    """`count`: operations that were done so; `plain`: those that were not allowed to."""

    def __init__(self, truncated: bool = False) -> None:
        super().__init__()
        self.truncated, self.count, self.plain = truncated, 0, 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        first, second, allowed = OPERANDS.get(func.overloadpacket, (0, 0, None))
        if allowed is not None and args[first].dtype == torch.float32:
            if allowed():
                self.count += 1
                args = list(args)
                args[first], args[second] = (rounded(args[i], self.truncated) for i in (first, second))
            else:
                self.plain += 1
        return func(*args, **(kwargs or {}))


@contextlib.contextmanager
def imitated(truncated: bool = False) -> Iterator[Imitation]:
    with Imitation(truncated) as imitation:
        yield imitation
