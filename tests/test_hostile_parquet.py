"""Parquet files as sets are kept in: read by their columns, or left out row by row, counted and named."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.hostile import INCOMPLETE, OUTSIDE, TEXTS, check, check_refused, good, left, read, wav

pytestmark = pytest.mark.filterwarnings("ignore:spaCy")
PLAIN = {"columns": "audio=audio,text=text"}


def rows(**columns):
    return lambda case: case.parquet(**columns)


def sounds(*last):
    """Three good recordings, and what stands for more."""
    return [*({"bytes": wav(i), "path": ""} for i in range(4 - len(last))), *last]


def cut(case):
    case.parquet("a.parquet")
    case.file("b.parquet", (case.path / "a.parquet").read_bytes()[:-2000])


def torn(case):
    """A shard whose end is whole, so that its rows are known, and whose sounds are not."""
    case.parquet("a.parquet")
    content = bytearray((case.path / "a.parquet").read_bytes())
    content[4 : len(content) - 8000] = bytes(len(content) - 8004)
    case.file("b.parquet", content)


def linked(case):
    case.parquet()
    pq.write_table(pa.table({"audio": [b""]}), case.path / "../x.parquet")
    case.link("x.parquet", "../x.parquet")


def typed(name, kind, values=None):
    """One column of another type of Arrow."""

    def spoil(case):
        case.parquet()
        table = pq.read_table(case.path / "a.parquet")
        place = table.column_names.index(name)
        column = pa.array(values, kind) if values else table.column(name).cast(kind)
        pq.write_table(table.set_column(place, name, column), case.path / "a.parquet")

    return spoil


ROWS = {
    "known columns": good(rows(), 4),
    "named columns": good(
        rows(audio=None, text=None, clip=[wav(i) for i in range(4)], words=TEXTS[:4]),
        4,
        columns="audio=clip,text=words,speaker=speaker_id",
    ),
    "without speakers": good(rows(speaker_id=None), 4, **PLAIN),
    "speakers by number": good(
        rows(sounds=range(5), speaker_id=[7, 7, 7, 7, 8]),
        4,
        columns="audio=audio,text=text,speaker=speaker_id",
        speaker="7",
    ),
    "speakers in a dictionary": good(typed("speaker_id", pa.dictionary(pa.int32(), pa.string())), 4),
    "large texts": good(typed("text", pa.large_string()), 4),
    "texts in a dictionary": good(typed("text", pa.dictionary(pa.int32(), pa.string())), 4),
    "numbers as texts": good(rows(text=[11, 22, 33, 44]), 4),
    "no sound in a row": left(
        rows(audio=sounds({"bytes": None, "path": None})),
        INCOMPLETE,
        "a.parquet, row 3: the row holds no audio",
        kept=3,
    ),
    "no row of sound": left(rows(audio=sounds(None)), INCOMPLETE, "row 3: the row holds no audio", kept=3),
    "no bytes": left(
        rows(audio=sounds({"bytes": b"", "path": ""})), INCOMPLETE, "row 3: the row holds no audio", kept=3
    ),
    "words for a sound": left(
        rows(audio=sounds({"bytes": b"words", "path": ""})), "unusable audio", "row 3: cannot be decoded", kept=3
    ),
    "a path outside": left(
        lambda c: c.parquet(audio=sounds({"bytes": None, "path": str(c.outside)})),
        OUTSIDE,
        "a.parquet, row 3: of its audio, it lies outside the folder",
        kept=3,
    ),
    "a path above": left(
        rows(audio=sounds({"bytes": None, "path": "../outside.wav"})), OUTSIDE, "it lies outside the folder", kept=3
    ),
    "a path with NUL": left(
        rows(audio=sounds({"bytes": None, "path": "a\0b"})), INCOMPLETE, "no file can have that name", kept=3
    ),
    "a text that is a template": left(
        rows(text=[*TEXTS[:3], "Hello {NAME}."]), INCOMPLETE, "its transcript is a template", kept=3
    ),
    "no text": left(rows(text=[*TEXTS[:3], None]), "no transcript", "row 3: there is no transcript", kept=3),
    "six equal rows": left(rows(sounds=[0, 1, 2, 3, 3, 3, 3, 3, 3]), "duplicate", "the same sound as", count=5),
    "a cut shard": left(cut, "unreadable file", "b.parquet: it cannot be read as parquet"),
    "a torn shard": left(torn, "unreadable file", "b.parquet, rows 0 to 3: it cannot be read as parquet"),
    "an empty shard": left(
        lambda c: (c.parquet(), c.file("b.parquet")), "unreadable file", "b.parquet: it cannot be read as parquet"
    ),
    "a shard of no rows": good(
        lambda c: (c.parquet(), pq.write_table(pq.read_table(c.path / "a.parquet").slice(0, 0), c.path / "b.parquet")),
        4,
    ),
    "a folder as a shard": left(
        lambda c: (c.parquet(), (c.path / "b.parquet").mkdir()), OUTSIDE, "b.parquet: it is not a file"
    ),
    "a link to a shard": left(linked, OUTSIDE, "x.parquet: it lies outside the folder"),
}

REFUSED = {
    "a cut shard alone": (
        lambda c: (c.parquet(), c.file("a.parquet", (c.path / "a.parquet").read_bytes()[:-9])),
        "No parquet file of .* can be read",
    ),
    "nothing": (lambda c: (c.parquet(), c.file("a.parquet")), "No parquet file of .* can be read"),
    "a mark alone": (lambda c: (c.parquet(), c.file("a.parquet", b"PAR1PAR1")), "No parquet file of .* can be read"),
    "unknown columns": (
        rows(text=None, words=list("abcd")),
        "which are those of no known set; say which are which: --columns",
    ),
    "wrong columns": (
        rows(),
        "a.parquet lacks the columns words; it has audio, speaker_id, style, text",
        {"columns": "audio=audio,text=words"},
    ),
    "rows of nobody": (rows(speaker_id=[None] * 4), "holds many speakers; choose one by --speaker: none"),
    "no speakers": (rows(), "has no column of speakers; leave --speaker out", {**PLAIN, "speaker": "ex01"}),
    "numbers for sounds": (rows(audio=[1, 2, 3, 4]), "None of the 4 recordings .*there is no such file", PLAIN),
    "lists for texts": (rows(text=[[text] for text in TEXTS[:4]]), "row 0: its transcript is no text"),
    "lists of speakers": (
        rows(speaker_id=[["ex01"]] * 4),
        "cannot be read as parquet",
        {"columns": "audio=audio,text=text,speaker=speaker_id"},
    ),
}


@pytest.mark.parametrize("name", ROWS)
def test_rows_are_read_or_left_out_counted_and_named(case, name):
    check(case, ROWS[name])


@pytest.mark.parametrize("name", REFUSED)
def test_files_that_are_no_set_are_refused_in_one_sentence(case, name):
    spoil, words, *options = REFUSED[name]
    check_refused(case, spoil, words, **(options[0] if options else {}))


def test_one_parquet_file_is_a_source_too(case):
    case.parquet()
    dataset = read(case, data=str(case.path / "a.parquet"))
    assert len(dataset.fit) + len(dataset.heldout) == 4
