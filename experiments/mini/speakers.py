"""The speakers: espeak-ng variants drawn at random by type, thinned to those that differ most.

A variant file scales pitch, formants, voicing, breath and tone of espeak's own voice (espeak-ng docs,
voices.md). A speaker also has an accent, a rate, and two habits that grow as a text gets shorter: how much
slower and how much higher it is spoken. The habits are what the slope of a voicepack learns.
"""

from __future__ import annotations

from dataclasses import dataclass

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
    """name; kind; variant file; accent "us" or "gb"; rate in words a minute; habits of short texts."""

    name: str
    kind: str
    variant: str
    accent: str
    rate: int
    slower: float
    higher: float
    pitch: tuple[int, int]

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
    speed = uniform(rate)
    draw_extreme = rng.random()
    speed = round(speed * (1.25 if draw_extreme < 0.1 else 0.8 if draw_extreme > 0.92 else 1.0))
    width = rng.uniform(1.2, 1.4 if kind == "child" else 1.75)
    return Speaker(
        name=name,
        kind=kind,
        variant="\n".join(lines) + "\n",
        accent="us" if rng.random() < 0.6 else "gb",
        rate=speed,
        slower=float(rng.uniform(0.05, 0.35)),
        higher=float(rng.normal(1.0, 1.5)),
        pitch=(base, round(base * width)),
    )


def spread(features: np.ndarray, count: int, first: int = 0) -> list[int]:
    """Greedy farthest-point choice: indices of `count` rows of features [N, F] that differ most."""
    chosen = [first]
    distance = np.linalg.norm(features - features[first], axis=1)
    while len(chosen) < count:
        best = int(distance.argmax())
        chosen.append(best)
        distance = np.minimum(distance, np.linalg.norm(features - features[best], axis=1))
    return chosen
