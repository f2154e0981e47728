"""What the page of a sweep plays: clips in the file itself for the best voices, links to the others' recordings."""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import soundfile
import torch

from coconut import audio
from coconut.config import InputError
from coconut.sweep.board import Board, Entry

SENTENCES = 4  # held-out texts on the page
EMBEDDED = 20  # trials whose clips are in the file
ROOM = 4_400_000  # characters of clips in the file; with plotly's 4.8 million it stays below 10 MB
WHO = ("target", "nearest", "start", "voice")


class Clips:
    """The clips of a board, each once however many trials share it.

    sources: {"src": data URI or relative path, "gain": what brings it to audio.LEVEL}. A recording that is missing
    has no clip, and of one that is damaged `damaged` tells the sentence that says so.
    """

    def __init__(self, board: Board) -> None:
        self.sources: list[dict[str, Any]] = []
        self.damaged: list[str] = []
        self._known: dict[str, int] = {}
        self._room = ROOM
        voiced = [entry for entry in board.entries if entry.voice]
        self.sentences = (
            sum((voiced[0].folder / f"target_{n}.wav").is_file() for n in range(SENTENCES)) if voiced else 0
        )
        self.target = self._clips(voiced[:1], "target")
        self.nearest = self._clips(voiced[:1], "nearest")
        self.of = {entry.trial: self._trial(entry, place < EMBEDDED) for place, entry in enumerate(voiced)}

    def _clips(self, entries: Sequence[Entry], who: str, embed: bool = True) -> list[int | None]:
        """Numbers of clips by sentence: those of the first entry; None where there is none."""
        paths = [entry.folder / f"{who}_{n}.wav" for entry in entries for n in range(self.sentences)]
        return [self._number(path, embed) for path in paths]

    def _trial(self, entry: Entry, embed: bool) -> dict[str, list[int | None]]:
        return {who: self._clips([entry], who, embed) for who in ("voice", "start")}

    def _number(self, path: Path, embed: bool) -> int | None:
        if not path.is_file():
            return None
        print_ = hashlib.sha1(path.read_bytes()).hexdigest()
        if print_ not in self._known:
            try:
                source = self._source(path, embed)
            except InputError as error:
                self.damaged.append(str(error))
                return None
            self._known[print_] = len(self.sources)
            self.sources.append(source)
        return self._known[print_]

    def _source(self, path: Path, embed: bool) -> dict[str, Any]:
        made = clip(path) if embed and self._room > 0 else ""
        if made and len(made) <= self._room:
            self._room -= len(made)
            return {"src": made, "gain": 1.0}
        return {"src": f"{path.parent.name}/{path.name}", "gain": gain(path)}


def clip(path: Path) -> str:
    """A recording as a data URI: trimmed, at the level of every other clip, Ogg Vorbis."""
    wav = audio.trim(audio.load(path)).clamp(-1, 1)
    packed = io.BytesIO()
    soundfile.write(packed, wav.numpy(), audio.SAMPLE_RATE, format="OGG", subtype="VORBIS")
    return "data:audio/ogg;base64," + base64.b64encode(packed.getvalue()).decode()


def gain(path: Path) -> float:
    """What brings a recording to the level of `clip`."""
    wav = audio.load(path)
    power, active = audio.activity(wav, torch.tensor(len(wav)))
    return float(audio.LEVEL / power[active].mean().clamp_min(1e-12).sqrt())
