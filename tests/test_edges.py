"""Odd texts and odd styles: no crash, and no harm to those beside them."""

from __future__ import annotations

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
