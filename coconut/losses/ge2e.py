"""GE2E speaker embeddings (Wan et al., "Generalized End-to-End Loss for Speaker Verification", 2018).

The network and its features are those of Resemblyzer 0.1.4: 16 kHz, 40 mel powers on Slaney's
scale every 10 ms, three LSTM layers, windows of 1.6 s whose embeddings are averaged and
normalised. Three things differ, because they separate speakers better: the level is fixed,
windows are spread evenly over the whole item, and what is shorter than one is repeated to fill
it, where Resemblyzer pads with zeros. Weights: assets/NOTICE.
"""

from __future__ import annotations

from functools import partial
from importlib import resources

import torch
from safetensors.torch import load
from torch import Tensor, nn
from torch.nn.functional import conv1d, normalize, pad

from coconut.audio import SAMPLE_RATE, filterbank, mask
from coconut.synthesis.gradient import recurrent
from coconut.synthesis.memory import Parts

RATE, N_FFT, HOP, MELS = 16_000, 400, 160, 40
WINDOW, STEP = 160, 160  # frames of a window, and at most from one to the next
LEVEL = 10 ** (-26 / 20)  # RMS of every input, the level of read speech; Resemblyzer only raises to -30 dB
EMBEDDED = Parts(300 * SAMPLE_RATE)  # samples of padded audio that are embedded at once
SHORTEST = WINDOW * HOP * 3 // 2  # samples at 24 kHz of one window


class Downsampler(nn.Module):
    """24 kHz to 16 kHz by a windowed sinc: wav [B, T] -> [B, ceil(2 T / 3)].

    y[m] = sum_n x[n] h(1.5 m - n); m = 2 q needs whole offsets, m = 2 q + 1 half ones, so that two
    filters at stride 3 give all samples. Cut-off 7.6 kHz, Kaiser window, 80 dB.
    """

    kernels: Tensor

    def __init__(self, reach: int = 64, cutoff: float = 7600 / SAMPLE_RATE, beta: float = 8.0) -> None:
        super().__init__()
        self.reach = reach
        offset = torch.arange(-reach, reach + 2, dtype=torch.float64)

        def kernel(phase: float) -> Tensor:
            t = offset - phase
            shape = torch.special.i0(beta * (1 - (t / (reach + 1)).square()).clamp_min(0).sqrt())
            h = torch.sinc(2 * cutoff * t) * shape
            return h / h.sum()

        self.register_buffer("kernels", torch.stack([kernel(0.0), kernel(1.5)])[:, None].float(), persistent=False)

    def forward(self, wav: Tensor) -> Tensor:
        size = -(-2 * wav.shape[-1] // 3)
        x = pad(wav[:, None], (self.reach, self.reach + 4))
        return conv1d(x, self.kernels.to(wav.dtype), stride=3).transpose(1, 2).flatten(1)[:, :size]


class SpeakerEncoder(nn.Module):
    """wav [B, T] at 24 kHz, lens [B] -> embeddings [B, 256] of unit length."""

    stranger = 0.5  # cosine of different speakers, about: 0.54 on average
    analysis: Tensor
    filters: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.resample = Downsampler()
        with torch.random.fork_rng(devices=[]):  # its initial values are drawn, then replaced
            self.lstm = nn.LSTM(MELS, 256, 3, batch_first=True)
            self.linear = nn.Linear(256, 256)
        self.register_buffer("analysis", torch.hann_window(N_FFT), persistent=False)
        self.register_buffer("filters", filterbank(RATE, N_FFT, MELS).float(), persistent=False)
        content = resources.files("coconut.losses").joinpath("assets/ge2e.safetensors").read_bytes()
        self.load_state_dict(load(content))
        self.requires_grad_(False).eval()

    def forward(self, wav: Tensor, lens: Tensor, gain: float = 1.0) -> Tensor:
        """In parts, as many items at once as memory holds. `gain`: of the level, a factor."""
        return EMBEDDED.rows(partial(self._embed, gain=gain), wav, lens, cost=max(1, wav.shape[-1]))

    def _embed(self, wav: Tensor, lens: Tensor, gain: float) -> Tensor:
        wav, lens = repeat(wav.to(self.linear.weight.dtype), lens)
        wav, lens = self.resample(wav), (2 * lens + 2) // 3
        wav = wav.masked_fill(~mask(lens, wav.shape[-1]), 0)
        power = wav.square().sum(-1) / lens.clamp_min(1)
        wav = wav * (gain * LEVEL / power.clamp_min(1e-12).sqrt())[:, None]
        frames = self.mel(wav)  # [B, F, 40]
        starts, used = windows(lens, frames.shape[1])
        index = starts[..., None] + torch.arange(WINDOW, device=wav.device)
        parts = frames[torch.arange(len(wav), device=wav.device)[:, None, None], index]  # [B, W, 160, 40]
        if wav.device.type == "cpu":  # elsewhere choosing the used ones would wait for the device
            each = parts.new_zeros(*used.shape, 256)
            each[used] = self.network(parts[used])
        else:
            each = self.network(parts.flatten(0, 1)).unflatten(0, used.shape)
        return normalize((each * used[..., None]).sum(1), dim=-1)

    def network(self, mels: Tensor) -> Tensor:
        """Embeddings [N, 256] of unit length of windows [N, 160, 40]."""
        with recurrent(mels.device if mels.requires_grad else None):
            _, (hidden, _) = self.lstm(mels)
        return normalize(self.linear(hidden[-1]).relu(), dim=-1)

    def mel(self, wav: Tensor) -> Tensor:
        """Mel powers [B, F, 40] of wav [B, T] at 16 kHz, F = T // 160 + 1."""
        spectrum = torch.stft(wav, N_FFT, HOP, window=self.analysis, pad_mode="constant", return_complex=True)
        return (self.filters @ spectrum.abs().square()).transpose(1, 2)


def repeat(wav: Tensor, lens: Tensor, shortest: int = SHORTEST) -> tuple[Tensor, Tensor]:
    """wav [B, max(T, shortest)] in which items shorter than `shortest` are repeated to that length."""
    size = max(wav.shape[-1], shortest)
    filled = torch.where(lens < shortest, shortest, lens)
    index = torch.arange(size, device=wav.device).expand(len(wav), -1)
    index = torch.where((lens < shortest)[:, None], index % lens.clamp_min(1)[:, None], index)
    wav = wav.gather(1, index.clamp_max(wav.shape[-1] - 1))
    return wav.masked_fill(~mask(filled, size), 0), filled


def windows(lens: Tensor, frames: int) -> tuple[Tensor, Tensor]:
    """(first frames [B, W], which of them are used [B, W]) of items of lens [B] samples at 16 kHz.

    As few as reach from the first to the last whole frame in steps of at most STEP, evenly
    spread. W is what `frames` frames can need.
    """
    room = (lens // HOP - WINDOW).clamp_min(0)  # where the last window starts
    gaps = (room + STEP - 1) // STEP
    most = max(0, -(-(frames - WINDOW) // STEP))
    k = torch.arange(most + 1, device=lens.device)
    starts = (k * room[:, None]) // gaps.clamp_min(1)[:, None]
    return starts.clamp_max(max(0, frames - WINDOW)), k <= gaps[:, None]
