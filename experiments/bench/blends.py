"""Speakers that `mini` could be but does not know, and what bad rooms, lines and microphones make of them.

blend_1 ... 4                    means of two stock voices that are taken out of the model that the fit is given
far_1 far_2                      such voices, half as far again from the mean of all voices as they are
noisy_1 noisy_2 echo narrow      means, with noise 15 and 10 dB below the speech, in a hall, without what is above 4 kHz

All are spoken by `mini` itself with other noise, 18 sentences each, the shortest of the duel's.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import soxr
import torch
from scipy.signal import fftconvolve
from torch import Tensor

from coconut import resources
from coconut.audio import SAMPLE_RATE, activity
from coconut.config import EMBEDDED
from coconut.synthesis import Synthesizer, mini
from coconut.text import phonemize
from experiments.bench import targets

WITHHELD = ("mk_06", "mk_17", "mk_28", "mk_32", "mk_45", "mk_53")
BLENDS = {
    "blend_1": ("mk_06", "mk_32"),
    "blend_2": ("mk_17", "mk_45"),
    "blend_3": ("mk_28", "mk_53"),
    "blend_4": ("mk_17", "mk_32"),
    "far_1": ("mk_53", "mk_53"),
    "far_2": ("mk_28", "mk_28"),
    "noisy_1": ("mk_06", "mk_45"),
    "noisy_2": ("mk_32", "mk_53"),
    "echo": ("mk_17", "mk_53"),
    "narrow": ("mk_06", "mk_28"),
}
FAR = 1.5  # times as far from the mean voice
MODEL = "mini_fewer"
SENTENCES = sorted(targets.SPOKEN, key=len)[:18]  # 10 to fit, 4 held out, 4 to test
NOISE = 9002  # seed of the source noise in the recordings


def options(name: str, folder: Path) -> dict[str, Any]:
    """The settings that say whom to fit, for a speaker under `folder`, who is recorded where that was not done."""
    place = folder / "recordings" / name
    if not place.exists():
        _record(name, place)
    model = targets.model_without(folder, WITHHELD, MODEL)
    return {"data": str(place), "model": str(model), "mimi_model": EMBEDDED, "loss.mimi": 0.0}


def _record(name: str, place: Path) -> None:
    synth = Synthesizer(resources.model(EMBEDDED, "cpu").network, seed=NOISE)
    script = synth.prepare([phonemize(text) for text in SENTENCES])
    styles = _voice(name).reshape(-1, 256)[script.rows][None]
    audio = synth.decode(script, synth.prosody(script, styles), styles)
    spoken = {}
    for k, text in enumerate(SENTENCES):
        wav = DAMAGE.get(name, torch.clone)(audio.wav[0, k, : int(audio.lens[0, k])])
        spoken[text] = wav / wav.abs().max() * 0.5
    temporary = place.with_name(f".{name}")
    temporary.mkdir(parents=True, exist_ok=True)
    targets.write(temporary, spoken)
    temporary.replace(place)


def _voice(name: str) -> Tensor:
    """[510, 1, 256]."""
    voices = mini.voices()
    pack = torch.stack([voices[part] for part in BLENDS[name]]).mean(0)
    centre = torch.stack(list(voices.values())).mean(0)
    return centre + FAR * (pack - centre) if name.startswith("far") else pack


def _noisy(decibels: float) -> Callable[[Tensor], Tensor]:
    def add(wav: Tensor) -> Tensor:
        power, active = activity(wav, torch.tensor(len(wav)))
        level = float((power * active).sum() / active.sum()) ** 0.5
        return wav + level * 10 ** (-decibels / 20) * torch.randn(len(wav), generator=torch.manual_seed(len(wav)))

    return add


def _echoing(wav: Tensor, seconds: float = 0.6) -> Tensor:
    """In a room whose sound falls by 60 dB in so many seconds, as loud as what comes directly."""
    size = round(SAMPLE_RATE * seconds)
    tail = torch.randn(size, generator=torch.manual_seed(0)) * 10 ** (-3 * torch.arange(size) / size)
    room = torch.cat([torch.ones(1), tail / tail.norm()])
    return torch.from_numpy(fftconvolve(wav.numpy(), room.numpy())).float()


def _narrow(wav: Tensor) -> Tensor:
    """Through a line of 8000 samples a second."""
    line = soxr.resample(wav.numpy(), SAMPLE_RATE, 8000)
    return torch.from_numpy(soxr.resample(line, 8000, SAMPLE_RATE))


DAMAGE = {"noisy_1": _noisy(15), "noisy_2": _noisy(10), "echo": _echoing, "narrow": _narrow}
