"""Recordings are treated before their turn, in their order, and never more of them than are needed."""

import threading

import pytest

from coconut import audio
from coconut.config import InputError
from coconut.data import ahead, treated
from coconut.data.ahead import Ahead
from coconut.data.item import Item


def items(count, **changes):
    return [Item(f"{k}.wav", bytes([k]) * 3, "text", **changes.get(str(k), {})) for k in range(count)]


@pytest.fixture
def begun(monkeypatch):
    """Names of recordings whose treatment was begun; number 3 cannot be read, number 5 is too long."""
    names, lock = [], threading.Lock()

    def treat(source, name, longest):
        with lock:
            names.append(name)
        if name == "3.wav":
            raise InputError("3.wav cannot be read.")
        if name == "5.wav":
            raise audio.TooLongError(name, 99.0)
        return name, longest

    monkeypatch.setattr(treated, "treat", treat)
    return names


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_results_and_errors_come_in_their_turn(workers, begun):
    one, found = Ahead(15.0, workers), []
    for item in one.over(items(8), lambda: 100):
        try:
            found.append(one.treat(item))
        except (InputError, audio.TooLongError) as error:
            found.append(type(error))
    whole = [(f"{k}.wav", 15.0) for k in range(8)]
    assert found == [*whole[:3], InputError, whole[4], audio.TooLongError, *whole[6:]]
    assert sorted(begun) == [name for name, _ in whole]
    assert one._begun == {}


def test_no_more_are_taken_from_the_source_than_are_needed(begun):
    one, given = Ahead(15.0, 4), []

    def source():
        for item in items(8):
            given.append(item.name)
            yield item

    kept = []
    for item in one.over(source(), lambda: 3 - len(kept)):
        assert len(given) <= 3
        kept.append(one.treat(item)[0])
        if len(kept) == 3:
            break
    assert given == kept == sorted(begun) == ["0.wav", "1.wav", "2.wav"]


def test_what_may_be_long_or_is_left_out_waits_for_its_turn(begun, monkeypatch, tmp_path):
    monkeypatch.setattr(ahead, "LARGE", 2)
    (tmp_path / "a.wav").write_bytes(b"RI")
    small = [Item("a.wav", tmp_path / "a.wav", "text"), Item("gone.wav", tmp_path / "gone.wav", "text")]
    others = [Item("b.wav", b"b", None), Item("c.wav", b"c", "text", problem="no"), Item("d.wav", None, "text")]
    one = Ahead(15.0, 2)
    assert [item.name for item in one.over([*small, *others, *items(2)], lambda: 9)][-2:] == ["0.wav", "1.wav"]
    assert begun == ["a.wav"]
