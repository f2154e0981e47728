"""A long recording with one transcript, cut: are the texts of its pieces right, and what does that take?

    python -m experiments.bench.cutting --minutes 60 --voice slt

flite reads sentences that were drawn from word lists, clause by clause, so that it is known when each is said, with
pauses of 0.2 to 1 s between sentences. Of every 40 sentences, one is read that is not in the text, and one in the text
is not read. A piece is right when its words are those of the clauses in it, no more and no fewer.
"""

from __future__ import annotations

import argparse
import dataclasses
import re
import resource
import subprocess
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile
import soxr
import torch

from coconut.audio import SAMPLE_RATE
from coconut.config import FitConfig
from coconut.cutting import Cutter
from coconut.data import Item
from experiments.mini import texts

EVERY = 40  # sentences with one of each fault
NOISE = 3e-4


class Said(NamedTuple):
    """A clause, and when it is said."""

    text: str
    start: float
    end: float


def sentence(rng: np.random.Generator) -> str:
    """One of the lists, or one that nobody wrote: some with several clauses, some with figures and names."""

    def some(words: list[str]) -> str:
        return str(rng.choice(words))

    if rng.random() < 0.3:
        return some(texts.SENTENCES + texts.QUESTIONS)
    a, n, v, d, name = (lambda: some(texts.ADJECTIVES), lambda: some(texts.NOUNS), lambda: some(texts.VERBS),
                        lambda: some(texts.ADVERBS), some(texts.NAMES))  # fmt: skip
    return some([
        f"The {a()} {n()} {v()} the {n()} {d()}.",
        f"{name} {v()} a {a()} {n()}, and the {n()} {v()} it {d()}.",
        f"If the {n()} {v()} the {a()} {a()} {n()} under the {n()}, {name} {d()} {v()} {rng.integers(2, 99)} {n()}s.",
        f"{name} {v()} the {n()}; nobody {v()} the {a()} {n()}, but every {n()} near the {a()} {n()} {v()} it {d()}.",
        f"In {rng.integers(1800, 2020)}, Mr. {name} {v()} {rng.integers(100, 999)} {a()} {n()}s.",
    ])  # fmt: skip


def clauses(text: str) -> list[str]:
    return re.split(r"(?<=[,;])\s+", text)


def speak(voice: str, text: str, file: Path) -> np.ndarray:
    """[N] at 24 kHz."""
    subprocess.run(["flite", "-voice", voice, "-t", text, "-o", str(file)], check=True)
    wav, rate = soundfile.read(file, dtype="float32")
    return soxr.resample(wav, rate, SAMPLE_RATE)


def record(folder: Path, minutes: float, voice: str, seed: int, noise: float) -> tuple[Path, str, list[Said]]:
    """The recording, its text, and what is really said."""
    rng, path = np.random.default_rng(seed), folder / "book.flac"
    text, said, now, count = [], [], 0.0, 0
    with soundfile.SoundFile(path, "w", SAMPLE_RATE, 1) as out:

        def add(wav: np.ndarray) -> None:
            nonlocal now
            out.write(np.clip(wav + rng.normal(0, noise, len(wav)), -1, 1))
            now += len(wav) / SAMPLE_RATE

        add(np.zeros(SAMPLE_RATE // 2))
        while now < 60 * minutes:
            whole, count = sentence(rng), count + 1
            if count % EVERY != EVERY // 2:
                text.append(whole)
            if count % EVERY:
                for clause in clauses(whole):
                    start = now
                    add(speak(voice, clause, folder / "part.wav"))
                    said.append(Said(clause, start, now))
                add(np.zeros(int(rng.uniform(0.2, 1.0) * SAMPLE_RATE)))
    return path, " ".join(text), said


def truth(said: list[Said], start: float, seconds: float) -> str:
    """The clauses whose middle is within a piece."""
    return " ".join(part.text for part in said if start <= (part.start + part.end) / 2 < start + seconds)


def span(item: Item) -> tuple[float, float]:
    """(start, seconds) of a piece, as its name tells."""
    first, last = (60 * int(m) + float(s) for m, s in re.findall(r"(\d+):(\d+\.\d)", item.name))
    return first, last - first


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--voice", default="slt", help="of flite")
    parser.add_argument("--noise", type=float, default=NOISE, help="standard deviation; full scale is 1")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as place:
        path, text, said = record(Path(place), args.minutes, args.voice, args.seed, args.noise)
        cutter = Cutter(FitConfig(device="cpu"))
        before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
        pieces = [dataclasses.replace(item, audio=None) for item in cutter(Item(path.name, path, text))]
        seconds = time.process_time() - started
        growth = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    kept = [item for item in pieces if item.problem is None]
    wrong = [item for item in kept if item.text != truth(said, *span(item))]
    heard, used = sum(part.end - part.start for part in said), sum(span(item)[1] for item in kept)
    for item in wrong:
        print(f"{item.name}: {item.text!r} is {truth(said, *span(item))!r}")
    share = 100 * (1 - len(wrong) / max(1, len(kept)))
    print(f"{args.minutes:g} min of {args.voice}: {len(kept)} pieces, {len(kept) - len(wrong)} right ({share:.1f}%), "
          f"{len(pieces) - len(kept)} left out; {used:.0f} s of {heard:.0f} s of speech used; "
          f"{seconds:.0f} s of one core, {growth:.0f} MB more")  # fmt: skip


if __name__ == "__main__":
    main()
