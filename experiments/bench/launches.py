"""What a generation asks of a GPU, counted without one: launches of kernels, and bytes read and written.

    python experiments/bench/launches.py                     # 24 candidates x 4 texts of 5 s, Kokoro's architecture
    python experiments/bench/launches.py --plain             # the same without fused kernels
    python experiments/bench/launches.py --precision fast --places 30

The whole generation, score included, runs on tensors without memory (torch's meta device), which have shapes and
no values; the few values that the host reads are handed to it: how many frames each candidate takes, drawn around
3, 4, 6 and 7 seconds with a spread of 6%. A launch is an operation of ATen that computes; a recurrence counts once,
as in cuDNN; a fused kernel as often as it is launched; the bias of a convolution is another, as torch adds it to what
cuDNN gives. An operation moves all of its inputs and its outputs once: caches do not exist, and what a library does
within is not seen.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from coconut import objective, score
from coconut.data import Utterance
from coconut.losses import TERMS
from coconut.synthesis import Synthesizer, mini, ragged, synthesizer
from coconut.synthesis.kernels import Kernel, launches
from tests.kmodels import kokoro_config, random_phonemes
from tests.pretend import FREE

META = torch.device("meta")
FRAMES = (120, 160, 240, 280)  # of 25 ms, of the texts of a window and of those that are held out
SPREAD = 0.06  # of a candidate's pace
BATCH = 8192  # frames of a batch at most, as on a GPU


class Count(TorchDispatchMode):
    """Launches and bytes, by stage and by place in the code."""

    def __init__(self) -> None:
        super().__init__()
        self.stage = ""
        self.launches: Counter[str] = Counter()
        self.moved: Counter[str] = Counter()
        self.places: Counter[str] = Counter()
        self.loads: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        found = [x for x in tree_leaves((args, out)) if isinstance(x, Tensor)]
        if not func.is_view and any(x.device == META for x in found):
            name = func.overloadpacket.__name__
            self.add(name, 0 if name in FREE else launches(func), sum(x.nbytes for x in found))
            if name == "convolution" and args[2] is not None:
                self.add("bias", 1, 2 * out.nbytes)
        return out

    def add(self, name: str, launches: int, moved: int) -> None:
        where = f"{self.stage} {place()} {name}"
        self.launches[self.stage] += launches
        self.moved[self.stage] += moved
        self.places[where] += launches
        self.loads[where] += moved

    @contextlib.contextmanager
    def within(self, stage: str) -> Iterator[None]:
        before, self.stage = self.stage, stage
        try:
            yield
        finally:
            self.stage = before


def place() -> str:
    """The line of ours that asks."""
    frame: Any = sys._getframe(3)
    while frame is not None and "/coconut/" not in frame.f_code.co_filename:
        frame = frame.f_back
    return f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}" if frame else "?"


def on_meta(thing: Any, seen: set[int]) -> Any:
    """All tensors that plain objects hold, without memory; modules and objects are changed in place."""
    if isinstance(thing, nn.Module):
        return thing.to(META)
    if isinstance(thing, Tensor):
        return thing.to(META)
    if isinstance(thing, list | tuple):
        return type(thing)(on_meta(x, seen) for x in thing)
    if isinstance(thing, torch.device):
        return META
    if hasattr(thing, "__dict__") and type(thing).__module__.startswith("coconut") and id(thing) not in seen:
        seen.add(id(thing))
        for name, value in vars(thing).items():
            vars(thing)[name] = on_meta(value, seen)
    return thing


def synth(precision: str) -> Any:
    """Kokoro's architecture, folded as for a GPU."""
    with torch.device("meta"):
        model = mini.architecture(kokoro_config())
    model = model.to_empty(device="cpu").eval().requires_grad_(False)
    model.decoder.generator.stft.window = torch.hann_window(model.decoder.generator.stft.win_length)  # no buffer
    capable = mock.patch("coconut.synthesis.precision._multiplies_bfloat16", return_value=True)
    with mock.patch.object(ragged, "on_cpu", return_value=False), capable:
        made = Synthesizer(model, precision=precision)
    made = on_meta(made, set())
    made.dtype = torch.float32
    made.budget.bytes_per_frame, made.budget.limit = 1.0, BATCH  # the warm-up is over
    return made


class Space:
    """Any style will do."""

    dim = 256

    def styles(self, genomes: Tensor, rows: Tensor) -> Tensor:
        return torch.zeros(len(genomes), len(rows), 256, device=META)


def lengths(popsize: int) -> list[int]:
    """Frames of each candidate and text, [P U] in a row."""
    pace = 1 + SPREAD * torch.randn(popsize, 1, generator=torch.Generator().manual_seed(0)).clamp(-2.5, 2.5)
    return (pace * torch.tensor(FRAMES)).round().long().flatten().tolist()


def recurrence(count: Count, inner: nn.LSTM, x: Tensor, *_: Any) -> Any:
    """nn.LSTM as one launch of cuDNN."""
    size = inner.hidden_size * (2 if inner.bidirectional else 1)
    with torch.utils._python_dispatch._disable_current_modes():
        out = torch.empty(*x.shape[:-1], size, device=META)
        last = torch.empty(inner.num_layers, x.shape[0], inner.hidden_size, device=META)
    if count.stage:  # a generation has begun
        count.add("lstm", 1, x.nbytes + out.nbytes + sum(p.nbytes for p in inner.parameters()))
    return out, (last, last)


@contextlib.contextmanager
def told(count: Count) -> Iterator[None]:
    """The host is handed what it would read from the device."""

    def counts(frames: Tensor, ok: Tensor) -> tuple[list[int], int]:
        found = lengths(len(frames) // len(FRAMES))
        return found, max(found)

    def fetch(*tensors: Tensor) -> list[Tensor]:
        return [torch.ones(x.shape, dtype=torch.float64) for x in tensors]

    def lstm(self: nn.LSTM, *args: Any) -> Any:
        return recurrence(count, self, *args)

    def staged(name: str) -> Any:
        inner = getattr(Synthesizer, name)

        def outer(self: Any, *args: Any) -> Any:
            with count.within(count.stage and f"{count.stage}, {name}"):
                return inner(self, *args)

        return outer

    with contextlib.ExitStack() as stack:
        for where, name, value in (
            (synthesizer, "_counts", counts), (synthesizer, "_alike", lambda *_: False), (objective, "fetch", fetch),
            (score, "fetch", fetch), (nn.LSTM, "forward", lstm), (Synthesizer, "prosody", staged("prosody")),
            (Synthesizer, "decode", staged("decode")), (Synthesizer, "prepare", staged("prepare")),
        ):  # fmt: skip
            stack.enter_context(mock.patch.object(where, name, value))
        yield


def utterances(vocab: dict[str, int], names: str) -> list[Utterance]:
    drawn = torch.Generator().manual_seed(1)
    return [
        Utterance(f"{names}{i}", "", random_phonemes(frames // 3, 10 * i + len(names), vocab),
                  0.1 * torch.randn(600 * frames, generator=drawn))
        for i, frames in enumerate(FRAMES)
    ]  # fmt: skip


def generation(count: Count, precision: str, popsize: int, terms: Sequence[str]) -> None:
    """One of a fit: a window of new texts whose recordings are known, and a score of known ones."""
    made, space = synth(precision), Space()
    heard = {name: TERMS[name](device=META) for name in terms}
    with told(count):
        fit = objective.Objective(space, made, heard, dict.fromkeys(terms, 1.0))  # type: ignore[arg-type]
        kept, window = utterances(made.model.vocab, "held out"), utterances(made.model.vocab, "fit")
        judge = score.Score(space, made, kept)  # type: ignore[arg-type]
        made.prepare([utterance.phonemes for utterance in kept])
        for name in terms:
            for utterance in window:
                fit.reference(name, utterance)
        with count:
            with count.within("fit"):
                fit(torch.zeros(popsize, space.dim), window)
            with count.within("score"):
                judge(torch.zeros(space.dim))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--precision", default="exact", choices=("exact", "tf32", "fast"))
    parser.add_argument("--popsize", type=int, default=24)
    parser.add_argument("--terms", nargs="+", default=["logmel", "spectral", "speaker", "f0", "duration"])
    parser.add_argument("--plain", action="store_true", help="without fused kernels")
    parser.add_argument("--places", type=int, default=0, help="print so many places, by launches and by bytes")
    args = parser.parse_args()
    count = Count()
    with mock.patch.object(Kernel, "serves", return_value=not args.plain):
        generation(count, args.precision, args.popsize, args.terms)
    frames = {"fit": sum(lengths(args.popsize)), "score": sum(lengths(1))}
    print("| stage | launches | MB an output frame |\n|---|---|---|")
    for stage in sorted(count.launches):
        per = count.moved[stage] / frames[stage.split(",")[0]] / 1e6
        print(f"| {stage} | {count.launches[stage]:,} | {per:.2f} |")
    for part, length in frames.items():
        of = [stage for stage in count.launches if stage.split(",")[0] == part]
        moved = sum(count.moved[stage] for stage in of)
        launches = sum(count.launches[stage] for stage in of)
        print(f"| all of {part}, {moved / 1e9:,.0f} GB | {launches:,} | {moved / length / 1e6:.2f} |")
    for name, times in count.places.most_common(args.places):
        print(f"{times:6,}  {name}")
    for name, moved in count.loads.most_common(args.places):
        print(f"{moved / 1e9:6.1f} GB  {name}")


if __name__ == "__main__":
    main()
