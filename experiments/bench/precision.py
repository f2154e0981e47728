"""How far tf32 and fast are from exact: nepers of log-mel, imitated on a CPU (tests/tf32.py, tests/pretend.py).

    python experiments/bench/precision.py --models mini kokoro

Each text is spoken by a voice of its own. `nearest` and `truncated` are two ways in which tensor cores drop bits;
`noise` is the distance of exact from itself with another seed of the source. Kokoro-82M has random weights.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from coconut.audio import LogMel
from coconut.gauge import SENTENCES
from coconut.synthesis import Synthesizer, load_model, stock_voices
from tests import pretend, tf32
from tests.kmodels import kokoro_config, random_model, random_styles

KINDS = {"nearest": ("tf32", False), "truncated": ("tf32", True), "fast": ("fast", False)}


def voices(model: str, count: int) -> tuple[Any, Callable[[Tensor], Tensor]]:
    """The network, and a maker of styles [U, 256] for rows [U]."""
    if model == "kokoro":
        styles = random_styles(1, count, seed=77, std=0.2)[0]
        return random_model(kokoro_config()), lambda _: styles
    network = load_model("mini")
    packs = list(stock_voices(network).values())[:count]
    return network, lambda rows: torch.stack([pack[row, 0] for pack, row in zip(packs, rows, strict=True)])


def speak(network: Any, styles: Callable[[Tensor], Tensor], texts: list[str], precision: str, seed: int = 0) -> Any:
    """The wavs [U, T] and their lengths [U], on the CPU, of `network` as if on a GPU."""
    synth = Synthesizer(network.to("cuda"), seed, precision)
    script = synth.prepare(texts)
    audio = synth(script, styles(script.rows)[None].to("cuda"))
    return audio.wav[0].cpu(), audio.lens[0].cpu()


def apart(one: Any, two: Any) -> float:
    """Mean absolute difference of log-mels over the frames of all texts."""
    mel = LogMel()
    (a, frames), (b, _) = mel(*one), mel(*two)
    return float((a - b).abs().sum() / (frames.sum() * a.shape[1]))


def row(model: str, count: int, length: int) -> dict[str, float]:
    texts = [sentence[:length] for sentence in SENTENCES[:count]]
    network, styles = voices(model, count)
    with pretend.device():
        exact, noise = (speak(network, styles, texts, "exact", seed) for seed in (0, 1))
        found = {}
        for name, (precision, truncated) in KINDS.items():
            with tf32.imitated(truncated):
                found[name] = apart(exact, speak(network, styles, texts, precision))
    return found | {"noise": apart(exact, noise)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["mini", "kokoro"], choices=["mini", "kokoro"])
    parser.add_argument("--texts", type=int, default=2)
    parser.add_argument("--length", type=int, default=30, help="phonemes of a text")
    args = parser.parse_args()
    columns = [*KINDS, "noise"]
    print(f"| model | {' | '.join(columns)} |\n|{'---|' * (1 + len(columns))}")
    for model in args.models:
        found = row(model, args.texts, args.length)
        print(f"| {model} | {' | '.join(f'{found[name]:.5f}' for name in columns)} |", flush=True)


if __name__ == "__main__":
    main()
