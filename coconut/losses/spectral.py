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
        self.scales = nn.ModuleList(LogMel(n_fft, bands, hop=STEP) for n_fft, bands in RESOLUTIONS)

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

    In nepers, averaged over bands, mean and spread, and over 3 FFT sizes. It has no time axis, so
    it cannot punish timing: it hears timbre, brightness, breath and the depth of pauses in energy.
    """

    def __init__(self, device: torch.device | str = "cpu") -> None:
        self.spectra, self.device = LongTermSpectra().to(device), device

    def reference(self, utterance: Utterance) -> Tensor:
        """[2, 280]."""
        return self.spectra(*recording(utterance, self.device))[0]

    def __call__(self, refs: list[Tensor], syn: Synthesis) -> Tensor:
        ours = chunked(self.spectra, *syn.speech).unflatten(0, syn.shape)
        bands = [bands for _, bands in RESOLUTIONS]
        apart = (ours - torch.stack(refs)).abs().split(bands, -1)
        return torch.stack([part.mean((-1, -2)) for part in apart]).mean(0)
