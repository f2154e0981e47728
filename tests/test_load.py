"""Loading a model: embedded, from a folder, from an imitation of the hub; and every way it can fail."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import huggingface_hub
import pytest
import torch
from huggingface_hub.errors import LocalEntryNotFoundError, OfflineModeIsEnabled

from coconut.config import InputError
from coconut.synthesis import load_model, mini, stock_voices
from tests.kmodels import random_model

REPO = "hexgrad/Kokoro-82M"
PARTS = ("bert", "bert_encoder", "predictor", "text_encoder", "decoder")


@pytest.fixture(scope="module")
def model():
    return random_model()


@pytest.fixture
def folder(tmp_path, model) -> Path:
    """Laid out as the hub repository is."""
    (tmp_path / "voices").mkdir()
    (tmp_path / "config.json").write_text(json.dumps(mini.config()), encoding="utf-8")
    torch.save({part: getattr(model, part).state_dict() for part in PARTS}, tmp_path / "kokoro-v1_0.pth")
    for name in ("bf_b", "af_a"):
        torch.save(torch.full((510, 1, 256), float(len(name))), tmp_path / "voices" / f"{name}.pt")
    return tmp_path


def edit(folder: Path, change) -> None:
    store = torch.load(folder / "kokoro-v1_0.pth", weights_only=True)
    torch.save(change(store) or store, folder / "kokoro-v1_0.pth")


def same(one, two) -> bool:
    a, b = one.state_dict(), two.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def test_a_folder(folder, model):
    before = torch.get_rng_state()
    loaded = load_model(str(folder))
    assert torch.equal(torch.get_rng_state(), before)
    assert same(loaded, model)
    assert not loaded.training
    assert not any(p.requires_grad for p in loaded.parameters())
    voices = stock_voices(loaded)
    assert list(voices) == ["af_a", "bf_b"]
    assert all(pack.shape == (510, 1, 256) and pack.dtype == torch.float32 for pack in voices.values())


def test_the_hub(folder, model, monkeypatch):
    asked = []

    def download(repo: str, name: str) -> str:
        asked.append((repo, name))
        return str(folder / name)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda repo, allow_patterns: str(folder))
    loaded = load_model(REPO)
    assert asked == [(REPO, "config.json"), (REPO, "kokoro-v1_0.pth")]
    assert loaded.repo_id == REPO
    assert same(loaded, model)
    assert list(stock_voices(loaded)) == ["af_a", "bf_b"]


@pytest.mark.parametrize("error", [OfflineModeIsEnabled("offline"), LocalEntryNotFoundError("not in the cache")])
def test_the_hub_out_of_reach(monkeypatch, error, model):
    def download(*_, **__):
        raise error

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    with pytest.raises(InputError, match=r"download it where the hub is in reach and pass the folder.*--model mini"):
        load_model(REPO)
    monkeypatch.setattr(model, "repo_id", REPO)
    with pytest.raises(InputError, match="pass the folder"):
        stock_voices(model)


def test_the_real_client_offline_without_a_cache(monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.file_download.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(InputError, match="cannot be had from the hub"):
        load_model("hexgrad/Kokoro-82M-v1.1-zh")


@pytest.mark.parametrize(
    ("name", "said"),
    [("nonsense", "There is no model"), ("./missing", "There is no model"), ("some/other", "known Kokoro model")],
)
def test_unknown_names(name, said):
    with pytest.raises(InputError, match=said):
        load_model(name)


def test_data_parallel_names_and_a_checkpoint_without_fixed_or_identity_weights(folder, model):
    def change(store):
        return {
            part: {f"module.{k}": v for k, v in state.items() if ".norm." not in k and not k.startswith("pooler.")}
            for part, state in store.items()
        }

    edit(folder, change)
    loaded = load_model(str(folder), disable_complex=True)
    name = "generator.conv_post.weight_v"
    assert torch.equal(loaded.decoder.state_dict()[name], model.decoder.state_dict()[name])
    assert (loaded.decoder.encode.norm1.norm.weight == 1).all()


def test_new_weight_norm_names(folder, model):
    def rename(key: str) -> str:
        for old, new in (("weight_g", "original0"), ("weight_v", "original1")):
            key = key.removesuffix(old) + f"parametrizations.weight.{new}" if key.endswith(f".{old}") else key
        return key

    edit(folder, lambda store: {p: {rename(k): v for k, v in s.items()} for p, s in store.items()})
    assert same(load_model(str(folder)), model)


def test_a_weight_without_a_place_is_reported(folder):
    edit(folder, lambda store: store["decoder"].update(extra=torch.zeros(1)))
    with pytest.warns(UserWarning, match="1 weights have no place, such as extra"):
        load_model(str(folder))


BROKEN = {
    "no config": (lambda f: (f / "config.json").unlink(), "has no config.json"),
    "no weights": (lambda f: (f / "kokoro-v1_0.pth").unlink(), r"no \*\.pth"),
    "two weights": (lambda f: (f / "b.pth").write_bytes(b""), r"2 \*\.pth"),
    "config is not JSON": (lambda f: (f / "config.json").write_text("{"), "is not JSON"),
    "config is a list": (lambda f: (f / "config.json").write_text("[]"), "no entry 'vocab'"),
    "a key is missing": (lambda f: rewrite(f, lambda c: c.pop("istftnet")), "no entry 'istftnet'"),
    "vocab is empty": (lambda f: rewrite(f, lambda c: c.update(vocab={})), "vocab must map"),
    "an id is too large": (lambda f: rewrite(f, lambda c: c["vocab"].update(a=178)), "'a' the id 178.*0 to 177"),
    "an id is a word": (lambda f: rewrite(f, lambda c: c["vocab"].update(a="x")), "the id 'x'"),
    "nonsense sizes": (lambda f: rewrite(f, lambda c: c.update(hidden_dim="wide")), "does not describe a Kokoro"),
    "other sizes": (lambda f: rewrite(f, lambda c: c.update(max_dur=40)), "does not fit config.json"),
    "weights cut short": (lambda f: cut(f / "kokoro-v1_0.pth"), "cannot be read as torch weights"),
    "weights are text": (lambda f: (f / "kokoro-v1_0.pth").write_text("hello"), "cannot be read as torch weights"),
    "a part is missing": (lambda f: edit(f, lambda s: s.pop("bert") and s), "five parts"),
    "a weight is missing": (
        lambda f: edit(f, lambda s: drop(s)),
        "decoder lacks 1 weights, such as encode.conv1.bias",
    ),
    "a weight is NaN": (lambda f: edit(f, lambda s: spoil(s)), "not finite"),
}


def rewrite(folder: Path, change) -> None:
    config = json.loads((folder / "config.json").read_text())
    change(config)
    (folder / "config.json").write_text(json.dumps(config))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def drop(store):
    del store["decoder"]["encode.conv1.bias"]


def spoil(store):
    store["text_encoder"]["lstm.weight_ih_l0"][0, 0] = float("nan")


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_folder_is_explained_in_a_sentence(folder, case):
    damage, said = BROKEN[case]
    damage(folder)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(InputError, match=said) as caught:
            load_model(str(folder))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("pack", "said"),
    [
        (torch.zeros(510, 256), "not a voicepack"),
        (torch.zeros(500, 1, 256), "not a voicepack"),
        ({"a": torch.zeros(1)}, "but dict"),
        (torch.full((510, 1, 256), float("inf")), "not finite"),
    ],
)
def test_broken_voices(folder, pack, said):
    torch.save(pack, folder / "voices" / "am_x.pt")
    with pytest.raises(InputError, match=said):
        stock_voices(load_model(str(folder)))


def test_no_voices(folder):
    for file in (folder / "voices").glob("*.pt"):
        file.unlink()
    with pytest.raises(InputError, match="put the model's stock voicepacks there"):
        stock_voices(load_model(str(folder)))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_device_that_is_not_there(folder):
    with pytest.raises(InputError, match="device 'cuda' cannot be used"):
        load_model(str(folder), device="cuda")
