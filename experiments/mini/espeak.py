"""espeak-ng through its C API: speech with the sample position of every phoneme.

The library and its data come from the `espeakng_loader` wheel; nothing of either is kept. One process holds
one instance (the library has global state). Constants and structs: espeak-ng, `speak_lib.h`.
"""

from __future__ import annotations

import ctypes
import os
import tempfile
from pathlib import Path

import espeakng_loader
import numpy as np

_SYNCHRONOUS, _PHONEME_EVENTS, _PHONEME_IPA, _DONT_EXIT = 2, 1, 2, 0x8000
_RATE, _VOLUME, _UTF8, _ENDPAUSE, _EVENT_PHONEME = 1, 2, 1, 0x1000, 7
_LANGUAGES = {"us": "en-us", "gb": "en"}  # the library takes no variant with en-gb


class _Id(ctypes.Union):
    _fields_ = [("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8)]


class _Event(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _Id),
    ]


_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


class Espeak:
    """`speak(text)` after `use(variant, accent, rate)`."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="mini-espeak-")
        data = _linked(Path(self._folder.name) / "espeak-ng-data")
        self._slot = data / "voices" / "!v" / "slot"
        self._slot.write_text("language variant\nname slot\n")
        self._lib = ctypes.CDLL(str(espeakng_loader.get_library_path()))
        options = _PHONEME_EVENTS | _PHONEME_IPA | _DONT_EXIT
        self.sample_rate: int = self._lib.espeak_Initialize(_SYNCHRONOUS, 0, str(data.parent).encode(), options)
        if self.sample_rate <= 0:
            raise RuntimeError("espeak-ng could not be initialised")
        self._callback = _Callback(self._collect)  # a reference must live as long as the library
        self._lib.espeak_SetSynthCallback(self._callback)
        self._pcm: list[np.ndarray] = []
        self._events: list[tuple[int, str]] = []

    def use(self, variant: str, accent: str, rate: int) -> None:
        """Choose the speaker: the text of a variant file, "us" or "gb", words per minute."""
        self._slot.write_text(f"language variant\nname slot\n{variant}")
        name = f"{_LANGUAGES[accent]}+slot"
        if self._lib.espeak_SetVoiceByName(name.encode()) != 0:
            raise RuntimeError(f"espeak-ng has no voice {name}")
        self._lib.espeak_SetParameter(_RATE, rate, 0)
        self._lib.espeak_SetParameter(_VOLUME, 28, 0)  # of 100: louder variants clip

    def speak(self, text: str) -> tuple[np.ndarray, list[tuple[int, str]]]:
        """(pcm [T] float32 in [-1, 1), [(sample, IPA of the phoneme that starts there)])."""
        self._pcm, self._events = [], []
        raw = text.encode() + b"\0"
        if self._lib.espeak_Synth(raw, len(raw), 0, 1, 0, _UTF8 | _ENDPAUSE, None, None) != 0:
            raise RuntimeError(f"espeak-ng could not speak {text!r}")
        pcm = np.concatenate(self._pcm) if self._pcm else np.zeros(0, np.int16)
        return pcm.astype(np.float32) / 32768, self._events

    def _collect(self, wav: object, count: int, events: object) -> int:
        if count > 0 and wav:
            self._pcm.append(np.ctypeslib.as_array(wav, (count,)).copy())  # type: ignore[arg-type]
        i = 0
        while events[i].type != 0:  # type: ignore[index]
            event = events[i]  # type: ignore[index]
            if event.type == _EVENT_PHONEME:
                self._events.append((event.sample, event.id.string.decode("utf-8", "ignore")))
            i += 1
        return 0


def variants() -> Path:
    """The folder of the wheel's own variants."""
    return Path(espeakng_loader.get_data_path()) / "voices" / "!v"


def _linked(target: Path) -> Path:
    """A folder of links to the wheel's data, to which variants can be added."""
    source = Path(espeakng_loader.get_data_path())
    for folder in (target, target / "voices", target / "voices" / "!v"):
        folder.mkdir(parents=True)
    for at in ("", "voices", "voices/!v"):
        for item in (source / at).iterdir():
            if not (target / at / item.name).exists():
                os.symlink(item, target / at / item.name)
    return target
