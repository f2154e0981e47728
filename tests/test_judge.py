"""The judge and encoders of the hub: exact in company, deaf to channels, and out of any loss's reach."""

from __future__ import annotations

from importlib import resources as files

import pytest
import torch
from torch.nn.functional import pad

from coconut import resources
from coconut.config import FitConfig, InputError, from_dict
from coconut.job import settle
from coconut.losses import TERMS
from coconut.losses.channel import Channels
from coconut.losses.judge import Judge
from coconut.losses.xvector import XVector
from coconut.synthesis import Synthesizer, load_model, stock_voices
from tests.sounds import sentence
from tests.test_layers import PACKAGE, imports

TEXTS = ("ðə kwˈɪk bɹˈWn fˈɑks ʤˈʌmps ˌOvəɹ ðə lˈAzi dˈɔɡ.", "ɪt ˈɔlwˌAz ɹˈAnz ɑn sˈʌndA wˌɛn wi ɡˌO.")
UNSEEN = ("mk_09", "mk_21", "mk_34", "mk_47")  # stock voices that the judge was not trained on


@pytest.fixture(scope="module")
def judge():
    return Judge()


def test_its_weights_are_small():
    assert len(files.files("coconut.losses").joinpath("assets/judge.safetensors").read_bytes()) <= 1.5 * 2**20


def test_voices_that_it_never_heard_are_nearest_to_themselves(judge):
    model = load_model("mini")
    voices, synth = stock_voices(model), Synthesizer(model)
    script = synth.prepare(TEXTS)
    packs = torch.stack([voices[name].reshape(510, 256)[script.rows] for name in UNSEEN])
    audio = synth(script, packs)
    first, second = (judge(audio.wav[:, u], audio.lens[:, u]) for u in range(2))
    cosine = first @ second.T
    assert cosine.argmax(1).tolist() == cosine.argmax(0).tolist() == [0, 1, 2, 3]
    others = ~torch.eye(len(UNSEEN), dtype=torch.bool)
    assert float(cosine.diagonal().min()) > float(cosine[others].mean()) + 0.2


def test_an_item_is_heard_the_same_beside_a_longer_one(judge):
    short, long = sentence([0, 1, 2, 3]), sentence([4, 0, 2, 1, 3, 0, 4])
    lens = torch.tensor([len(short), len(long)])
    both = judge(torch.stack([pad(short, (0, len(long) - len(short))), long]), lens)
    assert both.shape == (2, 128)
    assert torch.allclose(both.norm(dim=-1), torch.ones(2), atol=1e-5)
    assert torch.allclose(judge(short[None], lens[:1])[0], both[0], atol=1e-4)
    assert judge(short[None, :240], torch.tensor([240])).isfinite().all()
    assert judge(torch.zeros(1, 24_000), torch.tensor([24_000])).isfinite().all()


def test_it_hears_no_gain(judge):
    wav, lens = sentence([0, 1, 2, 3])[None], torch.tensor([len(sentence([0, 1, 2, 3]))])
    one, other = judge(wav, lens), judge(1.3 * wav, lens)
    assert float((one * other).sum()) > 0.98
    through, size = Channels(0, 1.0)[0](wav, lens)
    assert float((one * judge(through, size)).sum()) > float((one * judge(*formants())).sum())


def formants():
    wav = sentence([0, 1, 2, 3], f0=200, scale=1.2)
    return wav[None], torch.tensor([len(wav)])


def test_no_term_of_the_loss_knows_it():
    for path in sorted((PACKAGE / "losses").glob("*.py")):
        assert path.name == "judge.py" or not any("judge" in name for name in imports(path)), path.name
    assert not any("judge" in term.__module__ for term in TERMS.values())


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A tiny WavLM for x-vectors with random weights, as the hub would keep it."""
    from transformers import Wav2Vec2FeatureExtractor, WavLMConfig, WavLMForXVector

    place = tmp_path_factory.mktemp("hub") / "wavlm"
    config = WavLMConfig(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, conv_dim=(16,) * 7,
        num_conv_pos_embeddings=8, num_conv_pos_embedding_groups=2, tdnn_dim=(16, 16, 32), tdnn_kernel=(5, 3, 1),
        tdnn_dilation=(1, 2, 1), xvector_output_dim=24, num_buckets=32,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        WavLMForXVector(config).save_pretrained(place)
    Wav2Vec2FeatureExtractor(do_normalize=True).save_pretrained(place)
    return place


def test_a_model_of_the_hub_hears_each_item_by_itself(folder):
    encoder = XVector.load(folder)
    assert encoder.normalised
    short, long = sentence([0, 1, 2, 3]), sentence([4, 0, 2, 1, 3, 0, 4, 1, 2])
    lens = torch.tensor([len(short), len(long)])
    both = encoder(torch.stack([pad(short, (0, len(long) - len(short))), long]), lens)
    assert both.shape == (2, 24)
    assert torch.allclose(both.norm(dim=-1), torch.ones(2), atol=1e-5)
    assert torch.allclose(encoder(short[None], lens[:1])[0], both[0], atol=1e-5)
    assert torch.allclose(encoder(0.5 * long[None], lens[1:])[0], both[1], atol=1e-3)  # normalised
    assert -1 < encoder.stranger < 1


def test_what_is_no_encoder_is_one_sentence(folder, tmp_path):
    with pytest.raises(InputError, match=r"nowhere cannot be loaded .* set score.encoder to ge2e"):
        XVector.load(tmp_path / "nowhere")
    from transformers import Wav2Vec2FeatureExtractor, WavLMForXVector

    slow = tmp_path / "slow"
    WavLMForXVector.from_pretrained(folder).save_pretrained(slow)
    Wav2Vec2FeatureExtractor(sampling_rate=8000).save_pretrained(slow)
    with pytest.raises(InputError, match="hears 8000 Hz, not 16000; name another"):
        XVector.load(slow)


def test_a_model_without_weights_for_x_vectors_is_refused_and_not_drawn_at_random(folder, tmp_path):
    from transformers import WavLMForXVector

    WavLMForXVector.from_pretrained(folder).wavlm.save_pretrained(tmp_path / "bare")
    (tmp_path / "bare" / "preprocessor_config.json").write_text((folder / "preprocessor_config.json").read_text())
    with pytest.raises(InputError, match="bare has no weights for x-vectors; name another"):
        XVector.load(tmp_path / "bare")


def test_ears_by_name(folder):
    ge2e, nobody = resources.ears("ge2e", "cpu")
    assert (ge2e, nobody) == (resources.speaker_encoder("cpu"), {})
    judge, beside = resources.ears("judge", "cpu")
    assert isinstance(judge, Judge)
    assert beside == {"ge2e": ge2e}
    assert isinstance(resources.encoder(str(folder), "cpu"), XVector)


def test_a_folder_is_settled_as_a_path_that_holds_everywhere(folder, monkeypatch):
    monkeypatch.chdir(folder.parent)
    assert settle(from_dict({"score.encoder": "wavlm"})).score.encoder == str(folder)
    (folder.parent / "judge").mkdir()
    assert settle(from_dict({"score.encoder": "judge"})).score.encoder == "judge"
    assert FitConfig().score.encoder == "ge2e"
