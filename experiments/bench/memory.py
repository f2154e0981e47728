"""What a fit of Kokoro-82M holds of a GPU, part by part, and how many fits a GPU holds; counted without one.

    python experiments/bench/memory.py             # counts, and what the losses take at most
    python experiments/bench/memory.py --plan      # the table of the README

The weights have the real shapes and no values. What lies on the pretend device of `tests/pretend.py` is counted by
storages, so that whatever keeps a tensor alive is found. CUDA's own part (`memory.CONTEXT`) comes on top.
"""

from __future__ import annotations

import argparse
import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import torch

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from transformers import MimiConfig, MimiModel

from coconut import build, resources
from coconut.audio import SAMPLE_RATE
from coconut.config import EMBEDDED, from_dict
from coconut.data import Utterance
from coconut.job import Job
from coconut.losses import TERMS, SpeakerEncoder, Synthesis
from coconut.losses import build as build_losses
from coconut.synthesis import Audio, Prosody, Synthesizer, load, mini
from coconut.synthesis.budget import frames_of, peak_bytes, trials_of
from coconut.synthesis.memory import own
from tests import pretend
from tests.kmodels import kokoro_config

HELD = 0.55e9  # bytes before the first population, as counted here
PEAK = 1.60e9  # of the losses: 1.32 of Mimi, which hears 60 s at once, as measured here, and the waveforms beside it
FRAME = 757_000  # bytes of a frame in a batch, exact, without fused kernels, which take less, as counted here
SIZES = (8, 16, 24, 40, 80)  # GB of a GPU
CANDIDATE = 2 * 5 * 40  # frames of a candidate that speaks two texts of 5 s
SETTINGS = {
    "model": "kokoro", "mimi_model": "mimi", "device": "cuda", "precision": "auto", "es.kind": "snes",
    "space.start": "mean", "loss.mimi": 1.0,
}  # fmt: skip


def count() -> dict[str, int]:
    """Bytes on the device by what they came with, in the order in which a fit makes them."""
    found: dict[str, int] = {}
    tone = 0.3 * (torch.arange(float(SAMPLE_RATE)) * 0.05).sin()
    spoken = tuple(Utterance(str(i), "", "həlˈO wˈɜɹld.", tone) for i in range(2))
    job = Job(from_dict(SETTINGS), fit=spoken[:1], heldout=spoken[1:])

    def note(name: str) -> None:
        found[name] = held() - sum(found.values())

    with architectures(), pretend.device():
        resources.model("kokoro", "cuda")
        note("text encoders, prosody")
        job.synthesizer()
        note("decoder, folded")
        resources.term("mimi", "cuda", "kokoro", "mimi")
        note("Mimi")
        fitting = build.wire(job)
        note("other losses, style space, score")
        del fitting
        build.forget()
    return found


def held() -> int:
    """Bytes of all storages on the pretend device that something still refers to."""
    gc.collect()
    storages = (x.untyped_storage() for x in gc.get_objects() if issubclass(type(x), pretend.Pretend))
    return sum({storage.data_ptr(): storage.nbytes() for storage in storages}.values())


@contextmanager
def architectures() -> Iterator[None]:
    """Kokoro-82M and Mimi under the names `kokoro` and `mimi`, without values: to be asked for once each."""
    kokoro, mimi = empty_kokoro(), [empty_mimi()]
    with (
        mock.patch.object(resources, "load_model", side_effect=lambda _, device: load.placed(kokoro, device)),
        mock.patch.object(resources, "stock_voices", return_value=mini.voices()),
        mock.patch("coconut.losses.mimi.load_mimi", side_effect=lambda _: mimi.pop()),
    ):
        yield


def empty_kokoro() -> Any:
    with torch.device("meta"):
        model = mini.architecture(kokoro_config())
    model = model.to_empty(device="cpu").eval().requires_grad_(False)
    model.decoder.generator.stft.window = torch.hann_window(model.decoder.generator.stft.win_length)  # no buffer
    model.repo_id = EMBEDDED  # its voices and their prior are those of `mini`
    return model


def empty_mimi() -> Any:
    with torch.device("meta"):
        model = MimiModel(MimiConfig())
    return model.to_empty(device="cpu")


def frame() -> float:
    """Bytes that a frame takes in a batch on a GPU, without fused kernels, which take less."""
    with architectures(), pretend.device():
        synth = Synthesizer(resources.model("kokoro", "cuda").network)
        synth.budget.device = torch.device("cpu")  # whose memory is counted operation by operation
        synth._warm_up()
        resources.forget()
    return synth.budget.bytes_per_frame


def losses(items: int, mimi: bool, seconds: int = 5) -> dict[str, int]:
    """Bytes that each term takes at most above what it is given, for so many recordings and candidates."""
    draw = torch.Generator().manual_seed(0)
    wav = 0.1 * torch.randn(items, 1, seconds * SAMPLE_RATE, generator=draw)
    lens, ok = torch.full((items, 1), wav.shape[-1]), torch.ones(items, 1, dtype=torch.bool)
    frames = 40 * seconds
    curve = torch.full((items, 1, 2 * frames), 150.0)
    prosody = Prosody(lens[..., None], curve, curve, torch.full((items, 1), frames), ok)
    utterance = Utterance("0", "", "", wav[0, 0])
    stock = torch.stack([pack[:, 0] for pack in mini.voices().values()])
    weights = {name: float((name == "mimi") == mimi) for name in TERMS}
    terms = build_losses(weights, stock=stock, encoder=SpeakerEncoder(), mimi_model=MimiModel(MimiConfig()))
    found = {}
    for name, term in terms.items():
        syn = Synthesis(Audio(wav, lens, ok), prosody, torch.zeros(items, 1, 256), torch.zeros(1, dtype=torch.long))
        refs = [term.reference(utterance)]
        found[name] = peak_bytes(partial(term, refs, syn), torch.device("cpu"))
    return found


def rows() -> Iterator[str]:
    """The lines of the plan, as Markdown: how many candidates a batch holds in a trial that shares a GPU."""
    yield "| GPU | one trial alone | each of four, `--gpus-per-trial 0.25` | trials at most | their share | each |"
    yield "|---|---|---|---|---|---|"
    for size in SIZES:
        total = size * 2**30
        trials = trials_of(total, HELD + PEAK)
        share = 100 // trials / 100
        alone, quarter, each = (population(total, part) or "-" for part in (1.0, 0.25, share))
        yield f"| {size} GB | {alone} | {quarter} | {trials} | {share:g} | {each} |"


def population(total: float, share: float) -> int:
    """Candidates of a batch in a trial that has a share of a GPU of `total` bytes; 0 where it holds no such trial."""
    room = own(share, total)
    return frames_of(room, FRAME) // CANDIDATE if room >= HELD + PEAK else 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--plan", action="store_true", help="the table alone")
    args = parser.parse_args()
    if not args.plan:
        found = count()
        print("| on the GPU | MB |\n|---|---|")
        for name, size in found.items():
            print(f"| {name} | {size / 1e6:,.1f} |")
        print(f"| all | {sum(found.values()) / 1e6:,.1f} |\n")
        print(f"A frame takes {frame() / 1e3:,.0f} kB.\n")
        print("| loss, at most | MB |\n|---|---|")
        for name, size in (losses(96, mimi=False) | losses(13, mimi=True)).items():
            print(f"| {name} | {size / 1e6:,.1f} |", flush=True)
        print()
    print("\n".join(rows()))


if __name__ == "__main__":
    main()
