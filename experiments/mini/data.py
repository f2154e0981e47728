"""The training data of mini: speech by espeak-ng with phonemes, durations, F0, energy and source phase.

One file per speaker, written under a temporary name and renamed, so that an interrupted run goes on where it
stopped. Everything is drawn from one seed.
"""

from __future__ import annotations

import itertools
import json
import multiprocessing
import os
import sys
import types
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy.signal
import soxr
from rich.progress import track

from . import align, recognise, texts
from .espeak import Espeak, variants
from .speakers import Speaker, bundled, draw, spread

SAMPLE_RATE = 24000
FRAME = align.FRAME
HALF = FRAME // 2  # F0, energy and phase have two values a frame: 80 a second
LEVEL = 0.08  # RMS of a speaker's speech
CANDIDATES = 180
# Shares of the kinds among the trained, and among the withheld, speakers.
MIX = {"male": 0.36, "female": 0.32, "breathy": 0.11, "old": 0.09, "child": 0.12}
_TRAIL = 5.0  # frames kept after the last sound


def profile(rows: np.ndarray) -> np.ndarray:
    """How a voicepack's rows depart from their mean, by row (= phonemes - 1): 6.8 at 0, 1.1 at 50, -0.4 far out.

    Two exponentials fitted to the first principal component, over rows, of 54 stock voices of Kokoro-82M.
    """
    return -0.415 + 2.54 * np.exp(-rows / 3.34) + 4.654 * np.exp(-rows / 42.87)


def shortness(phonemes: int) -> float:
    """0 for a long text, 1 for a single phoneme: the profile, scaled."""
    far, near = profile(np.array([600.0, 0.0]))
    return float((profile(np.array(phonemes - 1.0)) - far) / (near - far))


@dataclass
class Utterance:
    """text and phonemes; durations [N + 2] in frames; pcm [600 T] int16; f0 [2T] Hz, 0 where unvoiced;
    energy [2T]; phase [2T, 3] in turns: of the fundamental, at the start, middle and end of a half frame."""

    text: str
    phonemes: str
    durations: np.ndarray
    pcm: np.ndarray
    f0: np.ndarray
    energy: np.ndarray
    phase: np.ndarray


def f0_track(wav: np.ndarray, low: float, high: float) -> np.ndarray:
    """F0 in Hz, 0 where unvoiced, in the middle of each half frame of wav [600 T]: [2T]. WORLD's DIO, StoneMask."""
    world = _pyworld()
    x = wav.astype(np.float64)
    step = HALF / SAMPLE_RATE / 2 * 1000
    f0, at = world.dio(x, SAMPLE_RATE, f0_floor=low, f0_ceil=high, frame_period=step)
    f0 = world.stonemask(x, f0, at, SAMPLE_RATE)
    count = len(wav) // HALF
    middle = np.zeros(count)
    found = f0[1 : 2 * count : 2]
    middle[: len(found)] = found
    return middle


def energy_track(wav: np.ndarray) -> np.ndarray:
    """Level of each half frame, (dB + 45) / 15, under a Hann window of one frame: [2T]."""
    window = scipy.signal.get_window("hann", FRAME)
    power = np.convolve(wav.astype(np.float64) ** 2, window / window.sum(), "same")[HALF // 2 :: HALF]
    return (10 * np.log10(power + 1e-9) + 45) / 15


def phase_track(wav: np.ndarray, f0: np.ndarray) -> np.ndarray:
    """Phase of the fundamental in turns, [2T, 3], by demodulation with the tracked F0.

    x(t) exp(-j phi0(t)), phi0 the integral of F0, low-passed by a Hann window of 30 ms, leaves the slowly
    varying error of phi0. It is unwrapped within each voiced stretch and extrapolated one half frame beyond.
    """
    count = len(f0)
    voiced = f0 > 0
    turns = np.zeros((count, 3))
    if not voiced.any():
        return turns
    middles = (np.arange(count) + 0.5) * HALF
    dense = np.interp(np.arange(len(wav)), middles[voiced], f0[voiced])
    phi0 = np.cumsum(dense) / SAMPLE_RATE
    window = scipy.signal.get_window("hann", 720)
    base = scipy.signal.oaconvolve(wav * np.exp(-2j * np.pi * phi0), window, "same")
    error = np.angle(base[middles.astype(int)]) / (2 * np.pi)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], voiced.astype(int), [0]])))
    for a, b in zip(edges[::2], edges[1::2], strict=True):
        middle = np.unwrap(error[a:b], period=1.0) + phi0[middles[a:b].astype(int)]
        step = f0[a:b] * HALF / SAMPLE_RATE
        between = (middle[1:] + middle[:-1]) / 2
        turns[a:b, 1] = middle
        turns[a:b, 0] = np.concatenate([[middle[0] - step[0] / 2], between])
        turns[a:b, 2] = np.concatenate([between, [middle[-1] + step[-1] / 2]])
    return turns


def build(folder: Path, train: int = 56, withheld: int = 8, seed: int = 0, processes: int = 1) -> None:
    """Write `speakers.json` and one `NAME.npz` for each trained, withheld and demo speaker into the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    cast = folder / "speakers.json"
    if not cast.exists():
        _write(cast, json.dumps(_cast(train, withheld, seed), indent=1).encode())
    todo = [s for s in speakers(folder) if not (folder / f"{s.name}.npz").exists()]
    jobs = [(folder, s, seed) for s in todo]
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        for _ in track(pool.imap(_make, jobs), "speech by espeak-ng", len(jobs)):
            pass


def speakers(folder: Path, prefix: str = "") -> list[Speaker]:
    """The cast, or those of it whose name starts so: mk_.. trained, target_.. withheld, demo."""
    found = [Speaker(**{**s, "pitch": tuple(s["pitch"])}) for s in json.loads((folder / "speakers.json").read_text())]
    return [s for s in found if s.name.startswith(prefix)]


def load(folder: Path, name: str) -> list[Utterance]:
    """All utterances of a speaker."""
    with np.load(folder / f"{name}.npz") as store:
        parts = {k: store[k] for k in store.files}
    spoken = json.loads(bytes(parts["texts"]).decode())
    found, token, frame = [], 0, 0
    for text, string in spoken:
        n = len(string) + 2
        d = parts["durations"][token : token + n].astype(int)
        t = int(d.sum())
        half = slice(2 * frame, 2 * (frame + t))
        pcm = parts["pcm"][FRAME * frame : FRAME * (frame + t)]
        found.append(Utterance(text, string, d, pcm, parts["f0"][half], parts["energy"][half], parts["phase"][half]))
        token, frame = token + n, frame + t
    return found


def speak(espeak: Espeak, speaker: Speaker, spoken: list[str]) -> list[Utterance]:
    """Utterances of a speaker, at its level; texts that cannot be used (no or too many phonemes) are left out."""
    raw = [(text, *made) for text in spoken if (made := _speak_one(espeak, speaker, text))]
    loud = np.concatenate([wav[np.abs(wav) > 0.01] for *_, wav in raw])
    gain = LEVEL / np.sqrt(np.mean(loud**2)) * 0.8
    low, high = 0.62 * speaker.pitch[0], 1.6 * speaker.pitch[1]
    found = []
    for text, string, d, wav in raw:
        wav = np.clip(wav * gain, -1, 1)
        f0, energy = f0_track(wav, low, high), energy_track(wav)
        f0[energy < -0.6] = 0  # below -54 dB nothing is voiced
        pcm = np.round(wav * 32767).astype(np.int16)
        found.append(Utterance(text, string, d, pcm, f0, energy, phase_track(wav, f0)))
    return found


def _speak_one(espeak: Espeak, speaker: Speaker, text: str) -> tuple[str, np.ndarray, np.ndarray] | None:
    string = align.phonemes(text, speaker.accent)
    if not 1 <= len(string) <= 500:
        return None
    short = shortness(len(string))
    variant = speaker.variant_at(2 * speaker.higher * short)
    espeak.use(variant, speaker.accent, round(speaker.rate * (1 - speaker.slower * short)))
    pcm, events = espeak.speak(text)
    if not events:
        return None
    wav = soxr.resample(pcm, espeak.sample_rate, SAMPLE_RATE)
    scale = SAMPLE_RATE / espeak.sample_rate / FRAME
    timed = [(sample * scale, ipa) for sample, ipa in events]
    sounds = [k for k, (_, ipa) in enumerate(timed) if ipa]
    if not sounds or sounds[-1] + 1 >= len(timed):
        return None
    end = min(len(wav) / FRAME, timed[sounds[-1] + 1][0] + _TRAIL)
    d = align.durations(string, [e for e in timed if e[0] < end], end)
    total = int(d.sum()) * FRAME
    wav = np.pad(wav[:total], (0, max(0, total - len(wav))))
    wav[-120:] *= np.linspace(1, 0, 120)
    return string, d, wav


def _cast(train: int, withheld: int, seed: int) -> list[dict[str, Any]]:
    """Who speaks: of the readable candidates of each kind those that differ most, half of them bundled if possible."""
    rng = np.random.default_rng(seed)
    pool = [*bundled(variants(), rng), *(draw(rng, f"c{i:03d}") for i in range(CANDIDATES))]
    espeak = Espeak()
    pool = [s for s in track(pool, "can they be understood?") if _readable(espeak, s)]
    features = np.stack([_timbre(espeak, s) for s in track(pool, "candidate speakers")])
    features = (features - features.mean(0)) / features.std(0).clip(1e-6)
    features[:, -2] *= 4  # F0 counts as much as sixteen bands
    features[:, -1] *= 2
    chosen: list[int] = []
    others: list[int] = []
    for kind, share in MIX.items():
        count, rest = round(train * share), round((withheld + 1) * share)
        order = _spread([i for i, s in enumerate(pool) if s.kind == kind], pool, features, count + rest)
        keep = [i for i in order if pool[i].bundled][: count // 2]
        keep += [i for i in order if i not in keep][: count - len(keep)]
        chosen += keep
        others += [i for i in order if i not in keep]
    plain = [i for i in others if pool[i].kind == "male" and pool[i].accent == "us"]
    demo = min(plain or others, key=lambda i: abs(pool[i].rate - 165))
    others.remove(demo)
    chosen.sort(key=lambda i: (pool[i].accent, pool[i].kind, pool[i].pitch))
    named = [(i, f"mk_{k + 1:02d}") for k, i in enumerate(chosen)]
    named += [(i, f"target_{k + 1}") for k, i in enumerate(others)] + [(demo, "demo")]
    return [{**asdict(pool[i]), "name": name} for i, name in named]


def _spread(own: list[int], pool: list[Speaker], features: np.ndarray, count: int) -> list[int]:
    """`count` of the candidates `own`: up to half of them bundled, those of both sorts that differ most."""
    shipped = [i for i in own if pool[i].bundled]
    first = [shipped[k] for k in spread(features[shipped], min(count // 2, len(shipped)))] if shipped else []
    drawn = [i for i in own if not pool[i].bundled]
    both = first + drawn
    return [both[k] for k in spread(features[both], count, list(range(len(first))))]


def _readable(espeak: Espeak, speaker: Speaker) -> bool:
    """Whether a recogniser with a closed grammar gets two words of three of twelve in espeak's own audio."""
    rng = np.random.default_rng(11)
    wrong, total = 0, 0
    for _ in range(2):
        said = texts.grammar_sentence(rng)
        made = _speak_one(espeak, speaker, " ".join(said) + ".")
        if made is None:
            return False
        level = np.sqrt(np.mean(made[2] ** 2)) + 1e-6
        wrong += recognise.errors(said, (made[2] * LEVEL / level).astype(np.float32))
        total += len(said)
    return wrong <= total / 3


def _timbre(espeak: Espeak, speaker: Speaker) -> np.ndarray:
    """What tells candidates apart: 24 bands of the long-term spectrum in dB, log F0, log speaking time."""
    made = [_speak_one(espeak, speaker, text) for text in texts.SENTENCES[:2]]
    wav = np.concatenate([m[2] for m in made if m])
    hz, power = scipy.signal.welch(wav, SAMPLE_RATE, nperseg=1024)
    edges = np.geomspace(90, 8000, 25)
    bands = [power[(hz >= a) & (hz < max(b, a + 24))].mean() for a, b in itertools.pairwise(edges)]
    db = 10 * np.log10(np.array(bands) + 1e-12)
    f0 = np.sqrt(speaker.pitch[0] * speaker.pitch[1])
    return np.array([*(db - db.mean()), np.log(f0), np.log(len(wav))])


def _make(job: tuple[Path, Speaker, int]) -> None:
    folder, speaker, seed = job
    index = [s.name for s in speakers(folder)].index(speaker.name)
    spoken = texts.texts(np.random.default_rng([seed, index]))
    made = speak(Espeak(), speaker, spoken)
    parts: dict[str, Any] = {
        "texts": np.frombuffer(json.dumps([(u.text, u.phonemes) for u in made]).encode(), np.uint8),
        "durations": np.concatenate([u.durations for u in made]).astype(np.uint16),
        "pcm": np.concatenate([u.pcm for u in made]),
        "f0": np.concatenate([u.f0 for u in made]).astype(np.float32),
        "energy": np.concatenate([u.energy for u in made]).astype(np.float32),
        "phase": np.concatenate([u.phase for u in made]).astype(np.float32) % 1.0e6,
    }
    partial = folder / f"{speaker.name}.tmp.npz"
    np.savez(partial, **parts)
    os.replace(partial, folder / f"{speaker.name}.npz")


def _write(path: Path, data: bytes) -> None:
    partial = path.with_name(path.name + ".tmp")
    partial.write_bytes(data)
    os.replace(partial, path)


def _pyworld() -> Any:
    if "pkg_resources" not in sys.modules:  # pyworld asks it for its own version; newer setuptools lack it
        stub = types.ModuleType("pkg_resources")
        stub.get_distribution = lambda _: types.SimpleNamespace(version="")  # type: ignore[attr-defined]
        sys.modules["pkg_resources"] = stub
    import pyworld

    return pyworld
