"""Whether an embedding tells words and voices apart: the same word in the same voice, said twice, against others.

Words are cut out of two carrier sentences, with other source noise in each, by the durations that mini gives its
phonemes. Distances are those of the `mimi` term.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from coconut import resources
from coconut.config import EMBEDDED
from coconut.data import Utterance
from coconut.losses import Synthesis
from coconut.losses.mimi import MimiTerm
from coconut.synthesis import Audio, Prosody, Synthesizer, mini
from coconut.text import phonemize
from coconut.voicepack import ROWS, STYLE

CARRIERS = ("She wrote {} on the wall.", "Do they know what {} means?")


def spoken(voices: Sequence[str], words: Sequence[str], carrier: str, seed: int) -> list[list[Tensor]]:
    """[v][w]: samples [N] of a word in a voice of mini, cut out of the carrier sentence."""
    synth = Synthesizer(resources.model(EMBEDDED, "cpu").network, seed=seed)
    script = synth.prepare([phonemize(carrier.format(word)) for word in words])
    packs = torch.stack([mini.voices()[voice] for voice in voices]).reshape(-1, ROWS, STYLE)
    styles = packs[:, script.rows]
    prosody = synth.prosody(script, styles)
    wav = synth.decode(script, prosody, styles).wav
    edges = prosody.durations.cumsum(-1) * synth.samples_per_frame
    places = [_place(carrier, word) for word in words]
    return [
        [wav[v, w, int(edges[v, w, first]) : int(edges[v, w, last])] for w, (first, last) in enumerate(places)]
        for v in range(len(voices))
    ]


def distances(term: MimiTerm, reference: Tensor, candidates: Sequence[Tensor]) -> Tensor:
    """[P] of candidates [N_p] from a reference [N], all of them samples of one word."""
    ref = term.reference(Utterance("", "", "", reference))
    return term([ref], heard(candidates))[:, 0]


def heard(wavs: Sequence[Tensor]) -> Synthesis:
    """Recordings [N_p] as candidates that speak one utterance; of their prosody nothing is known."""
    wav = pad_sequence(list(wavs), batch_first=True)[:, None]
    lens = torch.tensor([[len(each)] for each in wavs])
    ok, blank = torch.ones_like(lens, dtype=torch.bool), torch.zeros(len(lens), 1, 1)
    prosody = Prosody(torch.ones_like(blank).long(), blank, blank, torch.ones_like(lens), ok)
    return Synthesis(Audio(wav, lens, ok), prosody, torch.zeros(len(lens), 1, STYLE), torch.zeros(1, dtype=torch.long))


def shares(term: MimiTerm, voices: Sequence[str], words: Sequence[str]) -> dict[str, float]:
    """Of all triples, the share in which the same word in the same voice is nearer than the third.

    "voice": than the same word in another voice; "word": than another word in the same voice; "both": than either,
    over all pairs of another voice and another word.
    """
    one, two = (spoken(voices, words, carrier, seed) for seed, carrier in enumerate(CARRIERS))
    found: dict[str, list[Tensor]] = {"voice": [], "word": [], "both": []}
    for v in range(len(voices)):
        for w in range(len(words)):
            others = [two[k][w] for k in range(len(voices)) if k != v]
            rest = [two[v][k] for k in range(len(words)) if k != w]
            same, *away = distances(term, one[v][w], [two[v][w], *others, *rest])
            beyond = torch.stack(away) > same
            voice, word = beyond[: len(others)].float(), beyond[len(others) :].float()
            found["voice"].append(voice.mean())
            found["word"].append(word.mean())
            found["both"].append(voice.mean() * word.mean())
    return {name: float(torch.stack(each).mean()) for name, each in found.items()}


def _place(carrier: str, word: str) -> tuple[int, int]:
    """The tokens (first, last) at whose ends a word begins and ends: token 0 is a boundary, so token k is symbol k - 1.

    Raises ValueError where the word sounds otherwise in the sentence than alone.
    """
    whole, alone = phonemize(carrier.format(word)), phonemize(word)
    first = whole.find(alone)
    if first < 0:
        raise ValueError(f"{word!r} is not said in {carrier!r} as it is alone; choose another word.")
    return first, first + len(alone)
