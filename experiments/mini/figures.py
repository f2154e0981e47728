"""The figures by which trainings of mini are compared. Each is a function of a `Bench`, with fixed seeds.

Texts and words are those that no training utterance has (`texts.HELDOUT_SENTENCES`, `texts.GRAMMAR`).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import scipy.signal
import torch
from torch import Tensor

from coconut.audio import LogMel
from coconut.losses.ge2e import SpeakerEncoder
from coconut.synthesis import mini

from . import align, data, recognise, texts
from .espeak import Espeak
from .speakers import Speaker

RATE = data.SAMPLE_RATE
Figures = dict[str, Any]


@dataclass
class Bench:
    """A trained mini, its voices and the espeak speakers that they stand for."""

    folder: Path  # of the training data: speakers.json says who the speakers are
    step: int = 1  # use every step-th voice where a figure need not use all

    @cached_property
    def model(self) -> Any:
        return mini.build_model()

    @cached_property
    def voices(self) -> dict[str, Tensor]:
        return mini.voices()

    @cached_property
    def cast(self) -> dict[str, Speaker]:
        return {s.name: s for s in data.speakers(self.folder)}

    @cached_property
    def espeak(self) -> Espeak:
        return Espeak()

    @property
    def some(self) -> list[str]:
        return list(self.voices)[:: self.step]

    def phonemes(self, text: str, voice: str) -> str:
        return align.phonemes(text, self.cast[voice].accent)

    def speak(self, string: str, pack: Tensor, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """(wav [T], F0 that drove it [2T]) of a stock call with its noise seeded."""
        caught: list[Tensor] = []
        hook = self.model.decoder.register_forward_pre_hook(lambda _, args: caught.append(args[1]))
        try:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                wav = self.model(string, pack[len(string) - 1])
        finally:
            hook.remove()
        return wav.numpy(), caught[0][0].numpy()

    def recording(self, voice: str, text: str) -> data.Utterance:
        """espeak's own speech of a speaker."""
        return data.speak(self.espeak, self.cast[voice], [text])[0]


def wav_of(u: data.Utterance) -> np.ndarray:
    return u.pcm.astype(np.float32) / 32768


def size(assets: list[Path]) -> Figures:
    """MiB of all files of the asset folders."""
    total = sum(f.stat().st_size for folder in assets for f in folder.rglob("*") if f.is_file())
    return {"size_mib": total / 2**20}


def speed(bench: Bench) -> Figures:
    """Median seconds of computing per second of speech: one thread, stock calls of single sentences."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    pack, found = next(iter(bench.voices.values())), []
    for text in texts.HELDOUT_SENTENCES * 2:
        string = align.phonemes(text, "us")
        began = time.process_time()
        wav, _ = bench.speak(string, pack)
        found.append((time.process_time() - began) / (len(wav) / RATE))
    torch.set_num_threads(threads)
    return {"rtf": float(np.median(found))}


def pitch(bench: Bench) -> Figures:
    """Share of frames driven as voiced whose F0, tracked in the output, lies within 15% of the driving F0.

    A frame that the tracker calls unvoiced counts as missed. The same for espeak's own audio says what the
    tracker can do. The excess of the comb is the mean level at multiples of 80 Hz (2 to 40) over that beside
    them, in dB, less the same of espeak's audio.
    """
    hits, voiced, both = 0, 0, 0
    ours, theirs = [], []
    per_kind: dict[str, list[float]] = {}
    for k, voice in enumerate(bench.some):
        pair = [texts.HELDOUT_SENTENCES[(2 * k + i) % len(texts.HELDOUT_SENTENCES)] for i in range(2)]
        for text in pair:
            wav, driven = bench.speak(bench.phonemes(text, voice), bench.voices[voice], seed=k)
            found = data.f0_track(wav, 50, 550)
            on = driven > 40
            hit = np.abs(found - driven) < 0.15 * driven
            hits, voiced, both = (
                hits + int((hit & on).sum()),
                voiced + int(on.sum()),
                both + int((on & (found > 0)).sum()),
            )
            per_kind.setdefault(bench.cast[voice].kind, []).append(float((hit & on).sum() / max(1, on.sum())))
            ours.append(wav)
            theirs.append(wav_of(bench.recording(voice, text)))
    return {
        "f0_within": hits / voiced,
        "f0_within_where_tracked": hits / max(1, both),
        "f0_by_kind": {kind: round(float(np.mean(v)), 3) for kind, v in per_kind.items()},
        "comb_db": _comb(ours) - _comb(theirs),
    }


def _comb(wavs: list[np.ndarray]) -> float:
    hz, power = scipy.signal.welch(np.concatenate(wavs), RATE, nperseg=16384)
    at, beside = [], []
    for k in range(2, 41):
        away = np.abs(hz - 80 * k)
        at.append(10 * np.log10(power[away < 3].mean()))
        beside.append(10 * np.log10(power[(away > 8) & (away < 35)].mean()))
    return float(np.mean(np.array(at) - np.array(beside)))


def copy(bench: Bench) -> Figures:
    """Log-mel L1 (natural log, `coconut.audio.LogMel`) of espeak's speech and its copy by the decoder.

    The copy has espeak's durations, F0 and energy, the voice's style and the stock source.
    """
    logmel, found = LogMel(), []
    for k, voice in enumerate(bench.some):
        u = bench.recording(voice, texts.HELDOUT_SENTENCES[k % len(texts.HELDOUT_SENTENCES)])
        copied = copy_synthesis(bench, u, voice, seed=k)
        pair = torch.from_numpy(np.stack([copied, wav_of(u)]))
        mel, _ = logmel(pair, torch.tensor([pair.shape[1]] * 2))
        found.append(float((mel[0] - mel[1]).abs().mean()))
    return {"copy_logmel": float(np.mean(found)), "copy_logmel_worst": float(np.max(found))}


@torch.no_grad()
def copy_synthesis(bench: Bench, u: data.Utterance, voice: str, seed: int = 0) -> np.ndarray:
    """Speech [T] from an utterance's own durations, F0 and energy."""
    model = bench.model
    ids = torch.tensor([[0, *(model.vocab[p] for p in u.phonemes), 0]])
    length = torch.tensor([ids.shape[1]])
    text = model.text_encoder(ids, length, torch.zeros_like(ids, dtype=torch.bool))
    asr = text.repeat_interleave(torch.from_numpy(u.durations), 2)
    f0, energy = (torch.from_numpy(x.astype(np.float32))[None] for x in (u.f0, u.energy))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        style = bench.voices[voice][len(u.phonemes) - 1, :, :128]
        return model.decoder(asr, f0, energy, style)[0, 0].numpy()


def words(bench: Bench, sentences: int = 60) -> Figures:
    """Closed-grammar word error of pocketsphinx, a fresh decoder for every file, mini and espeak side by side."""
    rng = np.random.default_rng(5)
    wrong = {"mini": 0, "espeak": 0}
    total = 0
    by_voice: dict[str, dict[str, int]] = {}
    names = list(bench.voices)
    for k in range(sentences):
        said = texts.grammar_sentence(rng)
        voice = names[k % len(names)]
        text = " ".join(said) + "."
        string = bench.phonemes(text, voice)
        spoken = {"mini": bench.speak(string, bench.voices[voice], seed=k)[0]}
        spoken["espeak"] = wav_of(bench.recording(voice, text))
        total += len(said)
        for who, wav in spoken.items():
            errors = recognise.errors(said, wav)
            wrong[who] += errors
            by_voice.setdefault(voice, {})[who] = errors
    worst = sorted(by_voice, key=lambda v: -by_voice[v]["mini"])[:5]
    return {
        "wer": wrong["mini"] / total,
        "wer_espeak": wrong["espeak"] / total,
        "wer_excess": (wrong["mini"] - wrong["espeak"]) / total,
        "wer_words": total,
        "wer_worst": {v: by_voice[v] for v in worst},
    }


def identity(bench: Bench) -> Figures:
    """Speaker identification by GE2E among all stock voices, two held-out sentences a test.

    Enrolled by mini's own speech of four other texts (do the voices differ?) and by espeak's recordings of the
    speakers (do they sound like whom they learned?).
    """
    encoder = SpeakerEncoder()
    enrol_texts, test_texts = texts.HELDOUT_SENTENCES[:4], texts.HELDOUT_SENTENCES[4:8]
    own, real, tests = [], [], []
    for voice, pack in bench.voices.items():

        def spoken(text: str, voice: str = voice, pack: Tensor = pack) -> np.ndarray:
            return bench.speak(bench.phonemes(text, voice), pack)[0]

        own.append(_embed(encoder, [spoken(t) for t in enrol_texts]))
        real.append(_embed(encoder, [wav_of(bench.recording(voice, t)) for t in enrol_texts]))
        tests.append([_embed(encoder, [spoken(t) for t in test_texts[i : i + 2]]) for i in (0, 2)])
    result: Figures = {}
    for name, enrolled in (("voices", own), ("espeak", real)):
        ranks = []
        for k, pair in enumerate(tests):
            for test in pair:
                scores = torch.stack(enrolled) @ test
                ranks.append(int((scores > scores[k]).sum()))
        result[f"id_{name}_top1"] = float(np.mean([r == 0 for r in ranks]))
        result[f"id_{name}_top3"] = float(np.mean([r < 3 for r in ranks]))
    return result


def _embed(encoder: Callable[..., Tensor], wavs: list[np.ndarray]) -> Tensor:
    """Embedding [256] of the recordings joined."""
    wav = torch.from_numpy(np.concatenate(wavs))[None]
    with torch.no_grad():
        return encoder(wav, torch.tensor([wav.shape[1]]))[0]


def lines(bench: Bench, pairs: int = 30) -> Figures:
    """Share of pairs of voices between which F0 and spectrum move monotonically along a straight line.

    Five points. Median driving F0: no step back of more than 1%. Mean log-mel: the distance from the first
    point grows, and that to the last falls, with no step back of more than 2% of the whole.
    """
    rng, logmel = np.random.default_rng(7), LogMel()
    names = list(bench.voices)
    good = {"f0": 0, "logmel": 0, "both": 0}
    for k in range(pairs):
        a, b = (bench.voices[names[i]] for i in rng.choice(len(names), 2, replace=False))
        string = align.phonemes(texts.HELDOUT_SENTENCES[k % 3], "us")
        f0, mels = [], []
        for t in np.linspace(0, 1, 5):
            wav, driven = bench.speak(string, a + float(t) * (b - a))
            f0.append(np.median(driven[driven > 40]))
            mel, _ = logmel(torch.from_numpy(wav)[None], torch.tensor([len(wav)]))
            mels.append(mel[0].mean(1).numpy())
        f0_ok = _monotone(np.array(f0) * np.sign(f0[-1] - f0[0]), 0.01 * f0[0])
        there = np.array([np.abs(m - mels[0]).mean() for m in mels])
        back = np.array([np.abs(m - mels[-1]).mean() for m in mels])
        mel_ok = _monotone(there, 0.02 * there[-1]) and _monotone(-back, 0.02 * back[0])
        for key, ok in (("f0", f0_ok), ("logmel", mel_ok), ("both", f0_ok and mel_ok)):
            good[key] += ok
    return {f"line_{key}": value / pairs for key, value in good.items()}


def _monotone(values: np.ndarray, slack: float) -> bool:
    return bool((np.diff(values) >= -slack).all())
