"""The speech that the small Mimi is trained on: mini's voices and mixtures of them, and espeak-ng's speakers.

What the evaluation and the duel of fits ask about is left out: voices of WITHHELD, the espeak-ng speakers that they
were made of, and the sentences and words that `experiments/mini/texts.py` keeps apart.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soxr
import torch
from rich.progress import Progress
from torch import Tensor

from coconut import resources
from coconut.audio import SAMPLE_RATE, trim
from coconut.config import EMBEDDED
from coconut.files import replacing
from coconut.synthesis import Synthesizer, mini
from coconut.text import phonemize
from coconut.voicepack import ROWS, STYLE
from experiments.bench import targets
from experiments.mini import texts
from experiments.mini.espeak import Espeak

WITHHELD = tuple(sorted({*targets.WITHHELD.values(), *(f"mk_{k:02d}" for k in range(7, 57, 7))}))
MINUTES = {"mini": 15, "espeak": 6}
LONGEST = 120  # letters of a text
CANDIDATES, TEXTS = 4, 6  # of a batch of mini
SPEEDS = (0.85, 1.18)  # of half of the clips, pitch and formants with it: voices that neither source has
PAUSE = SAMPLE_RATE // 8

Rng = np.random.Generator


def build(folder: Path, seed: int = 0) -> list[Path]:
    """One array of samples [N] int16 at 24 kHz for each source, in `folder`; what is there already is kept."""
    sources = {"mini": by_mini, "espeak": lambda rng: by_espeak(rng, folder)}
    for index, (name, source) in enumerate(sources.items()):
        if not (folder / f"{name}.npy").exists():
            rng = np.random.default_rng([seed, index])
            _write(folder / f"{name}.npy", source(rng), MINUTES[name] * 60 * SAMPLE_RATE, rng)
    return [folder / f"{name}.npy" for name in sources]


def by_mini(rng: Rng) -> Iterator[np.ndarray]:
    """Sentences by mini without end, each by a stock voice or a mixture of two or three, with noise of its own."""
    network = resources.model(EMBEDDED, "cpu").network
    voices = [pack for name, pack in mini.voices().items() if name not in WITHHELD]
    packs = torch.stack(voices).reshape(-1, ROWS, STYLE)
    while True:
        synth = Synthesizer(network, seed=int(rng.integers(2**31)))
        lang = str(rng.choice(["en-us", "en-gb"]))
        script = synth.prepare([phonemize(text, lang) for text in _texts(rng, TEXTS)])
        mixed = torch.stack([_weights(rng, len(packs)) for _ in range(CANDIDATES)])
        audio = synth(script, torch.einsum("pv,vus->pus", mixed, packs[:, script.rows]))
        for wav, size in zip(audio.wav.flatten(0, 1), audio.lens.flatten(), strict=True):
            yield wav[: int(size)].numpy()


def by_espeak(rng: Rng, folder: Path) -> Iterator[np.ndarray]:
    """Sentences by the espeak-ng speakers that mini was trained on, in turn, without end."""
    espeak = Espeak()
    cast = [speaker for speaker in targets._cast(folder) if speaker.name.startswith("mk_")]
    for speaker in itertools.cycle(speaker for speaker in cast if speaker.name not in WITHHELD):
        espeak.use(speaker.variant_at(0.0), speaker.accent, speaker.rate)
        for text in _texts(rng, 3):
            yield soxr.resample(espeak.speak(text)[0], espeak.sample_rate, SAMPLE_RATE)


def _texts(rng: Rng, count: int) -> list[str]:
    found = [text for text in texts.texts(rng) if len(text) <= LONGEST and any(c.isalpha() for c in text)]
    return [found[i] for i in rng.choice(len(found), count, replace=False)]


def _weights(rng: Rng, voices: int) -> Tensor:
    """How much of each voice [V]: one, two or three of them, equally often."""
    chosen = rng.choice(voices, int(rng.integers(1, 4)), replace=False)
    weights = torch.zeros(voices)
    weights[chosen] = torch.from_numpy(rng.dirichlet(np.ones(len(chosen)))).float()
    return weights


def _write(path: Path, clips: Iterator[np.ndarray], samples: int, rng: Rng) -> None:
    parts, count = [], 0
    with Progress() as bar:
        task = bar.add_task(f"speech by {path.stem}", total=samples)
        while count < samples:
            parts.append(_treated(next(clips), rng))
            count += len(parts[-1])
            bar.update(task, completed=min(count, samples))
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.save(file, np.concatenate(parts)[:samples])


def _treated(wav: np.ndarray, rng: Rng) -> np.ndarray:
    """Trimmed, at the level of recordings, half of them faster or slower, with a pause behind."""
    if rng.random() < 0.5:
        wav = soxr.resample(wav, SAMPLE_RATE, round(SAMPLE_RATE / float(rng.uniform(*SPEEDS))))
    treated = trim(torch.from_numpy(np.ascontiguousarray(wav, np.float32)))
    return np.pad(np.round(treated.clamp(-1, 1).numpy() * 32767).astype(np.int16), (0, PAUSE))
