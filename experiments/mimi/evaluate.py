"""Every figure of the embedded Mimi, printed: `python -m experiments.mimi.evaluate`.

Sentences, words and voices are those that its training did not hear; the baseline is the same codec untrained.
"""

from __future__ import annotations

import argparse
import os
from typing import Any

for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import torch  # noqa: E402
from torch import Tensor  # noqa: E402

from coconut import resources  # noqa: E402
from coconut.audio import LogMel, trim  # noqa: E402
from coconut.config import EMBEDDED  # noqa: E402
from coconut.losses.mimi import MimiTerm, load_mimi  # noqa: E402
from coconut.synthesis import Synthesizer, mini  # noqa: E402
from coconut.text import phonemize  # noqa: E402
from coconut.voicepack import ROWS, STYLE  # noqa: E402
from experiments.mimi import codec, words  # noqa: E402
from experiments.mimi.speech import WITHHELD  # noqa: E402
from experiments.mini import texts  # noqa: E402

FRAME = 1920
UNSEEN = tuple(word for slot in texts.GRAMMAR[3:5] for word in slot)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--voices", type=int, default=len(WITHHELD), help="withheld voices that are asked")
    parser.add_argument("--words", type=int, default=len(UNSEEN), help="unseen words that are asked")
    parser.add_argument("--model", default=EMBEDDED, help="mini, or a folder")
    args = parser.parse_args()
    torch.set_num_threads(1)
    model, voices = load_mimi(args.model), WITHHELD[: args.voices]
    print(f"{sum(p.numel() for p in model.parameters()) + sum(b.numel() for b in model.buffers()):,} numbers")
    for name, value in reconstruction(model, voices).items():
        print(f"log-mel L1 of speech to {name}: {value:.3f}")
    for name, made in (("trained", load_mimi(args.model)), ("untrained", codec.random())):
        found = words.shares(MimiTerm(model=made), voices, UNSEEN[: args.words])
        print(f"{name}: " + ", ".join(f"{key} {value:.3f}" for key, value in found.items()))


def sentences(voices: tuple[str, ...], count: int | None) -> list[Tensor]:
    """The first `count` withheld sentences in turn by the voices, in whole frames: [N] each, levelled."""
    synth = Synthesizer(resources.model(EMBEDDED, "cpu").network, seed=1)
    script = synth.prepare([phonemize(text) for text in texts.HELDOUT_SENTENCES[:count]])
    packs = [mini.voices()[voices[k % len(voices)]].reshape(ROWS, STYLE) for k in range(len(script))]
    styles = torch.stack([pack[row] for pack, row in zip(packs, script.rows, strict=True)])[None]
    audio = synth(script, styles)
    wavs = [trim(audio.wav[0, k, : int(size)]) for k, size in enumerate(audio.lens[0])]
    return [wav[: len(wav) // FRAME * FRAME] for wav in wavs]


@torch.no_grad()
def reconstruction(model: Any, voices: tuple[str, ...], count: int | None = None) -> dict[str, float]:
    """Mean log-mel L1 (nepers, frame by frame) of withheld speech to what the codec makes of it, and to guesses.

    `count`: so many sentences, None: all.
    """
    wavs = sentences(voices, count)
    mels = [_logmel(wav) for wav in wavs]
    middle = torch.cat(mels, 1).median(1, keepdim=True).values
    encoded = [codec.encode(model, wav[None]) for wav in wavs]
    made = {
        "itself decoded from its latents": [codec.decode(model, z)[0] for z in encoded],
        "itself decoded from its codes": [codec.decode(model, codec.quantised(model, z))[0] for z in encoded],
    }
    found = {name: _mean(mels, [_logmel(wav) for wav in decoded]) for name, decoded in made.items()}
    found["the median spectrum"] = _mean(mels, [middle.expand_as(mel) for mel in mels])
    found["the next sentence"] = _mean(mels, mels[1:] + mels[:1])
    return found


def _logmel(wav: Tensor) -> Tensor:
    return LogMel()(wav[None], torch.tensor([len(wav)]))[0][0]


def _mean(ours: list[Tensor], theirs: list[Tensor]) -> float:
    size = [min(a.shape[1], b.shape[1]) for a, b in zip(ours, theirs, strict=True)]
    each = [(a[:, :n] - b[:, :n]).abs().mean() for a, b, n in zip(ours, theirs, size, strict=True)]
    return float(torch.stack(each).mean())


if __name__ == "__main__":
    main()
