"""A speaker encoder of the hub, such as microsoft/wavlm-base-plus-sv: any of transformers that gives x-vectors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from coconut.audio import speech
from coconut.config import EMBEDDED, InputError
from coconut.losses.ge2e import SHORTEST, Downsampler, repeat
from coconut.synthesis import Synthesizer, load_model, stock_voices

RATE = 16_000
HEAD = ("projector.", "tdnn.", "feature_extractor.")  # what makes an x-vector of the features
STRANGERS = 12  # voices of the embedded model, between which the cosine of different speakers is measured
SPOKEN = "ðə kwˈɪk bɹˈWn fˈɑks ʤˈʌmps ˌOvəɹ ðə lˈAzi dˈɔɡ."


class XVector(nn.Module):
    """wav [B, T] at 24 kHz, lens [B] -> embeddings [B, E] of unit length.

    `stranger`: the mean cosine of different speakers, measured on voices of the embedded model. One item
    after another, since normalisation over time in these models hears what is padded.
    """

    def __init__(self, model: Any, normalised: bool) -> None:
        super().__init__()
        self.model, self.normalised = model.eval().requires_grad_(False), normalised
        self.resample = Downsampler()
        self.stranger = 0.0

    @classmethod
    def load(cls, name: str | Path, device: torch.device | str = "cpu") -> XVector:
        """From the hub or a folder; InputError in one sentence when it cannot be had."""
        from transformers import AutoFeatureExtractor, AutoModelForAudioXVector

        try:
            extractor = AutoFeatureExtractor.from_pretrained(str(name))
            model, told = AutoModelForAudioXVector.from_pretrained(str(name), output_loading_info=True)
        except (OSError, ValueError) as error:
            raise InputError(
                f"The speaker encoder {name} cannot be loaded (hub out of reach, no such folder, or no model that "
                "gives x-vectors); set score.encoder to ge2e."
            ) from error
        if extractor.sampling_rate != RATE:
            raise InputError(
                f"The speaker encoder {name} hears {extractor.sampling_rate} Hz, not {RATE}; "
                "name another as score.encoder."
            )
        if any(key.startswith(HEAD) for key in told["missing_keys"]):  # transformers would draw them at random
            raise InputError(f"The model {name} has no weights for x-vectors; name another as score.encoder.")
        made = cls(model, bool(extractor.do_normalize)).to(device)
        made.stranger = strangeness(made, device)
        return made

    @torch.no_grad()
    def forward(self, wav: Tensor, lens: Tensor) -> Tensor:
        wav, lens = repeat(wav.float(), lens, SHORTEST)
        return torch.cat([self._embed(item[None, : int(size)]) for item, size in zip(wav, lens, strict=True)])

    def _embed(self, wav: Tensor) -> Tensor:
        wav = self.resample(wav)
        if self.normalised:  # as Wav2Vec2FeatureExtractor does
            wav = (wav - wav.mean()) / (wav.var(unbiased=False) + 1e-7).sqrt()
        return normalize(self.model(wav).embeddings.float(), dim=-1)


def strangeness(encoder: nn.Module, device: torch.device | str) -> float:
    """Mean cosine of different speakers: stock voices of the embedded model that speak one sentence."""
    model = load_model(EMBEDDED, device=device)
    synth = Synthesizer(model)
    script = synth.prepare([SPOKEN])
    voices = list(stock_voices(model).values())
    packs = torch.stack(voices[:: len(voices) // STRANGERS][:STRANGERS])
    audio = synth(script, packs.flatten(1, 2)[:, script.rows.to(packs.device)].to(synth.device))
    found = encoder(*speech(audio.wav[:, 0], audio.lens[:, 0]))
    others = ~torch.eye(len(found), dtype=torch.bool, device=found.device)
    return float((found @ found.T)[others].mean())
