"""The speakers: espeak-ng's bundled variants and random ones by type, thinned to those that differ most.

A variant file scales pitch, formants, voicing, breath and tone of espeak's own voice (espeak-ng docs,
voices.md). A speaker also has an accent, a rate, and two habits that grow as a text gets shorter: how much
slower and how much higher it is spoken. The habits are what the slope of a voicepack learns.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

Rng = np.random.Generator

# kind: share, pitch base (Hz), formant scale, rate (words a minute), breath, voicing (%)
_KINDS: dict[str, tuple[float, tuple[int, int], tuple[int, int], tuple[int, int], tuple[int, int], tuple[int, int]]] = {
    "male": (0.36, (70, 118), (88, 103), (140, 195), (0, 2), (90, 150)),
    "female": (0.32, (145, 215), (104, 122), (140, 200), (0, 4), (70, 120)),
    "breathy": (0.11, (85, 200), (92, 118), (130, 175), (8, 22), (40, 60)),
    "old": (0.09, (75, 170), (90, 112), (115, 145), (2, 8), (60, 100)),
    "child": (0.12, (215, 290), (118, 132), (140, 185), (0, 3), (70, 110)),
}


@dataclass(frozen=True)
class Speaker:
    """name; kind; variant file; accent "us" or "gb"; rate in words a minute; habits of short texts; pitch range
    in Hz; the bundled variant's name, empty for a drawn one."""

    name: str
    kind: str
    variant: str
    accent: str
    rate: int
    slower: float
    higher: float
    pitch: tuple[int, int]
    bundled: str = ""

    def variant_at(self, semitones: float) -> str:
        """The variant file with its pitch range moved by so many semitones."""
        low, high = (max(40, round(p * 2 ** (semitones / 12))) for p in self.pitch)
        return f"pitch {low} {high}\n{self.variant}"


def draw(rng: Rng, name: str) -> Speaker:
    """One random speaker."""
    kind = str(rng.choice(list(_KINDS), p=[k[0] for k in _KINDS.values()]))
    _, pitch, formant, rate, breath, voicing = _KINDS[kind]

    def uniform(bounds: tuple[int, int]) -> int:
        return round(rng.uniform(*bounds))

    base, scale = uniform(pitch), rng.uniform(*formant)
    lines = [f"gender {'male' if scale < 104 else 'female'}"]
    lines.append(f"flutter {uniform((6, 14)) if kind == 'old' else uniform((0, 4))}")
    lines.append("roughness 0")
    for i in range(9):
        frequency = round(scale * rng.uniform(0.95, 1.05)) if i else 100
        strength = uniform((70, 140)) if i < 6 else uniform((20, 120))
        lines.append(f"formant {i} {frequency} {strength} {uniform((80, 150))}")
    if breath[1] > 3 or rng.random() < 0.3:
        lines.append("breath 0 " + " ".join(str(uniform(breath)) for _ in range(7)))
        lines.append("breathw 150 150 200 200 400 400 600 600")
    lines.append(f"voicing {uniform(voicing)}")
    tilt = rng.uniform(0.25, 1.0)
    tone = [255, round(255 * tilt**0.5), round(255 * tilt), round(255 * tilt**1.5)]
    lines.append("tone " + " ".join(f"{hz} {amp}" for hz, amp in zip((300, 1200, 2500, 4500), tone, strict=True)))
    lines.append(f"consonants {uniform((60, 130))} {uniform((60, 130))}")
    if rng.random() < 0.5:
        lines.append(f"intonation {int(rng.integers(1, 5))}")
    width = rng.uniform(1.2, 1.4 if kind == "child" else 1.75)
    accent, speed, slower, higher = _manner(rng, rate)
    variant = "\n".join(lines) + "\n"
    return Speaker(name, kind, variant, accent, speed, slower, higher, (base, round(base * width)))


def _manner(rng: Rng, rate: tuple[int, int]) -> tuple[str, int, float, float]:
    """Accent, rate (one in ten fast, one in twelve slow), and the two habits."""
    accent = "us" if rng.random() < 0.6 else "gb"
    extreme = rng.random()
    speed = round(rng.uniform(*rate) * (1.25 if extreme < 0.1 else 0.8 if extreme > 0.92 else 1.0))
    return accent, speed, float(rng.uniform(0.1, 0.5)), float(rng.normal(1.5, 2.0))


# Effects and other synthesizers, not people.
_NOT_PEOPLE = re.compile("robo|klatt|whisper|croak|demonic|echo|fast|tweaky", re.IGNORECASE)

_NOT_KEPT = ("language", "name", "pitch", "echo", "//")


def bundled(folder: Path, rng: Rng) -> list[Speaker]:
    """The people among espeak-ng's own variants (`voices/!v` of its data), without their echo.

    The kind is told by gender line, pitch and breath; accent, rate and habits are drawn.
    """
    found = []
    for path in sorted(folder.iterdir()):
        text = path.read_text(errors="ignore")
        pitch = re.search(r"^pitch\s+(\d+)\s+(\d+)", text, re.MULTILINE)
        if _NOT_PEOPLE.search(path.name) or not pitch:
            continue
        low, high = sorted(int(p) for p in pitch.groups())
        kept = [line for line in text.splitlines() if line.strip() and line.split()[0] not in _NOT_KEPT]
        kind = _kind(text, low)
        accent, speed, slower, higher = _manner(rng, _KINDS[kind][3])
        variant = "\n".join(kept) + "\n"
        found.append(Speaker(f"b_{path.name}", kind, variant, accent, speed, slower, higher, (low, high), path.name))
    return found


def _kind(text: str, pitch: int) -> str:
    breath = re.search(r"^breath\s+(.+)$", text, re.MULTILINE)
    if breath and max(int(v) for v in re.findall(r"\d+", breath.group(1))) > 8:
        return "breathy"
    if pitch >= 210:
        return "child"
    said = re.search(r"^gender\s+(male|female)", text, re.MULTILINE | re.IGNORECASE)
    return said.group(1).lower() if said else "female" if pitch >= 140 else "male"


def spread(features: np.ndarray, count: int, chosen: list[int] | None = None) -> list[int]:
    """Greedy farthest-point choice: indices of `count` rows of features [N, F] that differ most, `chosen` first."""
    chosen = list(chosen or [0])[:count]
    distance = np.min([np.linalg.norm(features - features[i], axis=1) for i in chosen], axis=0)
    while len(chosen) < count:
        best = int(distance.argmax())
        chosen.append(best)
        distance = np.minimum(distance, np.linalg.norm(features - features[best], axis=1))
    return chosen
