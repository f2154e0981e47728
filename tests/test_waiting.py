"""Bars: one display for all of them, with what came over the network; none where nobody looks."""

import io

import pytest
from rich.console import Console

from coconut import waiting
from coconut.config import FitConfig
from coconut.data import reading
from coconut.data.item import Item
from coconut.waiting import bar, traffic, watched


@pytest.fixture(params=[True, False], ids=["terminal", "file"])
def shown(request, monkeypatch):
    """What the display says at a moment: a function; "" where standard error is no terminal."""
    screen = io.StringIO()

    def console(stderr):
        assert stderr
        return Console(file=screen, force_terminal=request.param, width=200)

    monkeypatch.setattr(waiting, "Console", console)
    waiting._display.cache_clear()

    def look():
        screen.truncate(screen.seek(0))
        if waiting._display().live.is_started:
            waiting._display().refresh()
        return screen.getvalue() if request.param else ""

    yield look
    assert not waiting._display().tasks
    assert not waiting._display().live.is_started
    assert request.param or not screen.getvalue()
    waiting._display.cache_clear()


def test_bars_within_bars_stand_in_one_display(shown):
    with bar("reading x", 64) as tell:
        tell(37)
        said = shown()
        for number in watched([1, 2, 3], "ranking"):
            traffic.count(2_000_000)
            said += shown()
            assert number
    if said:
        assert all(words in said for words in ("reading x", "37/64", "ranking", "1/3", "2.0 MB", "6.0 MB"))


def test_a_bar_of_unknown_length_and_one_that_is_left_early_go(shown):
    with bar("asking"):
        assert "asking" in (shown() or "asking")
    for _ in watched("abc", "looking"):
        break
    with pytest.raises(KeyError), bar("failing", 3):
        raise KeyError
    assert "failing" not in shown()


def test_a_single_item_has_no_bar(shown):
    for _ in watched([1], "alone"):
        assert "alone" not in shown()


def test_what_is_waited_for_is_said(shown):
    with bar("asking"):
        traffic.waiting = "the hub is busy"
        assert "the hub is busy" in (shown() or "the hub is busy")
        traffic.waiting = ""


@pytest.mark.filterwarnings("ignore:spaCy")
def test_reading_tells_how_many_recordings_it_has(shown, monkeypatch):
    said = []
    monkeypatch.setattr(
        reading.Reader, "_add", lambda self, item: said.append(shown()) or self._kept.update({item: item})
    )

    class Source:
        def items(self, speaker, style):
            return (Item(str(k), None, None, "x") for k in range(3))

    monkeypatch.setattr(reading.Reader, "_weigh", lambda self: self._kept.clear())
    reading.Reader(FitConfig(data="mine", limit=9)).read(Source())
    if "".join(said):
        assert "reading mine" in said[0]
        assert ["0/9" in said[0], "1/9" in said[1], "2/9" in said[2]] == [True] * 3
