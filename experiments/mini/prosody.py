"""The prosody half: bert and predictor learn durations, F0 and energy from phonemes and styles."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.progress import track
from torch import Tensor, nn

from coconut.synthesis import mini

from . import data
from .train import Losses, Styles, expand, loop

WEIGHTS = {"duration": 1.0, "f0": 3.0, "energy": 1.0, "total": 0.3, "between": 3.0}
F0_UNIT = 100.0  # the predictor learns F0 / 100; `assemble` folds it back
BATCH_FRAMES = 2600
BETWEEN = 3  # one item in so many is also spoken by another speaker, and by a voice between the two
SLOPE_REACH = 2.0


class Corpus:
    """Utterances of all trained speakers, in batches of like length with about BATCH_FRAMES frames."""

    def __init__(self, folder: Path, vocab: dict[str, int], device: str) -> None:
        cast = data.speakers(folder, "mk_")
        self.items: list[tuple[int, Tensor, Tensor, Tensor, Tensor]] = []
        for k, speaker in enumerate(track(cast, "reading prosody")):
            for u in data.load(folder, speaker.name):
                ids = [0, *(vocab[p] for p in u.phonemes), 0]
                fields = (ids, u.durations, u.f0 / np.float32(F0_UNIT), u.energy)
                tokens, durations, f0, energy = (torch.tensor(x, device=device) for x in fields)
                self.items.append((k, tokens, durations, f0, energy))
        self.speakers = len(cast)
        self.frames = np.array([int(item[2].sum()) for item in self.items])

    def batches(self, rng: np.random.Generator) -> list[list[int]]:
        """One epoch: sorted by jittered length, cut into batches, shuffled."""
        order = np.argsort(self.frames * rng.uniform(0.95, 1.05, len(self.frames)))
        made: list[list[int]] = [[]]
        for i in order:
            if made[-1] and (len(made[-1]) + 1) * self.frames[i] > BATCH_FRAMES:
                made.append([])
            made[-1].append(int(i))
        rng.shuffle(made)
        return made


def train(folder: Path, steps: int, seed: int = 0, device: str = "cpu") -> None:
    """Train the half for `steps` steps; checkpoints go to folder/prosody.pt."""
    rng, generator = np.random.default_rng([seed, 1]), torch.Generator().manual_seed(seed + 1)
    model = mini.architecture()
    _initialise(model)
    corpus = Corpus(folder / "data", model.vocab, device)
    styles = Styles(corpus.speakers, generator, SLOPE_REACH)
    modules = nn.ModuleDict(
        {"bert": model.bert, "bert_encoder": model.bert_encoder, "predictor": model.predictor, "styles": styles}
    )
    modules.to(device).train()
    queue: list[list[int]] = []

    def loss(step: int) -> Losses:
        if not queue:
            queue.extend(corpus.batches(rng))
        items = [corpus.items[i] for i in queue.pop()]
        return {**_loss(modules, items), "between": _between(modules, items[::BETWEEN], corpus.speakers, rng)}

    loop("prosody", modules, loss, WEIGHTS, steps, folder, {"noise": generator}, rng)


def _initialise(model: Any) -> None:
    predictor = model.predictor
    nn.init.constant_(predictor.duration_proj.linear_layer.bias, -2.9)  # sigmoid * 50 = 2.6 frames
    nn.init.constant_(predictor.F0_proj.bias, 0.8)


def _loss(modules: Any, items: list[tuple[int, Tensor, Tensor, Tensor, Tensor]]) -> Losses:
    pad = torch.nn.utils.rnn.pad_sequence
    speaker = torch.tensor([item[0] for item in items], device=items[0][1].device)
    ids = pad([item[1] for item in items], batch_first=True)
    durations = pad([item[2] for item in items], batch_first=True)
    lengths = torch.tensor([len(item[1]) for item in items], device=ids.device)
    frames = int(durations.sum(1).max())
    f0 = _padded([item[3] for item in items], 2 * frames)
    energy = _padded([item[4] for item in items], 2 * frames)
    style = modules["styles"](speaker, lengths - 2)
    predicted, en = prosody(modules, ids, lengths, durations, frames, style)
    predictor = modules["predictor"]
    f0_hat, energy_hat = predictor.F0Ntrain(en, style)
    mask = torch.arange(ids.shape[1], device=ids.device) < lengths[:, None]
    error = (predicted - durations).abs() / (1 + 0.1 * durations) * mask
    spoken = (predicted * mask).sum(1) / durations.sum(1) - 1
    voiced = (f0 > 0).float()
    f0_error = (f0_hat - f0).abs() * (0.5 + voiced)
    return {
        "duration": error.sum() / mask.sum(),
        "total": spoken.abs().mean(),
        "f0": f0_error.mean(),
        "energy": (energy_hat - energy).abs().mean(),
    }


def _between(modules: Any, items: list[tuple[int, Tensor, Tensor, Tensor, Tensor]], speakers: int, rng: Any) -> Tensor:
    """How far the mean F0 (of 100 Hz) of a voice between two speakers is from lying between theirs.

    Nothing else tells the half what lies between voices, and there F0 may first fall on its way up.
    """
    pad = torch.nn.utils.rnn.pad_sequence
    ids = pad([item[1] for item in items], batch_first=True)
    durations = pad([item[2] for item in items], batch_first=True)
    lengths = torch.tensor([len(item[1]) for item in items], device=ids.device)
    frames = int(durations.sum(1).max())
    voiced = (_padded([item[3] for item in items], 2 * frames) > 0).float()
    ours = torch.tensor([item[0] for item in items], device=ids.device)
    theirs = torch.from_numpy(rng.integers(0, speakers, len(items))).to(ids)
    share = torch.from_numpy(rng.uniform(0, 1, (len(items), 1))).to(items[0][3])
    a, b = (modules["styles"](who, lengths - 2) for who in (ours, theirs))

    def mean_f0(style: Tensor) -> Tensor:
        _, en = prosody(modules, ids, lengths, durations, frames, style)
        f0, _ = modules["predictor"].F0Ntrain(en, style)
        return (f0 * voiced).sum(1) / voiced.sum(1).clamp(min=1)

    with torch.no_grad():
        wanted = torch.lerp(mean_f0(a), mean_f0(b), share[:, 0])
    return (mean_f0(torch.lerp(a, b, share)) - wanted).abs().mean()


def _padded(tracks: list[Tensor], length: int) -> Tensor:
    """Tracks extended by their last value: a longer silence."""
    return torch.stack([torch.cat([t, t[-1:].expand(length - len(t))]) for t in tracks])


def prosody(
    modules: Any, ids: Tensor, lengths: Tensor, durations: Tensor, frames: int, style: Tensor
) -> tuple[Tensor, Tensor]:
    """Predicted durations [B, N] and the encodings expanded by the true ones [B, C, frames]."""
    absent = torch.arange(ids.shape[1], device=ids.device) >= lengths[:, None]
    encoded = modules["bert_encoder"](modules["bert"](ids, attention_mask=(~absent).int())).transpose(-1, -2)
    predictor = modules["predictor"]
    d = predictor.text_encoder(encoded, style, lengths, absent)
    packed = nn.utils.rnn.pack_padded_sequence(d, lengths.cpu(), batch_first=True, enforce_sorted=False)
    x, _ = nn.utils.rnn.pad_packed_sequence(predictor.lstm(packed)[0], batch_first=True)
    predicted = torch.sigmoid(predictor.duration_proj(x)).sum(-1)
    return predicted, expand(d, durations, frames).transpose(1, 2)
