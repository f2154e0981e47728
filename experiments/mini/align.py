"""From espeak's phoneme events to a duration, in frames, of every token of a Kokoro phoneme string."""

from __future__ import annotations

import types

import numpy as np
from misaki.espeak import EspeakFallback

FRAME = 600  # samples at 24 kHz: 40 frames a second
_VOWELS = set("AIOQWYaeiouæɐɑɒɔəɚɛɜɪʊʌᵊᵻ")
MARKS = set('ˈˌː ;:,.!?—…"()“”')
_SHARE = {"ˈ": 0.25, "ˌ": 0.25, "ː": 0.6, " ": 0.25}
_UNITS = [
    ("aɪ", "I"),
    ("aʊ", "W"),
    ("eɪ", "A"),
    ("ɔɪ", "Y"),
    ("oʊ", "O"),
    ("əʊ", "Q"),
    ("tʃ", "ʧ"),
    ("dʒ", "ʤ"),
    ("n̩", "ᵊn"),
    ("l̩", "ᵊl"),
    ("əl", "ᵊl"),
    ("ɚ", "əɹ"),
    ("ɐ", "ə"),
    ("ɾ", "T"),
    ("ʔ", "t"),
    ("r", "ɹ"),
    ("x", "k"),
]

_fallbacks: dict[str, EspeakFallback] = {}


def phonemes(text: str, accent: str) -> str:
    """What misaki's espeak fallback makes of the whole text; accent is "us" or "gb"."""
    if accent not in _fallbacks:
        _fallbacks[accent] = EspeakFallback(british=accent == "gb")
    made, _ = _fallbacks[accent](types.SimpleNamespace(text=text))
    return made or ""


def durations(string: str, events: list[tuple[float, str]], end: float) -> np.ndarray:
    """Frames of the tokens <s>, *string, </s>: [len(string) + 2] int, each at least 1.

    events: (start in frames, IPA; "" for a pause), sorted; end: length of the audio in frames.
    """
    units, starts = _units(events)
    stops = [*starts[1:], end]
    owner = _align(string, units)
    at = np.zeros(len(string) + 3)
    at[1] = min(starts[0] if starts else 0.0, 1.0)
    cursor = at[1]
    i = 0
    while i < len(string):
        j = i + 1
        while j < len(string) and owner[j] is None:
            j += 1
        stop = _stop(owner, i, j, stops, starts, end, cursor)
        shares = np.array([_SHARE.get(c, 1.0) for c in string[i:j]])
        edges = cursor + np.cumsum(shares) / shares.sum() * max(stop - cursor, 0.0)
        at[i + 2 : j + 2] = edges
        cursor, i = float(edges[-1]), j
    at[-1] = end
    return _integer(at)


def _stop(
    owner: list[int | None],
    i: int,
    j: int,
    stops: list[float],
    starts: list[float],
    end: float,
    cursor: float,
) -> float:
    """Where the group of tokens i..j ends: the start of the next unit that a token owns."""
    if j < len(owner) and owner[j] is not None:
        return starts[owner[j]]  # type: ignore[index]
    last = owner[i]
    return end - 1.0 if last is None else max(cursor, min(stops[last], end - 1.0))


def _units(events: list[tuple[float, str]]) -> tuple[list[str], list[float]]:
    """Split events into single Kokoro symbols (pause "_"), with their starts."""
    symbols: list[str] = []
    starts: list[float] = []
    for k, (start, ipa) in enumerate(events):
        text = ipa.replace("ˈ", "").replace("ˌ", "")
        for old, new in _UNITS:
            text = text.replace(old, new)
        text = "".join(c for c in text if c not in "ː\u0329\u0303ʲ")
        stop = events[k + 1][0] if k + 1 < len(events) else start
        if not ipa:
            text = "_" if stop - start > 1.0 else ""
        for n, symbol in enumerate(text):
            symbols.append(symbol)
            starts.append(start + (stop - start) * n / len(text))
    return symbols, starts


def _cost(a: str, b: str) -> float:
    if a == b:
        return 0.0
    if b == "_":
        return 0.1 if a in ",.!?;:—…" else 0.7 if a == " " else 3.0
    if a in MARKS:
        return 3.0
    return 0.6 if (a in _VOWELS) == (b in _VOWELS) else 1.4


def _align(string: str, units: list[str]) -> list[int | None]:
    """For each symbol of the string the unit it owns, or None (Needleman-Wunsch)."""
    n, m = len(string), len(units)
    skip = [0.05 if c in MARKS else 1.0 for c in string]
    drop = [0.3 if u == "_" else 1.0 for u in units]
    cost = np.zeros((n + 1, m + 1))
    move = np.zeros((n + 1, m + 1), np.int8)
    cost[1:, 0], cost[0, 1:] = np.cumsum(skip), np.cumsum(drop)
    move[1:, 0], move[0, 1:] = 1, 2
    for i in range(1, n + 1):
        row, above = cost[i], cost[i - 1]
        for j in range(max(1, i - 3 * 60), m + 1):
            best, how = above[j - 1] + _cost(string[i - 1], units[j - 1]), 0
            if above[j] + skip[i - 1] < best:
                best, how = above[j] + skip[i - 1], 1
            if row[j - 1] + drop[j - 1] < best:
                best, how = row[j - 1] + drop[j - 1], 2
            row[j], move[i, j] = best, how
    owner: list[int | None] = [None] * n
    i, j = n, m
    while i > 0 or j > 0:
        if move[i, j] == 0:
            owner[i - 1], i, j = j - 1, i - 1, j - 1
        elif move[i, j] == 1:
            i -= 1
        else:
            j -= 1
    return owner


def _integer(at: np.ndarray) -> np.ndarray:
    """Whole-frame durations, each at least 1, whose boundaries lie close to `at` [N + 1]."""
    total = max(round(at[-1]), len(at) - 1)
    edges = np.round(at).astype(int)
    edges[0], edges[-1] = 0, total
    for k in range(1, len(edges) - 1):
        edges[k] = max(edges[k], edges[k - 1] + 1)
    for k in range(len(edges) - 2, 0, -1):
        edges[k] = min(edges[k], edges[k + 1] - 1)
    return np.diff(edges)
