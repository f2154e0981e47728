"""From checkpoints to the assets of the package: weights, voices with their cards, the demo target."""

from __future__ import annotations

import csv
import io
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import rich
import safetensors.torch
import soundfile
import torch
from rich.progress import track
from torch import Tensor

from coconut import encoder
from coconut.prior import Prior
from coconut.synthesis import mini

from . import acoustic, align, coordinates, data, prosody, texts
from .espeak import Espeak

CARD_TEXTS = texts.HELDOUT_SENTENCES[:2]
Halves = dict[str, dict[str, Tensor]]


def write(folder: Path, assets: Path) -> None:
    """Write the assets of the model from the last checkpoints: weights, voices, cards, prior, the encoder's table."""
    assets.mkdir(parents=True, exist_ok=True)
    halves = {
        half: torch.load(folder / f"{half}.pt", map_location="cpu", weights_only=True)["modules"]
        for half in ("prosody", "acoustic")
    }
    cast = data.speakers(folder / "data", "mk_")
    weights, voices = _weights(halves), _voices(halves)
    for half, dims in (("acoustic", slice(0, 128)), ("prosody", slice(128, 256))):
        base, slope = voices["base"][:, dims], voices["slope"][:, dims]
        weights, slope[:], gain = coordinates.level(weights, half, base, slope)
        rich.print(f"[dim]{half}: directions that no voice takes are raised by {gain:.2f}[/dim]")
    _replace(assets / "mini.safetensors", safetensors.torch.save(_halved(weights)))
    _replace(assets / "voices.safetensors", safetensors.torch.save({**_halved(voices), "profile": voices["profile"]}))
    cards = [{"name": s.name, "sex": "", "accent": s.accent, "kind": s.kind} for s in cast]
    _replace(assets / "voices.json", json.dumps({"voices": cards}).encode())
    _replace(assets / "prior.safetensors", safetensors.torch.save(_prior()))
    _measure(cards)
    _replace(assets / "voices.json", json.dumps({"voices": cards}, indent=1).encode())
    encoder.main(mini.REPO_ID)


def demo(folder: Path, target: Path) -> None:
    """Write the demo target: recordings of the withheld demo speaker with `metadata.csv`."""
    target.mkdir(parents=True, exist_ok=True)
    speaker = data.speakers(folder / "data", "demo")[0]
    lines = io.StringIO()
    rows = csv.writer(lines, lineterminator="\n")
    rows.writerow(["file_name", "transcription"])
    for k, u in enumerate(data.speak(Espeak(), speaker, texts.DEMO_SENTENCES)):
        name = f"demo_{k + 1:02d}.ogg"
        buffer = io.BytesIO()
        soundfile.write(buffer, u.pcm, data.SAMPLE_RATE, format="OGG", subtype="VORBIS")
        _replace(target / name, buffer.getvalue())
        rows.writerow([name, u.text])
    _replace(target / "metadata.csv", lines.getvalue().encode())


def _weights(halves: Halves) -> dict[str, Tensor]:
    """Weights of a KModel under their stock names, F0 in Hz again."""
    merged = {k: v for half in halves.values() for k, v in half.items() if not k.startswith(("styles.", "excess."))}
    for name in ("predictor.F0_proj.weight", "predictor.F0_proj.bias"):
        merged[name] = merged[name] * prosody.F0_UNIT
    keep = {k for k in mini.architecture().state_dict()}
    if keep != set(merged):
        raise RuntimeError(f"checkpoints and architecture differ: {sorted(keep ^ set(merged))[:5]}")
    return merged


def _halved(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {k: v.half().contiguous() if v.is_floating_point() else v for k, v in tensors.items()}


def _voices(halves: Halves) -> dict[str, Tensor]:
    """base, slope [V, 256] (dims 0:128 acoustic, 128:256 prosody) and profile [510]."""
    heard, said = halves["acoustic"], halves["prosody"]
    base = torch.cat([heard["styles.base"], said["styles.base"]], 1)
    slope = torch.cat([heard["styles.slope"] * acoustic.SLOPE_REACH, said["styles.slope"] * prosody.SLOPE_REACH], 1)
    return {
        "base": base,
        "slope": slope,
        "profile": torch.from_numpy(data.profile(np.arange(510.0))).float(),
    }


def _prior() -> dict[str, Tensor]:
    """The style prior of the voices just written."""
    packs = torch.stack(list(mini.voices().values()))[:, :, 0]
    return Prior.of(packs).tensors()


def _sex(kind: str, f0: float) -> str:
    """What a listener would say: by kind, or by pitch where the kind leaves it open."""
    if kind in ("male", "female"):
        return kind
    return "male" if f0 < 165 else "female"


def _measure(cards: list[dict[str, Any]]) -> None:
    """Add to each card sex, median F0 (Hz) and the rate (phonemes a second) of the voice on held-out texts."""
    model, packs = mini.build_model(), mini.voices()
    for card in track(cards, "measuring voices"):
        strings = [align.phonemes(text, card["accent"]) for text in CARD_TEXTS]
        tracks, seconds = [], 0.0
        for k, string in enumerate(strings):
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(k)
                made = model(string, packs[card["name"]][len(string) - 1], return_output=True)
            wav = made.audio.numpy()
            f0 = data.f0_track(wav, 55, 500)
            tracks.append(f0[f0 > 0])
            seconds += float(made.pred_dur[1:-1].sum()) / 40
        letters = sum(c not in align.MARKS and c not in "ˈˌː" for string in strings for c in string)
        voiced = np.concatenate(tracks)
        card["f0"] = round(float(np.median(voiced)), 1) if len(voiced) else 0.0
        card["sex"] = _sex(card["kind"], card["f0"])
        card["rate"] = round(letters / seconds, 2)


def _replace(path: Path, content: bytes) -> None:
    partial = path.with_name(path.name + ".tmp")
    partial.write_bytes(content)
    os.replace(partial, path)
