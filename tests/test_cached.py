"""What was computed before is found again to the last bit, and never where anything was different."""

import os

import numpy as np
import pytest
import soundfile
import torch

from coconut import audio, cached, data
from coconut.config import FitConfig
from coconut.data import treated
from coconut.files import cache_folder
from tests.sounds import sentence

pytestmark = pytest.mark.filterwarnings("ignore:spaCy")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """An empty one."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "coconut"


@pytest.fixture
def heard(monkeypatch):
    """The names of recordings that were really treated."""
    names, original = [], audio.treat
    monkeypatch.setattr(
        audio, "treat", lambda source, name, longest: names.append(name) or original(source, name, longest)
    )
    return names


def recording(folder, name="x.wav", order=(0, 1, 2, 3)):
    path = folder / name
    soundfile.write(path, sentence(list(order)).numpy(), 24000)
    return path


def test_a_recording_is_treated_once_and_is_the_same_to_the_last_bit(tmp_path, heard):
    path = recording(tmp_path)
    first, again = (treated.treat(path, "x.wav", 12.0) for _ in range(2))
    assert heard == ["x.wav"]
    assert torch.equal(first.wav, again.wav)
    assert first.quality == again.quality
    assert torch.equal(treated.treat(path.read_bytes(), "y.wav", 12.0).wav, first.wav)  # whatever it is called
    assert heard == ["x.wav"]


def test_another_content_is_another_recording_even_of_the_same_size_and_time(tmp_path, heard):
    path = recording(tmp_path)
    before, first = os.stat(path), treated.treat(path, "x.wav", 12.0)
    recording(tmp_path, order=(3, 2, 1, 0))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert os.stat(path).st_size == before.st_size
    assert not torch.equal(treated.treat(path, "x.wav", 12.0).wav, first.wav)
    assert len(heard) == 2


def test_that_a_recording_is_too_long_is_found_once(tmp_path, monkeypatch):
    path, heard = recording(tmp_path), []

    def refuse(source, name, longest):
        heard.append(name)
        raise audio.TooLongError(name, 3590.5)

    monkeypatch.setattr(audio, "treat", refuse)
    for name in ("x.wav", "y.wav"):
        with pytest.raises(audio.TooLongError, match=rf"{name} has 3590\.5 s of speech") as error:
            treated.treat(path, name, 12.0)
        assert error.value.seconds == 3590.5
    assert heard == ["x.wav"]


@pytest.mark.parametrize("what", ["settings", "code"])
def test_other_settings_and_other_code_find_nothing(what, tmp_path, heard, monkeypatch):
    path = recording(tmp_path)
    treated.treat(path, "x.wav", 12.0)
    if what == "code":
        monkeypatch.setattr(cached, "program", lambda: "another")
    treated.treat(path, "x.wav", 12.0 if what == "code" else 13.0)
    assert len(heard) == 2


@pytest.mark.parametrize("damage", [lambda b: b"", lambda b: b[:-1], lambda b: b[:5000] + b"x" + b[5001:]])
def test_a_damaged_file_counts_as_none_and_is_replaced(damage, tmp_path, cache, heard):
    path = recording(tmp_path)
    first = treated.treat(path, "x.wav", 12.0)
    (kept,) = (cache / treated.KIND).iterdir()
    kept.write_bytes(damage(kept.read_bytes()))
    assert torch.equal(treated.treat(path, "x.wav", 12.0).wav, first.wav)
    assert len(heard) == 2
    treated.treat(path, "x.wav", 12.0)
    assert len(heard) == 2


def test_a_file_that_changes_while_it_is_treated_is_not_kept(tmp_path, cache, monkeypatch):
    path, original = recording(tmp_path), audio.treat

    def changing(source, *rest):
        recording(tmp_path, order=(3, 2, 1, 0))
        return original(source, *rest)

    monkeypatch.setattr(audio, "treat", changing)
    treated.treat(path, "x.wav", 12.0)
    assert not (cache / treated.KIND).exists()


def test_a_cache_that_cannot_be_written_is_no_error(tmp_path, cache, heard):
    cache.parent.mkdir()
    cache.write_bytes(b"a file")
    path = recording(tmp_path)
    for _ in range(2):
        treated.treat(path, "x.wav", 12.0)
    assert len(heard) == 2


def test_what_was_not_used_for_longest_goes_first(cache):
    places = [cached.place("numbers", k) for k in range(4)]
    for age, path in enumerate(places):
        cached.write(path, {"number": age, "tensor": torch.zeros(1000)})
        os.utime(path, (age, age))
    assert cached.read(places[0])["number"] == 0  # from now on the latest
    size = places[0].stat().st_size
    cached.tidy("numbers", 2 * size)
    assert [path.exists() for path in places] == [True, False, False, True]
    cached.tidy("nothing", 0)
    assert cache_folder() == cache


def test_tensors_differ_by_name_shape_type_and_last_bit():
    x = torch.arange(6, dtype=torch.float32)
    found = [{"a": x}, {"b": x}, {"a": x.reshape(2, 3)}, {"a": x.int()}, {"a": x.nextafter(x + 1)}, {"a": x, "b": x}]
    assert len({cached.digest_of(tensors) for tensors in found}) == len(found)
    assert cached.digest_of({"a": x, "b": x[:1]}) == cached.digest_of({"b": x[:1].clone(), "a": x.clone()})
    assert cached.digest_of({"a": torch.tensor(1.0, dtype=torch.bfloat16)})


def test_a_second_reading_of_a_folder_treats_nothing(tmp_path, heard):
    folder = tmp_path / "speech"
    folder.mkdir()
    for i in range(4):
        recording(folder, f"r{i}.wav", (i, 1, 2, 3))
        (folder / f"r{i}.txt").write_text(f"This is number {'abcd'[i]}.")
    soundfile.write(folder / "zeros.wav", np.zeros(9000), 24000)
    (folder / "zeros.txt").write_text("Nothing.")
    first, again = (data.read(FitConfig(data=str(folder), heldout=1, test=0)) for _ in range(2))
    assert heard == [f"r{i}.wav" for i in range(4)] + ["zeros.wav"] * 2
    assert [u.fingerprint for u in first.fit] == [u.fingerprint for u in again.fit]
    assert (first.notes, first.skipped) == (again.notes, again.skipped)
