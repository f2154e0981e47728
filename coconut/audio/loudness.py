"""How loud a recording is, as broadcasters measure it: ITU-R BS.1770-4, by pyloudnorm."""

from __future__ import annotations

from torch import Tensor

from coconut.audio.level import SAMPLE_RATE

BLOCK = 0.4  # s over which loudness is gated
SILENT = -70.0  # LUFS: what is softer is gated out


def loudness(wav: Tensor) -> float:
    """Integrated loudness of samples [N] at 24 kHz in LUFS, at least -70. What is shorter than a block is one."""
    import pyloudnorm  # which loads what of scipy takes as long as a fifth of torch

    if not len(wav):
        return SILENT
    block = min(BLOCK, (len(wav) - 0.5) / SAMPLE_RATE)  # a product of this and the rate is rounded
    meter = pyloudnorm.Meter(SAMPLE_RATE, block_size=block)
    return max(SILENT, float(meter.integrated_loudness(wav.double().numpy())))
