"""Where a search may begin: at the nearest stock voice, the encoder's voice, half of each, or a mix of the nearest.

Which stock voices may be near is told by their features, which the encoder's table has already: nothing is
synthesised for the others. Those that may are heard on a few fitting utterances, and so are the other starts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from coconut import cached, encoder, features, resources, style
from coconut.config import FitConfig
from coconut.data import Utterance
from coconut.encoder import Encoder
from coconut.score import Metrics, Score
from coconut.synthesis import Synthesizer
from coconut.voicepack import ROUGHNESS_LIMIT, roughness
from coconut.waiting import watched

RANKED_UTTERANCES = 4  # fitting utterances on which voices are compared
PICKED = 4  # stock voices by each group of features (encoder.LIKENESS) that are heard on the longest of them
FINALISTS = 6  # the best of those, which are heard on all
MIXED = 10  # so many by each group, and in the mix, where that is asked for
WATCHED = 2  # voices between two steps of the bar
LENGTHS = (1.0, 1.15, 1.3)  # of the encoder's voice, seen from the mean voice
SHARPNESS = 4.0  # points of score: a voice this much better weighs e times as much

KIND = "starts"  # of what is kept in the cache
HALF = "half the encoder's voice, half the nearest"

Ranking = Sequence[tuple[str, Metrics]]
Encode = Callable[[], tuple[Encoder, Tensor]]


@dataclass(frozen=True)
class Start:
    """A voicepack [510, 1, 256] to begin at, and a sentence that says what it is and how good."""

    pack: Tensor
    note: str


@dataclass(frozen=True)
class Found:
    """Stock voices, nearest first; the start where it is none of them; and the syntheses that both took."""

    ranking: Ranking
    start: Start | None
    syntheses: int

    @property
    def nearest(self) -> str:
        """The name of the nearest stock voice."""
        return self.ranking[0][0]


def search(config: FitConfig, synth: Synthesizer, spoken: Sequence[Utterance]) -> Found:
    """The stock voices that are nearest to the fitting utterances `spoken`, and the start that `config` asks for.

    It is taken from the user's cache folder where the very same was searched before.
    """
    place = _place(config, synth, spoken)
    found = _recalled(cached.read(place))
    if found is None:
        found = _searched(config, synth, spoken)
        cached.write(place, _record(found))
    return found


def _searched(config: FitConfig, synth: Synthesizer, spoken: Sequence[Utterance]) -> Found:
    ears = resources.speaker_encoder(config.device)
    model = resources.model(config.model, config.device)
    score = Score(None, synth, spoken[:RANKED_UTTERANCES], resources.encoder(config.score.encoder, config.device))

    @cache
    def encode() -> tuple[Encoder, Tensor]:
        found = encoder.find(config.model, model.network, ears, model.voices, model.prior)
        return found, features.recorded(ears, spoken, config.device)

    kind = config.space.start
    picked, finalists = (MIXED, MIXED) if kind == style.MIX else (PICKED, FINALISTS)
    ranking = rank(score, likely(model.voices, encode, picked, finalists), finalists)
    found = find(kind, score, ranking, model.voices, encode) if kind in style.FOUND else None
    if found and kind == style.ENCODER and len(spoken) > features.MEASURED:
        found = Start(found.pack, f"{found.note} It heard {features.MEASURED} of {len(spoken)} recordings.")
    return Found(ranking, found, score.syntheses)


def likely(
    voices: Mapping[str, Tensor], encode: Encode, picked: int = PICKED, finalists: int = FINALISTS
) -> Mapping[str, Tensor]:
    """Those stock voices that may be nearest, `picked` by each group of their features; all where they are few."""
    if len(voices) <= finalists:
        return voices
    encoded, heard = encode()
    names = sorted(voices)
    return {names[place]: voices[names[place]] for place in encoded.table.nearest(heard, picked)}


def rank(score: Score, voices: Mapping[str, Tensor], finalists: int = FINALISTS) -> Ranking:
    """The `finalists` among voices, chosen on the longest utterance of `score`, ranked on all, best first."""
    if len(voices) > finalists:
        longest = max(score.utterances, key=lambda utterance: utterance.seconds)
        first = Score(None, score.synth, [longest], score.encoder)
        voices = {name: voices[name] for name, _ in _ranked(first, voices)[:finalists]}
        score.syntheses += first.syntheses
    return _ranked(score, voices)


def _ranked(score: Score, voices: Mapping[str, Tensor]) -> Ranking:
    """As `score.rank`, a few voices after another."""
    names = sorted(voices)
    parts = [names[k : k + WATCHED] for k in range(0, len(names), WATCHED)]
    label = f"ranking {len(names)} stock voices on {len(score.utterances)} sentences"
    found = [item for part in watched(parts, label) for item in score.rank({name: voices[name] for name in part})]
    return sorted(found, key=lambda item: (-item[1].score, item[0]))


def find(kind: str, score: Score, ranking: Ranking, voices: Mapping[str, Tensor], encode: Encode) -> Start:
    """The start `kind` (style.FOUND) by `score`, where the stock voices have the `ranking`.

    `encoder`: the best of the nearest stock voice, the encoder's voice at three lengths, and half of each.
    `encode` gives the encoder and the speaker's features [450]; no other kind calls it. `mix`: the mix,
    whatever its score. Every start is as smooth over its rows as an export has to be.
    """
    near, best = ranking[0]
    if kind == style.MIX:
        pack = mix(ranking, voices)
        return Start(pack, f"{_said('a mix of the nearest voices', score.voicepack(pack), best, near)}.")
    encoded, heard = encode()
    packs = {f"the encoder's voice at length {length:g}": encoded(heard, length) for length in LENGTHS}
    packs[HALF] = (encoded(heard) + voices[near]) / 2
    judged = [("the nearest stock voice", best, voices[near])]  # the first of equals: a stock voice is safe
    judged += [(n, score.voicepack(pack), pack) for n, pack in packs.items() if roughness(pack) <= ROUGHNESS_LIMIT]
    name, metrics, pack = max(judged, key=lambda candidate: candidate[1].score)
    unknown = f"The encoder leaves {encoded.table.error:.0%} of the variance of voices that it has not seen."
    return Start(pack.clone(), f"{_said(name, metrics, best, near)}. {unknown}")


def mix(ranking: Ranking, voices: Mapping[str, Tensor]) -> Tensor:
    """The mean [510, 1, 256] of voices that were ranked, MIXED of them, weighed by softmax(score / SHARPNESS)."""
    weights = torch.softmax(torch.tensor([metrics.score for _, metrics in ranking]) / SHARPNESS, 0)
    return torch.einsum("v,vrus->rus", weights, torch.stack([voices[name] for name, _ in ranking]))


def _said(name: str, metrics: Metrics, best: Metrics, near: str) -> str:
    beside = f"the nearest stock voice, {near}, {best.score:.1f}"
    return f"Start: {name}, {metrics.score:.1f} on the first fitting sentences; {beside}"


def heldout(config: FitConfig, synth: Synthesizer, spoken: Sequence[Utterance], pack: Tensor) -> Metrics:
    """Metrics of a voicepack [510, 1, 256] on held-out utterances, from the cache where it was heard on them before."""
    place = _place(config, synth, spoken, cached.digest_of({"pack": pack}))
    kept = cached.read(place)
    if kept is not None:
        return Metrics(*kept)
    found = Score(None, synth, spoken, *resources.ears(config.score.encoder, config.device)).voicepack(pack)
    cached.write(place, [found.score, dict(found.parts)])
    return found


def _place(config: FitConfig, synth: Synthesizer, spoken: Sequence[Utterance], pack: str = "") -> Path:
    """Where a search, or what was heard of a `pack`, is kept: by all that it depends on."""
    model = resources.model(config.model, config.device)
    judge: Any = resources.encoder(config.score.encoder, config.device)  # a module, as all encoders are
    modules = dict.fromkeys([model.network, resources.speaker_encoder(config.device), judge])
    weights = [cached.digest_of(module.state_dict()) for module in modules]
    weights += [cached.digest_of(model.voices), cached.digest_of(model.prior.tensors())]
    settings = config.model, config.space.start, config.score.encoder, pack
    speech = str(synth.device), synth.precision, synth.seed, synth.max_frames
    return cached.place(
        KIND, weights, settings, speech, [[utterance.phonemes, utterance.fingerprint] for utterance in spoken]
    )


def _record(found: Found) -> dict[str, Any]:
    ranking = [[name, metrics.score, metrics.parts] for name, metrics in found.ranking]
    start = [found.start.pack, found.start.note] if found.start else None
    return {"ranking": ranking, "start": start, "syntheses": found.syntheses}


def _recalled(record: dict[str, Any] | None) -> Found | None:
    if record is None:
        return None
    ranking = [(name, Metrics(score, parts)) for name, score, parts in record["ranking"]]
    return Found(ranking, Start(*record["start"]) if record["start"] else None, record["syntheses"])
