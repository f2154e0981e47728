"""The channel of the speaker term: drawn by generation alone, the same for both sides, with a slope."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch

from coconut.config import from_dict
from coconut.fit import fit
from coconut.losses.channel import LOOP, PERCENT, Channel, Channels
from coconut.losses.ge2e import SHORTEST, SpeakerEncoder
from coconut.losses.speaker import SpeakerTerm
from coconut.losses.synthesis import Synthesis
from tests import toys
from tests.sounds import sentence, synthesis, tone, utterance

ORDER = [0, 1, 2, 3, 4, 2, 0, 1, 3, 4]  # 2 s and more: something can be cut off
CHANNELS = Channels(seed=3, strength=1.0)


@pytest.fixture(scope="module")
def term():
    return SpeakerTerm(encoder=SpeakerEncoder().double())


def plain(**changed) -> Channel:
    """A channel that changes nothing, but for what is named."""
    nothing = {"gain": 1.0, "tilt": np.zeros(6), "noise": torch.zeros(LOOP), "level": 0.0}
    return Channel(**nothing | {"first": 0.0, "kept": 1.0, "percent": PERCENT} | changed)


def heard(wavs, channel: Channel | None) -> Synthesis:
    return dataclasses.replace(synthesis(wavs), channel=channel)


def test_a_draw_is_a_function_of_seed_and_generation_alone():
    before = torch.random.get_rng_state(), np.random.get_state()[1].tolist()  # noqa: NPY002
    one, again, later, other = CHANNELS[5], Channels(3, 1.0)[5], CHANNELS[6], Channels(4, 1.0)[5]
    assert torch.equal(one.noise, again.noise)
    assert (one.gain, one.first, one.kept, one.percent) == (again.gain, again.first, again.kept, again.percent)
    assert one.gain != later.gain
    assert one.gain != other.gain
    assert Channels(3, 0.0)[5] is None
    assert torch.equal(torch.random.get_rng_state(), before[0])
    assert np.random.get_state()[1].tolist() == before[1]  # noqa: NPY002


def test_a_plain_channel_changes_nothing():
    wav = sentence(ORDER)[None]
    lens = torch.tensor([wav.shape[1]])
    found, size = plain()(wav, lens)
    assert torch.equal(size, lens)
    assert torch.allclose(found[:, : int(size)], wav, atol=1e-5)
    assert found[:, int(size) :].abs().max() == 0


def test_gain_equaliser_speed_crop_and_noise_do_what_they_are_called():
    wav, lens = tone(600, 3.0)[None], torch.tensor([72_000])
    power = wav.square().mean()
    louder, _ = plain(tilt=np.full(6, 6.0))(wav, lens)
    assert float(louder[:, :72_000].square().mean() / power) == pytest.approx(10**0.6, rel=0.02)
    slower, size = plain(percent=105)(wav, lens)
    assert int(size) == 75_600
    spectrum = torch.fft.rfft(slower[0, :75_600]).abs()
    assert float(spectrum.argmax()) * 24_000 / 75_600 == pytest.approx(600 / 1.05, abs=1)
    cut, size = plain(kept=0.75, first=1.0)(wav, lens)
    assert int(size) == 54_000
    assert torch.allclose(cut[0, :54_000], wav[0, 18_000:], atol=1e-4)
    noise = torch.randn(LOOP, generator=torch.Generator().manual_seed(0))
    noisy, _ = plain(noise=noise, level=0.1)(wav, lens)
    assert float((noisy[:, :72_000] - wav).square().mean() / power) == pytest.approx(0.01, rel=0.05)


def test_what_an_encoder_needs_is_never_cut_off():
    _, size = plain(kept=0.1)(tone(200, 3.0).repeat(2, 1), torch.tensor([72_000, 9_000]))
    assert size.tolist() == [SHORTEST, 9_000]


def test_an_item_is_heard_the_same_beside_a_longer_one():
    short, long = sentence(ORDER), sentence([*ORDER, *ORDER])
    batch = torch.nn.functional.pad(short, (0, len(long) - len(short)))
    both, lens = CHANNELS[1](torch.stack([batch, long]), torch.tensor([len(short), len(long)]))
    alone, size = CHANNELS[1](short[None], torch.tensor([len(short)]))
    assert int(size) == int(lens[0])
    assert torch.allclose(both[0, : int(size)], alone[0, : int(size)], atol=2e-4)


@pytest.mark.parametrize("generation", range(3))
def test_a_recording_is_no_distance_from_itself_through_any_channel(term, generation):
    wav = sentence(ORDER)
    refs = [term.reference(utterance(wav))]
    other = sentence(ORDER, f0=190, scale=1.15)
    near, far = (float(term(refs, heard([[x]], CHANNELS[generation]))) for x in (wav, other))
    assert near < 2e-3
    assert far > 20 * near


def test_a_distance_depends_on_the_channel(term):
    refs = [term.reference(utterance(sentence(ORDER)))]
    other = [[sentence(ORDER, f0=150, scale=1.1)]]
    values = [float(term(refs, heard(other, channel))) for channel in (None, CHANNELS[0], CHANNELS[1], CHANNELS[0])]
    assert len(set(values)) == 3
    assert values[1] == values[3]


def test_the_gradient_through_a_channel_is_that_of_finite_differences(term):
    refs = [term.reference(utterance(sentence(ORDER)))]
    made = heard([[sentence(ORDER, 150, 1.1)]], CHANNELS[2])
    wav, draw = made.audio.wav.double(), torch.Generator().manual_seed(0)

    def value(wave: torch.Tensor) -> torch.Tensor:
        return term(refs, dataclasses.replace(made, audio=dataclasses.replace(made.audio, wav=wave))).sum()

    def leaf(wave: torch.Tensor) -> torch.Tensor:
        return wave.detach().requires_grad_()  # on a tape, where it keeps its precision

    start = leaf(wav)
    (slope,) = torch.autograd.grad(value(start), start)
    way = torch.randn(wav.shape, generator=draw, dtype=wav.dtype) * wav
    ahead, behind = (float(value(leaf(wav + side * 1e-7 * way)).detach()) for side in (1, -1))
    expected = (ahead - behind) / 2e-7
    assert expected != 0
    assert math.isclose(float((slope * way).sum()), expected, rel_tol=1e-4)


def test_a_fit_tells_its_objective_the_generation_and_goes_on_counting_when_it_is_resumed():
    told: list[int] = []

    class Told(toys.Objective):
        def __call__(self, population, utterances, generation=0):
            told.append(generation)
            return super().__call__(population, utterances, generation)

    config = from_dict(toys.BASE | {"generations": 5})
    states = [step.state() for step in fit(config, Told(), toys.Score(), toys.Windows())]
    assert told == [0, 1, 2, 3, 4]
    told.clear()
    list(fit(config, Told(), toys.Score(), toys.Windows(), states[3]))
    assert told == [3, 4]
