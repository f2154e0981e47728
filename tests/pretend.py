"""A pretend CUDA device: tensors that say `cuda:0`, live on the CPU, and refuse to mix with those that do not.

    with pretend.device() as cuda:
        x = torch.zeros(3, device="cuda")       # a Pretend: its memory is the CPU's, so numbers are the CPU's
        x + torch.ones(3)                       # raises Mixed, as a GPU would
        x.sum().item()                          # counted: the host has waited for the device
    cuda.waits, cuda.launches                   # {place in the code: times} each

What the C++ of torch does below one call of Python is the CPU's business; whatever Python sees is judged as
on a GPU: tensors of another device (but scalars of the CPU, and indices, which torch moves itself), generators of
the CPU, `.numpy()`, pickling. A wait is what makes the host stop until the queue of kernels is empty: a value
read, a mask turned into indices, a copy to or from memory that is not pinned or not asked to be non-blocking.
A launch is an operation of ATen that computes; a recurrence counts once, as in cuDNN, and a fused kernel, computed
here by what stands for it, as often as it is launched. In a backward pass, which runs in C++, gradients carry no
device: there nothing is refused.
"""

from __future__ import annotations

import contextlib
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from coconut.synthesis.kernels import Kernel, launches

CUDA, CPU = torch.device("cuda", 0), torch.device("cpu")
ROOT = str(Path(__file__).resolve().parents[1])

aten = torch.ops.aten
READS = (aten._local_scalar_dense.default, aten.equal.default, aten.nonzero.default, aten.masked_select.default,
         aten._unique2.default, aten.bincount.default, aten.repeat_interleave.Tensor,
         aten._linalg_svd.default, aten._linalg_eigh.default, aten.linalg_qr.default)  # fmt: skip
INDEXING = (aten.index.Tensor, aten.index_put_.default, aten.index_put.default, aten._index_put_impl_.default)
FREE = {"empty", "empty_like", "empty_strided", "new_empty", "detach", "_unsafe_view", "_local_scalar_dense",
        "lift_fresh", "resize_", "set_", "is_same_size", "_reshape_alias", "alias", "equal"}  # fmt: skip
MOVES = ("to", "cuda", "cpu", "as_tensor", "asarray")
LISTS = ("tensor", "new_tensor", "as_tensor", "asarray")
RECURRENT = ("lstm", "gru")
WITHIN = ("cat", "concat", "stack", "hstack", "vstack")  # where not even scalars of another device are taken
ATTRIBUTES = {"device": CUDA, "is_cuda": True, "is_cpu": False}


class Mixed(RuntimeError):
    """What a GPU would have refused."""


class Pretend(Tensor):
    """A tensor of the pretend device. The class is the tag; what it means is up to `Device`."""

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]


class Generator:
    """A stand-in of torch.Generator(device="cuda"), for code that makes one; nothing of ours does."""


class Device(TorchFunctionMode):
    """While entered, calls of torch are judged. `waits`, `launches` {place: times}; `moved`: bytes read and written."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: Counter[str] = Counter()
        self.launches: Counter[str] = Counter()
        self.moved = 0
        self.free, self.total = 70 << 30, 80 << 30
        self.allocated = self.reserved = 0
        self.fraction = 1.0
        self._meter = _Meter(self)

    def forget(self) -> None:
        """Count anew."""
        self.waits.clear()
        self.launches.clear()
        self.moved = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        name = getattr(func, "__name__", "")
        if name == "__get__":
            return self._attribute(func, args, kwargs)
        here = [x for x in _tensors((args, kwargs)) if isinstance(x, Pretend)]
        if name == "_has_compatible_shallow_copy_type":  # by which a module decides to put its parameters anew
            return isinstance(args[0], Pretend) == isinstance(args[1], Pretend)
        if name == "pin_memory":
            return _pinned(args[0])
        if name == "backward" or "autograd" in getattr(func, "__module__", ""):
            return self._differentiate(func, args, kwargs)
        target = self._target(name, args, kwargs)
        if (name in MOVES and target is not None) or name == "copy_":
            return self._move(func, name, args, kwargs, target)
        if target is None and not here:
            return func(*args, **kwargs)
        if target == CPU and not here:
            return func(*args, **kwargs)
        if name in LISTS and target == CUDA:
            self._wait(f"{name} from the host")
        self._judge(name, args, kwargs, here)
        if name == "tolist":
            self._wait("tolist")
            return func(*args, **kwargs)
        if name == "__deepcopy__":
            return _copied(args[0], args[1])
        if "device" in kwargs:
            kwargs["device"] = CPU
        return self._run(func, name, args, kwargs, target or CUDA)

    def _attribute(self, func: Any, args: Any, kwargs: Any) -> Any:
        name = func.__self__.__name__
        if isinstance(args[0], Pretend):
            return ATTRIBUTES[name] if name in ATTRIBUTES else _tagged(func(*args, **kwargs))
        return func(*args, **kwargs)

    def _target(self, name: str, args: Any, kwargs: dict[str, Any]) -> torch.device | None:
        """The device that a call names, None where it leaves it to its arguments."""
        if name in ("cuda", "cpu"):
            return CUDA if name == "cuda" else CPU
        named = kwargs.get("device")
        if name == "to" and named is None and len(args) > 1:
            if isinstance(args[1], Tensor):
                return CUDA if isinstance(args[1], Pretend) else CPU
            named = args[1] if isinstance(args[1], str | torch.device) else kwargs.get("other")
        if named is None:
            return None
        return CUDA if torch.device(named).type == "cuda" else CPU

    def _move(self, func: Any, name: str, args: Any, kwargs: Any, target: torch.device | None) -> Any:
        if name == "copy_":
            source, target = args[1], CUDA if isinstance(args[0], Pretend) else CPU
        else:
            source = args[0]
        if not isinstance(source, Tensor):
            if target == CUDA:
                self._wait(f"{name} from the host")
            made = func(*args, **{**kwargs, "device": CPU})
            return _tagged(made) if target == CUDA else made
        origin = CUDA if isinstance(source, Pretend) else CPU
        if origin != target:
            waits = not (_flag(name, args, kwargs) and (origin == CUDA or getattr(source, "pinned", False)))
            if origin == CUDA or waits:
                self._wait(f"{name} to the {'host' if target == CPU else 'device'}")
        if name == "copy_":
            with self._meter.on(origin == target == CUDA):
                return func(*args, **kwargs)
        plain: Any = tuple(
            CPU if isinstance(a, str | torch.device) and not isinstance(a, torch.dtype) else a for a in args
        )
        plain = (plain[0], *(torch.empty(0, dtype=a.dtype) if isinstance(a, Tensor) else a for a in plain[1:]))
        kwargs = {k: v for k, v in kwargs.items() if k not in ("device", "non_blocking")}
        call = Tensor.to if name in ("cuda", "cpu") else func
        plain = (plain[0], CPU) if name in ("cuda", "cpu") else plain
        with self._meter.on(origin == target == CUDA):
            made = call(*plain, **kwargs)
        if origin == target:
            return made if made is source else (_tagged(made) if target == CUDA else made)
        made = made.clone() if made.data_ptr() == source.data_ptr() else made
        return _tagged(made) if target == CUDA else made.as_subclass(Tensor)

    def _judge(self, name: str, args: Any, kwargs: Any, here: list[Any]) -> None:
        if name in ("numpy", "__array__", "__reduce_ex__", "__dlpack__") and here:
            raise Mixed(f"{name}: a tensor of cuda:0 cannot be read by the host; copy it there first")
        if isinstance(kwargs.get("generator"), torch.Generator):
            raise Mixed(f"{name}: expected a generator of cuda:0 and got one of the cpu")
        if not here:
            return
        given = (args[0], args[2:]) if name in ("__getitem__", "__setitem__") and isinstance(args[0], Pretend) else args
        least = 0 if name in WITHIN else 1
        foreign = [x for x in _tensors((given, kwargs)) if not isinstance(x, Pretend)]
        if any(x.ndim >= least for x in foreign):
            shapes = ", ".join(str(list(x.shape)) for x in foreign)
            raise Mixed(f"{name}: expected all tensors on cuda:0, and those of shape {shapes} are on the cpu")
        if given is not args and any(type(x) is Tensor for x in _tensors(args[1])):
            self._wait(f"{name} by indices of the host")

    def _run(self, func: Any, name: str, args: Any, kwargs: Any, target: torch.device) -> Any:
        single = name in RECURRENT
        if single:
            self.launches[_place(name)] += 1
        with self._meter.on(not single, [x for x in _tensors((args, kwargs)) if type(x) is Tensor]):
            out = func(*args, **kwargs)
        if name in ("as_subclass", "item", "__bool__"):
            return out
        return _tagged(out) if target == CUDA else out

    def _differentiate(self, func: Any, args: Any, kwargs: Any) -> Any:
        here = any(isinstance(x, Pretend) for x in _tensors((args, kwargs)))
        with self._meter.on(here):
            out = func(*args, **kwargs)
        return _tagged(out) if here else out

    def _wait(self, what: str) -> None:
        self.waits[_place(what)] += 1


class _Meter(TorchDispatchMode):
    """Counts what ATen does while it is on."""

    def __init__(self, device: Device) -> None:
        super().__init__()
        self.device, self.counting = device, False
        self.hosts: list[Tensor] = []

    @contextlib.contextmanager
    def on(self, counting: bool, hosts: Sequence[Tensor] = ()) -> Iterator[None]:
        """`hosts` are arguments that lie on the CPU: sizes, for one, which may be read."""
        before = self.counting, self.hosts
        self.counting, self.hosts = counting, list(hosts)
        try:
            yield
        finally:
            self.counting, self.hosts = before

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if self.counting:
            reads = func in READS and not any(args[0] is x for x in self.hosts)
            if reads or (func in INDEXING and _by_mask(func, args)):
                self.device._wait(str(func))
            if not func.is_view and func.overloadpacket.__name__ not in FREE:
                self.device.launches[_place(func.overloadpacket.__name__)] += launches(func)
        out = func(*args, **(kwargs or {}))
        if self.counting and not func.is_view:
            self.device.moved += sum(x.nbytes for x in _tensors((args, kwargs, out)))
        return out


@contextlib.contextmanager
def device(fused: bool | None = True) -> Iterator[Device]:
    """Within it torch has one GPU, cuda:0. `fused`: whether kernels agree with torch's operations; None: find out."""
    pretend = Device()

    def reset(*_: Any) -> None:
        pretend._wait("synchronize")

    faked = {
        "is_available": lambda: True,
        "device_count": lambda: 1,
        "current_device": lambda: 0,
        "get_device_name": lambda *_: "pretend",
        "get_device_capability": lambda *_: (9, 0),
        "synchronize": reset,
        "empty_cache": lambda: None,
        "mem_get_info": lambda *_: (pretend.free, pretend.total),
        "memory_reserved": lambda *_: pretend.reserved,
        "memory_allocated": lambda *_: pretend.allocated,
        "max_memory_allocated": lambda *_: pretend.allocated,
        "reset_peak_memory_stats": lambda *_: None,
        "get_per_process_memory_fraction": lambda *_: pretend.fraction,
    }
    with contextlib.ExitStack() as stack:
        for name, value in faked.items():
            stack.enter_context(mock.patch.object(torch.cuda, name, value))
        if fused is not None:
            stack.enter_context(mock.patch.object(Kernel, "agrees", return_value=fused))
        stack.enter_context(pretend._meter)
        stack.enter_context(pretend)
        yield pretend


def _tensors(found: Any) -> list[Any]:
    """All tensors in nested tuples, lists and dicts."""
    if isinstance(found, Tensor):
        return [found]
    if isinstance(found, dict):
        found = found.values()
    elif not isinstance(found, tuple | list):
        return []
    return [x for part in found for x in _tensors(part)]


def _tagged(out: Any) -> Any:
    """The same with its tensors on the pretend device."""
    for x in _tensors(out):
        if type(x) is Tensor:
            x.__class__ = Pretend
    return out


def _pinned(x: Tensor) -> Tensor:
    copy = x.clone()
    copy.pinned = True  # type: ignore[attr-defined]
    return copy


def _copied(x: Tensor, memo: dict[int, Any]) -> Tensor:
    copy = x.detach().clone()
    copy.__class__ = Pretend
    copy.requires_grad_(x.requires_grad)
    if getattr(x, "_is_param", False):
        copy._is_param = True  # type: ignore[attr-defined]
    memo[id(x)] = copy
    return copy


def _flag(name: str, args: Any, kwargs: Any) -> bool:
    """Whether a copy was asked not to wait."""
    if "non_blocking" in kwargs:
        return bool(kwargs["non_blocking"])
    return any(a is True for a in args[1:])


def _by_mask(func: Any, args: Any) -> bool:
    masks = any(x is not None and x.dtype == torch.bool for x in args[1])
    return masks and not (len(args) > 2 and args[2].numel() == 1)  # a scalar is filled in, which needs no indices


def _place(what: str) -> str:
    """The line of ours (or the last of another) that asked for it."""
    frame: Any = sys._getframe(2)
    other = ""
    while frame is not None:
        file = frame.f_code.co_filename
        if file.startswith(ROOT + "/coconut"):
            return f"{file.removeprefix(ROOT + '/coconut/')}:{frame.f_lineno} {what}"
        if not other and "pretend.py" not in file and "/torch/" not in file:
            other = f"{Path(file).name}:{frame.f_lineno} {what}"
        frame = frame.f_back
    return other or what
