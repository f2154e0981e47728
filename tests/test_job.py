"""A job: resolved once, in a folder that travels, equal to the last bit wherever it is loaded."""

import dataclasses
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import soundfile
import torch

from coconut.config import InputError, from_dict
from coconut.data import Utterance
from coconut.job import Job, absolute, collect, prepare, settle
from tests.toys import job as toy

ROOT = Path(__file__).parent.parent
QUICK = {"space.start": "mean", "limit": 9, "heldout": 2, "test": 2, "device": "cpu"}


@pytest.fixture(scope="module")
def demo():
    return prepare(from_dict(QUICK))


def same(one: Job, two: Job) -> bool:
    pairs = zip(one._all(), two._all(), strict=True)
    return one.hash == two.hash and all(torch.equal(a.audio, b.audio) for a, b in pairs)


def test_it_comes_back_equal_to_the_last_bit(demo, tmp_path):
    folder = demo.save(tmp_path / "job")
    again = Job.load(folder)
    assert same(demo, again)
    assert again.config == demo.config
    assert [u.id for u in again.fit] == [u.id for u in demo.fit]
    assert (again.notes, again.skipped, again.versions) == (demo.notes, demo.skipped, demo.versions)
    assert not [path for path in tmp_path.iterdir() if path != folder]


def test_the_folder_holds_what_a_person_can_play_and_read(demo, tmp_path):
    folder = demo.save(tmp_path / "job")
    record = json.loads((folder / "job.json").read_text(encoding="utf-8"))
    assert {entry["split"] for entry in record["utterances"]} == {"fit", "heldout", "test"}
    for entry in record["utterances"]:
        info = soundfile.info(folder / entry["file"])
        assert (info.samplerate, info.channels, info.format) == (24000, 1, "FLAC")
        assert entry["origin"].endswith(".ogg")
        assert entry["text"]
        assert entry["phonemes"]
    assert {"coconut", "torch", "kokoro", "python"} <= set(record["versions"])


def test_nothing_is_left_open(demo):
    config = settle(from_dict({"device": "auto"}))
    assert config.device in ("cpu", "cuda")
    assert config.budget == 600
    assert config.loss.mimi == 0.0
    assert demo.config.space.start == "mean"
    assert demo.nearest is None


READ_NOTHING = """
import json, os, sys
folder = os.path.realpath(sys.argv[1])
import coconut.job
opened = []
sys.addaudithook(lambda event, args: opened.append(str(args[0])) if event == "open" else
                 opened.append(event) if event.startswith("socket.connect") else None)
job = coconut.job.Job.load(folder)
job.hash
outside = [path for path in opened if not os.path.realpath(path).startswith(folder)]
print(json.dumps({"outside": outside, "misaki": "misaki" in sys.modules, "hash": job.hash}))
"""


@pytest.mark.slow
def test_loading_it_opens_no_other_file_and_no_connection(demo, tmp_path):
    """In a new process, in another folder, its recordings gone, and without a phonemizer."""
    folder = demo.save(tmp_path / "job")
    done = subprocess.run(
        [sys.executable, "-c", READ_NOTHING, folder], cwd=tmp_path, capture_output=True, text=True, check=True,
        env={"PYTHONPATH": str(ROOT), "PATH": "/nowhere", "HF_HUB_OFFLINE": "1", "HOME": str(tmp_path)},
    )  # fmt: skip
    found = json.loads(done.stdout)
    assert found["outside"] == []
    assert found["hash"] == demo.hash


def test_64_utterances_load_in_under_a_second(tmp_path):
    noise = torch.Generator().manual_seed(0)
    spoken = tuple(
        Utterance(str(i), f"text {i}", f"t {i}", (torch.randn(24_000 * 4, generator=noise) * 2**19).round() / 2**23)
        for i in range(64)
    )
    folder = dataclasses.replace(toy(), fit=spoken).save(tmp_path / "job")
    took = []
    for _ in range(3):
        began = time.perf_counter()
        Job.load(folder)
        took.append(time.perf_counter() - began)
    assert min(took) < 1.0


def test_a_job_that_is_damaged_or_missing_is_one_sentence(tmp_path):
    def spoil(change):
        shutil.rmtree(tmp_path / "job", ignore_errors=True)
        toy().save(tmp_path / "job")
        change(tmp_path / "job")
        with pytest.raises(InputError) as error:
            Job.load(tmp_path / "job")
        assert "\n" not in str(error.value)
        return str(error.value)

    assert "There is no job in" in spoil(lambda f: (f / "job.json").unlink())
    assert "job.json is damaged" in spoil(lambda f: (f / "job.json").write_text("{"))
    assert "of another version" in spoil(lambda f: (f / "job.json").write_text('{"format": 99}'))
    assert "001.flac is missing or damaged" in spoil(lambda f: (f / "audio" / "001.flac").unlink())
    assert "001.flac is missing or damaged" in spoil(lambda f: (f / "audio" / "001.flac").write_bytes(b"fLaC"))

    def swap(folder):
        soundfile.write(folder / "audio" / "001.flac", torch.zeros(100).numpy(), 24000, subtype="PCM_24")

    assert "001.flac is not what was saved there" in spoil(swap)


def test_another_job_has_another_hash():
    one = toy()
    assert one.hash == toy().hash
    assert one.hash != toy(seed=1).hash
    louder = dataclasses.replace(one.fit[0], audio=one.fit[0].audio * 0.5)
    assert one.hash != dataclasses.replace(one, fit=(louder, *one.fit[1:])).hash
    assert one.hash != dataclasses.replace(one, fit=one.heldout, heldout=one.fit).hash


def test_relative_names_mean_the_folder_they_were_typed_in(tmp_path, monkeypatch):
    for name in ("rec", "model", "mimi", "mini", "demo"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path)
    config = settle(from_dict({"data": "rec", "model": "./model", "mimi_model": "mimi"}))
    assert (config.data, config.model, config.mimi_model) == tuple(str(tmp_path / n) for n in ("rec", "model", "mimi"))
    config = settle(from_dict({"data": "demo", "model": "mini", "mimi_model": "mini"}))
    found = (config.data, config.model, config.mimi_model)
    assert found == ("demo", "mini", "mini")  # what is known by name is no folder
    assert absolute("hexgrad/Kokoro-82M") == "hexgrad/Kokoro-82M"


def test_no_candidate_may_speak_three_times_longer_than_any_recording():
    long = Utterance("l", "long", "l", torch.zeros(24_000 * 4))
    assert toy().max_seconds == 5.0
    assert dataclasses.replace(toy(), fit=(long,)).max_seconds == 12.0
    assert toy().synthesizer().max_frames == 5.0 * 40


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"device": "warp"}, "device warp"),
        ({"es.kind": "pso"}, "pso"),
        ({"space.kind": "linear"}, "space.kind is linear"),
        ({"data": "no/such/folder"}, "There is no folder no/such/folder"),
    ],
)
def test_what_cannot_be_used_is_refused_before_a_model_is_loaded(change, sentence, monkeypatch):
    monkeypatch.setattr("coconut.resources.load_model", lambda *_, **__: pytest.fail("a model was loaded"))
    with pytest.raises(InputError, match=sentence):
        collect(from_dict(QUICK | change))
