"""Tables that list recordings: CSV with commas, semicolons, tabs or bars, JSON lines, and LJSpeech's own."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from coconut.config import InputError
from coconut.data.item import Columns, listed
from coconut.data.places import PlaceError, decoded, located

EXTRA = "#extra"  # what a line has beyond its columns, or why it is none
SEPARATORS = (",", ";", "\t", "|")
TEXTS = ("transcription", "text")  # what a column of texts may be called, unless --columns names it
USUAL = Columns("file_name", "transcription", "speaker", "style")
LJSPEECH = re.compile(r"[^|]+\|[^|]*(\|[^|]*)?$")


@dataclass(frozen=True)
class Row:
    """One line of a table, "" where it says nothing; `problem`: why it cannot be used."""

    file_name: str
    text: str = ""
    phonemes: str = ""
    speaker: str = ""
    style: str = ""
    problem: str | None = None


def read(root: Path, table: Path, columns: Columns | None = None) -> list[Row]:
    """Rows of a table in the folder `root`, but for those that name no file.

    `columns`: what its columns are called, else `file_name`, `transcription` (or `text`), and perhaps
    `phonemes`, `speaker`, `style`. Raises InputError when it cannot be read, lacks a column or lists nothing.
    """
    content = _content(root, table)
    try:
        lines = _json(content) if table.suffix.lower() == ".jsonl" else _csv(content, columns or USUAL, table)
        rows = [row for row in _rows(lines, table, columns or USUAL) if row.file_name or row.problem]
    except csv.Error as error:
        raise InputError(f"{table} is not a UTF-8 table of comma-separated values; save it as CSV again.") from error
    if not rows:
        raise InputError(f"{table} lists no recording; add a row for each.")
    return rows


def _content(root: Path, table: Path) -> str:
    try:
        return decoded(located(root, table).read_bytes())
    except PlaceError as error:
        raise InputError(f"{table} cannot be read: {error}.") from error
    except OSError as error:
        raise InputError(f"{table} cannot be read ({error.strerror}); make it readable, or remove it.") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{table} is not a UTF-8 table; save it as CSV again.") from error


def _csv(content: str, columns: Columns, table: Path) -> Iterator[dict[str, Any]]:
    """Lines by column. The separator is the one that gives a column of file names; LJSpeech has no header at all."""
    first = io.StringIO(content, newline="").readline().rstrip("\r\n")
    for separator in SEPARATORS:
        header = next(csv.reader([first], delimiter=separator), [])
        if columns.audio in [name.strip() for name in header]:
            break
    else:
        if LJSPEECH.match(first):
            return _ljspeech(content, columns)
        separator = ","
    reader = csv.DictReader(io.StringIO(content, newline=""), delimiter=separator, restkey=EXTRA, restval="")
    reader.fieldnames = names = [name.strip() for name in reader.fieldnames or []]
    for name in {columns.audio, columns.text, *TEXTS, columns.speaker, columns.style}:
        if name and names.count(name) > 1:
            raise InputError(f"{table} has the column {name} twice; rename one of them.")
    return ({**line, **_open(line, separator)} for line in reader) if names else iter(())


def _open(line: dict[str, Any], separator: str) -> dict[str, str]:
    """What is wrong with a line one of whose fields swallowed the next: a quote at its beginning was never closed."""
    swallowed = any(isinstance(value, str) and separator in value.partition("\n")[2] for value in line.values())
    return {EXTRA: "its text goes on over the next rows; close its quotes"} if swallowed else {}


def _ljspeech(content: str, columns: Columns) -> Iterator[dict[str, Any]]:
    """Lines `id|text|text with its numbers as words`; the last that is not empty is what was said."""
    for line in content.splitlines():
        name, *texts = line.split("|")
        yield {columns.audio: name, columns.text: next(filter(None, map(str.strip, reversed(texts))), "")}


def _json(content: str) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(content.splitlines(), 1):
        if line.strip():
            try:
                found = json.loads(line)
            except (ValueError, RecursionError):
                found = None
            yield found if isinstance(found, dict) else {EXTRA: f"line {number} is not a JSON object"}


def _rows(lines: Iterable[dict[str, Any]], table: Path, columns: Columns) -> Iterator[Row]:
    for number, line in enumerate(lines):
        text = columns.text if columns != USUAL else next((name for name in TEXTS if name in line), columns.text)
        if number == 0 and EXTRA not in line and not {columns.audio, text} <= set(line):
            raise InputError(
                f"{table} needs the columns {columns.audio} and {columns.text}; it has {listed(list(line))}. "
                "Or say which are which: --columns audio=NAME,text=NAME."
            )
        yield _row(line, columns, text, f"{table.name}, row {number + 1}")


def _row(line: dict[str, Any], columns: Columns, text: str, place: str) -> Row:
    extra = line.get(EXTRA)

    def value(column: str | None) -> str:
        found = line.get(column) if column else None
        told = str(found).strip() if isinstance(found, str | int | float) else ""
        return told.encode("utf-8", "ignore").decode()  # JSON may hold halves of signs, which no file can

    if isinstance(extra, str):
        return Row(value(columns.audio) or place, problem=extra)
    problem = "its row has more fields than the header; put a text with separators in quotes" if extra else None
    return Row(
        value(columns.audio), value(text), value("phonemes"), value(columns.speaker), value(columns.style), problem
    )
