"""Leaderboard decisions as a table, and a page that holds all it shows."""

import base64
import csv
import dataclasses
import io
import json
import re

import pytest
import torch
from rich.console import Console

from coconut import audio
from coconut.config import from_dict
from coconut.sweep import board as boards
from coconut.sweep import lastwords, page
from coconut.sweep.board import Board, Entry, Nearest
from coconut.sweep.clips import clip

NEAREST = Nearest("af_near", 50.0, {"speaker": 0.5})


def rows(scores, seconds=10.0):
    best = [max(scores[: i + 1]) for i in range(len(scores))]
    return [
        {"generation": i, "score": s, "best_score": b, "best_generation": scores.index(b), "audio_seconds": seconds * i,
         "syntheses": 4 * i, "seconds": 1.0 * i}
        for i, (s, b) in enumerate(zip(scores, best, strict=True))
    ]  # fmt: skip


def entry(folder, number, scores, status="finished", stop="generations", error=None, voice=True, **settings):
    home = folder / f"trial_{number:03d}"
    home.mkdir(parents=True, exist_ok=True)
    if voice:
        (home / "voice.pt").write_bytes(b"pack")
    config = from_dict({"budget": 20, **settings})
    seconds = settings.get("limit", 10)
    return Entry(home.name, "seed" if number == 0 else "", config, home, status, stop, rows(scores, seconds), error)


def order(*entries):
    return [int(e.trial[-3:]) for e in boards.ranked(entries)]


# what the trials came to -> their order
DECISIONS = {
    "by best score, not by the last": ([(0, [50, 70, 40]), (1, [50, 60, 65])], [0, 1]),
    "an early stop is no fault": ([(0, [50, 60, 61, 62]), (1, [50, 63], {"stop": "asha"})], [1, 0]),
    "an unfinished trial counts": ([(0, [50, 60]), (1, [50, 61], {"status": "unfinished", "stop": ""})], [1, 0]),
    "a failed one comes last": ([(0, [50, 90], {"status": "failed", "error": "rough"}), (1, [50, 51])], [1, 0]),
    "one that never scored comes last": ([(0, []), (1, [10])], [1, 0]),
    "of equals the cheaper one": ([(0, [50, 60], {"limit": 20}), (1, [50, 60], {"limit": 5})], [1, 0]),
    "of equals at equal cost the earlier": ([(1, [50, 60]), (0, [50, 60])], [0, 1]),
    "a score of nought is a score": ([(0, [0.0]), (1, [], {"status": "failed"})], [0, 1]),
}


@pytest.mark.parametrize("name", DECISIONS)
def test_the_order(tmp_path, name):
    trials, expected = DECISIONS[name]
    assert order(*(entry(tmp_path, t[0], t[1], **(t[2] if len(t) > 2 else {})) for t in trials)) == expected


@pytest.fixture
def board(tmp_path):
    entries = [
        entry(tmp_path, 0, [40, 45, 44], **{"es.sigma": 0.01}),
        entry(tmp_path, 1, [50, 60, 58, 52], stop="overcooked", **{"es.kind": "sepcmaes", "space.kind": "interp+bias"}),
        entry(tmp_path, 2, [50, 70], stop="asha", voice=False),
        entry(tmp_path, 3, [], status="failed", stop="", error="No <data> there.", voice=False),
    ]
    wav = 0.1 * torch.sin(torch.arange(12000) * 0.1)
    for e in entries:
        for n, name in enumerate(("target_0", "nearest_0", "start_0", "voice_0")):
            if e.voice:
                own = len(wav) - 300 * n - (int(e.trial[-1]) if name == "voice_0" else 0)
                audio.save(e.folder / f"{name}.wav", wav[:own])
    return Board("try", boards.ranked(entries), NEAREST, 5, 12.5)


def test_the_best_is_the_first_that_has_a_voice(board):
    assert [e.trial[-1] for e in board.entries] == ["2", "1", "0", "3"]
    assert board.best.trial == "trial_001"
    assert board.finished == 3


def test_records_hold_rank_gain_and_reasons(board):
    records = board.records()
    assert [r["rank"] for r in records] == [1, 2, 3, None]
    assert [r["gain"] for r in records] == [20, 10, -5, None]
    assert [r["best_generation"] for r in records] == [1, 1, 1, None]
    assert [r["best_syntheses"] for r in records] == [4, 4, 4, None]
    assert [r["stop"] for r in records] == ["asha", "overcooked", "generations", "failed"]
    assert records[2]["preset"] == "seed"


def test_the_ledger_counts_what_was_spent_and_saved(board):
    spent = board.ledger()
    assert spent["syntheses"] == 4 * (2 + 3 + 1)
    assert spent["audio_seconds"] == 10 * (2 + 3 + 1)
    assert spent["syntheses_saved"] == (20 - 12) + (20 - 4)  # of those that were stopped
    assert spent["seconds"] == 12.5


def test_the_files_say_the_same(board, tmp_path):
    page.write(board, tmp_path / "out")
    data = json.loads((tmp_path / "out" / "leaderboard.json").read_text())
    lines = list(csv.DictReader(io.StringIO((tmp_path / "out" / "leaderboard.csv").read_text())))
    assert [r["trial"] for r in data["leaderboard"]] == [r["trial"] for r in lines]
    assert data["best"] == "trial_001"
    assert data["nearest"]["name"] == "af_near"
    assert float(lines[0]["best_score"]) == 70
    assert lines[3]["error"] == "No <data> there."


def told(summary, width=80):
    """The leaderboard as a terminal shows it."""
    console = Console(width=width, file=io.StringIO())
    console.print(lastwords.table(summary))
    return console.file.getvalue()


def test_the_terminal_table_fits_eighty_columns(board):
    text = told(board.summary())
    assert "3 of 5 trials finished" in text
    for word in ("002", "000 seed", "70.00", "+20.00", "-5.00", "overcooked", "generations", "failed"):
        assert word in text, text
    assert "…" not in text


def test_the_page_loads_nothing_and_holds_everything(board):
    text = page.page(board)
    assert not re.search(r"<(script|link|img|audio)[^>]+(src|href)=\"(?!data:)", text)
    assert "No &lt;data&gt; there." in text
    sound = json.loads(re.search(r'id="sound">(.*?)</script>', text, re.S).group(1))
    assert len(sound["clips"]) == 5  # target, nearest, one start for all, and the two trials that have a voice
    assert all(clip["src"].startswith("data:audio/ogg") and clip["volume"] == 1 for clip in sound["clips"])
    assert [voice["start"] for voice in sound["voices"]] == [sound["voices"][0]["start"]] * 2
    assert text.count('class="play"') == 4
    assert "2 finished trials" in text  # too few to say which settings matter
    figure = json.loads(re.search(r"const figure = (\{.*\});", text).group(1))
    curves = [trace for trace in figure["data"] if trace["mode"] == "lines+markers"]
    assert len(curves) == 3
    symbols = {trace["name"].split()[0]: trace["marker"]["symbol"] for trace in curves}
    assert len(set(symbols.values())) == 3
    assert "+10.00" in text


def test_a_sweep_without_any_voice_still_has_a_page(tmp_path):
    board = Board("none", [entry(tmp_path, 1, [], status="failed", error="no", voice=False)], NEAREST, 1, 1.0)
    assert board.best is None
    assert "No trial left a voice" in page.page(board)
    assert "1 trials" in boards.markdown(board)


@pytest.mark.parametrize("level", [0.01, 0.5])
def test_clips_are_at_one_loudness(tmp_path, level):
    import soundfile

    wav = level * torch.sin(torch.arange(24000) * 0.1)
    source = clip(audio.save(tmp_path / "a.wav", wav))
    assert source.startswith("data:audio/ogg;base64,")
    heard, rate = soundfile.read(io.BytesIO(base64.b64decode(source.split(",")[1])))
    assert rate == 24000
    assert (heard**2).mean() ** 0.5 == pytest.approx(audio.LEVEL, rel=0.15)


def test_the_test_score_stands_beside_the_heldout_one(tmp_path):
    one = dataclasses.replace(entry(tmp_path, 0, [40, 60]), test_score=57.5)
    board = Board("try", boards.ranked([one, entry(tmp_path, 1, [50, 55])]), NEAREST, 2, 1.0, 48.25, 4)
    assert [r["test_score"] for r in board.records()] == [57.5, None]
    assert "57.50" in told(board.summary(), 90)
    text = page.page(board)
    assert "On 4 test sentences" in text
    assert "+9.25" in text
    assert "57.50" in boards.markdown(board)
    page.write(board, tmp_path / "out")
    data = json.loads((tmp_path / "out" / "leaderboard.json").read_text())
    assert (data["nearest"]["test_score"], data["tested"]) == (48.25, 4)


def test_a_sweep_without_a_test_says_so(board):
    assert "There was no test" in page.page(board)


def test_the_winner_is_named_with_its_error(board):
    """And so is the nearest stock voice, on the same sentences."""
    for e in board.entries[1:3]:
        scores = {"voice": [59.0, 61.0, 60.0, 60.0], "nearest": [50.0, 50.0, 51.0, 49.0]}
        (e.folder / "heldout.json").write_text(json.dumps(scores))
    history = dataclasses.replace(board, history=["Extended from 2 to 5 trials."])
    said = lastwords._best(history.summary(), board.best.folder)
    assert said[0] == (
        "Held-out score: 50.00 ± 1.22 nearest stock voice (af_near), 60.00 ± 1.22 best voice (trial_001), +10.00."
    )
    for text in (page.page(history), boards.markdown(history)):
        assert "Extended from 2 to 5 trials." in text
