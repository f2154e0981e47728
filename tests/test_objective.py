"""The objective with the embedded model: exact for each candidate, deterministic, sound with bad ones."""

import math

import pytest
import torch

from coconut import losses, style
from coconut.config import SpaceConfig
from coconut.data import Utterance
from coconut.objective import Objective
from coconut.synthesis import Synthesizer, load_model, stock_voices

PHONEMES = ("həlˈO.", "ðə kwˈɪk bɹˈWn fˈɑks ʤˈʌmps.", "wˌI nˈɑt?")
WEIGHTS = {**dict.fromkeys(losses.TERMS, 1.0), "speaker": 2.0, "prior": 0.1, "mimi": 0.0}


@pytest.fixture(scope="module")
def room():
    """(space, synth, terms, utterances): utterances spoken by a stock voice of the model itself."""
    model = load_model("mini")
    voices = dict(list(stock_voices(model).items())[:8])
    synth = Synthesizer(model, seed=0)
    space = style.build(SpaceConfig(kind="pca", components=4, slopes=1), stock=voices)
    stock = torch.stack([voice.reshape(510, 256) for voice in voices.values()])
    script = synth.prepare(PHONEMES)
    audio = synth(script, stock[3, script.rows][None])
    spoken = [
        Utterance(str(u), "words", PHONEMES[u], audio.wav[0, u, : int(audio.lens[0, u])]) for u in range(len(PHONEMES))
    ]
    return space, synth, losses.build(WEIGHTS, stock=stock), spoken


@pytest.fixture
def objective(room):
    space, synth, terms, _ = room
    return Objective(space, synth, terms, WEIGHTS)


@pytest.fixture
def population(room):
    return 0.5 * torch.randn(5, room[0].dim, generator=torch.Generator().manual_seed(0))


def test_total_is_the_weighted_sum_of_means_over_utterances(objective, room, population):
    found = objective(population, room[3])
    assert list(found.terms) == [name for name in losses.TERMS if WEIGHTS[name]]
    assert torch.allclose(found.total, sum(WEIGHTS[name] * value for name, value in found.terms.items()), atol=1e-5)
    for value in found.terms.values():
        assert value.shape == (5,)
        assert value.std() > 0
    singles = [objective(population, [u]) for u in room[3]]
    for name, value in found.terms.items():
        mean = torch.stack([single.terms[name] for single in singles]).mean(0)
        assert torch.allclose(value, mean, rtol=0.02, atol=0.02), name


def test_the_same_call_gives_the_same_bits(objective, room, population):
    one, two = objective(population, room[3]), objective(population, room[3])
    assert torch.equal(one.total, two.total)
    other = Objective(objective.space, Synthesizer(objective.synth.model, seed=0), objective.terms, WEIGHTS)
    assert torch.equal(other(population, room[3]).total, one.total)


def test_a_candidate_does_not_depend_on_its_neighbours(objective, room, population):
    """Within what float32 promises of the waveform: its phase is ill-conditioned in F0."""
    together = objective(population, room[3]).total
    alone = torch.cat([objective(candidate[None], room[3]).total for candidate in population])
    assert torch.allclose(together, alone, rtol=0.01)
    assert torch.allclose(objective(population.flip(0), room[3]).total.flip(0), together, rtol=0.01)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 1e30])
def test_a_bad_candidate_is_infinite_and_harms_no_neighbour(objective, room, population, bad):
    clean = objective(population, room[3]).total
    spoilt = population.clone()
    spoilt[2] = bad
    found = objective(spoilt, room[3])
    keep = [0, 1, 3, 4]
    assert torch.allclose(found.total[keep], clean[keep], rtol=0.01)
    assert found.total[keep].isfinite().all()
    assert not found.total.isnan().any()
    assert not found.terms["logmel"].isnan().any()
    if not math.isfinite(bad):
        assert found.total[2] == math.inf
        assert all(value[2] == math.inf for value in found.terms.values())


def test_the_speaker_of_the_recordings_is_the_nearest(room):
    _, synth, terms, spoken = room

    class Voices:
        """Genome [1] is the number of a stock voice."""

        dim = 1

        def styles(self, genomes, rows):
            packs = torch.stack([voice.reshape(510, 256) for voice in stock_voices(synth.model).values()])
            return packs[genomes[:, 0].long()][:, rows]

    found = Objective(Voices(), synth, {k: v for k, v in terms.items() if k != "prior"}, WEIGHTS)(
        torch.arange(8.0)[:, None], spoken
    )
    assert int(found.total.argmin()) == 3
    for name in ("logmel", "spectral", "speaker", "duration"):
        assert int(found.terms[name].argmin()) == 3, name
        assert found.terms[name][3] < 0.02, name
    assert found.terms["f0"][3] < 0.3


def test_references_are_computed_once_and_spending_is_counted(objective, room, population, monkeypatch):
    calls = []
    for name, term in objective.terms.items():
        original = term.reference
        monkeypatch.setattr(term, "reference", lambda u, n=name, f=original: calls.append((n, u.id)) or f(u))
    objective(population, room[3][:2])
    objective(population, room[3])
    assert sorted(calls) == sorted({(name, u.id) for name in objective.terms for u in room[3]})
    assert objective.syntheses == 5 * 2 + 5 * 3
    assert 25 * 0.3 < objective.audio_seconds < 25 * 4
