"""Narrow-band spectrograms of mini beside espeak: single harmonics can be seen, and so can a buzz."""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from . import texts
from .figures import RATE, Bench, wav_of


def spectrograms(bench: Bench, voices: list[str], path: Path, text: str = texts.HELDOUT_SENTENCES[4]) -> None:
    """A PNG with a row per voice: mini's speech with the F0 that drove it, then espeak's, up to 4 kHz."""
    figure, axes = plt.subplots(len(voices), 2, figsize=(15, 3 * len(voices)), squeeze=False)
    for row, voice in zip(axes, voices, strict=True):
        wav, f0 = bench.speak(bench.phonemes(text, voice), bench.voices[voice])
        for axis, sound, who in ((row[0], wav, "mini"), (row[1], wav_of(bench.recording(voice, text)), "espeak")):
            axis.specgram(sound + 1e-7, NFFT=1024, Fs=RATE, noverlap=896, cmap="magma", vmin=-140, vmax=-40)
            axis.set(ylim=(0, 4000), title=f"{voice} {bench.cast[voice].kind} {who}")
        at = np.arange(len(f0)) / 80
        row[0].plot(at, np.where(f0 > 40, f0, np.nan), color="cyan", linewidth=0.7)
    figure.tight_layout()
    figure.savefig(path, dpi=60)
    plt.close(figure)
