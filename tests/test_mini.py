"""The embedded model: a stock KModel, distinct smooth voices, speech-like output, a complete demo target."""

from __future__ import annotations

import csv
import importlib.resources
import sys
import threading
from itertools import pairwise
from pathlib import Path

import kokoro
import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from kokoro.istftnet import Decoder

from coconut import audio, voicepack
from coconut.config import InputError
from coconut.prior import Prior
from coconut.synthesis import mini

HELLO = "həlˈO, wˌʌt ɐ bjˈuɾəfəl mˈɔɹnɪŋ."  # 31 symbols, all of them in the vocabulary
KNOWN_IDS = {";": 1, ".": 4, " ": 16, "A": 24, "ᵊ": 42, "a": 43, "z": 68, "ɡ": 92, "ʃ": 131, "ˈ": 156, "ᵻ": 177}


@pytest.fixture(scope="module")
def model() -> kokoro.KModel:
    return mini.build_model()


@pytest.fixture(scope="module")
def packs() -> dict[str, torch.Tensor]:
    return mini.voices()


def speak(model: kokoro.KModel, pack: torch.Tensor, string: str = HELLO) -> kokoro.KModel.Output:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return model(string, pack[len(string) - 1], return_output=True)


def test_the_vocabulary_is_that_of_kokoro_82m() -> None:
    vocab = mini.config()["vocab"]
    assert len(vocab) == 114
    assert len(set(vocab.values())) == 114
    assert {symbol: vocab[symbol] for symbol in KNOWN_IDS} == KNOWN_IDS
    assert max(vocab.values()) < mini.config()["n_token"] == 178


def test_config_is_a_fresh_copy() -> None:
    mini.config()["istftnet"]["gen_istft_hop_size"] = 1
    assert mini.config()["istftnet"]["gen_istft_hop_size"] == 15


def test_a_stock_model_loads_ready_to_infer(model: kokoro.KModel) -> None:
    assert type(model) is kokoro.KModel
    assert isinstance(model.decoder, Decoder)
    assert model.repo_id == "mini"
    assert not model.training
    assert all(p.dtype == torch.float32 and not p.requires_grad and p.isfinite().all() for p in model.parameters())
    assert sum(p.numel() for p in model.parameters()) < 4_300_000


def test_neither_loading_nor_building_touches_the_global_rng() -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    mini.build_model()
    mini.architecture()
    mini.voices()
    assert torch.equal(before, torch.get_rng_state())


def test_building_in_threads_leaves_kokoro_as_it_was() -> None:
    built: list[kokoro.KModel] = []
    threads = [threading.Thread(target=lambda: built.append(mini.architecture())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert kokoro.model.Decoder is Decoder
    assert [type(m.decoder) for m in built] == [mini.MiniDecoder] * 4
    states = [m.state_dict() for m in built]
    assert all(torch.equal(states[0][k], state[k]) for state in states[1:] for k in state)


def test_a_config_without_widths_gets_the_stock_decoder() -> None:
    config = mini.config()
    del config["decoder"]
    config |= {"hidden_dim": 512}
    assert type(mini.architecture(config).decoder) is Decoder


def test_missing_assets_name_the_script_that_makes_them(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(importlib.resources, "files", lambda _: tmp_path)
    with pytest.raises(InputError, match=r"experiments/mini/pretrain\.py"):
        mini.build_model()
    with pytest.raises(InputError, match="voices"):
        mini.voices()


def test_voices_are_smooth_packs_sorted_by_name(packs: dict[str, torch.Tensor]) -> None:
    assert len(packs) >= 48
    assert list(packs) == sorted(packs)
    for name, pack in packs.items():
        assert name.startswith("mk_")
        assert pack.shape == (510, 1, 256)
        assert pack.dtype == torch.float32
        assert pack.isfinite().all()
        assert pack.abs().max() < 5
        assert voicepack.roughness(pack) <= 0.0018, name


def test_rows_follow_one_profile_over_length(packs: dict[str, torch.Tensor]) -> None:
    stack = torch.stack(list(packs.values()))[:, :, 0].double()  # [V, 510, 256]
    rows = stack - stack.mean(1, keepdim=True)
    _, s, v = torch.linalg.svd(rows.transpose(1, 2).reshape(-1, 510), full_matrices=False)
    profile = v[0] * np.sqrt(510) * v[0, 0].sign()
    assert s[0] ** 2 / (s**2).sum() > 0.999
    assert profile[0] > 5
    assert 0.7 < profile[50] < 1.7
    assert profile[300] < -0.2
    share = float(rows.square().sum() / (stack - stack.mean((0, 1))).square().sum())
    assert 0.005 < share < 0.4


def test_voices_differ(packs: dict[str, torch.Tensor]) -> None:
    stack = torch.stack([pack.mean(0)[0] for pack in packs.values()])
    distance = torch.cdist(stack, stack).fill_diagonal_(torch.inf)
    assert distance.min() > 0.3
    f0 = sorted(card["f0"] for card in mini.cards())
    assert f0[0] < 110
    assert f0[-1] > 280
    assert len(f0) == len(packs)


def test_cards_describe_every_voice(packs: dict[str, torch.Tensor]) -> None:
    cards = mini.cards()
    assert {card["name"] for card in cards} == set(packs)
    assert {card["sex"] for card in cards} == {"male", "female"}
    assert {card["accent"] for card in cards} == {"us", "gb"}
    assert all(60 < card["f0"] < 450 and 5 < card["rate"] < 25 for card in cards)


@pytest.mark.parametrize("index", [0, 15, 30, 45])
def test_output_is_like_speech(model: kokoro.KModel, packs: dict[str, torch.Tensor], index: int) -> None:
    card = mini.cards()[index]
    made = speak(model, packs[card["name"]])
    wav = made.audio
    assert wav.shape == (600 * int(made.pred_dur.sum()),)
    assert wav.isfinite().all()
    assert 1.0 < len(wav) / 24000 < 4.5
    assert 0.01 < wav.square().mean().sqrt() < 0.25
    assert wav.abs().max() < 1.5
    f0 = audio.f0(wav[None], torch.tensor([len(wav)]))[0]
    voiced = f0[f0 > 0]
    assert 0.3 < len(voiced) / len(f0) < 0.95
    assert abs(float(voiced.median()) / card["f0"] - 1) < 0.25


def test_longer_texts_take_longer_and_short_rows_differ(model: kokoro.KModel, packs: dict[str, torch.Tensor]) -> None:
    pack = packs[next(iter(packs))]
    one, two, four = (speak(model, pack, " ".join([HELLO] * n)).pred_dur.sum().item() for n in (1, 2, 4))
    assert 1.6 < two / one < 2.6
    assert 1.6 < four / two < 2.6
    assert not torch.equal(pack[0], pack[400])


def test_disable_complex_speaks_the_same(model: kokoro.KModel, packs: dict[str, torch.Tensor]) -> None:
    pack = packs[next(iter(packs))]
    pair = [speak(m, pack).audio for m in (model, mini.build_model(disable_complex=True))]
    assert pair[0].shape == pair[1].shape
    mel, _ = audio.LogMel()(torch.stack(pair), torch.tensor([len(p) for p in pair]))
    assert (mel[0] - mel[1]).abs().mean() < 0.3


def test_the_demo_target_is_complete_and_short() -> None:
    folder = importlib.resources.files("coconut") / "assets" / "demo"
    with importlib.resources.as_file(folder) as path:
        rows = list(csv.DictReader((path / "metadata.csv").open(encoding="utf-8", newline="")))
        assert {row["file_name"] for row in rows} == {f.name for f in path.glob("*.ogg")}
        for row in rows:
            info = soundfile.info(path / row["file_name"])
            assert info.samplerate == 24000
            assert info.channels == 1
            assert 1.5 < info.duration < 5.5
            assert len(row["transcription"].split()) >= 5
        assert len(rows) >= 12
        assert sum(f.stat().st_size for f in path.iterdir()) < 700_000


def test_all_assets_together_stay_small() -> None:
    root = Path(str(importlib.resources.files("coconut")))
    folders = [root / "assets", root / "synthesis" / "assets"]
    assert sum(f.stat().st_size for folder in folders for f in folder.rglob("*") if f.is_file()) <= 9 * 2**20


@pytest.fixture(scope="module")
def align():
    sys.path.insert(0, str(Path(__file__).parents[1] / "experiments"))
    try:
        from mini import align as module
    finally:
        sys.path.pop(0)
    return module


@settings(max_examples=50, deadline=None)
@given(parts=st.lists(st.floats(0, 12), min_size=1, max_size=40))
def test_whole_frames_keep_every_token_and_stay_near(align, parts: list[float]) -> None:
    at = np.concatenate([[0.0], np.cumsum(parts)])
    frames = align._integer(at)
    assert (frames >= 1).all()
    assert frames.sum() == max(round(at[-1]), len(parts))
    if min(parts) >= 1.5:
        assert np.abs(np.cumsum(frames) - at[1:]).max() <= 1.0


def test_phoneme_events_become_durations(align) -> None:
    events = [(1.0, "h"), (3.0, "ə"), (5.0, "l"), (8.0, "ˈoʊ"), (16.0, ""), (22.0, "k"), (25.0, "ˈæ"), (32.0, "t")]
    string = "həlˈO, kˈæt"
    found = align.durations(string, [*events, (36.0, "")], 40.0)
    ends = dict(zip(pairwise(["<", *string, ">"]), np.cumsum(found), strict=False))
    assert found.sum() == 40
    assert len(found) == len(string) + 2
    assert abs(ends["O", ","] - 16) <= 1
    assert abs(ends[" ", "k"] - 22) <= 1
    assert abs(ends["æ", "t"] - 32) <= 1


def test_the_shipped_prior_is_that_of_the_shipped_voices(packs: dict[str, torch.Tensor]) -> None:
    shipped, found = mini.prior().tensors(), Prior.of(torch.stack(list(packs.values()))[:, :, 0]).tensors()
    assert shipped.keys() == found.keys()
    for key in ("profile", "base.mean", "base.spread", "slope.mean", "slope.spread"):
        torch.testing.assert_close(shipped[key], found[key], atol=1e-4, rtol=1e-4)
    for half in ("base", "slope"):
        a, b = shipped[f"{half}.components"], found[f"{half}.components"]
        torch.testing.assert_close((a[:8] * b[:8]).sum(1).abs(), torch.ones(8), atol=1e-2, rtol=0)
