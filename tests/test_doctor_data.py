"""What `coconut doctor --data` says of recordings whose faults are known, and what it foretells."""

import csv
import json
import shutil

import numpy as np
import pytest
import soundfile
import soxr
from rich.console import Console
from scipy import stats

from coconut import features, forecast, resources, start
from coconut.cli import main
from coconut.config import defaults, from_dict
from coconut.inspection import clips, kinship, screen
from coconut.job import prepare, settle
from coconut.trial import Trial
from tests.demo import DEMO

LONG = "It was so long a text that nobody could have said all of it in the short time that this recording lasts."


def level(wav):
    """RMS of what the demo's speaker says, without the silence."""
    return np.sqrt(np.square(wav[np.abs(wav) > 1e-3]).mean())


def noisy(wav):
    return wav + level(wav) * 10 ** (-10 / 20) * np.random.default_rng(0).standard_normal(len(wav))


def humming(wav):
    """As a rectifier does, at twice and four times what the mains have."""
    phase = 2 * np.pi * 50.02 * np.arange(len(wav)) / 24000
    return wav + level(wav) * 10 ** (-15 / 20) * (np.sin(2 * phase) + np.sin(4 * phase))


def muffled(wav):
    return soxr.resample(soxr.resample(wav, 24000, 8000), 8000, 44100)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Recordings of the demo's speaker: three as they are, and others with what their name says."""
    place = tmp_path_factory.mktemp("recordings")
    with (DEMO / "metadata.csv").open(encoding="utf-8") as file:
        rows = [(row["file_name"], row["transcription"]) for row in csv.DictReader(file)]
    (place / "lies.txt").write_text(LONG)
    (place / "broken.wav").write_bytes(b"RIFF")
    (place / "broken.txt").write_text("Hello.")
    (place / "readme.md").write_text("Recorded at home.")
    damage = {
        "good_1": lambda wav: wav, "good_2": lambda wav: wav, "good_3": lambda wav: wav, "noisy": noisy,
        "humming": humming, "offset": lambda wav: wav + 0.5 * level(wav), "muffled": muffled,
        "clipped": lambda wav: np.clip(wav, -0.05, 0.05), "lies": lambda wav: wav, "untold": lambda wav: wav,
    }  # fmt: skip
    for (name, change), (file_name, text) in zip(damage.items(), rows, strict=False):
        wav = soundfile.read(str(DEMO / file_name))[0]
        soundfile.write(place / f"{name}.wav", change(wav), 44100 if name == "muffled" else 24000)
        if name not in ("lies", "untold"):
            (place / f"{name}.txt").write_text(text)
        if name == "good_2":
            soundfile.write(place / "copy.mp3", 0.5 * wav, 24000)
            (place / "copy.txt").write_text(text)
    return place


@pytest.fixture(scope="module")
def heard(folder):
    return clips.hear(settle(from_dict({"data": str(folder), "device": "cpu", "heldout": 2, "test": 2})))


@pytest.fixture(scope="module")
def found(heard):
    return {clip.name: clip for clip in heard.clips}


def shown(show, width, *args):
    console = Console(width=width, record=True, file=open("/dev/null", "w"), highlight=False)  # noqa: SIM115
    show(console, *args)
    return console.export_text()


@pytest.mark.parametrize(
    ("name", "figure", "expected", "tolerance"),
    [
        ("good_1.wav", "seconds", 2.8, 0.05),
        ("good_1.wav", "clipped", 0.0, 1e-3),
        ("good_1.wav", "offset", 0.0, 0.02),
        ("good_1.wav", "loudness", -27.8, 0.3),
        ("good_1.wav", "share", 0.97, 0.05),
        ("noisy.wav", "snr", 10.0, 2.0),
        ("humming.wav", "hertz", 50.02, 0.05),
        ("humming.wav", "hum", -15.0, 1.5),
        ("offset.wav", "offset", 0.5, 0.1),
        ("muffled.wav", "rate", 44100, 0),
        ("muffled.wav", "bandwidth", 4000, 300),
    ],
)
def test_a_known_fault_has_its_figure(found, name, figure, expected, tolerance):
    assert getattr(found[name].quality, figure) == pytest.approx(expected, abs=tolerance)


def test_faults_are_where_they_were_made_and_nowhere_else(found):
    expected = {"noisy": "noise", "humming": "hum", "offset": "offset", "clipped": "clipping", "muffled": "bandwidth"}
    for name, fault in expected.items():
        assert fault in found[f"{name}.wav"].quality.faults
    for name in ("good_1.wav", "good_2.wav", "good_3.wav", "copy.mp3", "untold.wav"):
        assert not found[name].quality.faults


def test_what_is_left_out_says_why(heard, found):
    left = {clip.name: clip.reason for clip in heard.clips if not clip.split}
    assert left == {
        "broken.wav": "unusable audio",
        "readme.md": "not read",
        "untold.wav": "no transcript",
        "lies.wav": "text and sound differ",
        **{name: "repeated" for name in ("copy.mp3", "good_2.wav") if not found[name].split},
    }
    assert found["lies.wav"].pace > 1.6 * found["good_1.wav"].pace
    assert found["untold.wav"].quality.seconds == pytest.approx(3.9, abs=0.1)  # it was heard all the same
    assert found["broken.wav"].quality is None


def test_splits_are_those_of_the_fit(heard):
    for split, spoken in heard.job.utterances.items():
        assert {clip.name for clip in heard.clips if clip.split == split} == {
            utterance.id.partition(":")[2] for utterance in spoken
        }


def test_a_copy_by_another_codec_and_level_is_found(heard, found):
    assert {clip.name: clip.twin for clip in heard.clips if clip.twin} == {"good_2.wav": "copy.mp3"}
    assert found["good_2.wav"].distance == pytest.approx(found["copy.mp3"].distance, abs=0.02)


def test_a_stranger_is_told_from_the_others():
    usual = {f"{k}.wav": 0.05 + 0.01 * k for k in range(8)}
    assert kinship.strangers(usual | {"guest.wav": 0.4}) == {"guest.wav": 0.4}
    assert kinship.strangers(usual) == {}
    assert kinship.strangers({name: 0.2 + value for name, value in usual.items()}) == {}  # people vary
    (sentence,) = kinship.sentences({}, usual | {"guest.wav": 0.4})
    assert sentence.startswith("1 of 9 recordings sound unlike the others")
    assert "guest.wav (0.40)" in sentence


def test_a_fit_says_the_same(heard):
    assert kinship.warnings(heard.job) == screen.warnings(heard)


@pytest.mark.parametrize("width", [80, 120])
def test_every_figure_is_on_the_screen_whole(heard, width):
    lines = shown(screen.show_clips, width, heard).splitlines()
    assert max(map(len, lines)) <= width
    table = lines[: lines.index(next(line for line in lines if line.startswith("s: seconds")))]
    assert len(table) == 1 + sum(clip.reason != "not read" for clip in heard.clips)
    assert "…" not in "".join(table[1:])
    (row,) = (line.split() for line in table if line.startswith("muffled.wav"))
    assert row[2:4] == ["44.1", "3.9!"] or row[2:4] == ["44.1", "4.0!"]
    assert ("sounds as" in table[0]) == (width == 120)
    text = " ".join(" ".join(lines).split())
    assert "untold.wav (no transcript)" in text
    assert "skipped (" not in text  # what is listed is not told again


@pytest.fixture
def few_voices(monkeypatch, tmp_path):
    """`mini` with three of its voices, ranked on a single sentence; its encoder hears another."""
    whole = resources.stock_voices
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(resources, "stock_voices", lambda network: dict(sorted(whole(network).items())[17:20]))
    monkeypatch.setattr(start, "RANKED_UTTERANCES", 1)
    monkeypatch.setattr(features, "TEXTS", features.TEXTS[1:2])
    resources.forget()
    yield
    resources.forget()


def test_json_stands_alone_and_tells_all(few_voices, folder, tmp_path, capsys):
    place = tmp_path / "mostly_good"
    place.mkdir()
    for stem in ("good_1", "good_2", "good_3", "humming", "offset", "noisy", "untold", "readme"):
        for path in folder.glob(f"{stem}.*"):
            shutil.copy(path, place)
    options = {"data": str(place), "heldout": 2, "test": 1, "device": "cpu"}
    words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    assert main(["doctor", *words, "--json", "-"]) == 0
    out, err = capsys.readouterr()
    assert not err
    told = json.loads(out)
    assert (told["totals"]["recordings"], told["totals"]["used"]) == (7, 6)
    assert told["totals"]["sentences"] == {"fit": 3, "heldout": 2, "test": 1}
    assert told["totals"]["left_out"] == {"not read": 1, "no transcript": 1}
    (noise,) = (clip for clip in told["clips"] if clip["name"] == "noisy.wav")
    assert "noise" in noise["faults"]
    assert {voice["voice"] for voice in told["nearest"]} == {"mk_18", "mk_19", "mk_20"}
    assert told["nearest"][0]["score"] >= told["nearest"][1]["score"]
    assert 0 <= told["forecast"]["low"] < told["forecast"]["score"] < told["forecast"]["high"] <= 100
    assert told["no_forecast"] is None
    first = Trial(prepare(from_dict(options))).advance()
    assert told["start"]["score"] == pytest.approx(first["score"], abs=0.1)
    line = forecast.line(forecast.calibration()["speakers"])
    assert told["forecast"]["score"] == pytest.approx(line(first["score.logmel"]).score, abs=0.2)  # of the fit itself


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--data", "nowhere"], "no folder nowhere"),
        (["--data", "{empty}"], "holds no recording"),
        (["--data", "{untold}"], "None of the 1 recordings"),
        (["--data", "expresso", "--speaker", "ex01"], "expresso"),
        (["--data", "demo", "--json", "{empty}"], "is a folder"),
        (["--data", "demo", "--limit", "1"], "limit is 1"),
        (["--data", "demo", "--precision", "fast"], "--precision is about a device"),
        (["--data", "demo", "--model", "hexgrad/Kokoro-82M"], "hexgrad/Kokoro-82M"),
        (["--speaker", "me"], "say which by --data"),
        (["--json", "-"], "say which by --data"),
    ],
)
def test_bad_input_is_one_sentence(words, said, tmp_path, folder, capsys):
    places = {name: tmp_path / name for name in ("empty", "untold")}
    for place in places.values():
        place.mkdir()
    (places["untold"] / "a.wav").write_bytes((folder / "untold.wav").read_bytes())
    assert main(["doctor", *(word.format(**places) for word in words)]) == 2
    out, err = capsys.readouterr()
    assert not out
    assert said in err
    assert len(err.strip().splitlines()) == 1


def test_a_line_is_that_of_least_squares_and_its_interval_student_s():
    starts, scores = np.array([0.1, 0.2, 0.3, 0.5, 0.6]), np.array([40.0, 47.0, 52.0, 70.0, 76.0])
    line, found = forecast.Line(starts, scores), stats.linregress(starts, scores)
    guess = line(0.4)
    assert guess.score == pytest.approx(found.slope * 0.4 + found.intercept)
    for k in range(5):
        assert scores[k] - line.without(k)(starts[k]).score == pytest.approx(line.errors[k])
    rest = 1 / 5 + (starts - starts.mean()) ** 2 / ((starts - starts.mean()) ** 2).sum()
    at = 1 / 5 + (0.4 - starts.mean()) ** 2 / ((starts - starts.mean()) ** 2).sum()
    spread = np.sqrt((line.errors**2 * (1 - rest)).mean() * (1 + at))
    assert guess.high - guess.score == pytest.approx(spread * stats.t.ppf(0.9, 3))
    assert guess.score - guess.low == pytest.approx(guess.high - guess.score)
    assert guess.inside
    assert not line(0.7).inside
    assert line(0.7).high - line(0.7).score > guess.high - guess.score
    assert line(1.0).high == 100.0


def test_the_calibration_that_is_shipped_holds():
    """Each of its speakers foretold from all others: by rank, and within the interval."""
    known = forecast.calibration()
    line, reached = forecast.line(known["speakers"]), [speaker["reached"] for speaker in known["speakers"]]
    guesses = [line.without(k)(speaker["start"]) for k, speaker in enumerate(known["speakers"])]
    within = [guess.low <= value <= guess.high for guess, value in zip(guesses, reached, strict=True)]
    assert stats.spearmanr([guess.score for guess in guesses], reached).statistic >= 0.7
    assert 0.7 <= np.mean(within) <= 0.9
    assert known["settings"] == forecast.settings(defaults(known["model"]))  # or `experiments/bench/forecast.py` again


def test_what_it_was_not_calibrated_for_has_no_forecast():
    parts, clean = {"logmel": 0.3}, [set(), {"hum", "offset"}, {"noise"}, set()]
    assert forecast.forecast(defaults(), parts, clean) is not None
    assert forecast.forecast(defaults(), parts, [*clean, {"bandwidth"}]) is None
    assert "2 of 5 recordings are noisy, dull" in forecast.unknown(defaults(), [*clean, {"bandwidth"}])
    assert "no forecast for hexgrad/Kokoro-82M" in forecast.unknown(defaults("hexgrad/Kokoro-82M"), clean)
    other = from_dict({"budget": 100, "es.kind": "snes"}, defaults())
    assert "another budget, es.kind than the default" in forecast.unknown(other, clean)
    assert forecast.unknown(from_dict({"data": "x", "seed": 3, "device": "cuda"}, defaults()), clean) is None
