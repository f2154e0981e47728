"""Long-term spectra at several resolutions, without time."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from coconut.audio import HOP, LogMel, activity, mask
from coconut.data import Utterance
from coconut.losses.synthesis import Synthesis, chunked, recording

RESOLUTIONS = ((512, 40), (1024, 80), (2048, 160))  # FFT size, mel bands: 21, 43, 85 ms
STEP = 600  # samples: averages need no more than 40 frames/s


class LongTermSpectra(nn.Module):
    """Mean and standard deviation over active frames of log-mel spectra: [B, 2, 280]."""

    def __init__(self) -> None:
        super().__init__()
        self.scales = [LogMel(n_fft, bands, hop=STEP) for n_fft, bands in RESOLUTIONS]
        self.parts = nn.ModuleList(self.scales)  # so that they move between devices together

    def forward(self, wav: Tensor, lens: Tensor) -> Tensor:
        _, active = activity(wav, lens)
        frames = wav.shape[-1] // STEP + 1
        active = pad(active, (0, 2 * frames))[:, : 2 * frames : STEP // HOP]
        active = torch.where(active.any(-1, keepdim=True), active, mask(lens // STEP + 1, frames))
        weight = (active / active.sum(-1, keepdim=True))[:, None]
        both = []
        for scale in self.scales:
            mel, _ = scale(wav, lens)
            mean = (mel * weight).sum(-1)
            spread = ((mel - mean[..., None]).square() * weight).sum(-1).clamp_min(1e-8).sqrt()
            both.append(torch.stack([mean, spread], 1))
        return torch.cat(both, -1)


class SpectralTerm:
    """Mean absolute difference of the long-term mean and of the long-term spread of log spectra.

    In nepers, averaged over the bands that the recording has, over mean and spread, and over 3 FFT
    sizes. It has no time axis, so it cannot punish timing: it hears timbre, brightness and breath.
    """

    differentiable = True

    def __init__(self, device: torch.device | str = "cpu") -> None:
        self.spectra, self.device = LongTermSpectra().to(device), device

    def reference(self, utterance: Utterance) -> tuple[Tensor, Tensor]:
        """Spectra [2, 280], and which bands the recording has [280]."""
        wav, lens = recording(utterance, self.device)
        heard = torch.cat([scale.heard(scale(wav, lens)[0][0]) for scale in self.spectra.scales])
        return self.spectra(wav, lens)[0], heard

    def __call__(self, refs: list[tuple[Tensor, Tensor]], syn: Synthesis) -> Tensor:
        ours = chunked(self.spectra, *syn.speech).unflatten(0, syn.shape)
        heard = torch.stack([bands for _, bands in refs]).float()
        apart = (ours - torch.stack([both for both, _ in refs])).abs().mean(-2) * heard
        bands = [bands for _, bands in RESOLUTIONS]
        sums = zip(apart.split(bands, -1), heard.split(bands, -1), strict=True)
        return torch.stack([part.sum(-1) / count.sum(-1).clamp_min(1) for part, count in sums]).mean(0)
