"""Loss terms on a tape: the values of the plain ones, and slopes that finite differences confirm."""

from __future__ import annotations

import copy
import dataclasses
import math

import pytest
import torch
from torch import Tensor

from coconut import losses
from coconut.losses import Synthesis
from coconut.losses.alignment import dtw, path
from coconut.losses.ge2e import SpeakerEncoder
from tests.sounds import sentence, synthesis, utterance
from tests.test_losses import mimi, stock  # noqa: F401  (fixtures)

STEP = 1e-7
ORDER = [0, 1, 2, 3]
INPUTS = ("wave", "F0", "styles", "soft")
HEARS = {"f0": "F0", "prior": "styles", "duration": "soft"}  # the others hear the wave


@pytest.fixture(scope="module")
def terms(mimi, stock):  # noqa: F811
    """In float64, and the recording of two utterances."""
    with torch.random.fork_rng():
        made = losses.build(
            dict.fromkeys(losses.TERMS, 1.0),
            encoder=SpeakerEncoder().double(),
            stock=stock,
            mimi_model=copy.deepcopy(mimi).double(),
        )
    return made


@pytest.fixture(scope="module")
def heard():
    return [utterance(sentence(ORDER), "a"), utterance(sentence([4, 0, 2]), "b")]


@pytest.fixture(scope="module")
def plain():
    """Two candidates of another voice and tempo, in float64."""
    wavs = [
        [sentence(ORDER, 150, 1.1, 1.1), sentence([4, 0, 2], 150, 1.1, 0.9)],
        [sentence(ORDER, 90, 0.9), sentence([4, 0, 2], 95)],
    ]
    noise = torch.Generator().manual_seed(0)
    curves = [[100 + 80 * torch.rand(len(w) // 300, generator=noise) for w in row] for row in wavs]
    made = synthesis(wavs, curves)
    styles = 0.3 * torch.randn(2, 2, 256, generator=noise)
    audio = dataclasses.replace(made.audio, wav=made.audio.wav.double())
    prosody = dataclasses.replace(made.prosody, F0=made.prosody.F0.double())
    return Synthesis(audio, prosody, styles.double(), torch.tensor([3, 100]))


def inputs(plain: Synthesis) -> dict[str, Tensor]:
    soft = plain.prosody.frames + torch.tensor([[0.3, -0.2], [0.1, 0.4]], dtype=torch.float64)
    return dict(zip(INPUTS, (plain.audio.wav, plain.prosody.F0, plain.styles, soft), strict=True))


def taped(plain: Synthesis, values: dict[str, Tensor]) -> Synthesis:
    """Everything on the tape."""
    wav, f0, styles, soft = (values[name].detach().requires_grad_() for name in INPUTS)
    audio, prosody = dataclasses.replace(plain.audio, wav=wav), dataclasses.replace(plain.prosody, F0=f0)
    return Synthesis(audio, prosody, styles, plain.rows, soft)


@pytest.mark.parametrize("name", list(losses.TERMS))
def test_a_term_on_a_tape_has_the_value_of_the_plain_one(terms, heard, plain, name):
    term = terms[name]
    assert term.differentiable
    refs = [term.reference(u) for u in heard]
    expected, found = term(refs, plain), term(refs, taped(plain, inputs(plain)))
    assert found.requires_grad
    assert found.shape == expected.shape == (2, 2)
    assert torch.allclose(found.float(), expected.float(), rtol=1e-3, atol=0.02 if name == "duration" else 1e-5)


@pytest.mark.parametrize("name", list(losses.TERMS))
def test_the_gradient_of_a_term_is_that_of_finite_differences(terms, heard, plain, name):
    term, part, values = terms[name], HEARS.get(name, "wave"), inputs(plain)
    refs = [term.reference(u) for u in heard]
    syn = taped(plain, values)
    leaf = dict(zip(INPUTS, (syn.audio.wav, syn.prosody.F0, syn.styles, syn.soft), strict=True))[part]
    (gradient,) = torch.autograd.grad(term(refs, syn).sum(), leaf)
    slopes, expected = [], []
    for seed in range(3):
        way = torch.randn(leaf.shape, generator=torch.Generator().manual_seed(seed), dtype=leaf.dtype) * values[part]
        sides = [taped(plain, {**values, part: values[part] + side * STEP * way}) for side in (1, -1)]
        ahead, behind = (float(term(refs, s).sum().detach()) for s in sides)
        slopes.append(float((gradient * way).sum()))
        expected.append((ahead - behind) / (2 * STEP))
    error = math.dist(slopes, expected) / math.hypot(*expected)
    assert math.hypot(*expected) > 0
    assert error <= 1e-4


@pytest.mark.parametrize("sizes", [(1, 1), (1, 5), (6, 1), (2, 2), (9, 14), (14, 9), (40, 40)])
def test_the_path_gives_what_dtw_gives(sizes):
    draw = torch.Generator().manual_seed(0)
    cost, other = torch.rand(2, *sizes, generator=draw, dtype=torch.float64)
    rows, columns, weights = path(cost, 0.2)
    expected = dtw(cost[None], torch.tensor([sizes[0]]), torch.tensor([sizes[1]]), 0.2, other[None])
    assert float((weights * cost[rows, columns]).sum()) == pytest.approx(float(expected[0]), rel=1e-9)
    assert float((weights * other[rows, columns]).sum()) == pytest.approx(float(expected[1]), rel=1e-9)
    assert float(weights.sum()) == pytest.approx(1)


def test_a_path_through_nothing_but_nan_ends():
    rows, columns, _ = path(torch.full((5, 3), math.nan))
    assert (int(rows[-1]), int(columns[-1])) == (0, 0)


def test_what_is_not_on_a_tape_leaves_none(terms, heard, plain):
    for name, term in terms.items():
        assert not term([term.reference(u) for u in heard], plain).requires_grad, name
