"""Folders as people bring them, and as nobody should: read rightly, or left out, counted and named.

No case may end in a traceback, and no byte outside the folder may be read: whatever is opened is watched.
"""

import functools
import io
import json
import os
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile

from coconut import cli, data
from coconut.audio import files
from coconut.config import FitConfig, InputError
from tests.sounds import sentence

pytestmark = pytest.mark.filterwarnings("ignore:spaCy")
TEXTS = [
    "The first of four.",
    "Here is the second.",
    "This is number three.",
    "And the last of them.",
    "One more of these.",
]
CODECS = {"m4a": ("ipod", "aac"), "aac": ("adts", "aac"), "opus": ("ogg", "libopus"), "webm": ("webm", "libopus")}
opened: list[str] = []  # the paths of all files that were, since it was cleared


def hear(event, args):
    if event == "open" and named(args[0]):
        opened.append(os.fsdecode(args[0]))


sys.addaudithook(hear)


def named(path):
    return isinstance(path, str | bytes | os.PathLike)


@functools.cache
def wave(i, seconds=None):
    wav = sentence([i % 5, (i + 1) % 5, (2 * i) % 5, (i + 3) % 5, i % 3, (i + 2) % 5]).numpy()
    return wav if seconds is None else np.tile(wav, 20)[: round(seconds * 24000)]


@functools.cache
def wav(i, seconds=None):
    file = io.BytesIO()
    soundfile.write(file, wave(i, seconds), 24000, format="WAV")
    return file.getvalue()


def encoded(i, suffix):
    """The recording in a format that soundfile does not write."""
    container, codec = CODECS[suffix]
    file = io.BytesIO()
    with av.open(file, "w", format=container) as out:
        stream = out.add_stream(codec, rate=48000, layout="mono")
        frame = av.AudioFrame.from_ndarray(wave(i)[None], format="flt", layout="mono")
        frame.sample_rate = 24000
        to_codec = av.AudioResampler(format=stream.codec_context.format, layout="mono", rate=48000)
        for part in [*to_codec.resample(frame), *to_codec.resample(None)]:
            out.mux(stream.encode(part))
        out.mux(stream.encode(None))
    return file.getvalue()


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
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(wav(4) if sound is None else sound)
        if text is not None:
            path.with_suffix(suffix).write_bytes(text if isinstance(text, bytes) else text.encode())

    def file(self, name, content=""):
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())

    def link(self, name, target):
        (self.path / name).symlink_to(target)

    def bare(self):
        """Without transcripts."""
        for path in self.path.glob("*.txt"):
            path.unlink()

    def table(self, *rows, name="metadata.csv", header="file_name,transcription", good=4, separator=","):
        """A table of the good recordings and of further rows, in place of the transcripts."""
        self.bare()
        lines = [header, *(f"r{i}.wav{separator}{TEXTS[i]}" for i in range(good)), *rows]
        self.file(name, "\n".join(lines) + "\n")

    def parquet(self, name="a.parquet", sounds=range(4), **columns):
        """Rows of bytes and texts instead of files; `columns` replace those."""
        for path in self.path.glob("r*"):
            path.unlink()
        rows = {"audio": [{"bytes": wav(i), "path": f"{i}.wav"} for i in sounds], "text": [TEXTS[i] for i in sounds],
                "speaker_id": ["ex01"] * len(sounds), "style": ["calm"] * len(sounds)}  # fmt: skip
        table = {name: column for name, column in {**rows, **columns}.items() if column is not None}
        pq.write_table(pa.table(table), self.path / name)


def cut_parquet(case):
    case.parquet("a.parquet")
    case.file("b.parquet", (case.path / "a.parquet").read_bytes()[:-2000])


def lj(case, *more):
    case.bare()
    for i in range(4):
        case.add(f"wavs/L{i}.wav", (case.path / f"r{i}.wav").read_bytes())
        (case.path / f"r{i}.wav").unlink()
    case.file("metadata.csv", "".join(f"L{i}|{TEXTS[i]} 5|{TEXTS[i]}\n" for i in range(4)) + "".join(more))


def splits(case):
    case.bare()
    for i, part in enumerate(("train", "train", "test", "test")):
        (case.path / part).mkdir(exist_ok=True)
        (case.path / f"r{i}.wav").rename(case.path / part / f"r{i}.wav")
    for part, rows in (("train", (0, 1)), ("test", (2, 3))):
        case.file(f"{part}/metadata.csv", "file_name,text\n" + "".join(f"r{i}.wav,{TEXTS[i]}\n" for i in rows))


def jsonl(case, *more):
    case.bare()
    lines = [json.dumps({"file_name": f"r{i}.wav", "text": TEXTS[i]}) for i in range(4)]
    case.file("metadata.jsonl", "\n".join([*lines, *more]))


# What is done to the folder; how many recordings are read; what is counted; words of the notes.
READ = {
    "untouched": (lambda c: None, 4, {}, []),
    # outside the folder
    "table: above": (
        lambda c: c.table("../outside.wav,Hello there."),
        4,
        {"outside the folder": 1},
        ["../outside.wav: its table lists it, but it lies outside the folder; copy it there"],
    ),
    "table: absolute": (lambda c: c.table(f"{c.outside},Hello there."), 4, {"outside the folder": 1}, ["outside.wav"]),
    "table: home": (lambda c: c.table("~/x.wav,Hello there."), 4, {"incomplete": 1}, ["~/x.wav"]),
    "table: around": (
        lambda c: c.table("../speech/r0.wav,The first of four."),
        4,
        {"duplicate": 1},
        ["listed before|lists it before"],
    ),
    "link to a recording": (
        lambda c: (c.link("x.wav", c.outside), c.file("x.txt", "Hi.")),
        4,
        {"outside the folder": 1},
        ["x.wav: it lies outside the folder"],
    ),
    "link to a transcript": (
        lambda c: (c.add("x.wav"), c.link("x.txt", c.outside.with_suffix(".txt"))),
        4,
        {"outside the folder": 1},
        ["x.wav: it lies outside the folder"],
    ),
    "link to a folder": (lambda c: c.link("more", c.outside.parent), 4, {"not read": 1}, ["more/: a link to a folder"]),
    "table through a link": (
        lambda c: (c.link("more", c.outside.parent), c.table("more/outside.wav,Hello.")),
        4,
        {"outside the folder": 1, "not read": 1},
        ["more/outside.wav"],
    ),
    "link within": (
        lambda c: (c.file("deep/text", "One more of these."), c.add("x.wav"), c.link("x.txt", "deep/text")),
        5,
        {"not read": 1},
        [],
    ),
    "link in a circle": (
        lambda c: (c.link("x.wav", "y.wav"), c.link("y.wav", "x.wav")),
        4,
        {"incomplete": 2},
        ["x.wav: no file can have that name|x.wav: there is no such file"],
    ),
    "dead link": (lambda c: c.link("x.wav", "gone.wav"), 4, {"incomplete": 1}, ["x.wav: there is no such file"]),
    # names
    "table: NUL": (lambda c: c.table("a\0b.wav,Hello."), 4, {"incomplete": 1}, ["no file can have that name"]),
    "table: 5000 signs": (lambda c: c.table("x" * 5000 + ".wav,Hello."), 4, {"incomplete": 1}, ["xxx...xxx"]),
    "table: the folder": (lambda c: c.table(".,Hello."), 4, {"incomplete": 1}, ["it is not a file"]),
    "table: gone": (
        lambda c: c.table("gone.wav,Hello."),
        4,
        {"incomplete": 1},
        ["gone.wav: its table lists it, but there is no"],
    ),
    "table: no name": (lambda c: c.table(",Hello."), 4, {}, []),
    "folder called wav": (lambda c: (c.path / "x.wav").mkdir(), 4, {}, []),
    "pipe": (lambda c: os.mkfifo(c.path / "x.wav"), 4, {"incomplete": 1}, ["x.wav: it is not a file"]),
    "name of bytes": (lambda c: c.add(os.fsdecode(b"x\xff.wav"), text="One more of these."), 5, {}, []),
    "name with lines": (lambda c: c.add("x\ny.wav"), 4, {"no transcript": 1}, ["x\N{REPLACEMENT CHARACTER}y.wav"]),
    # transcripts
    "broken UTF-8": (
        lambda c: c.add("x.wav", text=b"caf\xe9"),
        4,
        {"incomplete": 1},
        ["x.wav: x.txt is not UTF-8 text"],
    ),
    "UTF-16": (lambda c: c.add("x.wav", text="One more of these.".encode("utf-16")), 5, {}, []),
    "with a mark": (lambda c: c.add("x.wav", text="\ufeffOne more of these."), 5, {}, []),
    "NUL in a text": (lambda c: c.add("x.wav", text="One more\0 of these."), 5, {}, []),
    "folder as a text": (lambda c: (c.add("x.wav"), (c.path / "x.txt").mkdir()), 4, {"no transcript": 1}, ["x.wav"]),
    "empty text": (lambda c: c.add("x.wav", text=" \n"), 4, {"no transcript": 1}, ["x.wav: there is no transcript"]),
    "two million signs": (
        lambda c: c.add("x.wav", text="word " * 400_000),
        4,
        {"incomplete": 1},
        ["too large for a transcript"],
    ),
    "5000 words": (
        lambda c: c.add("x.wav", text="word " * 5000),
        4,
        {"text too long": 1},
        ["its text has 24999 characters; split the recording"],
    ),
    "punctuation": (lambda c: c.add("x.wav", text="...!"), 4, {"no phonemes": 1}, ["nothing to pronounce"]),
    "emoji alone": (lambda c: c.add("x.wav", text="😀👍🏽"), 4, {"no phonemes": 1}, ["nothing to pronounce"]),
    "emoji within": (
        lambda c: c.add("x.wav", text="One more 😀 of *these*."),
        5,
        {},
        ["left out .transcripts: 1.: 😀 \\*"],
    ),
    "Chinese": (
        lambda c: c.add("x.wav", text="今天天气很好"),
        4,
        {"other script": 1},
        ["letters that en-us is not written in .今天气"],
    ),
    "Arabic": (lambda c: c.add("x.wav", text="مرحبا بكم"), 4, {"other script": 1}, ["give its language by --lang"]),
    ".lab": (lambda c: c.add("x.wav", text="One more of these.", suffix=".lab"), 5, {}, []),
    ".TXT": (lambda c: c.add("x.wav", text="One more of these.", suffix=".TXT"), 5, {}, []),
    "labels with times": (
        lambda c: c.add("x.wav", text="0 100 sil\n100 200 ah\n", suffix=".lab"),
        4,
        {"incomplete": 1},
        ["x.lab holds times and labels"],
    ),
    "two that differ": (
        lambda c: (c.add("x.wav", text="One."), c.file("x.lab", "Two.")),
        4,
        {"two texts": 1},
        ["its transcripts differ: x.lab, x.txt"],
    ),
    "two that agree": (
        lambda c: (c.add("x.wav", text="One more of these."), c.file("x.lab", "One more of these.\n")),
        5,
        {},
        [],
    ),
    "a text alone": (lambda c: c.file("r9.txt", "Hi."), 4, {"not read": 1}, ["r9.txt: a text of no recording"]),
    # texts that cannot be those of their recordings
    "another's text": (
        lambda c: c.add("x.wav", wav(5, 4.0), "No."),
        4,
        {"text and sound differ": 1},
        ["x.wav: 0.5 phonemes per"],
    ),
    "cut short": (
        lambda c: c.add("x.wav", wav(5, 1.5), "This would take much longer to say than it does in here, " * 2),
        4,
        {"text and sound differ": 1},
        ["its recording is cut short, or its text is another's"],
    ),
    "six equal rows": (lambda c: c.table(*["r0.wav,The first of four."] * 5), 4, {"duplicate": 5}, ["lists it before"]),
    "two texts in a table": (
        lambda c: c.table("r0.wav,Something else."),
        3,
        {"two texts": 2},
        ["gives it 2 different texts"],
    ),
    "two texts for a sound": (
        lambda c: c.add("x.wav", wav(0), "Something else."),
        3,
        {"two texts": 2},
        ["same sound as r0.wav, with another"],
    ),
    # tables
    "semicolons": (lambda c: c.table(header="file_name;transcription", separator=";"), 4, {}, []),
    "tabs": (lambda c: c.table(header="file_name\ttext", separator="\t"), 4, {}, []),
    ".tsv": (lambda c: c.table(header="file_name\ttext", separator="\t", name="metadata.tsv"), 4, {}, []),
    "bars": (lambda c: c.table(header="file_name|text", separator="|"), 4, {}, []),
    "METADATA.CSV": (lambda c: c.table(name="METADATA.CSV"), 4, {}, []),
    "LJSpeech": (lj, 4, {}, []),
    "LJSpeech, one gone": (lambda c: lj(c, "L9|Gone.|Gone.\n"), 4, {"incomplete": 1}, ["L9: its table lists it"]),
    "audiofolder": (splits, 4, {}, []),
    "json lines": (jsonl, 4, {}, []),
    "a broken line": (
        lambda c: jsonl(c, '{"file_name": "x.wav", "text'),
        4,
        {"incomplete": 1},
        ["line 5 is not a JSON object"],
    ),
    "a list as a line": (lambda c: jsonl(c, "[1, 2]"), 4, {"incomplete": 1}, ["line 5 is not a JSON object"]),
    "deep JSON": (lambda c: jsonl(c, "[" * 100_000), 4, {"incomplete": 1}, ["line 5 is not a JSON object"]),
    "a list as a text": (lambda c: jsonl(c, '{"file_name": "r9.wav", "text": [1]}'), 4, {"incomplete": 1}, ["r9.wav"]),
    "comma without quotes": (
        lambda c: (c.add("x.wav"), c.table("x.wav,Hello, you.")),
        4,
        {"incomplete": 1},
        ["x.wav: its row has more"],
    ),
    "backslashes": (lambda c: (c.add("sub/x.wav"), c.table("sub\\x.wav,One more of these.")), 5, {}, []),
    "UTF-16 table": (
        lambda c: (c.table(), c.file("metadata.csv", (c.path / "metadata.csv").read_text().encode("utf-16"))),
        4,
        {},
        [],
    ),
    "Windows lines": (
        lambda c: (c.table(), c.file("metadata.csv", (c.path / "metadata.csv").read_bytes().replace(b"\n", b"\r\n"))),
        4,
        {},
        [],
    ),
    "not in the table": (lambda c: (c.table(), c.add("x.wav")), 4, {"no transcript": 1}, ["x.wav: no table lists it"]),
    # files
    "no sound in it": (
        lambda c: c.add("x.wav", b"words", "Hello."),
        4,
        {"unusable audio": 1},
        ["x.wav: cannot be decoded"],
    ),
    "empty file": (lambda c: c.add("x.m4a", b"", "Hello."), 4, {"unusable audio": 1}, ["x.m4a: cannot be decoded"]),
    "a list of files": (
        lambda c: c.add("x.m4a", b"ffconcat version 1.0\nfile '../outside.wav'\n", "Hello."),
        4,
        {"unusable audio": 1},
        ["x.m4a: cannot be decoded"],
    ),
    "a playlist": (
        lambda c: c.add("x.aac", b"#EXTM3U\n#EXTINF:1,\n../outside.wav\n#EXT-X-ENDLIST\n", "Hello."),
        4,
        {"unusable audio": 1},
        ["x.aac: cannot be decoded"],
    ),
    "half a file": (lambda c: c.add("x.m4a", encoded(4, "m4a")[:3000], "Hello."), 4, {"unusable audio": 1}, ["x.m4a"]),
    "WAV": (lambda c: c.add("x.WAV", text="One more of these."), 5, {}, []),
    **{
        suffix: (lambda c, suffix=suffix: c.add(f"x.{suffix}", encoded(4, suffix), "One more of these."), 5, {}, [])
        for suffix in CODECS
    },
    "of a Mac": (
        lambda c: (c.file("._r0.wav", b"\0\5\x16\7"), c.file(".DS_Store")),
        4,
        {"not read": 2},
        ["._r0.wav: a hidden file"],
    ),
    "hidden folder": (lambda c: c.add(".git/x.wav", text="Hello."), 4, {"not read": 1}, [".git/: a hidden folder"]),
    "other files": (
        lambda c: (c.file("cover.jpg"), c.file("a.zip")),
        4,
        {"not read": 2},
        ["cover.jpg: neither a recording nor"],
    ),
}


@pytest.fixture
def case(tmp_path, monkeypatch):
    """A folder to spoil. After the test, nothing beside it may have been opened."""
    original = soundfile.read

    def watched(file, **options):
        assert not named(file)  # libsndfile would open it where no hook can see it
        return original(file, **options)

    monkeypatch.setattr(files.soundfile, "read", watched)
    made = Case(tmp_path)
    yield made
    inside, beside = made.path.resolve(), tmp_path.resolve()
    seen = [real for path in opened if (real := resolved(path)) and real.is_relative_to(beside)]
    assert [str(path) for path in seen if not path.is_relative_to(inside)] == []


def resolved(path):
    try:
        return Path(path).resolve()
    except (OSError, ValueError, RuntimeError):
        return None


def read(case, **options):
    opened.clear()  # what the test itself wrote
    return data.read(FitConfig(**{"data": str(case.path), "heldout": 1, "test": 0, **options}))


def test_what_is_opened_is_watched(case):
    read(case)
    assert {"r0.wav", "r0.txt"} <= {Path(path).name for path in opened}
    case.outside.read_bytes()
    assert resolved(opened.pop()) == case.outside.resolve()


@pytest.mark.parametrize("name", READ)
def test_it_is_read_or_left_out_counted_and_named(case, name):
    spoil, kept, skipped, words = READ[name]
    spoil(case)
    dataset = read(case)
    counted = {
        reason: count for reason, count in dataset.skipped.items() if reason != "not read" or "not read" in skipped
    }
    assert (len(dataset.fit) + len(dataset.heldout), counted) == (kept, skipped)
    notes = "\n".join(dataset.notes)
    for pattern in words:
        assert re.search(pattern, notes), notes
    assert notes.encode()


def refuse(case, error):
    """What is said; one sentence, and no name in it is as long as a page."""
    said = str(error.value)
    assert "\n" not in said
    assert said.endswith(".")
    assert len(said) < 1000


# What is done to the folder, further settings, and what is said.
REFUSED = {
    "nothing there": (lambda c: [p.unlink() for p in c.path.iterdir()], {}, "holds no recording"),
    "table of nothing": (lambda c: c.file("metadata.csv"), {}, "lists no recording; add a row for each"),
    "table of a header": (lambda c: c.table(good=0), {}, "lists no recording; add a row for each"),
    "other columns": (
        lambda c: c.table(header="a,b"),
        {},
        "needs the columns file_name and transcription; it has a, b",
    ),
    "other keys": (lambda c: c.file("metadata.jsonl", '{"path": "r0.wav"}'), {}, "needs the columns file_name and"),
    "folder as a table": (
        lambda c: (c.path / "metadata.csv").mkdir(),
        {},
        "metadata.csv cannot be read: it is not a file",
    ),
    "table of bytes": (lambda c: c.file("metadata.csv", b"\xff\xfe\x00"), {}, "is not a UTF-8 table"),
    "a table outside": (
        lambda c: (
            c.file("../metadata.csv", "file_name,text\nr0.wav,Hello."),
            c.link("metadata.csv", "../metadata.csv"),
        ),
        {},
        "metadata.csv cannot be read: it lies outside the folder",
    ),
    "an endless field": (
        lambda c: c.file("metadata.csv", 'file_name,text\nr0.wav,"' + "x" * 200_000),
        {},
        "is not a UTF-8 table of comma-separated values",
    ),
    "Chinese alone": (
        lambda c: [p.write_text("今天天气很好") for p in c.path.glob("*.txt")],
        {},
        "None of the 4 recordings .* can be used; first problem: r0.wav: its text has letters that en-us",
    ),
    "no such columns": (lambda c: c.table(), {"columns": "audio=clip,text=words"}, "needs the columns clip and words"),
    "columns of nothing": (
        lambda c: c.table(),
        {"columns": "clip,words"},
        "--columns clip,words does not name columns",
    ),
    "half of the columns": (
        lambda c: c.table(),
        {"columns": "audio=clip"},
        "--columns audio=clip does not name columns",
    ),
    "unknown kind": (lambda c: c.table(), {"columns": "audio=a,text=b,who=c"}, "does not name columns"),
    "a cut shard alone": (
        lambda c: (c.parquet(), c.file("a.parquet", (c.path / "a.parquet").read_bytes()[:-9])),
        {},
        "No parquet file of .* can be read",
    ),
    "parquet of nothing": (lambda c: (c.parquet(), c.file("a.parquet")), {}, "No parquet file of .* can be read"),
    "unknown columns": (
        lambda c: c.parquet(text=None, words=list("abcd")),
        {},
        "which are those of no known set; say which are which: --columns",
    ),
    "wrong columns": (
        lambda c: c.parquet(),
        {"columns": "audio=audio,text=words"},
        "a.parquet lacks the columns words; it has audio, speaker_id, style, text",
    ),
    "rows of nobody": (
        lambda c: c.parquet(speaker_id=[None] * 4),
        {},
        "holds many speakers; choose one by --speaker: none",
    ),
    "no speakers": (
        lambda c: c.parquet(),
        {"columns": "audio=audio,text=text", "speaker": "ex01"},
        "has no column of speakers; leave --speaker out",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_folder_that_is_none_is_refused_in_one_sentence(case, name):
    spoil, options, words = REFUSED[name]
    spoil(case)
    with pytest.raises(InputError, match=words) as error:
        read(case, **options)
    refuse(case, error)


# As READ, for parquet files, with further settings.
PARQUET = {
    "known columns": (lambda c: c.parquet(), {}, 4, {}, []),
    "a cut shard": (cut_parquet, {}, 4, {"unreadable file": 1}, ["b.parquet: it cannot be read as parquet"]),
    "named columns": (
        lambda c: c.parquet(audio=None, text=None, clip=[wav(i) for i in range(4)], words=TEXTS[:4]),
        {"columns": "audio=clip,text=words,speaker=speaker_id"},
        4,
        {},
        [],
    ),
    "without speakers": (lambda c: c.parquet(speaker_id=None), {"columns": "audio=audio,text=text"}, 4, {}, []),
    "speakers by number": (
        lambda c: c.parquet(sounds=range(5), speaker_id=[7, 7, 7, 7, 8]),
        {"columns": "audio=audio,text=text,speaker=speaker_id", "speaker": "7"},
        4,
        {},
        [],
    ),
    "no sound in a row": (
        lambda c: c.parquet(
            audio=[*({"bytes": wav(i), "path": None} for i in range(3)), {"bytes": None, "path": None}]
        ),
        {},
        3,
        {"incomplete": 1},
        ["a.parquet, row 3: the row holds no audio"],
    ),
    "a path outside": (
        lambda c: c.parquet(
            audio=[*({"bytes": wav(i), "path": ""} for i in range(3)), {"bytes": None, "path": str(c.outside)}]
        ),
        {},
        3,
        {"outside the folder": 1},
        ["a.parquet, row 3: of its audio, it lies outside the folder"],
    ),
    "a path above": (
        lambda c: c.parquet(
            audio=[*({"bytes": wav(i), "path": ""} for i in range(3)), {"bytes": None, "path": "../outside.wav"}]
        ),
        {},
        3,
        {"outside the folder": 1},
        ["it lies outside the folder"],
    ),
    "a text that is a template": (
        lambda c: c.parquet(text=[*TEXTS[:3], "Hello {NAME}."]),
        {},
        3,
        {"incomplete": 1},
        ["its transcript is a template"],
    ),
    "no text": (
        lambda c: c.parquet(text=[*TEXTS[:3], None]),
        {},
        3,
        {"no transcript": 1},
        ["row 3: there is no transcript"],
    ),
    "a link to a shard": (
        lambda c: (
            c.parquet(),
            pq.write_table(pa.table({"audio": [b""]}), c.path / "../x.parquet"),
            c.link("x.parquet", "../x.parquet"),
        ),
        {},
        4,
        {"outside the folder": 1},
        ["x.parquet: it lies outside the folder"],
    ),
}


@pytest.mark.parametrize("name", PARQUET)
def test_parquet_files_are_read_or_left_out_counted_and_named(case, name):
    spoil, options, kept, skipped, words = PARQUET[name]
    spoil(case)
    dataset = read(case, **options)
    assert (len(dataset.fit) + len(dataset.heldout), dataset.skipped) == (kept, skipped)
    for pattern in words:
        assert re.search(pattern, "\n".join(dataset.notes))


def test_one_parquet_file_is_a_source_too(case):
    case.parquet()
    dataset = read(case, data=str(case.path / "a.parquet"))
    assert len(dataset.fit) + len(dataset.heldout) == 4


def test_columns_of_a_table_may_have_any_name(case):
    case.table(header="clip,words,who", separator=",")
    lines = (case.path / "metadata.csv").read_text().splitlines()
    rows = [f"{line},{who}" for line, who in zip(lines[1:], ["ann", "ann", "ann", "bob"], strict=True)]
    case.file("metadata.csv", "\n".join([lines[0], *rows]))
    dataset = read(case, columns="audio=clip, text=words, speaker=who", speaker="ann")
    assert len(dataset.fit) + len(dataset.heldout) == 3


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
    if file == "metadata.csv":
        case.table()
    original = io.open

    def refusing(path, *args, **options):
        if named(path) and Path(path).name == file:
            raise PermissionError(13, "Permission denied", str(path))
        return original(path, *args, **options)

    monkeypatch.setattr(io, "open", refusing)
    if file == "metadata.csv":
        with pytest.raises(InputError, match=words):
            read(case)
        return
    dataset = read(case)
    assert sum(dataset.skipped.values()) == 1
    assert re.search(words, "\n".join(dataset.notes))


def test_texts_of_too_few_recordings_are_not_weighed(case):
    for path in case.path.glob("r[23].*"):
        path.unlink()
    case.add("x.wav", wav(5, 4.0), "No.")
    assert read(case).skipped == {}


def test_a_folder_whose_texts_are_all_anothers_is_told(case):
    for i in range(4):
        case.add(f"r{i}.wav", wav(i, 6.0), f"No {'abcd'[i]}.")
    assert re.search("has .* phonemes per second of speech, where people speak 4 to 30", " ".join(read(case).notes))


def test_a_name_is_no_markup_for_the_terminal(capsys):
    job, config = SimpleNamespace(fit=(), heldout=(), test=()), FitConfig(data="[/dim] of [red]")
    cli._introduce(SimpleNamespace(job=job, fitting=SimpleNamespace(config=config, space=SimpleNamespace(dim=1))))
    assert "[/dim] of [red]: 0 utterances" in capsys.readouterr().out
