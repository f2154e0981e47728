"""The embedded Mimi: small, there without a hub, a codec, and an ear for words and voices."""

from __future__ import annotations

import copy
import dataclasses
import math
import socket

import pytest
import torch
from transformers import MimiModel

from coconut import build
from coconut.config import EMBEDDED, MIMI, defaults, from_dict
from coconut.job import prepare
from coconut.losses.mimi import ASSETS, MimiTerm, load_mimi
from experiments.mimi import evaluate, words
from experiments.mimi.speech import WITHHELD
from tests.sounds import sentence, synthesis, utterance
from tests.test_build import QUICK

MIB = 2**20
STEP = 1e-7


@pytest.fixture(scope="module")
def model():
    return load_mimi(EMBEDDED)


def test_it_is_a_mimi_model_of_two_mebibytes_that_needs_no_network(monkeypatch):
    def refused(*_, **__):
        raise AssertionError("asked the network")

    monkeypatch.setattr(socket.socket, "connect", refused)
    model = load_mimi(EMBEDDED)
    assert isinstance(model, MimiModel)
    assert sum(path.stat().st_size for path in ASSETS.iterdir()) <= 2 * MIB
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert (model.config.sampling_rate, model.config.frame_rate) == (24_000, 12.5)


def test_each_model_of_speech_has_its_mimi():
    assert defaults(EMBEDDED).mimi_model == EMBEDDED
    assert defaults("hexgrad/Kokoro-82M").mimi_model == MIMI


def test_what_it_decodes_is_what_it_heard(model):
    """Sentences and voices that it was not trained on; the median spectrum knows them, which the codec does not."""
    found = evaluate.reconstruction(model, WITHHELD[:3], 3)
    assert found["itself decoded from its latents"] < 0.7 * found["the median spectrum"]
    assert found["itself decoded from its codes"] < 0.8 * found["the median spectrum"]
    assert found["the median spectrum"] < found["the next sentence"]


def test_a_word_in_a_voice_is_nearest_to_itself_said_again(model):
    """Elsewhere in another sentence with other noise, against other voices and other words, all unseen: 12 triples."""
    found = words.shares(MimiTerm(model=model), WITHHELD[:3], evaluate.UNSEEN[:2])
    assert found["both"] >= 0.9, found


def test_the_gradient_of_its_term_is_that_of_finite_differences(model):
    term = MimiTerm(model=copy.deepcopy(model).double())
    refs = [term.reference(utterance(sentence([0, 1, 2])))]
    plain = synthesis([[sentence([0, 1, 2], 150, 1.1, 1.1)]])
    wav = plain.audio.wav.double()

    def heard(samples):
        audio = dataclasses.replace(plain.audio, wav=samples)
        return term(refs, dataclasses.replace(plain, audio=audio, soft=plain.prosody.frames.double())).sum()

    leaf = wav.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(heard(leaf), leaf)
    slopes, expected = [], []
    for seed in range(3):
        way = torch.randn(wav.shape, generator=torch.Generator().manual_seed(seed), dtype=wav.dtype) * wav
        ahead, behind = (float(heard((wav + side * STEP * way).requires_grad_()).detach()) for side in (1, -1))
        slopes.append(float((gradient * way).sum()))
        expected.append((ahead - behind) / (2 * STEP))
    assert math.hypot(*expected) > 0
    assert math.dist(slopes, expected) <= 1e-4 * math.hypot(*expected)


@pytest.mark.slow
def test_a_fit_with_its_term_follows_its_gradient_on_the_embedded_model():
    settings = {**QUICK, "es.kind": "adam", "es.popsize": 1, "generations": 1, "window.size": 1, "loss.mimi": 1.0}
    *_, last = build.wire(prepare(from_dict(settings))).steps()
    assert 0 < last.row()["loss.mimi"] < 10
