"""Which voice is meant, and that a voice which cannot speak says so."""

import numpy as np
import pytest
import torch

from coconut import speak, voicepack
from coconut.config import InputError
from coconut.synthesis import Synthesizer, load_model, stock_voices


@pytest.fixture(scope="module")
def model():
    return load_model("mini")


@pytest.fixture(scope="module")
def packs(model):
    return dict(list(stock_voices(model).items())[:2])


def test_a_stock_voice_by_its_name_and_any_voice_of_a_file(model, packs, tmp_path):
    (first, one), (second, two) = packs.items()
    assert torch.equal(speak.find_voice(first, model), one)
    np.savez(tmp_path / "voices.npz", **{name: pack.numpy() for name, pack in packs.items()})
    assert torch.equal(speak.find_voice(str(tmp_path / "voices.npz"), model, second), two)
    assert torch.equal(speak.find_voice(str(voicepack.save(one, tmp_path / "v.pt")), model), one)


@pytest.mark.parametrize(
    ("voice", "name", "said"),
    [
        ("nobody", None, "No voice nobody; give a .pt, .npz or .bin file, or one of mk_"),
        ("none.pt", None, "No voicepack at none.pt"),
        ("mk_00", "x", "--name x chooses a voice of a file, and there is no file mk_00"),
    ],
)
def test_a_voice_that_is_not_there(model, voice, name, said):
    with pytest.raises(InputError, match=said):
        speak.find_voice(voice, model, name)


def test_a_text_of_any_length_is_spoken(model, packs):
    pack, synth = next(iter(packs.values())), Synthesizer(model)
    wav = speak.speak(synth, pack, "It is late. " * 60)
    assert wav.isfinite().all()
    assert 30 < len(wav) / 24_000 < 120


def test_a_voice_that_cannot_speak_is_no_silence(model, packs):
    with pytest.raises(InputError, match=r"cannot speak .*no end"):
        speak.speak(Synthesizer(model, max_seconds=0.5), next(iter(packs.values())), "It is late again.")
