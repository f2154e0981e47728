"""Models of the real architectures with random weights, as folders that coconut loads: their cost is the real ones'."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from coconut import voicepack
from coconut.synthesis import mini
from tests.kmodels import kokoro_config, random_model


def kokoro(folder: Path) -> str:
    """The folder of a Kokoro-82M, with the voices of `mini`."""
    model = random_model(kokoro_config())
    (folder / "voices").mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(kokoro_config()), encoding="utf-8")
    torch.save({part: getattr(model, part).state_dict() for part in mini.PARTS}, folder / "kokoro.pth")
    for name, pack in mini.voices().items():
        voicepack.save(pack, folder / "voices" / f"{name}.pt")
    return str(folder)


def mimi(folder: Path) -> str:
    """The folder of a Mimi."""
    from transformers import MimiConfig, MimiModel

    with torch.random.fork_rng(devices=[]):
        MimiModel(MimiConfig()).save_pretrained(folder)
    return str(folder)
