"""The objective with the embedded model: exact for each candidate, deterministic, sound with bad ones."""

import math

import pytest
import torch

from coconut import losses, style
from coconut.config import SpaceConfig
from coconut.data import Utterance
from coconut.losses import logmel
from coconut.losses.alignment import dtw
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


def runaway(synth, monkeypatch, *candidates):
    """Each token of these candidates lasts a thousand times as long."""
    inner = synth._durations

    def slow(encoded, styles):
        features, steps = inner(encoded, styles)
        steps[list(candidates)] *= 1000
        return features, steps

    monkeypatch.setattr(synth, "_durations", slow)


def test_a_runaway_is_infinite_and_no_grid_grows_to_its_length(room, population, monkeypatch):
    space, usual, terms, spoken = room
    grids = []
    monkeypatch.setattr(logmel, "dtw", lambda cost, *rest: (grids.append(cost.shape), dtw(cost, *rest))[1])
    longest = 3 * max(len(u.audio) for u in spoken) / 24_000
    clean = Objective(space, Synthesizer(usual.model, seed=0, max_seconds=longest), terms, WEIGHTS)(population, spoken)
    before = [max(cells) for cells in zip(*grids, strict=True)]
    grids.clear()
    synth = Synthesizer(usual.model, seed=0, max_seconds=longest)
    runaway(synth, monkeypatch, 2)
    found = Objective(space, synth, terms, WEIGHTS)(population, spoken)
    keep = [0, 1, 3, 4]
    assert torch.allclose(found.total[keep], clean.total[keep], rtol=0.01)
    assert found.total[2] == math.inf
    for name, value in found.terms.items():
        assert value[2] == math.inf, name
        assert value[keep].isfinite().all(), name
    assert all(max(cells) <= most for cells, most in zip(zip(*grids, strict=True), before, strict=True))


def test_where_all_run_away_all_losses_are_infinite(room, population, monkeypatch):
    space, usual, terms, spoken = room
    synth = Synthesizer(usual.model, seed=0, max_seconds=10)
    runaway(synth, monkeypatch, *range(len(population)))
    objective = Objective(space, synth, terms, WEIGHTS)
    found = objective(population, spoken)
    assert (found.total == math.inf).all()
    assert all((value == math.inf).all() for value in found.terms.values())
    assert objective.audio_seconds == 0
    assert objective.syntheses == len(population) * len(spoken)


def test_genomes_and_losses_are_float64_on_the_cpu(objective, room, population):
    narrow, wide = objective(population, room[3][:1]), objective(population.double(), room[3][:1])
    assert torch.equal(narrow.total, wide.total)
    for value in (wide.total, *wide.terms.values()):
        assert value.dtype == torch.float64
        assert value.device.type == "cpu"


def test_a_caller_may_keep_the_references(objective, room, population, monkeypatch):
    space, synth, terms, spoken = room
    kept = {}
    first = Objective(space, synth, terms, WEIGHTS, kept)(population[:1], spoken[:2])
    assert set(kept) == {(name, u.id) for name in terms for u in spoken[:2]}
    for term in terms.values():
        monkeypatch.setattr(term, "reference", lambda _: pytest.fail("computed again"))
    second = Objective(space, synth, terms, WEIGHTS, references=kept)(population[:1], spoken[:2])
    assert torch.equal(first.total, second.total)


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
