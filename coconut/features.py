"""Features of a speaker: what recordings and synthesised speech have in common when the speaker is the same.

They are measured from sound and phonemes alone, and the same way for both.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from coconut.audio import SAMPLE_RATE, f0
from coconut.data import Utterance
from coconut.losses import SpeakerEncoder, Synthesis
from coconut.losses.f0 import summary
from coconut.losses.spectral import LongTermSpectra
from coconut.losses.synthesis import recording
from coconut.synthesis import Script, Synthesizer
from coconut.waiting import watched

TEXTS = (  # that stock voices speak
    "wi wˈɔːkt ɐlˈɔŋ ðə hˈɑːɹbɚɹ ænd kˈaʊntᵻd ðə fˈɪʃɪŋ bˈoʊts.",
    "dˈɪd juː mˈɪks ðə ʃˈʊɡɚ wɪð ðə fɹˈɛʃ blˈuː bˈɛɹiz?",
    "ə jˈʌŋ tˈiːtʃɚ θˈæŋkt ɪvɹiwˌʌn fɔːɹ ðə vˈɛɹi pˈeɪʃənt ædvˈaɪs ðæt dʒˈɔɪfəl dˈeɪ.",
)
TOGETHER = 64  # texts synthesised at once
MEASURED = 32  # recordings that are measured at most: more of them move the mean of their features by little
GROUPS = {"GE2E": 256, "F0": 33, "rate": 1, "spectrum": 160}  # how many features each has: all weigh the same
BANDS = slice(40, 120)  # of LongTermSpectra: those of its middle resolution
FEATURES = sum(GROUPS.values())
LEAST = 0.1  # a feature that varies by less than this share of its group is not blown up further
SILENT = 'ˈˌː .,;:!?—…"()“”'  # symbols of a phoneme string that take no time of their own


def features(ears: SpeakerEncoder, wav: Tensor, lens: Tensor, phonemes: Sequence[str]) -> Tensor:
    """Features [B, 450] on the CPU of wav [B, T] with lens [B], trimmed and at one level (`audio.speech`).

    GE2E embedding; quantiles of log2 F0 and the voicing rate; ln phonemes/s; mean and spread of the long-term
    log-mel spectrum. NaN where there is nothing to measure: no voiced frame, or bands that a recording of a low
    sample rate lacks.
    """
    pitch = summary(f0(wav, lens))
    pitch = pitch.masked_fill(pitch[:, -1:] == 0, math.nan)
    count = torch.tensor([sum(symbol not in SILENT for symbol in text) for text in phonemes]).to(wav.device)
    rate = (count.clamp_min(1) * SAMPLE_RATE / lens.clamp_min(1)).log()
    spectra = LongTermSpectra().to(wav.device)
    bands = spectra.scales[1].heard(spectra.scales[1](wav, lens)[0])
    spectrum = spectra(wav, lens)[..., BANDS].masked_fill(~bands[:, None], math.nan).flatten(1)
    return torch.cat([ears(wav, lens), pitch, rate[:, None].to(wav), spectrum], 1).float().cpu()


def recorded(ears: SpeakerEncoder, utterances: Sequence[Utterance], device: str = "cpu") -> Tensor:
    """Mean features [450] of recordings: of all, or of MEASURED that are spread evenly over them."""
    places = torch.linspace(0, len(utterances) - 1, min(len(utterances), MEASURED)).round().long().tolist()
    heard = watched([utterances[place] for place in places], f"measuring {len(places)} recordings")
    found = [features(ears, *recording(u, device), [u.phonemes]) for u in heard]
    return torch.cat(found).nanmean(0)


def spoken(ears: SpeakerEncoder, synth: Synthesizer, packs: Tensor) -> Tensor:
    """Mean features [N, 450] of voices [N, 510, 256] that speak TEXTS; all NaN for one that cannot be heard."""
    script, found = synth.prepare(TEXTS), []
    for part in watched(packs.split(max(1, TOGETHER // len(TEXTS))), f"measuring {len(packs)} stock voices, once"):
        found.append(_speak(ears, synth, script, part[:, script.rows].to(synth.device)))
    return torch.cat(found)


def _speak(ears: SpeakerEncoder, synth: Synthesizer, script: Script, styles: Tensor) -> Tensor:
    syn = Synthesis.of(synth, script, styles)
    each = features(ears, *syn.speech, list(TEXTS) * len(styles))
    return each.masked_fill(~syn.ok.flatten()[:, None].cpu(), math.nan).unflatten(0, syn.shape).nanmean(1)


@dataclass(frozen=True)
class Scale:
    """Standardised features: mean 0, spread 1, and equal groups. What could not be measured becomes 0."""

    mean: Tensor
    spread: Tensor

    @classmethod
    def of(cls, features: Tensor) -> Scale:
        """From features [N, 450] of a table, NaN where not measured."""
        known = features.double()
        mean = known.nanmean(0).nan_to_num(0.0)
        spread = (known - mean).square().nanmean(0).nan_to_num(0.0).sqrt()
        parts = []
        for part in spread.split(list(GROUPS.values())):
            usual = float(part.square().mean().sqrt().clamp_min(1e-9))
            parts.append(part.clamp_min(LEAST * usual) * math.sqrt(len(part) * len(GROUPS)))
        return cls(mean, torch.cat(parts))

    def __call__(self, features: Tensor) -> Tensor:
        """[N, 450] float64; a row has a mean square sum of about 1."""
        return ((features.double().to(self.mean.device) - self.mean) / self.spread).nan_to_num(0.0, 0.0, 0.0)
