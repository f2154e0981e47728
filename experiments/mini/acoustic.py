"""The acoustic half: text encoder and decoder learn speech from phonemes, durations, F0, energy and styles.

espeak's phase is arbitrary to Kokoro's sine source, so a plain training can only compare magnitudes, and those
let harmonicity decay late in training. Here the source follows the *recorded* phase of the fundamental
(`data.phase_track`): output and recording are then in phase, and complex spectra can be compared where it is
voiced. At inference the stock source, with a phase of its own, drives the same network.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from rich.progress import track
from torch import Tensor, nn

from coconut.synthesis import mini

from . import data, spectra
from .train import Losses, Styles, expand, loop

WEIGHTS = {"log": 1.0, "converge": 0.7, "mel": 3.0, "phase": 0.6, "comb": 0.3, "hop": 0.1, "excess": 1.5}
POLISH = 0.4  # last share of the steps, which hears the excess of steady tones: from the start it costs log-mel
SHAPES = ((4, 48), (2, 96))  # (items, frames) of alternating batches: 1.2 s and 2.4 s
CONTEXT = 16  # tokens
SLOPE_REACH = 0.25  # the habits of short texts are prosodic: slower, higher
FIELDS = ("ids", "durations", "start", "phonemes", "f0", "energy", "phase", "wav")
SINE, NOISE = 0.1, 0.003  # amplitudes of kokoro's SineGen


class Corpus:
    """All trained speakers' utterances, and random segments of them."""

    def __init__(self, folder: Path, vocab: dict[str, int]) -> None:
        cast = data.speakers(folder, "mk_")
        self.items: list[list[tuple[Tensor, data.Utterance]]] = []
        for speaker in track(cast, "reading speech"):
            spoken = data.load(folder, speaker.name)
            self.items.append([(torch.tensor([0, *(vocab[p] for p in u.phonemes), 0]), u) for u in spoken])
        self.speakers = len(cast)
        self.shares = [np.array([min(u.durations.sum(), 400) for _, u in spoken], float) for spoken in self.items]

    def batch(self, rng: np.random.Generator, size: int, frames: int) -> dict[str, Tensor]:
        """Segments of so many frames of different speakers, silence-padded where an utterance is shorter."""
        speakers = rng.choice(self.speakers, size, replace=False)
        rows: dict[str, list[Tensor]] = {k: [] for k in FIELDS}
        for k in speakers:
            ids, u = self.items[k][rng.choice(len(self.items[k]), p=self.shares[k] / self.shares[k].sum())]
            total = int(u.durations.sum())
            start = int(rng.integers(0, max(1, total - frames + 1)))
            first, last = _around(u.durations, start, start + frames)
            half, whole = slice(2 * start, 2 * (start + frames)), slice(600 * start, 600 * (start + frames))
            rows["ids"].append(ids[first:last])
            rows["durations"].append(torch.from_numpy(u.durations[first:last]))
            rows["start"].append(torch.tensor(start - int(u.durations[:first].sum())))
            rows["phonemes"].append(torch.tensor(len(ids) - 2))
            rows["f0"].append(_fit(u.f0[half], 2 * frames, 0.0))
            rows["energy"].append(_fit(u.energy[half], 2 * frames, float(u.energy[-1])))
            rows["phase"].append(_fit(u.phase[half], 2 * frames, 0.0))
            rows["wav"].append(_fit(u.pcm[whole].astype(np.float32) / 32768, 600 * frames, 0.0))
        pad = torch.nn.utils.rnn.pad_sequence
        ragged = {k: pad(rows.pop(k), batch_first=True) for k in ("ids", "durations")}
        return {"speaker": torch.from_numpy(speakers), **ragged, **{k: torch.stack(v) for k, v in rows.items()}}


def _around(durations: np.ndarray, start: int, stop: int) -> tuple[int, int]:
    """First and last token of the frames start..stop, with CONTEXT tokens on both sides."""
    edges = np.cumsum(durations)
    first = int(np.searchsorted(edges, start, "right")) - CONTEXT
    last = int(np.searchsorted(edges, stop, "left")) + 1 + CONTEXT
    return max(0, first), min(len(durations), last)


def _fit(values: np.ndarray, length: int, fill: float) -> Tensor:
    short = length - len(values)
    widths = [(0, short)] + [(0, 0)] * (values.ndim - 1)
    return torch.from_numpy(np.pad(values, widths, constant_values=fill).astype(np.float32))


def train(folder: Path, steps: int, seed: int = 0, device: str = "cpu") -> None:
    """Train the half for `steps` steps; checkpoints go to folder/acoustic.pt."""
    rng, generator = np.random.default_rng([seed, 2]), torch.Generator().manual_seed(seed + 2)
    model = mini.architecture()
    _initialise(model)
    corpus = Corpus(folder / "data", model.vocab)
    styles = Styles(corpus.speakers, generator, SLOPE_REACH)
    halves = {"text_encoder": model.text_encoder, "decoder": model.decoder, "styles": styles}
    modules = nn.ModuleDict({**halves, "excess": spectra.Excess()})
    modules.to(device).train()
    for dropout in (m for m in modules.modules() if isinstance(m, nn.Dropout)):
        dropout.p = 0.0

    polish = round(POLISH * steps)

    def loss(step: int) -> Losses:
        batch = {k: v.to(device) for k, v in corpus.batch(rng, *SHAPES[step % len(SHAPES)]).items()}
        fake = synthesise(modules, batch, generator)
        terms = spectra.losses(fake, batch["wav"], (batch["f0"] > 0).float().repeat_interleave(300, 1))
        return {**terms, "excess": modules["excess"](fake, batch["wav"])} if step >= steps - polish else terms

    loop("acoustic", modules, loss, WEIGHTS, steps, folder, {"noise": generator}, rng, polish=polish)


def _initialise(model: Any) -> None:
    decoder = model.decoder
    source = decoder.generator.m_source.l_linear
    nn.init.constant_(source.weight, 0.3)  # never trained: the stock forward computes the source without gradients
    nn.init.zeros_(source.bias)
    decoder.F0_conv.weight_g.data.mul_(0.01)  # F0 arrives in Hz
    nn.init.constant_(decoder.generator.conv_post.bias[: decoder.generator.post_n_fft // 2 + 1], -3.0)


def synthesise(modules: Any, batch: dict[str, Tensor], generator: torch.Generator) -> Tensor:
    """Waveforms [B, 600 frames] of a batch's segments, the source in phase with the recording."""
    ids, durations = batch["ids"], batch["durations"]
    lengths = (durations > 0).sum(1)
    absent = torch.arange(ids.shape[1], device=ids.device) >= lengths[:, None]
    text = modules["text_encoder"](ids, lengths, absent).transpose(1, 2)
    frames = batch["f0"].shape[1] // 2
    end = int(batch["start"].max()) + frames
    at = batch["start"][:, None] + torch.arange(frames, device=ids.device)
    asr = expand(text, durations, end).gather(1, at[..., None].expand(-1, -1, text.shape[2])).transpose(1, 2)
    style = modules["styles"](batch["speaker"], batch["phonemes"])
    source = sine_source(batch["f0"], batch["phase"], modules["decoder"].generator, generator)
    return decode(modules["decoder"], asr, batch["f0"], batch["energy"], style, source)


def sine_source(f0: Tensor, phase: Tensor, vocoder: Any, generator: torch.Generator) -> Tensor:
    """kokoro's source with the phase given: f0 [B, 2T] Hz, phase [B, 2T, 3] turns -> [B, 600 T].

    Noise: nine independent ones under a linear map are one of standard deviation ||w||.
    """
    ramp = (torch.arange(150, device=f0.device) + 0.5) / 150
    first = phase[..., 0:1] + (phase[..., 1:2] - phase[..., 0:1]) * ramp
    second = phase[..., 1:2] + (phase[..., 2:3] - phase[..., 1:2]) * ramp
    turns = torch.cat([first, second], -1).flatten(1) % 1.0
    voiced = (f0 > 10).float().repeat_interleave(300, 1)
    weight = vocoder.m_source.l_linear.weight.detach()[0]
    waves = sum(w * torch.sin(2 * torch.pi * (k + 1) * turns) for k, w in enumerate(weight))
    noise = torch.randn(turns.shape, generator=generator).to(turns) * weight.norm()
    level = voiced * NOISE + (1 - voiced) * SINE / 3
    return torch.tanh(SINE * waves * voiced + level * noise)


def decode(decoder: Any, asr: Tensor, f0: Tensor, energy: Tensor, style: Tensor, source: Tensor) -> Tensor:
    """The stock decoder's forward pass with a given source [B, 600 T]."""
    f0, energy = decoder.F0_conv(f0[:, None]), decoder.N_conv(energy[:, None])
    x = decoder.encode(torch.cat([asr, f0, energy], 1), style)
    residual = decoder.asr_res(asr)
    for block in decoder.decode:
        x = block(torch.cat([x, residual, f0, energy], 1), style)
    vocoder = decoder.generator
    with torch.no_grad():
        harmonics = torch.cat(vocoder.stft.transform(source), 1)
    for i in range(vocoder.num_upsamples):
        x = F.leaky_relu(x, 0.1)
        excitation = vocoder.noise_res[i](vocoder.noise_convs[i](harmonics), style)
        x = vocoder.ups[i](x)
        if i == vocoder.num_upsamples - 1:
            x = vocoder.reflection_pad(x)
        x = vocoder.resblocks[i](x + excitation, style)  # one kernel size: no mean to take
    x = vocoder.conv_post(F.leaky_relu(x))
    half = vocoder.post_n_fft // 2 + 1
    return vocoder.stft.inverse(torch.exp(x[:, :half]), torch.sin(x[:, half:]))[:, 0]
