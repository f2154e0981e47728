"""Train the judge to tell the speakers of `data.py` apart: an additive angular margin over crops of 1.8 s.

    python -m experiments.judge.train --folder runs/judge

Equation 3 of Deng et al., "ArcFace: Additive Angular Margin Loss for Deep Face Recognition", CVPR 2019: the logits are
s cos(angle), and s cos(angle + m) for the speaker who speaks; the margin m grows over the first third. AdamW, one
cycle. A crop may be noisy, and may lack bands; an equaliser it never hears (`judge.centred`). Resumable: it goes on
from `checkpoint.pt`, and ends by writing coconut/losses/assets/judge.safetensors in float16.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, linear, normalize, one_hot

from coconut.files import replacing
from coconut.losses.judge import FLOOR, MELS, SIZE, Judge

ASSET = Path(__file__).resolve().parents[2] / "coconut/losses/assets/judge.safetensors"
SCALE, MARGIN = 30.0, 0.2
CROP, BATCH = 180, 64  # frames of a crop; crops of a step
RATE, DECAY = 3e-3, 1e-2
NOISY, SNR = 0.5, (8.0, 40.0)  # share of noisy crops; dB
LACKING, BANDS = 0.3, (4, 20)  # share of crops without some bands, and how many those are
SAVED = 100  # steps from one checkpoint to the next


class Crops:
    """Random crops of random utterances, noisy some of them; a pure function of the step."""

    def __init__(self, folder: Path) -> None:
        self.names = sorted(path.stem for path in folder.glob("*.npz"))
        self.spoken: list[tuple[int, np.ndarray]] = []
        for label, name in enumerate(self.names):
            with np.load(folder / f"{name}.npz") as store:
                edges = store["frames"].cumsum()[:-1]
                self.spoken += [(label, mel) for mel in np.split(store["mel"], edges, axis=1)]

    def __getitem__(self, step: int) -> tuple[Tensor, Tensor, Tensor]:
        """mel [64, 64, 180], frames [64] and labels [64] of a step."""
        rng = np.random.default_rng([0, step])
        mel = np.full((BATCH, MELS, CROP), np.log(FLOOR), np.float32)
        frames, labels = np.zeros(BATCH, np.int64), np.zeros(BATCH, np.int64)
        for row, index in enumerate(rng.integers(len(self.spoken), size=BATCH)):
            labels[row], whole = self.spoken[index]
            start = rng.integers(max(1, whole.shape[1] - CROP + 1))
            part = spoilt(whole[:, start : start + CROP].astype(np.float32), rng)
            frames[row] = part.shape[1]
            mel[row, :, : part.shape[1]] = part
        return torch.from_numpy(mel), torch.from_numpy(frames), torch.from_numpy(labels)


def spoilt(mel: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """mel [64, F] with noise of a random colour, or without some bands, or as it is."""
    if rng.random() < NOISY:
        colour = np.exp(np.interp(np.arange(MELS), np.linspace(0, MELS - 1, 4), rng.normal(0, 0.7, 4)))
        level = np.sqrt(np.mean(np.exp(2 * mel))) * 10 ** (-rng.uniform(*SNR) / 20)
        power = np.exp(2 * mel) + (level * colour[:, None]) ** 2 * rng.gamma(2.0, 0.5, mel.shape)
        mel = np.log(power).astype(np.float32) / 2
    if rng.random() < LACKING:
        count = int(rng.integers(*BANDS))
        low = MELS - count if rng.random() < 0.5 else int(rng.integers(MELS - count))
        mel = mel.copy()
        mel[low : low + count] = np.log(FLOOR)
    return mel


class Margin(nn.Module):
    """Embeddings [B, 128] and labels [B] -> loss, and which are right without a margin [B]."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(classes, SIZE))

    def forward(self, embeddings: Tensor, labels: Tensor, margin: float) -> tuple[Tensor, Tensor]:
        cosine = linear(embeddings, normalize(self.weight, dim=-1)).clamp(-1 + 1e-6, 1 - 1e-6)
        own = one_hot(labels, len(self.weight)).bool()
        angles = torch.where(own, torch.cos(cosine.acos() + margin), cosine)
        return cross_entropy(SCALE * angles, labels), cosine.argmax(1) == labels


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("runs/judge"))
    parser.add_argument("--steps", type=int, default=1200)
    args = parser.parse_args()
    torch.set_num_threads(1)
    train(args.folder, args.steps)


def train(folder: Path, steps: int) -> None:
    """Train for so many steps, from the last checkpoint on, and write the asset."""
    torch.manual_seed(0)
    crops = Crops(folder / "speech")
    judge, head = Judge(trained=False), Margin(len(crops.names))
    optimiser = torch.optim.AdamW([*judge.parameters(), *head.parameters()], RATE, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, steps, pct_start=0.15)
    parts: dict[str, Any] = {"judge": judge, "head": head, "optimiser": optimiser, "schedule": schedule}
    path, first = folder / "checkpoint.pt", 0
    if path.exists():
        store = torch.load(path, weights_only=True)
        first = store.pop("step")
        for name, part in parts.items():
            part.load_state_dict(store[name])
    print(f"{len(crops.names)} speakers, {len(crops.spoken)} utterances, from step {first}", flush=True)
    right, began = [], time.process_time()
    for step in range(first, steps):
        mel, frames, labels = crops[step]
        loss, hits = head(judge.network(mel, frames), labels, MARGIN * min(1.0, 3 * step / steps))
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(judge.parameters(), 5.0)
        optimiser.step()
        schedule.step()
        right.append(float(hits.float().mean()))
        if (step + 1) % SAVED == 0 or step + 1 == steps:
            with replacing(path) as temporary:
                torch.save({"step": step + 1} | {name: part.state_dict() for name, part in parts.items()}, temporary)
            said = f"loss {float(loss.detach()):.2f}, right {np.mean(right[-SAVED:]):.3f}"
            print(f"step {step + 1}: {said}, {time.process_time() - began:.0f} CPU-s", flush=True)
    export(judge)


def export(judge: Judge) -> None:
    """Write the weights where the package has them, in float16."""
    state = {name: x.half() if x.is_floating_point() else x for name, x in judge.state_dict().items()}
    with replacing(ASSET) as temporary:
        temporary.write_bytes(save({name: x.contiguous() for name, x in state.items()}))
    print(f"{ASSET}: {os.path.getsize(ASSET) / 2**20:.2f} MiB")


if __name__ == "__main__":
    main()
