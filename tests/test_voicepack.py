"""Voicepacks: files that other players read, refused when they are not one."""

import numpy as np
import pytest
import torch

from coconut import voicepack
from coconut.config import InputError
from tests.voices import stock

PACK = stock(2)["v_01"]


@pytest.mark.parametrize("name", ["v.pt", "v.npz", "v.bin"])
def test_saved_packs_come_back_bit_for_bit(tmp_path, name):
    path = voicepack.save(PACK, tmp_path / "new" / name)
    assert torch.equal(voicepack.load(path), PACK)
    assert [p.name for p in path.parent.iterdir()] == [name]


def test_pt_is_the_tensor_that_kokoro_indexes(tmp_path):
    voicepack.save(PACK, tmp_path / "v.pt")
    pack = torch.load(tmp_path / "v.pt", weights_only=True)
    assert pack.shape == (510, 1, 256)
    assert pack[41].shape == (1, 256)


def test_bin_is_raw_little_endian_float32(tmp_path):
    voicepack.save(PACK, tmp_path / "v.bin")
    raw = np.frombuffer((tmp_path / "v.bin").read_bytes(), dtype="<f4")
    assert np.array_equal(raw.reshape(510, 256), PACK[:, 0].numpy())


def test_a_file_of_many_voices_wants_a_name(tmp_path):
    path = tmp_path / "voices.bin"  # an npz under the name that kokoro-onnx gives it
    with path.open("wb") as file:
        np.savez(file, a=PACK.numpy(), b=2 * PACK.numpy())
    with pytest.raises(InputError, match="holds 2 voices; choose one by --name: a, b"):
        voicepack.load(path)
    assert torch.equal(voicepack.load(path, "b"), 2 * PACK)
    with pytest.raises(InputError, match="no voice c; it holds a, b"):
        voicepack.load(path, "c")


@pytest.mark.parametrize("name", ["file", "allow_pickle", "args", "two words", "v.1"])
def test_a_voice_may_have_any_name_in_an_npz(tmp_path, name):
    path = voicepack.save(PACK, tmp_path / f"{name}.npz")
    with np.load(path, allow_pickle=False) as arrays:
        assert arrays.files == [name]
        assert np.array_equal(arrays[name], PACK.numpy())
    assert torch.equal(voicepack.load(path), PACK)
    assert torch.equal(voicepack.load(path, name), PACK)
    assert path.read_bytes() == voicepack.save(PACK, tmp_path / "again" / path.name).read_bytes()


@pytest.mark.parametrize("suffix", ["pt", "bin"])
def test_a_file_of_one_voice_has_no_names(tmp_path, suffix):
    path = voicepack.save(PACK, tmp_path / f"v.{suffix}")
    with pytest.raises(InputError, match="holds one voice, which has no name; leave out --name x"):
        voicepack.load(path, "x")


def test_what_was_there_stays_when_writing_fails(tmp_path, monkeypatch):
    path = voicepack.save(PACK, tmp_path / "v.npz")
    before = path.read_bytes()

    def full(*_, **__):
        raise OSError("no space left")

    monkeypatch.setattr(np.lib.format, "write_array", full)
    with pytest.raises(OSError, match="no space"):
        voicepack.save(2 * PACK, path)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["v.npz"]


def test_older_shapes_are_read(tmp_path):
    torch.save(PACK[:, 0], tmp_path / "flat.pt")
    assert torch.equal(voicepack.load(tmp_path / "flat.pt"), PACK)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "No voicepack at"),
        (b"", "not a readable voicepack"),
        (b"RIFF....WAVE", "not a readable voicepack"),
        (torch.zeros(510, 1, 128), "has shape"),
        (torch.full((510, 1, 256), float("nan")), "NaN or infinite"),
    ],
)
def test_what_is_no_voicepack_is_refused(tmp_path, content, sentence):
    path = tmp_path / "v.pt"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    with pytest.raises(InputError, match=sentence) as error:
        voicepack.load(path)
    assert "v.pt" in str(error.value)


def test_an_unknown_suffix_writes_nothing(tmp_path):
    with pytest.raises(InputError, match=r"\.pt, \.npz or \.bin"):
        voicepack.save(PACK, tmp_path / "v.wav")
    assert not list(tmp_path.iterdir())


def test_roughness_is_the_power_of_row_differences():
    rows = torch.zeros(510, 1, 256)
    rows[::2] = 1.0
    assert voicepack.roughness(rows) == pytest.approx(2.0)
    assert voicepack.roughness(torch.ones(510, 1, 256)) == 0.0
    assert voicepack.roughness(torch.zeros(510, 1, 256)) == 0.0


def test_the_limit_parts_smooth_packs_from_walked_ones():
    noise = 0.2 * PACK.std() * torch.randn(PACK.shape, generator=torch.Generator().manual_seed(0))
    assert voicepack.roughness(PACK) < voicepack.ROUGHNESS_LIMIT < voicepack.roughness(PACK + noise)
