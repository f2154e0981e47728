"""The synthesis that can be differentiated: the same sound, and slopes that finite differences confirm."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from coconut.config import InputError
from coconut.synthesis import Synthesizer, elementwise, layers, load_model, stock_voices
from coconut.synthesis.gradient import Tape, Taped
from coconut.synthesis.kernels import ACTIVATE, MOMENTS
from coconut.synthesis.taped import AdainSnake
from tests.kmodels import random_model, random_styles, texts

STEP = 1e-9  # of a style: larger ones carry some sample over the threshold of voicing
PHONEMES = ["həlˈO.", "wˌI nˈɑt?"]


@pytest.fixture(scope="module")
def mini():
    return load_model("mini").double()


def rigs(double, mini):
    """(synthesizer, texts, styles [2, 2, 256]) of a model with random weights and of the embedded one."""
    synth = Synthesizer(mini)
    packs = torch.stack([pack.reshape(510, 256) for pack in list(stock_voices(mini).values())[:2]])
    return [
        (Synthesizer(double), texts(double, 6, 3), random_styles(2, 2).double()),
        (synth, PHONEMES, packs[:, synth.prepare(PHONEMES).rows].double()),
    ]


@pytest.mark.parametrize("which", [0, 1], ids=["random", "mini"])
@pytest.mark.parametrize("through_source", [False, True])
def test_it_sounds_as_the_synthesizer_does(double, mini, which, through_source):
    synth, phonemes, styles = rigs(double, mini)[which]
    script = synth.prepare(phonemes)
    prosody = synth.prosody(script, styles)
    audio = synth.decode(script, prosody, styles)
    found = Tape(synth, through_source)(script, styles.clone().requires_grad_())
    assert (found.audio.wav - audio.wav).abs().max() <= 1e-6 * audio.wav.abs().max()
    assert torch.equal(found.audio.lens, audio.lens)
    assert torch.equal(found.prosody.durations, prosody.durations)
    assert torch.equal(found.prosody.frames, prosody.frames)
    assert (found.prosody.F0 - prosody.F0).abs().max() <= 1e-6
    assert (found.prosody.energy - prosody.energy).abs().max() <= 1e-6
    assert found.audio.ok.all()
    assert ((found.soft - prosody.frames).abs() < 0.5 * torch.tensor(script.lengths)).all()
    assert found.audio.wav.requires_grad


def test_without_complex_numbers_too():
    synth = Synthesizer(random_model(dtype=torch.float64, disable_complex=True))
    script, styles = synth.prepare(texts(synth.model, 4)), random_styles(1, 1).double()
    found = Tape(synth, True)(script, styles.clone().requires_grad_())
    expected = synth(script, styles).wav
    assert (found.audio.wav - expected).abs().max() <= 1e-6 * expected.abs().max()


PARTS = {
    "wave": lambda t: t.audio.wav,
    "F0": lambda t: t.prosody.F0,
    "energy": lambda t: t.prosody.energy,
    "soft": lambda t: t.soft,
}


def functional(taped: Taped, part: str) -> Tensor:
    """A random linear functional of one part, the same at every call."""
    x = PARTS[part](taped)
    return (x * torch.randn(x.shape, generator=torch.Generator().manual_seed(1), dtype=x.dtype)).sum()


@pytest.fixture
def one_branch(monkeypatch):
    """Phases go on past the cut between -pi and pi, where the model itself jumps."""
    first: dict[torch.Size, Tensor] = {}

    def atan2(y: Tensor, x: Tensor) -> Tensor:
        angle = torch.atan2(y, x)
        turns = (first.setdefault(angle.shape, angle.detach()) - angle.detach()) / (2 * torch.pi)
        return angle + 2 * torch.pi * turns.round()

    monkeypatch.setattr(elementwise, "atan2", atan2)


def compare(tape: Tape, script, styles: Tensor, part: str) -> float:
    """Relative error of the gradient against central differences, over random directions of the style."""
    x = styles.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(functional(tape(script, x), part), x)
    here = tape(script, styles).prosody.durations
    slopes, expected = [], []
    for seed in range(4):
        way = torch.randn(styles.shape, generator=torch.Generator().manual_seed(seed), dtype=styles.dtype)
        ahead, behind = (tape(script, styles + side * STEP * way) for side in (1, -1))
        assert torch.equal(ahead.prosody.durations, here)
        assert torch.equal(behind.prosody.durations, here)
        slopes.append((gradient * way).sum())
        expected.append((functional(ahead, part) - functional(behind, part)) / (2 * STEP))
    slopes, expected = torch.stack(slopes), torch.stack(expected)
    return float((slopes - expected).norm() / expected.norm())


@pytest.mark.usefixtures("one_branch")
@pytest.mark.parametrize("which", [0, 1], ids=["random", "mini"])
@pytest.mark.parametrize("part", list(PARTS))
def test_its_gradient_is_that_of_finite_differences(double, mini, which, part):
    synth, phonemes, styles = rigs(double, mini)[which]
    script = synth.prepare(phonemes)
    assert compare(Tape(synth, through_source=True), script, styles[:1], part) <= 1e-4


@pytest.mark.parametrize("which", [0, 1], ids=["random", "mini"])
def test_the_source_is_held_unless_told_otherwise(double, mini, which, monkeypatch):
    """The gradient is that of a synthesis whose excitation stays what it is at the style."""
    synth, phonemes, styles = rigs(double, mini)[which]
    script, kept = synth.prepare(phonemes[:1]), []
    source, styles = synth._acoustics.generator.source, styles[:1, :1]

    def held(self, f0: Tensor, noise: Tensor) -> Tensor:
        kept.append(call(source, f0, noise))
        return kept[0]

    call = type(source).__call__
    monkeypatch.setattr(type(source), "__call__", held)
    assert compare(Tape(synth), script, styles, "wave") <= 1e-4
    assert not kept[0].requires_grad
    assert len(kept) > 8


def test_long_audio_is_computed_again_on_the_way_back_and_keeps_less(mini, monkeypatch):
    synth = Synthesizer(mini)
    script = synth.prepare(PHONEMES[:1])
    found, kept = [], []
    for limit in (layers.TAPED, 0):
        monkeypatch.setattr(layers, "TAPED", limit)
        style = next(iter(stock_voices(mini).values()))[script.rows, 0][None].double().requires_grad_()
        saved: dict[int, int] = {}

        def note(tensor, saved=saved):
            saved[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            wav = Tape(synth)(script, style).audio.wav
        found.append((wav.detach(), torch.autograd.grad(wav.square().sum(), style)[0]))
        kept.append(sum(saved.values()))
    assert all(torch.equal(one, two) for one, two in zip(*found, strict=True))
    assert kept[1] < 0.8 * kept[0]


def test_a_candidate_that_cannot_be_heard_is_silent_and_harms_no_neighbour(double):
    synth = Synthesizer(double)
    script, styles = synth.prepare(texts(double, 3, 4)), random_styles(3, 2).double()
    clean = Tape(synth)(script, styles.clone().requires_grad_())
    styles[1] = torch.nan
    x = styles.clone().requires_grad_()
    found = Tape(synth)(script, x)
    assert found.audio.ok.tolist() == [[True, True], [False, False], [True, True]]
    assert found.audio.wav[1].abs().sum() == 0
    (gradient,) = torch.autograd.grad(functional(found, "wave"), x)
    assert gradient[1].abs().sum() == 0
    assert gradient[[0, 2]].abs().sum() > 0
    size = found.audio.wav.shape[-1]
    assert torch.equal(found.audio.wav[0, :, :size], clean.audio.wav[0, :, :size])


def test_endless_speech_is_not_made(double):
    synth = Synthesizer(double, max_seconds=0.1)
    script = synth.prepare(texts(double, 8))
    found = Tape(synth)(script, random_styles(1, 1).double().requires_grad_())
    assert not found.audio.ok.any()
    assert int(found.prosody.frames) == script.lengths[0]
    assert not found.audio.wav.requires_grad


def test_styles_of_a_wrong_shape_are_one_sentence(double):
    synth = Synthesizer(double)
    with pytest.raises(InputError, match="one row of the voicepack"):
        Tape(synth)(synth.prepare(texts(double, 3)), random_styles(1, 2))


@pytest.mark.parametrize("steps", [1, 2, 7])
def test_adain_and_snake_in_one_have_the_gradient_of_their_parts(steps):
    draw = torch.Generator().manual_seed(steps)
    shapes = [(2, steps, 3), (2, 1, 3), (2, 1, 3)]
    x, scale, shift = (torch.randn(s, generator=draw, dtype=torch.float64).requires_grad_() for s in shapes)
    expected = ACTIVATE.plain(x, MOMENTS.plain(x, None), scale, shift, 1e-5, None, None, torch.float64)
    assert torch.allclose(AdainSnake.apply(x, scale, shift, 1e-5), expected, atol=1e-12)
    assert torch.autograd.gradcheck(lambda *a: AdainSnake.apply(*a, 1e-2), (x, scale, shift))


def test_the_models_weights_stay_without_gradients(mini):
    synth = Synthesizer(mini)
    x = random_styles(1, 1, std=0.1).double().requires_grad_()
    Tape(synth)(synth.prepare(PHONEMES[:1]), x).audio.wav.square().sum().backward()
    assert x.grad is not None
    assert not any(p.requires_grad or p.grad is not None for p in mini.parameters())
