"""Odd texts and odd styles: no crash, and no harm to those beside them."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch.nn.utils import remove_weight_norm
from torch.nn.utils.parametrizations import weight_norm

from coconut.synthesis import Synthesizer, synthesizer
from tests.kmodels import kokoro_config, random_model, random_phonemes, random_styles, stock, texts


def test_a_broken_candidate_harms_no_neighbour(double):
    phonemes, styles = texts(double, 4, 11), random_styles(5, 2).double()
    synth = Synthesizer(double)
    script = synth.prepare(phonemes)
    clean = synth(script, styles)
    broken = styles.clone()
    broken[1, 0, 3], broken[2, 1, 200] = float("nan"), float("inf")
    broken[3] = 1e30
    audio = synth(script, broken)
    expected = torch.tensor([[True, True], [False, True], [True, False], [False, False], [True, True]])
    assert torch.equal(audio.ok, expected)
    assert audio.wav.isfinite().all()
    assert (audio.wav[~audio.ok] == 0).all()
    tolerance = 1e-6 * clean.wav.abs().max()
    for p, u in audio.ok.nonzero().tolist():
        n = int(clean.lens[p, u])
        assert int(audio.lens[p, u]) == n
        assert (audio.wav[p, u, :n] - clean.wav[p, u, :n]).abs().max() <= tolerance


def test_endless_speech_is_cut_short_and_not_ok(single):
    synth = Synthesizer(single, max_seconds=1.0)
    audio = synth(synth.prepare(texts(single, 2, 60)), random_styles(2, 2))
    assert audio.ok.tolist() == [[True, False], [True, False]]
    assert audio.lens.max() <= 62 * 600
    assert (audio.wav[:, 1] == 0).all()


MARK = 3.0  # in dim 128 of a style: each of its tokens lasts a thousand times as long


@pytest.fixture
def marked(monkeypatch):
    """Makes a Synthesizer whose marked styles run away, and notes what it computes: lengths of batches in frames."""

    def make(model, **options):
        synth = Synthesizer(model, **options)
        synth._warm_up()
        durations, contours, acoustics = synth._durations, synth._contours, synth._acoustics
        made = {"contours": [], "acoustics": []}

        def slow(encoded, styles):
            features, steps = durations(encoded, styles)
            return features, torch.where(styles[:, :1] == MARK, 1000 * steps, steps)

        def note(name, inner):
            return lambda *args: (made[name].append(args[-1]), inner(*args))[1]

        monkeypatch.setattr(synth, "_durations", slow)
        monkeypatch.setattr(synth, "_contours", note("contours", contours))
        monkeypatch.setattr(synth, "_acoustics", note("acoustics", acoustics))
        return synth, made

    return make


def frames_of(batches):
    return sum(sum(lengths.steps) for lengths in batches)


@pytest.mark.parametrize(
    "where", [[(2, 0), (2, 1), (2, 2)], [(2, 1)], [(0, 0), (2, 1), (3, 2)]], ids=["everywhere", "one text", "several"]
)
def test_a_runaway_costs_its_neighbours_nothing(double, marked, where):
    phonemes, styles = texts(double, 6, 30, 12), random_styles(4, 3).double()
    usual = Synthesizer(double, max_seconds=10)
    clean = usual(usual.prepare(phonemes), styles)
    for p, u in where:
        styles[p, u, 128] = MARK
    synth, made = marked(double, max_seconds=10)
    script = synth.prepare(phonemes)
    prosody = synth.prosody(script, styles)
    audio = synth.decode(script, prosody, styles)
    expected = torch.ones(4, 3, dtype=torch.bool)
    expected[tuple(zip(*where, strict=True))] = False
    assert torch.equal(audio.ok, expected)
    assert torch.equal(prosody.ok, expected)

    lost = ~expected
    tokens = torch.tensor(script.lengths).expand(4, -1)
    assert torch.equal(prosody.frames[lost], tokens[lost])
    assert audio.wav[lost].abs().sum() + prosody.F0[lost].abs().sum() + prosody.energy[lost].abs().sum() == 0
    assert audio.wav.shape[-1] == int(audio.lens.max()) <= clean.wav.shape[-1]
    assert prosody.F0.shape[-1] == prosody.energy.shape[-1] == audio.wav.shape[-1] // 300
    assert max(len(text.unit_noise.samples) for text in script.texts) <= clean.wav.shape[-1] * 17 / 16 + 24_600
    for batches in made.values():
        assert frames_of(batches) == int(prosody.frames[expected].sum())  # nothing else was computed

    tolerance = 1e-6 * clean.wav.abs().max()
    assert torch.equal(audio.lens[expected], clean.lens[expected])
    common = audio.wav.shape[-1]
    assert (audio.wav[expected] - clean.wav[expected][:, :common]).abs().max() <= tolerance
    assert clean.wav[expected][:, common:].abs().sum() == 0


@pytest.mark.parametrize("shared", [False, True], ids=["own prosodies", "one prosody"])
def test_beside_a_runaway_the_same_batches_give_the_same_bits(single, marked, shared):
    phonemes, styles = texts(single, 6, 30), random_styles(4, 2)
    if shared:
        styles[..., 128:] = styles[:1, :, 128:]
    styles[1, :, 128] = MARK
    synth, made = marked(single, max_seconds=20)
    script = synth.prepare(phonemes)
    prosody = synth.prosody(script, styles)
    beside = synth.decode(script, prosody, styles)
    batches = [lengths.steps for lengths in made["acoustics"]]
    made["acoustics"].clear()
    rest = [0, 2, 3]
    without = synthesizer.Prosody(*(getattr(prosody, f.name)[rest] for f in dataclasses.fields(prosody)))
    alone = synth.decode(script, without, styles[rest])
    assert sorted(batches) == sorted(lengths.steps for lengths in made["acoustics"])
    assert all(lengths.equal for lengths in made["acoustics"]) or not shared
    assert torch.equal(beside.wav[rest], alone.wav)
    assert beside.ok[rest].all()


def test_where_all_run_away_nothing_is_computed(double, marked):
    phonemes, styles = texts(double, 6, 30), random_styles(3, 2).double()
    styles[..., 128] = MARK
    synth, made = marked(double, max_seconds=10)
    script = synth.prepare(phonemes)
    prosody = synth.prosody(script, styles)
    audio = synth.decode(script, prosody, styles)
    assert made == {"contours": [], "acoustics": []}
    assert not audio.ok.any()
    assert audio.wav.shape == (3, 2, 32 * 600)
    assert prosody.F0.shape == (3, 2, 64)
    assert (audio.wav == 0).all()
    assert all(len(text.unit_noise.samples) == 0 for text in script.texts)


def test_a_style_that_is_not_finite_is_not_computed(double, marked):
    phonemes, styles = texts(double, 6), random_styles(3, 1).double()
    styles[1, 0, 7] = float("nan")
    synth, made = marked(double)
    script = synth.prepare(phonemes)
    prosody = synth.prosody(script, styles)
    synth.decode(script, prosody, styles)
    for batches in made.values():
        assert frames_of(batches) == int(prosody.frames[[0, 2]].sum())
    assert prosody.frames[1].tolist() == script.lengths


def test_unvoiced_throughout(double):
    synth = Synthesizer(double)
    script, styles = synth.prepare(texts(double, 9)), random_styles(1, 1).double()
    found = synth.prosody(script, styles)
    silent = synthesizer.Prosody(found.durations, found.F0 * 0, found.energy, found.frames, found.ok)
    audio = synth.decode(script, silent, styles)
    n = int(audio.lens[0, 0])
    wave, _ = stock(
        double, script.phonemes[0], styles[0, 0], script.noise(0, n), (silent.F0[0, 0], silent.energy[0, 0])
    )
    assert audio.ok.all()
    assert (audio.wav[0, 0] - wave).abs().max() <= 1e-6 * wave.abs().max()


def test_the_longest_and_the_shortest_text():
    model = random_model(pace=-7.5)
    synth = Synthesizer(model)
    longest = random_phonemes(510, 1, model.vocab)
    script = synth.prepare([longest, "a", "⁂a⁂"])
    assert script.lengths == [512, 3, 3]
    assert script.rows.tolist() == [509, 0, 2]  # Kokoro's pipeline reads row len(phonemes) - 1 of the string
    assert synth(script, random_styles(1, 3)).ok.all()


def parametrized(model):
    """The same model with the weight norm of newer kokoro."""
    for module in model.modules():
        if hasattr(module, "weight_g"):
            remove_weight_norm(module)
            weight_norm(module)
    return model


ODD = {"nan": float("nan"), "inf": float("inf"), "1e3": 1e3, "1e6": 1e6}


@pytest.mark.parametrize(
    "config", [None, pytest.param(kokoro_config(), marks=pytest.mark.slow)], ids=["mini", "Kokoro-82M"]
)
@pytest.mark.parametrize("disable_complex", [False, True])
def test_odd_cases_of_every_kind_of_model(config, disable_complex):
    """Both architectures, transforms and weight norms: candidate 0 sounds as if alone beside any other."""
    model = random_model(config, torch.float64, disable_complex, pace=-7.5)
    styles = random_styles(1, 2).double().repeat(1 + len(ODD), 1, 1)
    for p, value in enumerate(ODD.values(), 1):
        styles[p, :, 5 if p % 2 else 200] = value  # acoustic and prosodic dims in turn
    before = None
    for made in (model, parametrized(model)):
        synth = Synthesizer(made)
        script = synth.prepare(["a", random_phonemes(3, 3, model.vocab)])
        alone, audio = synth(script, styles[:1]), synth(script, styles)
        assert audio.wav.isfinite().all()
        assert audio.ok[0].all()
        assert not audio.ok[1:3].any()  # nan, inf
        assert (audio.wav[~audio.ok] == 0).all()
        heard = audio.wav[0, :, : alone.wav.shape[-1]]
        assert torch.equal(audio.lens[0], alone.lens[0])
        assert (heard - alone.wav[0]).abs().max() <= 1e-6 * alone.wav.abs().max()
        found = synth.prosody(script, styles[:1])
        still = synthesizer.Prosody(found.durations, found.F0 * 0, found.energy, found.frames, found.ok)
        unvoiced = synth.decode(script, still, styles[:1])
        assert unvoiced.ok.all()
        assert not torch.equal(unvoiced.wav, alone.wav)
        if before is not None:
            assert (alone.wav - before).abs().max() <= 1e-9 * before.abs().max()
        before = alone.wav


@pytest.mark.slow
def test_the_longest_text_of_the_real_architecture():
    model = random_model(kokoro_config(), pace=-9.0)
    synth = Synthesizer(model)
    audio = synth(synth.prepare([random_phonemes(510, 1, model.vocab)]), random_styles(1, 1))
    assert audio.ok.all()
    assert int(audio.lens[0, 0]) >= 512 * 600
