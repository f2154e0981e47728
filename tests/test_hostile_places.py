"""Files that lie elsewhere, or are none, or have names that no file should have: left out, counted and named."""

import io
import os
import socket
import unicodedata
from pathlib import Path
from types import SimpleNamespace

import pytest

from coconut import cli
from coconut.config import FitConfig, InputError
from tests.hostile import (
    INCOMPLETE,
    MORE,
    OUTSIDE,
    UNREAD,
    check,
    check_refused,
    good,
    left,
    named,
    opened,
    read,
    resolved,
)

pytestmark = pytest.mark.filterwarnings("ignore:spaCy")


def listening(case):
    """A socket where a recording should be; its name is short, as that of a socket must be."""
    here = os.getcwd()
    os.chdir(case.path)
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind("x.wav")
    finally:
        os.chdir(here)


def composed(form, other):
    """A name with an accent, on the disk in one form of Unicode and in the table in another."""

    def spoil(case):
        case.add(unicodedata.normalize(form, "café.wav"))
        case.table(f"{unicodedata.normalize(other, 'café')}.wav,{MORE}")

    return spoil


ROWS = {
    "untouched": good(lambda c: None, 4),
    # outside the folder
    "table: above": left(
        lambda c: c.table("../outside.wav,Hello there."),
        OUTSIDE,
        r"\.\./outside.wav: its table lists it, but it lies outside the folder; copy it there",
    ),
    "table: absolute": left(lambda c: c.table(f"{c.outside},Hello there."), OUTSIDE, r"outside\.wav"),
    "table: a device": left(lambda c: c.table("/dev/zero,Hello there."), OUTSIDE, "/dev/zero"),
    "table: a process": left(lambda c: c.table("/proc/self/environ,Hello there."), OUTSIDE, "/proc/self/environ"),
    "table: home": left(lambda c: c.table("~/x.wav,Hello there."), INCOMPLETE, "~/x.wav"),
    "table: an address": left(lambda c: c.table("https://x.org/x.wav,Hello."), INCOMPLETE, "https://x.org/x.wav"),
    "table: of Windows": left(lambda c: c.table("C:\\x\\r0.wav,Hello."), INCOMPLETE, r"C:\\x\\r0.wav: its table"),
    "table: around": left(lambda c: c.table("../speech/r0.wav,The first of four."), "duplicate", "lists it before"),
    "table: a detour": left(lambda c: c.table("./gone/../r0.wav,Hello."), INCOMPLETE, "there is no such file"),
    "a split that looks up": good(
        lambda c: (c.bare(), c.file("train/metadata.csv", "file_name,text\n../r0.wav,One.\n../r1.wav,Two.\n")),
        2,
        skipped={"no transcript": 2},
    ),
    "link to a recording": left(
        lambda c: (c.link("x.wav", c.outside), c.file("x.txt", "Hi.")), OUTSIDE, "x.wav: it lies outside the folder"
    ),
    "link to a transcript": left(
        lambda c: (c.add("x.wav"), c.link("x.txt", c.outside.with_suffix(".txt"))),
        OUTSIDE,
        "x.wav: it lies outside the folder",
    ),
    "link to a folder": left(lambda c: c.link("more", c.outside.parent), UNREAD, "more/: a link to a folder"),
    "link to the folder itself": left(lambda c: c.link("more", "."), UNREAD, "more/: a link to a folder"),
    "table through a link": good(
        lambda c: (c.link("more", c.outside.parent), c.table("more/outside.wav,Hello.")),
        4,
        "more/outside.wav",
        {OUTSIDE: 1, UNREAD: 1},
    ),
    "link within": good(
        lambda c: (c.file("deep/text", MORE), c.add("x.wav"), c.link("x.txt", "deep/text")), skipped={UNREAD: 1}
    ),
    "links in a circle": left(
        lambda c: (c.link("x.wav", "y.wav"), c.link("y.wav", "x.wav")),
        INCOMPLETE,
        "x.wav: no file can have that name|x.wav: there is no such file",
        count=2,
    ),
    "dead link": left(lambda c: c.link("x.wav", "gone.wav"), INCOMPLETE, "x.wav: there is no such file"),
    "linked folder": good(lambda c: (c.path.rename(c.path.with_name("real")), c.path.symlink_to("real")), 4),
    # names
    "table: NUL": left(lambda c: c.table("a\0b.wav,Hello."), INCOMPLETE, "no file can have that name"),
    "table: 5000 signs": left(lambda c: c.table("x" * 5000 + ".wav,Hello."), INCOMPLETE, r"xxx\.\.\.xxx"),
    "table: the folder": left(lambda c: c.table(".,Hello."), INCOMPLETE, "it is not a file"),
    "table: a sentence": left(lambda c: c.table("r0.wav/,Hello."), "two texts", "2 different texts", count=2, kept=3),
    "table: gone": left(lambda c: c.table("gone.wav,Hello."), INCOMPLETE, "gone.wav: its table lists it, but there is"),
    "table: no name": good(lambda c: c.table(",Hello."), 4),
    "table: itself": left(
        lambda c: c.table("metadata.csv,Hello."), "unusable audio", "metadata.csv: cannot be decoded"
    ),
    "name composed": good(composed("NFC", "NFD")),
    "name decomposed": good(composed("NFD", "NFC")),
    "text composed": good(lambda c: (c.add(unicodedata.normalize("NFD", "é.wav")), c.file("é.txt", MORE))),
    "name with a hidden sign": left(
        lambda c: c.table("r\u200b0.wav,Hello."), INCOMPLETE, "r\N{REPLACEMENT CHARACTER}0"
    ),
    "name from right to left": good(lambda c: c.add("\u202evaw.x.wav", text=MORE)),
    "name of bytes": good(lambda c: c.add(os.fsdecode(b"x\xff.wav"), text=MORE)),
    "name with lines": left(lambda c: c.add("x\ny.wav"), "no transcript", "x\N{REPLACEMENT CHARACTER}y.wav"),
    "name that colours": left(lambda c: c.add("\x1b[31mx.wav"), "no transcript", "\N{REPLACEMENT CHARACTER}.31mx.wav"),
    "name of percents": good(lambda c: c.add("%s %(x)d {0} $HOME;.wav", text=MORE)),
    "name of 255 bytes": good(lambda c: c.add("x" * 251 + ".wav", text=MORE)),
    "name of a suffix": left(lambda c: c.file(".wav", "x"), UNREAD, ".wav: a hidden file"),
    "names that differ by case": good(lambda c: c.add("R0.WAV", text=MORE)),
    "name with two suffixes": good(lambda c: c.add("x.take.2.wav", text=MORE)),
    "a deep folder": good(lambda c: c.add("/".join("d" * 40) + "/x.wav", text=MORE)),
    # what is no file
    "folder called wav": good(lambda c: (c.path / "x.wav").mkdir(), 4),
    "pipe": left(lambda c: os.mkfifo(c.path / "x.wav"), INCOMPLETE, "x.wav: it is not a file"),
    "pipe for a text": left(
        lambda c: (c.add("x.wav"), os.mkfifo(c.path / "x.txt")), INCOMPLETE, "x.wav: it is not a file"
    ),
    "socket": left(listening, INCOMPLETE, "x.wav: it is not a file"),
    "folder as a text": left(lambda c: (c.add("x.wav"), (c.path / "x.txt").mkdir()), "no transcript", "x.wav"),
    # what is no recording
    "of a Mac": left(
        lambda c: (c.file("._r0.wav", b"\0\5\x16\7"), c.file(".DS_Store")), UNREAD, "._r0.wav: a hidden file", count=2
    ),
    "hidden folder": left(lambda c: c.add(".git/x.wav", text="Hello."), UNREAD, ".git/: a hidden folder"),
    "other files": left(
        lambda c: (c.file("cover.jpg"), c.file("a.zip")), UNREAD, "cover.jpg: neither a recording nor", count=2
    ),
    "300 empty files": left(
        lambda c: [c.file(f"x{i}.wav") for i in range(300)],
        "no transcript",
        r"300 skipped .*; x10\.wav: there is no transcript \.\.\.",
        count=300,
    ),
}

REFUSED = {
    "nothing there": (lambda c: [p.unlink() for p in c.path.iterdir()], "holds no recording"),
    "folder as a table": (lambda c: (c.path / "metadata.csv").mkdir(), "metadata.csv cannot be read: it is not a file"),
    "pipe as a table": (lambda c: os.mkfifo(c.path / "metadata.csv"), "metadata.csv cannot be read: it is not a file"),
    "a table outside": (
        lambda c: (
            c.file("../metadata.csv", "file_name,text\nr0.wav,Hello."),
            c.link("metadata.csv", "../metadata.csv"),
        ),
        "metadata.csv cannot be read: it lies outside the folder",
    ),
}


@pytest.mark.parametrize("name", ROWS)
def test_it_is_read_or_left_out_counted_and_named(case, name):
    check(case, ROWS[name])


@pytest.mark.parametrize("name", REFUSED)
def test_a_folder_that_is_none_is_refused_in_one_sentence(case, name):
    check_refused(case, *REFUSED[name])


@pytest.mark.parametrize("name", ["/dev/null", "/dev/zero", "gone", "\0", "x" * 5000, "https://x.org/y"])
def test_data_that_are_no_folder_are_refused_in_one_sentence(case, name):
    check_refused(case, lambda c: None, "There is no folder|is a file|no file can have that name", data=name)


def test_what_is_opened_is_watched(case):
    read(case)
    assert {"r0.wav", "r0.txt"} <= {Path(path).name for path in opened}
    case.outside.read_bytes()
    assert resolved(opened.pop()) == case.outside.resolve()


@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("r3.txt", "r3.wav: r3.txt cannot be read .Permission denied"),
        ("r3.wav", "r3.wav: cannot be read .Permission denied"),
        ("metadata.csv", "metadata.csv cannot be read .Permission denied"),
    ],
)
def test_a_file_without_permission_is_named(case, monkeypatch, file, words):
    """The owner of the machine may read everything, so the refusal is a stand-in's."""
    original = io.open

    def refusing(path, *args, **options):
        if named(path) and Path(path).name == file:
            raise PermissionError(13, "Permission denied", str(path))
        return original(path, *args, **options)

    if file == "metadata.csv":
        case.table()
    monkeypatch.setattr(io, "open", refusing)
    if file == "metadata.csv":
        with pytest.raises(InputError, match=words):
            read(case)
    else:
        check(case, left(lambda c: None, INCOMPLETE if file == "r3.txt" else "unusable audio", words, kept=3))


def test_a_name_is_no_markup_for_the_terminal(capsys):
    job, config = SimpleNamespace(fit=(), heldout=(), test=()), FitConfig(data="[/dim] of [red]")
    cli._introduce(SimpleNamespace(job=job, fitting=SimpleNamespace(config=config, space=SimpleNamespace(dim=1))))
    assert "[/dim] of [red]: 0 utterances" in capsys.readouterr().out
