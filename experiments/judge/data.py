"""Speech of many speakers as the judge's features: by espeak-ng, by `mini`, and both played faster or slower.

    python -m experiments.judge.data --folder runs/judge --cast runs/mini/data

One file per speaker, written under a temporary name, so that an interrupted run goes on where it stopped. Everything
is drawn from one seed. The speakers:

mk_NN       those of mini's training data that the bench does not withhold, by espeak-ng and by mini: one speaker heard
            through two synthesisers, so that the synthesiser is no part of who speaks
drawn_NNN   random espeak-ng speakers
mix_NNN     random mixtures of mini's voices, a little further from the mean than their voices are
NAME_x      some of the drawn ones, played faster or slower, as speakers of their own

Nobody whom the bench fits is among them: neither target_1 to 8, nor the withheld voices, nor the demo's, nor flite's.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

import numpy as np
import soxr
import torch
from rich.progress import track
from torch import Tensor

from coconut.audio import SAMPLE_RATE, speech
from coconut.files import replacing
from coconut.losses.judge import Judge
from coconut.synthesis import Synthesizer, load_model, mini
from coconut.text import phonemize
from experiments.bench.targets import WITHHELD
from experiments.mini import data as cast
from experiments.mini import speakers, texts
from experiments.mini.espeak import Espeak

SEED = 71
TEXTS = 8  # that a speaker says
DRAWN, MIXED, PLAYED = 150, 40, 60
MIXTURE, BEYOND = 3, 1.15  # voices in a mixture, and how far from the mean it is moved
LANGUAGES = {"us": "en-us", "gb": "en-gb"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("runs/judge"))
    parser.add_argument("--cast", type=Path, required=True, help="the folder of mini's speakers.json")
    args = parser.parse_args()
    torch.set_num_threads(1)
    (args.folder / "speech").mkdir(parents=True, exist_ok=True)
    voices = Voices()
    for name, spoken in track(list(plan(args.cast)), "speakers"):
        path = args.folder / "speech" / f"{name}.npz"
        if not path.exists():
            write(path, voices(name, spoken))


Spoken = tuple[speakers.Speaker | None, Tensor | None, float]  # espeak speaker, voicepack, speed


def plan(folder: Path) -> Iterator[tuple[str, Spoken]]:
    """Who speaks: (name, what speaks so)."""
    packs = {name: pack for name, pack in mini.voices().items() if name not in WITHHELD.values()}
    for speaker in cast.speakers(folder, "mk_"):
        if speaker.name in packs:
            yield speaker.name, (speaker, packs[speaker.name], 1.0)
    rng = np.random.default_rng(SEED)
    drawn = [speakers.draw(rng, f"drawn_{k:03d}") for k in range(DRAWN)]
    for k, speaker in enumerate(drawn):
        yield speaker.name, (speaker, None, 1.0)
        speed = float(rng.uniform(1.1, 1.2) ** rng.choice([-1, 1]))
        if k < PLAYED:
            yield f"{speaker.name}_x", (speaker, None, speed)
    stock = torch.stack(list(packs.values()))
    for k in range(MIXED):
        chosen = rng.choice(len(stock), MIXTURE, replace=False)
        weights = torch.from_numpy(rng.dirichlet(np.full(MIXTURE, 0.5))).float()
        mixed = torch.einsum("v,vrus->rus", weights, stock[torch.from_numpy(chosen)])
        yield f"mix_{k:03d}", (None, stock.mean(0) + BEYOND * (mixed - stock.mean(0)), 1.0)


class Voices:
    """What a speaker says, as samples at 24 kHz."""

    def __init__(self) -> None:
        self.espeak, self.synth = Espeak(), Synthesizer(load_model("mini"))

    def __call__(self, name: str, spoken: Spoken) -> list[Tensor]:
        speaker, pack, speed = spoken
        rng = np.random.default_rng([SEED, *name.encode()])
        said = [str(text) for text in rng.choice([*texts.SENTENCES, *texts.QUESTIONS], TEXTS, replace=False)]
        found = [] if speaker is None else [self._espeak(speaker, text, speed) for text in said]
        accent = "us" if speaker is None else speaker.accent
        return found + ([] if pack is None else self._mini(pack, said, accent))

    def _espeak(self, speaker: speakers.Speaker, text: str, speed: float) -> Tensor:
        self.espeak.use(speaker.variant_at(0), speaker.accent, speaker.rate)
        pcm, _ = self.espeak.speak(text)
        return torch.from_numpy(soxr.resample(pcm, self.espeak.sample_rate * speed, SAMPLE_RATE).astype(np.float32))

    def _mini(self, pack: Tensor, said: Sequence[str], accent: str) -> list[Tensor]:
        script = self.synth.prepare([phonemes(text, LANGUAGES[accent]) for text in said])
        audio = self.synth(script, pack.reshape(-1, 256)[script.rows][None])
        return [audio.wav[0, u, : int(audio.lens[0, u])] for u in range(len(said))]


@cache
def phonemes(text: str, lang: str) -> str:
    return phonemize(text, lang)


@torch.no_grad()
def write(path: Path, wavs: Sequence[Tensor]) -> None:
    """mel [64, F1 + F2 + ...] float16 and frames [U] of the utterances, as the judge hears them."""
    judge = Judge(trained=False)
    heard = [judge.features(*treated(wav))[0][0] for wav in wavs]
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez(
            file,
            mel=torch.cat(heard, 1).numpy().astype(np.float16),
            frames=np.array([mel.shape[1] for mel in heard]),
        )


def treated(wav: Tensor) -> tuple[Tensor, Tensor]:
    """(wav [1, N], lens [1]) trimmed and at one level."""
    wav, lens = speech(wav[None], torch.tensor([len(wav)]))
    return wav[:, : int(lens)], lens


if __name__ == "__main__":
    main()
