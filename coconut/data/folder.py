"""A folder of recordings: tables that list them, or a text beside each."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from coconut.config import InputError
from coconut.data import tables
from coconut.data.item import INCOMPLETE, UNREAD, Columns, Item, listed, shown
from coconut.data.places import SOUNDS, Listing, PlaceError, located, read_text, scan, stem
from coconut.data.tables import Row

TIMED = re.compile(r"\d+(\.\d*)?\s+\d+(\.\d*)?\s+\S")  # a line of a label file: start, end, sound
SOUND_FOLDER = "wavs"  # of LJSpeech


class Place(NamedTuple):
    """A row, and the folder of its table, which its file name is relative to."""

    base: Path
    row: Row


@dataclass(frozen=True)
class Folder:
    """Recordings in `path` and below it, in order of their tables' rows or of their names.

    Tables are metadata.csv, .tsv or .jsonl, there or in folders of splits, whose names are relative to
    the table; without any, a .txt or .lab of the same name is each recording's transcript, and of any
    name where there is one recording and one text. Whatever lies outside of `path` is refused.
    """

    path: Path
    columns: Columns | None = None
    tells: bool = True  # of files that are no recordings

    def items(self, speaker: str | None = None, style: str | None = None) -> Iterator[Item]:
        """See Source. Files that are no recordings come first, as items that cannot be used."""
        listing = scan(self.path)
        if listing.tables:
            rows = [Place(table.parent, row) for table in listing.tables for row in self._table(table)]
            wanted = rows
            for column, value in (("speaker", speaker), ("style", style)):
                wanted = select(wanted, column, value, str(listing.tables[0]))
            return self._listed(listing, rows, wanted)
        for name, value in (("speaker", speaker), ("style", style)):
            if value is not None:
                raise InputError(
                    f"--{name} {value} needs a metadata.csv with a column {name} in {self.path}, which has none."
                )
        if not listing.sounds:
            raise InputError(f"{self.path} holds no recording (wav, flac, ogg, mp3, m4a, ...); give a folder of them.")
        return self._beside(listing)

    def _table(self, table: Path) -> list[Row]:
        return tables.read(self.path, table, self.columns)

    def _listed(self, listing: Listing, rows: list[Place], wanted: list[Place]) -> Iterator[Item]:
        texts = [path for paths in listing.texts.values() for path in paths]
        yield from self._unread(listing, texts, "the texts of its table are used")
        said = _texts(self.path, rows)
        given: set[Path] = set()
        for place in wanted:
            item = self._item(place)
            real = item.audio.resolve() if isinstance(item.audio, Path) else None
            if real and len(said[real]) > 1:
                item = _refused(item, f"its table gives it {len(said[real])} different texts", "two texts")
            elif real in given:
                item = _refused(item, "its table lists it before", "duplicate")
            given |= {real} if real else set()
            yield item
        for path in listing.sounds:
            item = self._sound(listing, path, "no table lists it")
            if not isinstance(item.audio, Path) or item.audio.resolve() not in said:
                yield item

    def _item(self, place: Place) -> Item:
        base, row = place
        name = shown(row.file_name if base == self.path else f"{base.relative_to(self.path)}/{row.file_name}")
        if row.problem:
            return Item(name, None, None, problem=row.problem)
        try:
            path = sound(self.path, base, row.file_name)
        except PlaceError as error:
            return Item(name, None, None, problem=f"its table lists it, but {error}", reason=error.reason or INCOMPLETE)
        return Item(name, path, row.text or row.phonemes or None, row.phonemes or None)

    def _sound(self, listing: Listing, path: Path, problem: str | None = None) -> Item:
        """A recording that no table tells of; with a `problem`, its text is not looked for."""
        name = shown(listing.name(path))
        try:
            found = located(self.path, path)
            text = None if problem else _transcript(self.path, listing.texts.get(stem(path), []))
        except PlaceError as error:
            return Item(name, None, None, problem=str(error), reason=error.reason or INCOMPLETE)
        return Item(name, found, text, problem=problem, reason="no transcript")

    def _beside(self, listing: Listing) -> Iterator[Item]:
        stems = {stem(path) for path in listing.sounds}
        if len(listing.sounds) == len(listing.texts) == 1:
            _, alone = listing.texts.popitem()
            listing.texts[stem(listing.sounds[0])] = alone
        texts = [path for other in listing.texts.keys() - stems for path in listing.texts[other]]
        yield from self._unread(listing, texts, "a text of no recording")
        for path in listing.sounds:
            yield self._sound(listing, path)

    def _unread(self, listing: Listing, texts: list[Path], why: str) -> Iterator[Item]:
        others = [*listing.others, *((listing.name(path), why) for path in sorted(texts))]
        for name, problem in others if self.tells else ():
            yield Item(shown(name), None, None, problem=problem, reason=UNREAD)


def sound(root: Path, base: Path, name: str) -> Path:
    """The recording that a table in the folder `base` calls `name`; LJSpeech leaves out its folder and its suffix.

    Raises PlaceError, as `located` does.
    """
    try:
        return located(root, name, base)
    except PlaceError as error:
        if error.reason:
            raise
        for other in _other_names(name):
            try:
                return located(root, other, base)
            except PlaceError:
                continue
        raise


def _other_names(name: str) -> Iterator[str]:
    yield unicodedata.normalize("NFC", name)
    yield unicodedata.normalize("NFD", name)  # as a Mac writes accents
    if "\\" in name:
        yield name.replace("\\", "/")
    if Path(name).suffix.lower() not in SOUNDS:
        for suffix in sorted(SOUNDS):
            yield f"{name}{suffix}"
            yield f"{SOUND_FOLDER}/{name}{suffix}"
    else:
        yield f"{SOUND_FOLDER}/{name}"


def _texts(root: Path, rows: list[Place]) -> dict[Path, set[str]]:
    """The different texts that tables give each recording; those of a recording without any are none."""
    said: dict[Path, set[str]] = {}
    for base, row in rows:
        try:
            texts = said.setdefault(sound(root, base, row.file_name).resolve(), set())
        except PlaceError:
            continue
        texts |= {" ".join(row.text.split())} - {""}
    return said


def _transcript(root: Path, paths: list[Path]) -> str | None:
    """The text in the files beside a recording; None where there is none. Raises PlaceError."""
    texts: dict[str, Path] = {}
    for path in paths:
        text = read_text(root, path)
        lines = text.split("\n")
        if all(TIMED.match(line.strip()) for line in lines if line.strip()) and text.strip():
            raise PlaceError(f"{path.name} holds times and labels, not a text")
        texts[" ".join(text.split())] = path
    if len(texts) > 1:
        raise PlaceError(f"its transcripts differ: {listed(sorted(path.name for path in texts.values()))}", "two texts")
    return next(iter(texts), None)


def _refused(item: Item, problem: str, reason: str) -> Item:
    return Item(item.name, None, item.text, problem=problem, reason=reason)


def select(rows: list[Place], column: str, value: str | None, where: str) -> list[Place]:
    """Rows whose `column` is `value`; all of them for None, unless a speaker must be chosen."""
    known = sorted({found for _, row in rows if (found := getattr(row, column))})
    if value is None:
        if column == "speaker" and len(known) > 1:
            raise InputError(f"{where} holds {len(known)} speakers; choose one by --speaker: {listed(known)}.")
        return rows
    if not known:
        raise InputError(f"--{column} {value} needs a column {column} in {where}, which has none.")
    if value not in known:
        raise InputError(f"{where} has no {column} {value}; known: {listed(known)}.")
    return [place for place in rows if getattr(place.row, column) == value]
