"""A population of Kokoro voices, spoken in batches, each exactly as if it were alone.

script = synth.prepare(phonemes)             # once per text
prosody = synth.prosody(script, styles)      # durations, F0, energy: dims 128:256 of the styles
audio = synth.decode(script, prosody, styles)  # waveforms: dims 0:128
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from coconut.config import InputError
from coconut.synthesis.acoustics import Acoustics
from coconut.synthesis.batches import batches, halving
from coconut.synthesis.prosody import Contours, Durations, align
from coconut.synthesis.ragged import Lengths
from coconut.synthesis.script import Script, TextEncoder

PRECISIONS = ("exact", "fast")
SAMPLE_RATE = 24_000


@dataclass(frozen=True)
class Prosody:
    """P candidates, U texts, S tokens (boundaries included), T frames of 25 ms.

    durations [P, U, S] long, frames, 0 in padding; F0 (Hz) and energy [P, U, 2T], 0 past the end;
    frames [P, U] long; ok [P, U] bool: false where the style was not finite, or its speech endless.
    """

    durations: Tensor
    F0: Tensor
    energy: Tensor
    frames: Tensor
    ok: Tensor


@dataclass(frozen=True)
class Audio:
    """wav [P, U, T] at 24 kHz, 0 past the end; lens [P, U] in samples.

    ok [P, U] bool: false where the style or the waveform was not finite; wav is 0 there.
    """

    wav: Tensor
    lens: Tensor
    ok: Tensor


class Synthesizer:
    """Synthesis with a stock KModel on the model's device, in its dtype (float32 or float64).

    The model's weights are read once, here: make a new Synthesizer after changing them. `seed` is
    that of the source noise, which is the same for all candidates. A candidate that takes longer
    than `max_seconds` over one text is not ok.
    """

    def __init__(self, model: Any, seed: int = 0, precision: str = "exact", max_seconds: float = 120.0) -> None:
        if precision not in PRECISIONS:
            raise InputError(f"Unknown precision {precision!r}: choose one of {', '.join(PRECISIONS)}.")
        self.model, self.seed, self.precision = model, seed, precision
        parameter = next(model.parameters())
        self.device, self.dtype = parameter.device, parameter.dtype
        with torch.no_grad():
            self.encode = TextEncoder(model, seed)
            max_dur = model.predictor.duration_proj.linear_layer.out_features
            self.durations = Durations(model.predictor, max_dur)
            self.contours = Contours(model.predictor)
            self.acoustics = Acoustics(model.decoder)
        self.samples_per_frame = self.acoustics.samples_per_frame
        self.max_frames = int(max_seconds * SAMPLE_RATE / self.samples_per_frame)
        self.budget, self.waste = 400, 0.1

    @torch.no_grad()
    def prepare(self, phonemes: Sequence[str]) -> Script:
        """U phoneme strings -> Script. Symbols outside the vocabulary are dropped, as stock does.

        Raises InputError for a text without a known phoneme, or with too many.
        """
        return self.encode(phonemes)

    def __call__(self, script: Script, styles: Tensor) -> Audio:
        """styles [P, U, 256], row `script.rows[u]` of each candidate's voicepack -> Audio."""
        return self.decode(script, self.prosody(script, styles), styles)

    @torch.no_grad()
    def prosody(self, script: Script, styles: Tensor) -> Prosody:
        """styles [P, U, 256] -> Prosody. Computed once where all candidates share dims 128:256."""
        styles, ok = self._checked(script, styles)
        popsize = len(styles)
        style = styles[..., 128:]
        if popsize > 1 and torch.equal(style, style[:1].expand_as(style)):
            style = style[:1]
        spoken = [self._tokens(script, u, style[:, u]) for u in range(len(script))]
        features = [f for f, _ in spoken]
        durations = [d for _, d in spoken]
        frames = torch.stack([d.sum(-1) for d in durations], 1)  # [P, U]
        endless = frames > self.max_frames
        durations = [torch.where(endless[:, u, None], 1, d) for u, d in enumerate(durations)]
        frames = torch.stack([d.sum(-1) for d in durations], 1)
        f0, energy = self._contours(features, durations, frames, style)
        tokens = max(script.lengths)
        padded = torch.stack([F.pad(d, (0, tokens - d.shape[1])) for d in durations], 1)
        padded, f0, energy, frames = (x.expand(popsize, *x.shape[1:]) for x in (padded, f0, energy, frames))
        return Prosody(padded, f0, energy, frames, ok & ~endless)

    def _tokens(self, script: Script, u: int, style: Tensor) -> tuple[Tensor, Tensor]:
        encoded = script.texts[u].prosodic
        return self.durations(encoded.expand(len(style), -1, -1), style)

    def _contours(
        self, features: list[Tensor], durations: list[Tensor], frames: Tensor, style: Tensor
    ) -> tuple[Tensor, Tensor]:
        texts = frames.shape[1]
        counts = frames.flatten().tolist()
        out = style.new_zeros(2, len(counts), 2 * max(counts))

        def work(batch: list[int]) -> None:
            lengths = Lengths([counts[i] for i in batch], self.device)
            x = style.new_empty(len(batch), lengths.total, features[0].shape[-1])
            for row, i in enumerate(batch):
                p, u = divmod(i, texts)
                x[row] = features[u][p][align(durations[u][p, None], lengths.total)[0]]
            rows = torch.tensor(batch, device=self.device)
            out[:, rows, : 2 * lengths.total] = torch.stack(self.contours(x, style.flatten(0, 1)[rows], lengths))

        for batch in batches(counts, self.budget * 8, 0.2):
            halving(batch, work)
        return out[0].unflatten(0, frames.shape), out[1].unflatten(0, frames.shape)

    @torch.no_grad()
    def decode(self, script: Script, prosody: Prosody, styles: Tensor) -> Audio:
        """styles [P, U, 256] and their Prosody -> Audio. Reads dims 0:128 of the styles."""
        styles, ok = self._checked(script, styles)
        ok_flat = (ok & prosody.ok).flatten()
        texts = len(script)
        counts = prosody.frames.flatten().tolist()
        wav = styles.new_zeros(len(counts), max(counts) * self.samples_per_frame)
        f0, energy, durations = (x.flatten(0, 1) for x in (prosody.F0, prosody.energy, prosody.durations))

        def work(batch: list[int]) -> None:
            lengths = Lengths([counts[i] for i in batch], self.device)
            total = lengths.total
            samples = total * self.samples_per_frame
            rows = torch.tensor(batch, device=self.device)
            text = styles.new_empty(len(batch), total, script.texts[0].acoustic.shape[-1])
            noise = styles.new_empty(len(batch), samples)
            index = align(durations[rows], total)
            for row, i in enumerate(batch):
                text[row] = script.texts[i % texts].acoustic[index[row].clamp_max(script.lengths[i % texts] - 1)]
                noise[row] = script.noise(i % texts, samples)
            wave = self.acoustics(
                text, f0[rows, : 2 * total], energy[rows, : 2 * total], styles.flatten(0, 1)[rows, :128], noise, lengths
            )
            lengths.times(self.samples_per_frame).blank_(wave[..., None])
            ok_flat[rows] &= wave.sum(-1).isfinite()
            wav[rows, :samples] = wave

        for batch in batches(counts, self.budget, self.waste):
            halving(batch, work)
        lens = prosody.frames * self.samples_per_frame
        wav = wav.unflatten(0, prosody.frames.shape)
        ok = ok_flat.view_as(ok)
        wav[~ok] = 0.0
        return Audio(wav, lens, ok)

    def _checked(self, script: Script, styles: Tensor) -> tuple[Tensor, Tensor]:
        """Styles in the model's dtype, zeros for those that are not finite, and which were: [P, U]."""
        if styles.ndim != 3 or styles.shape[1] != len(script) or styles.shape[2] != 256:
            raise InputError(
                f"styles must be [candidates, {len(script)} texts, 256], not {list(styles.shape)}: "
                "one row of the voicepack for every text."
            )
        styles = styles.detach().to(self.device, self.dtype)
        ok = styles.isfinite().all(-1)
        return styles.masked_fill(~ok[..., None], 0.0), ok
