"""A folder of recordings: `metadata.csv`, or one .txt per recording."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from coconut.config import InputError

SUFFIXES = (".wav", ".flac", ".ogg", ".mp3")
METADATA = "metadata.csv"


@dataclass(frozen=True)
class Item:
    """One recording as its source gives it; `name` stands for it in messages.

    `text` None: no transcript. `problem`: why it cannot be used, known without reading it.
    """

    name: str
    audio: Path | bytes | None
    text: str | None
    phonemes: str | None = None
    problem: str | None = None


def read(folder: Path, speaker: str | None = None, style: str | None = None) -> Iterator[Item]:
    """Recordings of `folder` in order of their names (metadata.csv: of its rows, then what it leaves out).

    metadata.csv has the columns file_name, transcription (or text) and may have phonemes, speaker
    and style. Raises InputError when the folder holds no recording, the table lacks a column, or
    nothing in it is by `speaker` in `style`.
    """
    table = folder / METADATA
    if table.is_file():
        return _table(folder, table, speaker, style)
    for name, value in (("speaker", speaker), ("style", style)):
        if value is not None:
            raise InputError(f"--{name} {value} needs a {METADATA} with a column {name} in {folder}, which has none.")
    files = recordings(folder)
    if not files:
        raise InputError(f"{folder} holds no wav, flac, ogg or mp3 file; give a folder of recordings.")
    return (_beside(folder, path) for path in files)


def recordings(folder: Path) -> list[Path]:
    """Sound files in `folder` and below it, by name."""
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())


def _beside(folder: Path, path: Path) -> Item:
    text = path.with_suffix(".txt")
    name = str(path.relative_to(folder))
    try:
        return Item(name, path, text.read_text(encoding="utf-8-sig") if text.is_file() else None)
    except UnicodeDecodeError:
        return Item(name, path, None, problem=f"its transcript {text.name} is not UTF-8 text")


def _table(folder: Path, table: Path, speaker: str | None, style: str | None) -> Iterator[Item]:
    rows = _rows(table)
    for column, value in (("speaker", speaker), ("style", style)):
        rows = select(rows, column, value, str(table))
    listed = {(folder / row["file_name"]).resolve() for row in _rows(table)}
    for row in rows:
        path = folder / row["file_name"]
        text, phonemes = row.get("transcription") or row.get("text"), row.get("phonemes") or None
        missing = None if path.is_file() else f"{METADATA} lists it, but there is no such file"
        yield Item(row["file_name"], path, text or phonemes, phonemes, missing)
    for path in recordings(folder):
        if path.resolve() not in listed:
            yield Item(str(path.relative_to(folder)), path, None)


def _rows(table: Path) -> list[dict[str, str]]:
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, restval="")
            columns = reader.fieldnames or []
            rows = [{k: (v or "").strip() for k, v in row.items() if isinstance(k, str)} for row in reader]
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{table} is not a UTF-8 table of comma-separated values; save it as CSV again.") from error
    if "file_name" not in columns or not {"transcription", "text"} & set(columns):
        raise InputError(
            f"{table} needs the columns file_name and transcription; it has {', '.join(columns) or 'none'}."
        )
    rows = [row for row in rows if row["file_name"]]
    if not rows:
        raise InputError(f"{table} lists no recording; add a row for each.")
    return rows


def select(rows: list[dict[str, str]], column: str, value: str | None, where: str) -> list[dict[str, str]]:
    """Rows whose `column` is `value`; all of them for None, unless a speaker must be chosen."""
    known = sorted({row[column] for row in rows if row.get(column)})
    if value is None:
        if column == "speaker" and len(known) > 1:
            raise InputError(f"{where} holds {len(known)} speakers; choose one by --speaker: {', '.join(known)}.")
        return rows
    if not known:
        raise InputError(f"--{column} {value} needs a column {column} in {where}, which has none.")
    if value not in known:
        raise InputError(f"{where} has no {column} {value}; known: {', '.join(known)}.")
    return [row for row in rows if row.get(column) == value]
