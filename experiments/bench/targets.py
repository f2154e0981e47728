"""Speakers for the duel of fits, recorded as folders that `--data` reads; each is made once.

espeak_1 ... 8   espeak-ng speakers that `mini` was not trained on
stock_1 ... 4    stock voices of `mini`, spoken by `mini` itself with other noise, and taken out of the
                 model that the fit is given: its voices, its prior and its encoder know nothing of them
slt rms kal awb  flite, where it is installed
"""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import soundfile
import torch
from torch import Tensor

from coconut import resources
from coconut.audio import SAMPLE_RATE
from coconut.config import EMBEDDED
from coconut.files import replacing
from coconut.synthesis import Synthesizer, mini
from coconut.text import phonemize
from experiments.mini import data, texts
from experiments.mini.espeak import Espeak
from experiments.mini.speakers import Speaker

SPOKEN = (*texts.HELDOUT_SENTENCES, *texts.DEMO_SENTENCES[:12])  # 24: 12 to fit, 4 held out, 8 to test
WITHHELD = {"stock_1": "mk_09", "stock_2": "mk_21", "stock_3": "mk_34", "stock_4": "mk_47"}
ESPEAK = tuple(f"espeak_{k}" for k in range(1, 9))
FLITE = ("slt", "rms", "kal", "awb")
MODEL = "mini_less"  # the model without the withheld voices
NOISE = 9001  # seed of the source noise in recordings of stock voices


def names() -> list[str]:
    """Every target that can be made here."""
    return [*ESPEAK, *WITHHELD, *(FLITE if shutil.which("flite") else ())]


def options(name: str, folder: Path) -> dict[str, Any]:
    """The settings that say whom to fit, for a target under `folder`, which is made where it is missing."""
    place = folder / "recordings" / name
    if not (place / "metadata.csv").exists():
        place.mkdir(parents=True, exist_ok=True)
        lang = _record(name, folder, place)
        (place / "lang").write_text(lang)
    found = {"data": str(place), "lang": (place / "lang").read_text(), "heldout": 4, "test": 8}
    if name in WITHHELD:
        found |= {"model": str(model_without(folder)), "mimi_model": EMBEDDED, "loss.mimi": 0.0}
    return found


def truth(name: str) -> Tensor | None:
    """The voicepack [510, 1, 256] behind a target; None where there is none."""
    return mini.voices()[WITHHELD[name]] if name in WITHHELD else None


def model_without(folder: Path, withheld: Collection[str] = tuple(WITHHELD.values()), name: str = MODEL) -> Path:
    """A model folder, `name`: `mini` without the withheld voices."""
    place = folder / name
    if not place.exists():
        temporary = folder / f".{name}.tmp"
        shutil.rmtree(temporary, ignore_errors=True)
        (temporary / "voices").mkdir(parents=True)
        network = mini.build_model()
        (temporary / "config.json").write_text(json.dumps({**mini.config(), "vocab": network.vocab}))
        torch.save({part: getattr(network, part).state_dict() for part in mini.PARTS}, temporary / "mini.pth")
        for voice, pack in mini.voices().items():
            if voice not in withheld:
                torch.save(pack, temporary / "voices" / f"{voice}.pt")
        temporary.replace(place)
    return place


def _record(name: str, folder: Path, place: Path) -> str:
    """Write the recordings of a target; its language."""
    if name in WITHHELD:
        return _record_stock(name, place)
    if name in FLITE:
        for k, text in enumerate(SPOKEN):
            subprocess.run(["flite", "-voice", name, "-t", text, "-o", str(place / f"{k:02d}.wav")], check=True)
        list_files(place, {f"{k:02d}.wav": text for k, text in enumerate(SPOKEN)})
        return "en-us"
    speaker = next(s for s in _cast(folder) if s.name == name.replace("espeak", "target"))
    spoken = data.speak(Espeak(), speaker, list(SPOKEN))
    write(place, {u.text: torch.from_numpy(u.pcm) for u in spoken})
    return {"us": "en-us", "gb": "en-gb"}[speaker.accent]


def _record_stock(name: str, place: Path) -> str:
    voice = WITHHELD[name]
    lang = next({"us": "en-us", "gb": "en-gb"}[c["accent"]] for c in mini.cards() if c["name"] == voice)
    synth = Synthesizer(resources.model(EMBEDDED, "cpu").network, seed=NOISE)
    script = synth.prepare([phonemize(text, lang) for text in SPOKEN])
    styles = mini.voices()[voice].reshape(-1, 256)[script.rows][None]
    audio = synth.decode(script, synth.prosody(script, styles), styles)
    wavs = {text: audio.wav[0, k, : int(audio.lens[0, k])] for k, text in enumerate(SPOKEN)}
    write(place, {text: wav / wav.abs().max() * 0.5 for text, wav in wavs.items()})
    return lang


def write(place: Path, spoken: Mapping[str, Tensor]) -> None:
    """A folder of what was spoken, {text: samples [N]}."""
    for k, wav in enumerate(spoken.values()):
        soundfile.write(place / f"{k:02d}.flac", wav.numpy(), SAMPLE_RATE)
    list_files(place, {f"{k:02d}.flac": text for k, text in enumerate(spoken)})


def list_files(place: Path, spoken: Mapping[str, str]) -> None:
    """The table of a folder, {file name: text}."""
    with replacing(place / "metadata.csv") as temporary, temporary.open("w", newline="") as file:
        csv.writer(file).writerows([("file_name", "transcription"), *spoken.items()])


def _cast(folder: Path) -> list[Speaker]:
    """The cast of mini's training data: the speakers left out of it are the targets. Two minutes, once."""
    place = folder / "cast"
    if not (place / "speakers.json").exists():
        place.mkdir(parents=True, exist_ok=True)
        with replacing(place / "speakers.json") as temporary:
            temporary.write_text(json.dumps(data._cast(56, 8, 0), indent=1))
    return data.speakers(place)
