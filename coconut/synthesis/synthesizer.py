"""A population of Kokoro voices, spoken in batches, each exactly as if it were alone.

script = synth.prepare(phonemes)             # once per text
prosody = synth.prosody(script, styles)      # durations, F0, energy: dims 128:256 of the styles
audio = synth.decode(script, prosody, styles)  # waveforms: dims 0:128
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from coconut.audio import SAMPLE_RATE
from coconut.config import InputError
from coconut.synthesis import workers
from coconut.synthesis.acoustics import Acoustics
from coconut.synthesis.batches import batches, bucket, plan
from coconut.synthesis.budget import PROBE, Budget
from coconut.synthesis.memory import Parts, enough_for, lent
from coconut.synthesis.precision import settle, tensor_cores
from coconut.synthesis.prosody import Contours, Durations, align
from coconut.synthesis.ragged import Lengths
from coconut.synthesis.script import Script, TextEncoder
from coconut.synthesis.transfer import upload
from coconut.voicepack import ACOUSTIC, PROSODY, STYLE

WASTE = 0.1  # the shortest item of a batch is at most this much shorter than the longest
PITCH_WASTE = 0.2
SLICE_TOKENS = 1 << 16  # of the prosody half, at once
CONTOURS = 4  # frames of F0 and energy take the memory of one frame of audio

Work = Callable[[Sequence[int]], None]


@dataclass(frozen=True)
class Prosody:
    """P candidates, U texts, S tokens (boundaries included), T frames of 25 ms.

    durations [P, U, S] long, frames, 0 in padding; F0 (Hz) and energy [P, U, 2T], 0 past the end;
    frames [P, U] long; ok [P, U] bool: false where the style was not finite, or its speech endless.
    Such an item lasts one frame a token, fewer than any other voice takes, with F0 and energy 0.
    """

    durations: Tensor
    F0: Tensor
    energy: Tensor
    frames: Tensor
    ok: Tensor


@dataclass(frozen=True)
class Audio:
    """wav [P, U, T] at 24 kHz, 0 past the end; lens [P, U] in samples.

    ok [P, U] bool: false where the style or the waveform was not finite, or the speech endless; wav is
    0 there.
    """

    wav: Tensor
    lens: Tensor
    ok: Tensor


class Synthesizer:
    """Synthesis with a stock KModel on the model's device, in its dtype (float32 or float64).

    The model's weights are read once, here: make a new Synthesizer after changing them. Its decoder, of
    which nothing is read any more, may lie on the CPU while the rest is on a GPU, as `load_model` has it. `seed` is
    that of the source noise, which is the same for all candidates. `precision` is one of precision.py's;
    the attribute says which is really used. A candidate that would take longer than
    `max_seconds` over one text is not ok: nothing of it is computed beyond its durations, and nothing
    grows to its length. Raises InputError for an unknown precision.
    """

    def __init__(self, model: Any, seed: int = 0, precision: str = "exact", max_seconds: float = 120.0) -> None:
        self.model, self.seed = model, seed
        parameter = next(model.parameters())
        self.device, self.dtype = parameter.device, parameter.dtype
        policy = settle(precision, self.device, self.dtype)
        self.precision = policy.name
        with torch.no_grad(), lent(model.decoder, self.device) as decoder:
            self._encode = TextEncoder(model, seed)
            self._durations = Durations(model.predictor)
            self._contours = Contours(model.predictor)
            self._acoustics = Acoustics(decoder, policy)
        self.samples_per_frame = self._acoustics.samples_per_frame
        self.max_frames = int(max_seconds * SAMPLE_RATE / self.samples_per_frame)
        self.budget, self.tokens = Budget(self.device), Parts(SLICE_TOKENS)
        self.warmup_seconds = 0.0

    @torch.no_grad()
    def prepare(self, phonemes: Sequence[str]) -> Script:
        """U phoneme strings -> Script. Symbols outside the vocabulary are dropped, as stock does.

        Raises InputError for a text without a known phoneme, or with too many, and where memory does not hold one.
        """
        with tensor_cores(self.device, False), enough_for("the encoding of a text"):
            return self._encode(phonemes)

    def forget(self) -> None:
        """Give back the encodings and the noise that are kept of texts."""
        self._encode.kept.clear()

    def __call__(self, script: Script, styles: Tensor) -> Audio:
        """styles [P, U, 256], row `script.rows[u]` of each candidate's voicepack -> Audio."""
        return self.decode(script, self.prosody(script, styles), styles)

    @torch.no_grad()
    def prosody(self, script: Script, styles: Tensor) -> Prosody:
        """styles [P, U, 256] -> Prosody. Computed once where all candidates share dims 128:256."""
        self._warm_up()
        styles, ok = self._checked(script, styles)
        popsize = len(styles)
        style = styles[..., PROSODY]
        if popsize > 1 and _alike(style, ok):
            style, ok = style[:1], ok[:1]

        def work(part: Sequence[int]) -> Prosody:
            return self._prosody(script, style[part[0] : part[-1] + 1], ok[part[0] : part[-1] + 1])

        with tensor_cores(self.device, False):
            parts = self.tokens.run(range(len(style)), work, len(script) * max(script.lengths))
        longest = max(part.F0.shape[-1] for part in parts)
        durations, frames, ok = (
            torch.cat([getattr(part, name) for part in parts]).expand(popsize, *[-1] * n)
            for name, n in (("durations", 2), ("frames", 1), ("ok", 1))
        )
        f0, energy = (
            torch.cat([F.pad(x, (0, longest - x.shape[-1])) for x in xs]).expand(popsize, -1, -1)
            for xs in ([part.F0 for part in parts], [part.energy for part in parts])
        )
        return Prosody(durations, f0, energy, frames, ok)

    def _prosody(self, script: Script, style: Tensor, ok: Tensor) -> Prosody:
        """style [P, U, 128] and which of them to speak [P, U], for as many candidates as memory holds."""
        tokens = max(script.lengths)

        def timed(u: int) -> tuple[Tensor, Tensor]:
            x, steps = self._durations(script.texts[u].prosodic.expand(len(style), -1, -1), style[:, u])
            spare = tokens - x.shape[1]
            return F.pad(x, (0, 0, 0, spare)), F.pad(steps, (0, spare))

        features, durations = zip(*workers.each(timed, range(len(script)), self.device), strict=True)
        steps = torch.stack(durations, 1)  # [P, U, S]
        ok = ok & (steps.sum(-1) <= self.max_frames)
        steps = torch.where(ok[..., None], steps, steps.clamp_max(1))
        f0, energy = self._pitch(torch.stack(features, 1), steps, ok, style)
        return Prosody(steps, f0, energy, steps.sum(-1), ok)

    def _pitch(self, features: Tensor, steps: Tensor, ok: Tensor, style: Tensor) -> tuple[Tensor, Tensor]:
        """features [P, U, S, H], steps [P, U, S] -> F0 and energy [P, U, 2T], 0 where not ok."""
        shape = steps.shape[:2]
        features, steps, style = (x.flatten(0, 1) for x in (features, steps, style))
        frames = steps.sum(-1)
        counts, longest = _counts(frames, ok.flatten())
        width = 2 * longest
        out = style.new_zeros(2, len(counts), width)

        def work(batch: Sequence[int]) -> None:
            rows = upload(batch, self.device)
            lengths = self._lengths(counts, batch, frames, rows, bucket)
            x = features[rows[:, None], align(steps[rows], lengths.total)]
            found = torch.stack(self._contours(x, style[rows], lengths))[..., :width]
            out[:, rows, : found.shape[-1]] = found

        self._in_batches(work, counts, 1 / CONTOURS, PITCH_WASTE, bucket)
        return out[0].unflatten(0, shape), out[1].unflatten(0, shape)

    @torch.no_grad()
    def decode(self, script: Script, prosody: Prosody, styles: Tensor) -> Audio:
        """styles [P, U, 256] and their Prosody -> Audio. Reads dims 0:128 of the styles."""
        self._warm_up()
        styles, ok = self._checked(script, styles)
        shape, texts = ok.shape, len(script)
        ok, every = (ok & prosody.ok).flatten(), prosody.frames.flatten()
        counts, longest = _counts(every, ok)
        width, widest = longest * self.samples_per_frame, bucket(max(counts))
        spare = max(0, 2 * widest - prosody.F0.shape[-1])
        f0, energy = (F.pad(x, (0, spare)).flatten(0, 1) for x in (prosody.F0, prosody.energy))
        styles, steps = styles.flatten(0, 1), prosody.durations.flatten(0, 1)
        table = nn.utils.rnn.pad_sequence([text.acoustic for text in script.texts], batch_first=True)
        noise = torch.stack([script.noise(u, widest * self.samples_per_frame) for u in range(texts)])
        wav = styles.new_zeros(len(counts), width)
        waste, room = plan(counts, texts, WASTE)

        def work(batch: Sequence[int]) -> None:
            rows = upload(batch, self.device)
            lengths = self._lengths(counts, batch, every, rows, room)
            total = lengths.total
            text = table[(rows % texts)[:, None], align(steps[rows], total)]
            hiss = noise[rows % texts, : total * self.samples_per_frame]
            pitch, loud = f0[rows, : 2 * total], energy[rows, : 2 * total]
            wave = self._acoustics(text, pitch, loud, styles[rows, ACOUSTIC], hiss, lengths)
            lengths.times(self.samples_per_frame).blank_(wave[..., None])
            ok[rows] &= wave.sum(-1).isfinite()
            wav[rows, : wave.shape[1]] = wave[:, :width]

        with tensor_cores(self.device, self.precision != "exact"):
            self._in_batches(work, counts, 1.0, waste, room)
        wav[~ok] = 0.0
        return Audio(wav.unflatten(0, shape), prosody.frames * self.samples_per_frame, ok.view(shape))

    def _in_batches(
        self, work: Work, counts: list[int], share: float, waste: float, room: Callable[[int], int]
    ) -> None:
        """work(batch) for batches of items that last counts[i] frames, of which each costs `share` of one in decode."""
        cost = share * workers.count(self.device)  # so many batches are in memory at once

        def run(batch: list[int]) -> None:
            self.budget.run(batch, work, cost * room(counts[batch[0]]))

        frames = max(1, int(self.budget.frames / cost))
        workers.each(run, list(batches(counts, frames, waste, room)), self.device)

    def _lengths(
        self, counts: list[int], batch: Sequence[int], frames: Tensor, rows: Tensor, room: Callable[[int], int]
    ) -> Lengths:
        """Of the items `batch` of all `counts`; `frames` and `rows` are the same two on the device."""
        known = None if self.device.type == "cpu" else frames[rows]
        return Lengths([counts[i] for i in batch], self.device, room(counts[batch[0]]), known)

    def _warm_up(self) -> None:
        """Once: compiles what is to be compiled, and measures what a frame costs in memory."""
        if self.budget.bytes_per_frame:
            return
        started = time.perf_counter()
        hidden = self.model.text_encoder.lstm.hidden_size * 2

        def run(frames: int) -> None:
            for lengths in ([frames], [frames, frames - 1]) if self.device.type == "cuda" else ([frames],):
                zeros = torch.zeros(len(lengths), frames, hidden, device=self.device, dtype=self.dtype)
                curve = zeros.new_zeros(len(lengths), 2 * frames)
                noise = zeros.new_zeros(len(lengths), frames * self.samples_per_frame)
                style = zeros.new_zeros(len(lengths), STYLE // 2)
                self._acoustics(zeros, curve, curve, style, noise, Lengths(lengths, self.device))

        with tensor_cores(self.device, self.precision != "exact"):
            run(PROBE[1])
            self.budget.measure(run, items=2 if self.device.type == "cuda" else 1)
        self.warmup_seconds = time.perf_counter() - started

    def _checked(self, script: Script, styles: Tensor) -> tuple[Tensor, Tensor]:
        """Styles in the model's dtype, zeros for those that are not finite, and which were: [P, U]."""
        if styles.ndim != 3 or styles.shape[1] != len(script) or styles.shape[2] != STYLE:
            raise InputError(
                f"styles must be [candidates, {len(script)} texts, {STYLE}], not {list(styles.shape)}: "
                "one row of the voicepack for every text."
            )
        styles = upload(styles.detach(), self.device, self.dtype)
        ok = styles.isfinite().all(-1)
        return styles.masked_fill(~ok[..., None], 0.0), ok


def _alike(*properties: Tensor) -> bool:
    """Whether all candidates are equal in each of some properties [P, ...]."""
    return bool(torch.stack([(x == x[:1]).all() for x in properties]).all())


def _counts(frames: Tensor, ok: Tensor) -> tuple[list[int], int]:
    """How many frames of each item [B] to compute, 0 where not ok; and the longest item, ok or not."""
    kept, longest = frames.masked_fill(~ok, 0), frames.max()[None]
    *counts, last = torch.cat([kept, longest]).tolist()
    return counts, last
