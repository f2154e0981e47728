"""Speaking a text of any length in one voice: cut into sentences, synthesised, joined."""

from __future__ import annotations

import re
from pathlib import Path

import torch
from kokoro import KModel
from torch import Tensor

from coconut import voicepack
from coconut.audio import SAMPLE_RATE
from coconut.config import InputError
from coconut.synthesis import Synthesizer, stock_voices
from coconut.text import phonemize

LIMIT = 400  # phonemes per piece; Kokoro reads at most 510 and rushes near the limit
PAUSE = 0.15  # seconds of silence between pieces


def read_text(text: str) -> str:
    """The text itself, or the content of FILE for "@FILE"."""
    if text.startswith("@"):
        path = Path(text[1:])
        if not path.is_file():
            raise InputError(f"No text at {path}; give an existing file after @.")
        text = path.read_text(encoding="utf-8")
    if not text.strip():
        raise InputError("The text is empty; give --text something to say.")
    return text


def find_voice(voice: str, model: KModel, name: str | None = None) -> Tensor:
    """The voicepack [510, 1, 256] in a file, or the model's stock voice of that name.

    `name` chooses one voice of a file that holds several. Raises InputError where there is none.
    """
    if Path(voice).suffix in (".pt", ".npz", ".bin") or Path(voice).is_file():
        return voicepack.load(voice, name)
    if name is not None:
        raise InputError(f"--name {name} chooses a voice of a file, and there is no file {voice}.")
    stock = stock_voices(model)
    if voice not in stock:
        raise InputError(f"No voice {voice}; give a .pt, .npz or .bin file, or one of {', '.join(sorted(stock))}.")
    return stock[voice]


def speak(synth: Synthesizer, pack: Tensor, text: str, lang: str = "en-us") -> Tensor:
    """A text of any length as one waveform [N], 24 kHz, float32.

    Each sentence group is read from the row of the voicepack for its own length. Raises InputError
    where the voice cannot speak one: its sound is not finite, or has no end.
    """
    silence = torch.zeros(int(PAUSE * SAMPLE_RATE))
    wavs: list[Tensor] = []
    for phonemes in pieces(phonemize(text, lang)):
        script = synth.prepare([phonemes])
        rows = script.rows.to(synth.device)
        spoken = synth(script, pack.to(synth.device)[rows, 0][None])
        if not spoken.ok.all():
            raise InputError(f"The voice cannot speak {phonemes[:40]!r}: its speech has no end, or is no sound at all.")
        wavs += [spoken.wav[0, 0, : int(spoken.lens[0, 0])].float().cpu(), silence]
    return torch.cat(wavs[:-1])


def pieces(phonemes: str, limit: int = LIMIT) -> list[str]:
    """Split phonemes into pieces of at most `limit`, at sentence ends, else clauses, else words."""
    for separator in (r"(?<=[.!?…])\s+", r"(?<=[;:,—])\s+", r"\s+"):
        if len(phonemes) <= limit:
            break
        parts = re.split(separator, phonemes)
        if len(parts) > 1:
            return [piece for group in _pack(parts, limit) for piece in pieces(group, limit)]
    return [phonemes[i : i + limit] for i in range(0, len(phonemes), limit)]


def _pack(parts: list[str], limit: int) -> list[str]:
    """Join neighbours while they fit into `limit`."""
    groups = [parts[0]]
    for part in parts[1:]:
        if len(groups[-1]) + 1 + len(part) <= limit:
            groups[-1] = f"{groups[-1]} {part}"
        else:
            groups.append(part)
    return groups
