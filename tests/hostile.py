"""Folders as people bring them, and as nobody should: made for a test, read, and watched while they are.

No byte outside a folder may be read: whatever Python opens is heard by an audit hook, and libraries in C, which it
does not hear, are given open files alone.
"""

import functools
import io
import os
import re
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile

from coconut import data
from coconut.config import FitConfig, InputError
from tests.sounds import sentence

TEXTS = [
    "The first of four.",
    "Here is the second.",
    "This is number three.",
    "And the last of them.",
    "One more of these.",
]
MORE = TEXTS[4]  # what wav(4) may have said
OUTSIDE, INCOMPLETE, UNREAD = "outside the folder", "incomplete", "not read"
CODECS = {"m4a": ("ipod", "aac"), "aac": ("adts", "aac"), "opus": ("ogg", "libopus"), "webm": ("webm", "libopus")}
opened: list[str] = []  # the paths of all files that were, since it was cleared


def hear(event, args):
    if event == "open" and named(args[0]):
        opened.append(os.fsdecode(args[0]))


sys.addaudithook(hear)


def named(path):
    return isinstance(path, str | bytes | os.PathLike)


def resolved(path):
    try:
        return Path(path).resolve()
    except (OSError, ValueError, RuntimeError):
        return None


@functools.cache
def wave(i, seconds=None):
    wav = sentence([i % 5, (i + 1) % 5, (2 * i) % 5, (i + 3) % 5, i % 3, (i + 2) % 5]).numpy()
    return wav if seconds is None else np.tile(wav, 20)[: round(seconds * 24000)]


@functools.cache
def wav(i, seconds=None):
    return written(wave(i, seconds))


def written(samples, rate=24000, **options):
    """The content of a file of samples [N] or [N, C], as soundfile writes it."""
    file = io.BytesIO()
    soundfile.write(file, samples, rate, **{"format": "WAV", **options})
    return file.getvalue()


@functools.cache
def encoded(i, suffix, picture=False):
    """The recording in a format that soundfile does not write, a film beside it where there is to be a `picture`."""
    container, codec = CODECS[suffix]
    file = io.BytesIO()
    with av.open(file, "w", format=container) as out:
        stream = out.add_stream(codec, rate=48000, layout="mono")
        film = _film(out) if picture else None
        frame = av.AudioFrame.from_ndarray(wave(i)[None], format="flt", layout="mono")
        frame.sample_rate = 24000
        to_codec = av.AudioResampler(format=stream.codec_context.format, layout="mono", rate=48000)
        for part in [*to_codec.resample(frame), *to_codec.resample(None)]:
            out.mux(stream.encode(part))
        out.mux(stream.encode(None))
        if film:
            _shoot(out, film)
    return file.getvalue()


@functools.cache
def film(container="mp4"):
    """A file of pictures alone."""
    file = io.BytesIO()
    with av.open(file, "w", format=container) as out:
        _shoot(out, _film(out))
    return file.getvalue()


def _film(out):
    stream = out.add_stream("mpeg4", rate=10)
    stream.width = stream.height = 16
    stream.pix_fmt = "yuv420p"
    return stream


def _shoot(out, stream):
    for _ in range(3):
        out.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((16, 16, 3), np.uint8), format="rgb24")))
    out.mux(stream.encode(None))


class Case:
    """A folder with four good recordings r0.wav ... r3.wav, to be spoilt; `outside` is a recording beside it."""

    def __init__(self, tmp_path):
        self.path, self.outside = tmp_path / "speech", tmp_path / "outside.wav"
        self.path.mkdir()
        self.outside.write_bytes(wav(7))
        (tmp_path / "outside.txt").write_text("Nobody may read this.")
        for i in range(4):
            self.add(f"r{i}.wav", wav(i), TEXTS[i])

    def add(self, name, sound=None, text=None, suffix=".txt"):
        self.file(name, wav(4) if sound is None else sound)
        if text is not None:
            self.file(str(Path(name).with_suffix(suffix)), text)

    def file(self, name, content=""):
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)

    def link(self, name, target):
        (self.path / name).symlink_to(target)

    def bare(self):
        """Without transcripts."""
        for path in self.path.glob("*.txt"):
            path.unlink()

    def table(self, *rows, name="metadata.csv", header="file_name,transcription", good=4, separator=",", code="utf-8"):
        """A table of the good recordings and of further rows, in place of the transcripts."""
        self.bare()
        lines = [header, *(f"r{i}.wav{separator}{TEXTS[i]}" for i in range(good)), *rows]
        self.file(name, ("\n".join(lines) + "\n").encode(code))

    def parquet(self, name="a.parquet", sounds=range(4), **columns):
        """Rows of bytes and texts instead of files; `columns` replace those."""
        for path in self.path.glob("r*"):
            path.unlink()
        rows = {"audio": [{"bytes": wav(i), "path": f"{i}.wav"} for i in sounds], "text": [TEXTS[i] for i in sounds],
                "speaker_id": ["ex01"] * len(sounds), "style": ["calm"] * len(sounds)}  # fmt: skip
        table = {name: column for name, column in {**rows, **columns}.items() if column is not None}
        pq.write_table(pa.table(table), self.path / name)


class Row(NamedTuple):
    """What is done to a folder, and what comes of it: recordings read, reasons counted, patterns of the notes."""

    spoil: Any
    kept: int
    skipped: dict[str, int]
    said: tuple[str, ...]
    options: dict[str, Any]


def good(spoil, kept=5, said=(), skipped=None, **options):
    """All recordings are read."""
    return Row(spoil, kept, skipped or {}, said if isinstance(said, tuple) else (said,), options)


def left(spoil, reason, *said, count=1, kept=4, **options):
    """What was added to the four is left out."""
    return Row(spoil, kept, {reason: count}, said, options)


@contextmanager
def watching(tmp_path, monkeypatch):
    """A folder to spoil. In the end, nothing beside it may have been opened."""
    plain, container = soundfile.SoundFile.__init__, av.open

    def sound(self, file, *args, **options):
        assert not named(file)
        plain(self, file, *args, **options)

    def contained(file, *args, **options):
        assert not named(file)
        return container(file, *args, **options)

    monkeypatch.setattr(soundfile.SoundFile, "__init__", sound)
    monkeypatch.setattr(av, "open", contained)
    made = Case(tmp_path)
    yield made
    inside, beside = made.path.resolve(), tmp_path.resolve()
    seen = [real for path in opened if (real := resolved(path)) and real.is_relative_to(beside)]
    assert [str(path) for path in seen if not path.is_relative_to(inside)] == []


def read(case, **options):
    opened.clear()  # what the test itself wrote
    return data.read(FitConfig(**{"data": str(case.path), "heldout": 1, "test": 0, **options}))


def check(case, row):
    """That a folder is read as its row says. Files that are no recordings count only where a row says so."""
    row.spoil(case)
    dataset = read(case, **row.options)
    counted = {r: count for r, count in dataset.skipped.items() if r != UNREAD or UNREAD in row.skipped}
    notes = "\n".join(dataset.notes)
    assert (len(dataset.fit) + len(dataset.heldout), counted) == (row.kept, row.skipped), notes
    for pattern in row.said:
        assert re.search(pattern, notes), notes
    assert notes.encode()


def check_refused(case, spoil, words, **options):
    """That a folder is refused in one sentence, and that no name in it is as long as a page."""
    spoil(case)
    with pytest.raises(InputError, match=words) as error:
        read(case, **options)
    said = str(error.value)
    assert "\n" not in said
    assert said.endswith(".")
    assert len(said) < 1000
