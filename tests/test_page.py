"""The page in a real browser, where there is one: it plays, switches, sorts and compares blindly."""

import json
import re
import time

import pytest
import torch

from coconut import audio
from coconut.sweep import clips, page
from coconut.sweep.board import Board, ranked
from tests import browser
from tests.test_board import NEAREST, entry

browses = pytest.mark.skipif(browser.find() is None, reason="no Chromium on PATH")
TEXTS = ["It always rains on Sunday.", "A second </script> sentence."]


def sweep(folder, count):
    """`count` trials with two held-out sentences each, a tone of its own per voice."""
    made = []
    for number in range(count):
        one = entry(folder, number, [50, 60 + number % 7, 55], stop="overcooked", **{"es.sigma": 0.1 + number / 1000})
        for n in range(len(TEXTS)):
            for who, pitch in (("target", 0.05), ("nearest", 0.06), ("start", 0.07), ("voice", 0.08 + number / 1e4)):
                wav = 0.2 * torch.sin(torch.arange(48_000 + 2400 * len(who)) * (pitch + n / 300))
                audio.save(one.folder / f"{who}_{n}.wav", wav)
        made.append(one)
    return Board("try", ranked(made), NEAREST, count, 1.0, sentences=TEXTS)


@pytest.fixture(scope="module")
def board(tmp_path_factory):
    return sweep(tmp_path_factory.mktemp("swept"), 3)


@pytest.fixture(scope="module")
def tab(board, tmp_path_factory):
    folder = board.entries[0].folder.parent
    page.write(board, folder)
    with browser.browsing(tmp_path_factory.mktemp("profile")) as tab:
        tab.size(390)
        tab.open(folder / "report.html")
        yield tab


def sounding(tab):
    tab.until("current && !current.paused && current.currentTime > 0")


@browses
def test_a_click_plays_a_clip_and_keys_switch_at_the_same_place(tab):
    tab.click('#ranking tr:first-child .play[data-sentence="1"]')
    sounding(tab)
    assert tab.js("[now.who, now.sentence]") == ["voice", 1]
    tab.until("placeOf(current) > 0.2")
    tab.press("1")
    sounding(tab)
    assert tab.js("now.who") == "target"
    assert tab.js("placeOf(current)") > 0.2
    assert tab.js("[...players.values()].filter((one) => !one.paused).length") == 1
    assert tab.js("byId('text').textContent") == TEXTS[1]
    tab.press(" ")
    tab.until("current.paused")
    tab.press("ArrowDown")
    sounding(tab)
    assert tab.js("[now.who, now.trial]") == [
        "voice",
        tab.js("document.querySelectorAll('#ranking tr')[1].dataset.trial"),
    ]
    tab.press("ArrowRight")
    assert tab.js("now.sentence") == 0


@browses
def test_a_blind_comparison_is_kept_downloaded_and_hides_who_speaks(tab, board, tmp_path):
    tab.js("localStorage.clear()")
    tab.click("#blind-begin")
    tab.click('[data-hear="one"]')
    sounding(tab)
    tab.click('[data-hear="two"]')
    sounding(tab)
    assert tab.js("document.querySelectorAll('.play.on').length") == 0
    names = tab.js("[blind.round.one, blind.round.two]")
    shown = tab.js("byId('blind-round').textContent")
    assert not any(name in shown for name in names)
    tab.click('[data-nearer="one"]')
    kept = json.loads(tab.js("localStorage.getItem('coconut/blind/try')"))
    assert [kept[0]["nearer"], kept[0]["one"], kept[0]["two"]] == [names[0], *names]
    tally = tab.js("byId('blind-tally').textContent")
    assert f"{names[0]} was nearer 1 times" in tally or f"{names[0]} 1 times" in tally
    tab.open(board.entries[0].folder.parent / "report.html")
    assert tab.js("blind.answers.length") == 1
    assert tab.js("chance(9, 1)") == pytest.approx(22 / 1024)
    tab.send("Page.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path))
    tab.click("#blind-save")
    end = time.monotonic() + browser.WAIT
    while not (tmp_path / "blind-try.json").is_file() and time.monotonic() < end:
        time.sleep(0.05)
    assert json.loads((tmp_path / "blind-try.json").read_text()) == kept


@browses
@pytest.mark.parametrize("width", [390, 1300])
def test_nothing_is_wider_than_the_screen_and_the_chart_has_it_whole(tab, width):
    tab.size(width)
    tab.until(
        f"byId('curves')._fullLayout?._size.w > Math.min({width}, 1160) * 0.75"
    )  # the axes, without what is beside
    assert tab.js("document.documentElement.scrollWidth") <= width
    assert tab.js("document.querySelectorAll('.overcooked').length") == 3


@browses
def test_the_table_is_sorted_by_what_is_chosen(tab):
    tab.size(1300)
    order = "[...byId('ranking').rows].map((row) => row.dataset.trial)"
    by_rank = tab.js(order)
    tab.click('[data-sort="words"]')
    assert tab.js(order) == sorted(by_rank)
    tab.click('[data-sort="words"]')
    assert tab.js(order) == sorted(by_rank, reverse=True)
    tab.click('[data-sort="rank"]')
    assert tab.js(order) == by_rank


def test_what_does_not_fit_into_the_file_is_linked_at_the_same_loudness(board, monkeypatch):
    monkeypatch.setattr(clips, "EMBEDDED", 2)
    found = clips.Clips(board)
    last = board.entries[2]
    links = [found.sources[number]["src"] for number in found.of[last.trial]["voice"]]
    assert links == [f"{last.trial}/voice_0.wav", f"{last.trial}/voice_1.wav"]
    assert all(found.sources[n]["src"].startswith("data:") for n in found.of[board.entries[1].trial]["voice"])
    linked = found.sources[found.of[last.trial]["voice"][0]]
    assert linked["gain"] == pytest.approx(audio.LEVEL / (0.2 / 2**0.5), rel=0.02)
    monkeypatch.setattr(clips, "ROOM", 0)
    assert not any(source["src"].startswith("data:") for source in clips.Clips(board).sources)


def test_room_for_clips_and_the_charts_are_below_ten_megabytes(board):
    rest = len(page.page(board)) - sum(len(source["src"]) for source in clips.Clips(board).sources)
    assert rest + clips.ROOM < 9.6e6  # the rest is for the rows and curves of 200 trials


def test_a_damaged_clip_is_named_and_costs_no_other(tmp_path):
    made = sweep(tmp_path, 2)
    path = made.best.folder / "voice_1.wav"
    path.write_bytes(b"RIFF")
    text = page.page(made)
    assert f"{path} cannot be decoded as audio" in text
    sound = json.loads(re.search(r'id="sound">(.*?)</script>', text, re.S).group(1))
    assert [number is None for number in sound["voices"][0]["voice"]] == [False, True]
    assert sound["sentences"] == TEXTS
