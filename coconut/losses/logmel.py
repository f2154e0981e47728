"""Log-mel distance along the best alignment in time."""

from __future__ import annotations

import torch
from torch import Tensor

from coconut.audio import LogMel
from coconut.data import Utterance
from coconut.losses.alignment import BAND, CELLS, dtw, l1, path
from coconut.losses.synthesis import Synthesis, recording, stacked


class LogMelTerm:
    """Mean absolute difference of 80 log-mel bands (nepers) along a banded DTW path.

    Both sides are trimmed and brought to one level first, so that level and silence at the ends
    cost nothing, and bands above the recording's own bandwidth are not compared. Order and spectra
    of sounds count; tempo does not (`duration` judges it).
    """

    differentiable = True

    def __init__(self, device: torch.device | str = "cpu", band: float = BAND) -> None:
        self.mel, self.band, self.device = LogMel().to(device), band, device

    def reference(self, utterance: Utterance) -> tuple[Tensor, Tensor]:
        """Log-mel [80, F], and which bands the recording has [80]."""
        mel = self.mel(*recording(utterance, self.device))[0][0]
        return mel, self.mel.heard(mel)

    def __call__(self, refs: list[tuple[Tensor, Tensor]], syn: Synthesis) -> Tensor:
        theirs, n = stacked([mel for mel, _ in refs], syn.shape[0])
        heard = torch.stack([bands for _, bands in refs]).repeat(syn.shape[0], 1)[..., None]
        ours, m = syn.logmel
        share = heard.float().mean(1, keepdim=True).clamp_min(1e-6)
        theirs, ours = (theirs * heard) / share, (ours * heard) / share  # l1 divides by all 80 bands
        if ours.requires_grad:
            items = zip(theirs.to(ours), ours, n, m, strict=True)
            return torch.stack([self._taped(*item) for item in items]).unflatten(0, syn.shape)
        cells = theirs.shape[2] * ours.shape[2]
        return CELLS.rows(self._distance, theirs, ours, n, m, cost=cells).unflatten(0, syn.shape)

    def _distance(self, theirs: Tensor, ours: Tensor, n: Tensor, m: Tensor) -> Tensor:
        """[B] of recordings [B, 80, N] and candidates [B, 80, M] that last n [B] and m [B] frames."""
        return dtw(l1(theirs, ours), n, m, self.band)[0]

    def _taped(self, theirs: Tensor, ours: Tensor, n: Tensor, m: Tensor) -> Tensor:
        """The distance of one recording [80, N] and one candidate [80, M] along a path that has no gradient."""
        i, j, weights = path(l1(theirs[None], ours.detach()[None])[0], self.band, n, m)
        return ((theirs[:, i] - ours[:, j]).abs().mean(0) * weights).sum()
