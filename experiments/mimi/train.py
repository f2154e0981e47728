"""Make the embedded Mimi from nothing: `python -m experiments.mimi.train`.

Speech (21 minutes of it), the codec, its codebooks, and the two files in coconut/losses/assets/mimi. Everything
lies in runs/mimi and goes on from there when started again: a step draws its speech from its own number alone. Needs
the extra `dev` and transformers 5. Ten CPU minutes with the default steps.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import time
from pathlib import Path
from typing import Any

for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import numpy as np  # noqa: E402
import torch  # noqa: E402
from rich.progress import Progress  # noqa: E402
from torch import Tensor, nn  # noqa: E402

from coconut.audio import LogMel  # noqa: E402
from coconut.files import replacing  # noqa: E402
from experiments.mimi import codec, speech  # noqa: E402
from experiments.mini.train import schedule  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
ASSETS = ROOT / "coconut" / "losses" / "assets" / "mimi"
BATCH, FRAMES, FRAME = 4, 16, 1920  # segments of 1.28 s
RATE = 1.5e-3
NOISE = 0.25  # what stands for quantisation in training, in standard deviations of each channel of the latents
GAINS = (0.7, 1.4)
MELS = {512: 40, 1024: 80, 2048: 160}  # window: bands; the longest tells harmonics apart
EVERY = 60.0  # seconds between checkpoints
CHECKPOINT = "codec.pt"


class Spectra(nn.Module):
    """Mean L1 distance of log-mel spectra (nepers) at several resolutions, between waveforms [B, T]."""

    def __init__(self) -> None:
        super().__init__()
        self.mels = nn.ModuleList(LogMel(n_fft, bands, hop=n_fft // 4) for n_fft, bands in MELS.items())

    def forward(self, made: Tensor, wanted: Tensor) -> Tensor:
        lens = torch.full((len(made),), made.shape[-1])
        each = [(mel(made, lens)[0] - mel(wanted, lens)[0]).abs().mean() for mel in self.mels]
        return torch.stack(each).mean()


class ReadOut(nn.Module):
    """Mean L1 distance (nepers) of log-mels [B, 80, 8 n] to what a linear layer reads in latents [B, 64, n].

    It teaches the encoder while the decoder cannot speak yet, as distillation does in Mimi; it is not kept.
    """

    def __init__(self, width: int, bands: int = 80, rate: int = 8) -> None:
        super().__init__()
        self.shape = (bands, rate)
        self.linear = nn.Conv1d(width, bands * rate, 1)
        self.mel = LogMel(hop=FRAME // rate)

    def forward(self, latents: Tensor, wav: Tensor) -> Tensor:
        wanted = self.mel(wav, torch.full((len(wav),), wav.shape[-1]))[0]
        read = self.linear(latents).unflatten(1, self.shape).transpose(2, 3).flatten(2)
        return (read - wanted[..., : read.shape[-1]]).abs().mean()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=ROOT / "runs" / "mimi", help="speech and checkpoint")
    parser.add_argument("--steps", type=int, default=2500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--assets", type=Path, default=ASSETS)
    args = parser.parse_args()
    torch.set_num_threads(1)
    recordings = [np.load(path, mmap_mode="r") for path in speech.build(args.folder, args.seed)]
    model = train(args.folder, recordings, args.steps, args.seed)
    codec.fit_codebooks(model, latents(model, recordings), args.seed)
    codec.write(model, args.assets)
    print(f"{args.assets}: {sum(path.stat().st_size for path in args.assets.iterdir()) / 2**20:.2f} MiB")


def train(folder: Path, recordings: list[np.ndarray], steps: int, seed: int) -> Any:
    """The codec after so many steps, from the last checkpoint in `folder` if there is one."""
    model = codec.random(seed)
    modules = nn.ModuleDict({"codec": model, "spectra": Spectra(), "read": ReadOut(model.config.hidden_size)})
    learned = [*model.encoder.parameters(), *model.decoder.parameters(), *modules["read"].parameters()]
    optimizer = torch.optim.AdamW([{"params": learned, "peak": RATE}], lr=RATE, betas=(0.8, 0.99), weight_decay=1e-2)
    first = _restore(folder / CHECKPOINT, modules, optimizer)
    saved, step = time.monotonic(), first
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with Progress() as bar, (folder / "codec.jsonl").open("a") as log:
        task = bar.add_task("codec", total=steps, completed=first)
        try:
            for step in range(first, steps):
                schedule(optimizer, step, steps, polish=0)
                row = _step(modules, optimizer, recordings, np.random.default_rng([seed, step]))
                if step % 50 == 0:
                    log.write(json.dumps({"step": step, "cpu": round(time.process_time()), **row}) + "\n")
                    log.flush()
                    bar.update(task, completed=step)
                if time.monotonic() - saved > EVERY:
                    _save(folder / CHECKPOINT, step + 1, modules, optimizer)
                    saved = time.monotonic()
        except KeyboardInterrupt:
            raise SystemExit("Stopped; the same command goes on from the last checkpoint.") from None
    _save(folder / CHECKPOINT, steps, modules, optimizer)
    return model.eval()


def _step(
    modules: nn.ModuleDict, optimizer: torch.optim.Optimizer, recordings: list[np.ndarray], rng: np.random.Generator
) -> dict[str, float]:
    model, wav = modules["codec"], segments(recordings, rng)
    latents = codec.encode(model, wav)
    spread = latents.detach().std((0, 2), keepdim=True)
    noisy = latents + NOISE * spread * torch.from_numpy(rng.standard_normal(latents.shape, np.float32))
    distance, read = modules["spectra"](codec.decode(model, noisy), wav), modules["read"](noisy, wav)
    optimizer.zero_grad(set_to_none=True)
    (distance + read).backward()
    norm = nn.utils.clip_grad_norm_(optimizer.param_groups[0]["params"], 1.0)
    if torch.isfinite(norm):
        optimizer.step()
    told = {"distance": distance, "read": read, "spread": spread.mean(), "norm": norm}
    return {name: round(float(value), 4) for name, value in told.items()}


def segments(recordings: list[np.ndarray], rng: np.random.Generator, count: int = BATCH) -> Tensor:
    """wav [count, 1920 * 16], each source as often as it is long, at slightly different levels."""
    sizes = np.array([len(recording) for recording in recordings])
    parts = []
    for source in rng.choice(len(recordings), count, p=sizes / sizes.sum()):
        start = int(rng.integers(sizes[source] - FRAMES * FRAME))
        part = recordings[source][start : start + FRAMES * FRAME].astype(np.float32) / 32767
        parts.append(torch.from_numpy(part) * float(rng.uniform(*GAINS)))
    return torch.stack(parts)


@torch.no_grad()
def latents(model: Any, recordings: list[np.ndarray], batches: int = 40, size: int = 24) -> Tensor:
    """Latents [N, 64] to fit codebooks to, of segments drawn from the recordings."""
    rng = np.random.default_rng(0)
    parts = [codec.encode(model, segments(recordings, rng, size)) for _ in range(batches)]
    return torch.cat(parts).transpose(1, 2).flatten(0, 1)


def _save(path: Path, step: int, modules: nn.ModuleDict, optimizer: torch.optim.Optimizer) -> None:
    with replacing(path) as temporary:
        torch.save({"step": step, "modules": modules.state_dict(), "optimizer": optimizer.state_dict()}, temporary)


def _restore(path: Path, modules: nn.ModuleDict, optimizer: torch.optim.Optimizer) -> int:
    if not path.exists():
        return 0
    state = torch.load(path, map_location="cpu", weights_only=True)
    modules.load_state_dict(state["modules"])
    optimizer.load_state_dict(state["optimizer"])
    return int(state["step"])


if __name__ == "__main__":
    main()
