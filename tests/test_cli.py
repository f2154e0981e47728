"""The command line as a user meets it: what it writes, and one sentence for every bad input."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from coconut import voicepack
from coconut.cli import main
from tests.demo import recordings

QUICK = [
    "--space.start", "mean", "--generations", "2", "--es.popsize", "4", "--window.size", "1", "--limit", "4",
    "--heldout", "1", "--test", "1", "--es.kind", "snes", "--stop.every", "1",
]  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of four recordings, each with its .txt."""
    return recordings(tmp_path / "recordings", 4)


def fit(*words: str) -> int:
    return main(["fit", *QUICK, *words])


@pytest.mark.slow
def test_fit_writes_what_it_promises(tmp_path, folder, capsys):
    out = tmp_path / "out"
    assert fit("--data", str(folder), "--out", str(out)) == 0
    names = {path.name for path in out.iterdir()}
    assert names == {
        "voice.pt", "target_0.wav", "start_0.wav", "voice_0.wav", "train.png", "config.json", "steps.jsonl", "state.pt",
        "result.json", "heldout.json", "job",
    }  # fmt: skip
    rows = [json.loads(line) for line in (out / "steps.jsonl").read_text().splitlines()]
    assert [row["generation"] for row in rows] == [0, 1, 2]
    assert voicepack.load(out / "voice.pt").shape == (510, 1, 256)
    for name in ("target_0.wav", "start_0.wav", "voice_0.wav"):
        audio, rate = soundfile.read(out / name)
        assert rate == 24000
        assert np.abs(audio).max() > 0.01
    text = capsys.readouterr().out
    assert "held-out score" in text
    assert "voice.pt" in text
    result = json.loads((out / "result.json").read_text())
    assert result["voice"]["score"] == rows[-1]["best_score"]
    assert 0 < result["voice"]["test_score"] < 100
    assert (result["device"], result["precision"], result["kernels"]) == ("cpu", "exact", "")
    assert f"on 1 sentences that chose nothing: {result['voice']['test_score']:.2f}" in text


@pytest.mark.slow
def test_relative_names_mean_the_folder_the_command_was_typed_in(tmp_path, folder, monkeypatch, capsys):
    """And the fit that was begun goes on without its recordings, from another folder."""
    monkeypatch.chdir(tmp_path)
    near = ("--space.start", "nearest")
    assert fit("--data", "recordings", "--out", "out", "--generations", "1", *near) == 0
    said = capsys.readouterr().out
    assert "the nearest stock voice, mk_" in said
    assert json.loads((tmp_path / "out" / "config.json").read_text())["data"] == str(folder)
    shutil.rmtree(folder)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert main(["fit", "--out", "../out", "--resume", "--generations", "2"]) == 0
    rows = [json.loads(line) for line in (tmp_path / "out" / "steps.jsonl").read_text().splitlines()]
    assert [row["generation"] for row in rows] == [0, 1, 2]


@pytest.mark.slow
@pytest.mark.parametrize(
    "words", [["--es.sigma", "1"], ["--config", "out/config.json"], ["--data", "demo"], ["--seed", "3"]]
)
def test_resume_swaps_no_settings(words, tmp_path, folder, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "state.pt").write_bytes(b"some fit")
    assert main(["fit", "--out", "out", "--resume", *words]) == 2
    assert "--resume keeps the settings" in capsys.readouterr().err


def test_help_says_what_holds_for_the_model(capsys):
    found = {}
    for model in ("mini", "hexgrad/Kokoro-82M"):
        for command in ("fit", "sweep"):
            with pytest.raises(SystemExit):
                main([command, "--model", model, "--help"])
            said = " ".join(capsys.readouterr().out.split())
            found[model, command] = said.rpartition("--budget INT")[2].partition("default: ")[2].partition(",")[0]
    assert found["mini", "fit"] == found["mini", "sweep"] == "600"
    assert found["hexgrad/Kokoro-82M", "fit"] == found["hexgrad/Kokoro-82M", "sweep"] == "8000"


@pytest.mark.slow
def test_resume_goes_on_to_the_same_voice(tmp_path, folder, monkeypatch):
    from coconut.trial import Trial

    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert fit("--data", str(folder), "--out", str(whole)) == 0

    advance = Trial.advance

    def interrupt(trial):
        if trial.rows and trial.rows[-1]["generation"] == 1:
            raise KeyboardInterrupt
        return advance(trial)

    monkeypatch.setattr(Trial, "advance", interrupt)
    assert fit("--data", str(folder), "--out", str(cut)) == 130
    monkeypatch.setattr(Trial, "advance", advance)
    assert main(["fit", "--out", str(cut), "--resume"]) == 0
    assert torch.equal(voicepack.load(cut / "voice.pt"), voicepack.load(whole / "voice.pt"))
    assert (cut / "voice_0.wav").read_bytes() == (whole / "voice_0.wav").read_bytes()


@pytest.mark.slow
def test_speak_voices_and_export(tmp_path, capsys):
    assert main(["voices"]) == 0
    listed = capsys.readouterr().out
    name = next(word for word in listed.split() if word.startswith("mk_"))
    long = "This is one sentence of a long text, and it goes on for a while. " * 12
    assert main(["speak", "--voice", name, "--text", long, "-o", str(tmp_path / "long.wav")]) == 0
    audio, rate = soundfile.read(tmp_path / "long.wav")
    assert len(audio) / rate > 20

    from coconut.synthesis import load_model, stock_voices

    voicepack.save(stock_voices(load_model("mini"))[name], tmp_path / "v.pt")
    for suffix in ("npz", "bin"):
        assert main(["export", "--voice", str(tmp_path / "v.pt"), "-o", str(tmp_path / f"v.{suffix}")]) == 0
        again = ["speak", "--voice", str(tmp_path / f"v.{suffix}"), "--text", "Hello there."]
        assert main([*again, "-o", str(tmp_path / f"{suffix}.wav")]) == 0
    assert (tmp_path / "npz.wav").read_bytes() == (tmp_path / "bin.wav").read_bytes()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["fit", "--es.kind", "snes", "--es.popsize", "1"], "es.popsize is 1; it must be from 2 to 65536."),
        (["fit", "--es.sigma", "0"], "es.sigma is 0"),
        (["fit", "--es.sigma", "x"], "--es.sigma: invalid float value: 'x'"),
        (["fit", "--es.sgima", "1"], "Unknown option --es.sgima; did you mean --es.sigma?"),
        (["fit", "--es.kind", "pso"], "pso"),
        (["fit", "--budget", "5", "--es.kind", "snes"], "budget is 5, and one generation takes 16 candidates"),
        (["fit", "--budget", "12", "--space.start", "mean"], "a fit of one generation takes 14 syntheses"),
        (["speak", "--voice", "none.npz", "--name", "x", "--text", "Hi.", "-o", "o.wav"], "No voicepack at none.npz"),
        (["fit", "--space.kind", "linear"], "space.kind is linear"),
        (["fit", "--space.start", "nobody"], "space.start is nobody"),
        (["fit", "--data", "no/such/folder"], "no/such/folder"),
        (["fit", "--device", "warp"], "device warp cannot be used here"),
        (["fit", "--model", "no-such-model"], "no-such-model"),
        (["fit", "--model", "hexgrad/Kokoro-82M"], "hexgrad/Kokoro-82M"),
        (["fit", "--data", "expresso", "--speaker", "ex01"], "expresso"),
        (["fit", "--loss.mimi", "1", "--mimi_model", "kyutai/mimi"], "kyutai/mimi"),
        (["fit", "--resume", "--out", "nowhere"], "nowhere holds no fit to resume"),
        (["fit", "--config", "nothing.json"], "No settings at nothing.json"),
        (["speak", "--voice", "nobody", "--text", "Hi.", "-o", "o.wav"], "No voice nobody"),
        (["speak", "--voice", "none.pt", "--text", "Hi.", "-o", "o.wav"], "No voicepack at none.pt"),
        (["speak", "--voice", "nobody", "--text", " ", "-o", "o.wav"], "The text is empty"),
        (["export", "--voice", "none.pt", "-o", "o.bin"], "No voicepack at none.pt"),
        (["sing"], "invalid choice: 'sing'"),
        ([], "required: COMMAND"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_input_is_one_sentence_and_exit_code_2(words, sentence, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    error = capsys.readouterr().err
    assert error.startswith("coconut: ")
    assert sentence in error
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda f: [p.unlink() for p in f.glob("*.txt")], ".wav"),
        (lambda f: [p.write_bytes(b"") for p in f.glob("*.wav")], ".wav"),
        (lambda f: [p.write_bytes(b"RIFF" + b"x" * 99) for p in f.glob("*.wav")], ".wav"),
        (lambda f: [p.write_text("...!", encoding="utf-8") for p in f.glob("*.txt")], ""),
        (lambda f: [p.unlink() for p in f.glob("*.wav")], ""),
    ],
    ids=["no transcripts", "empty wavs", "corrupt wavs", "no phonemes", "no recordings"],
)
def test_a_folder_without_one_good_recording_is_refused(spoil, sentence, folder, tmp_path, capsys):
    spoil(folder)
    assert fit("--data", str(folder), "--out", str(tmp_path / "out")) == 2
    error = capsys.readouterr().err
    assert sentence in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_one_bad_recording_among_good_ones_is_skipped_and_said(folder, tmp_path, capsys):
    (folder / "bad.wav").write_bytes(b"RIFF" + b"x" * 99)
    (folder / "bad.txt").write_text("Never heard.", encoding="utf-8")
    assert fit("--data", str(folder), "--out", str(tmp_path / "out")) == 0
    assert "bad.wav" in capsys.readouterr().out


def test_an_earlier_fit_is_never_overwritten(tmp_path, capsys):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("precious", encoding="utf-8")
    assert fit("--out", str(tmp_path / "out")) == 2
    assert "is not empty" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine.txt"]
