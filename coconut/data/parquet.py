"""Sets of recordings in parquet files: first who speaks, in what style, then the sound of the chosen rows alone.

A parquet file keeps its columns apart, in groups of rows. The columns of speakers and styles are small and
read at once; of the sound, only the groups that hold wanted rows are read, and those no further than to
the last wanted row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from coconut.config import InputError
from coconut.data.index import DataSource, Shard, densest, index_of, unreadable
from coconut.data.item import INCOMPLETE, OUTSIDE, Columns, Item, listed, shown
from coconut.data.places import PlaceError, located

UNREADABLE = "unreadable file"
NAMES = ("id", "inGameFilename")  # columns that may name a row
BATCH = 8  # rows of sound in memory at once
AHEAD = 2**18  # bytes read at once of a column of sounds


@dataclass(frozen=True)
class Parquet:
    """The source of a set whose files are `shards`; `missing` are files that are none, as items.

    `fault` makes of an error while reading a shard the sentence's end that says so, or raises InputError.
    `index`: the table that `index_of` made of the same shards.
    """

    source: DataSource
    shards: Sequence[Shard]
    index: pa.Table
    missing: tuple[Item, ...] = ()
    fault: Callable[[Exception, Shard], str] = lambda error, shard: unreadable(error)

    def items(self, speaker: str | None, style: str | None) -> Iterator[Item]:
        """See Source. Groups of rows that hold most of the wanted ones come first."""
        wanted = self._select(speaker, style)
        return self._items(wanted)

    def _select(self, speaker: str | None, style: str | None) -> pa.Table:
        source, index = self.source, self.index
        for column, value in source.always.items():
            index = _only(index, column, value)
        for option, chosen, name in (("speaker", speaker, source.speaker), ("style", style, source.style)):
            if chosen is not None and name is None:
                what = "speaking styles" if option == "style" else "column of speakers"
                raise InputError(f"{source.where} has no {what}; leave --{option} out.")
        if source.speaker:
            index = self._of_speaker(index, speaker)
        if style is not None and source.style:
            known = _values(index, source.style)
            if style not in known:
                by = f" by {speaker}" if speaker else ""
                raise InputError(f"{source.where} has no style {style}{by}; known: {listed(known)}.")
            index = _only(index, source.style, style)
        return index

    def _of_speaker(self, index: pa.Table, speaker: str | None) -> pa.Table:
        where, column = self.source.where, self.source.speaker
        known = _values(index, column)
        if speaker is None and len(known) != 1:
            raise InputError(f"{where} holds many speakers; choose one by --speaker: {listed(known)}.")
        if speaker is not None and speaker not in known:
            raise InputError(f"{where} has no speaker {speaker} in {self.index.num_rows} rows; known: {listed(known)}.")
        return index if speaker is None else _only(index, column, speaker)

    def _items(self, wanted: pa.Table) -> Iterator[Item]:
        yield from self.missing
        for shard, group, rows in densest(wanted):
            try:
                yield from self._read(self.shards[shard], group, rows)
            except (pa.ArrowException, OSError) as error:
                name = f"{shown(self.shards[shard].name)}, rows {rows[0]} to {rows[-1]}"
                problem = self.fault(error, self.shards[shard])
                yield Item(name, None, None, problem=problem, reason=UNREADABLE)

    def _read(self, shard: Shard, group: int, rows: list[int]) -> Iterator[Item]:
        """Wanted rows of a group; `rows`: their places in it, ascending."""
        with shard.open() as file:
            opened = pq.ParquetFile(file, buffer_size=AHEAD, pre_buffer=False)
            names = [name for name in NAMES if name in opened.schema_arrow.names]
            columns = [self.source.audio, self.source.text, *names]
            start, left = 0, set(rows)
            for batch in opened.iter_batches(BATCH, row_groups=[group], columns=columns, use_threads=False):
                for place in sorted(left & set(range(start, start + batch.num_rows))):
                    row = {name: batch.column(name)[place - start].as_py() for name in columns}
                    yield self._item(row, f"{shard.name}, row {place}", names)
                    left.remove(place)
                if not left:
                    return
                start += batch.num_rows

    def _item(self, row: Mapping[str, Any], place: str, names: Sequence[str]) -> Item:
        found, text = row[self.source.audio], row[self.source.text]
        sound = found if isinstance(found, dict) else {"bytes": found} if isinstance(found, bytes) else {"path": found}
        name = shown(str(next((row[name] for name in names if row[name]), None) or place))
        if not isinstance(text, str | int | float | None):
            return Item(name, None, None, problem="its transcript is no text")
        text = None if text is None else str(text)
        if text and "{" in text:
            return Item(name, None, text, problem="its transcript is a template with {")
        content = sound.get("bytes")
        if content:
            return Item(name, content, text)
        if not sound.get("path") or self.source.path is None:
            return Item(name, None, text, problem="the row holds no audio")
        folder = self.source.path if self.source.path.is_dir() else self.source.path.parent
        try:
            return Item(name, located(folder, str(sound["path"])), text)
        except PlaceError as error:
            return Item(name, None, text, problem=f"of its audio, {error}", reason=error.reason or INCOMPLETE)


def local(path: Path, source: DataSource) -> Parquet:
    """The set in a parquet file, or in those of a folder and below it. Raises InputError when none can be read."""
    root = path if path.is_dir() else path.parent
    source = replace(source, path=path)
    shards: list[Shard] = []
    missing: list[Item] = []
    tables: list[pa.Table] = []
    for file in files(path):
        name = str(file.relative_to(root))
        try:
            shard = Shard(name, partial(open, located(root, file), "rb"))
            tables.append(index_of(shard, len(shards), source))
            shards.append(shard)
        except PlaceError as error:
            missing.append(Item(shown(name), None, None, problem=str(error), reason=error.reason or OUTSIDE))
        except (pa.ArrowException, OSError) as error:
            missing.append(Item(shown(name), None, None, problem=unreadable(error), reason=UNREADABLE))
    if not shards:
        first = f"{missing[0].name}: {missing[0].problem}"
        raise InputError(f"No parquet file of {path} can be read; {first}.")
    return Parquet(source, shards, pa.concat_tables(tables), tuple(missing))


def files(path: Path) -> list[Path]:
    """The parquet files at `path`, a file or a folder, by name."""
    return sorted(path.rglob("*.parquet")) if path.is_dir() else [path]


def recognise(path: Path, known: Mapping[str, DataSource], columns: Columns | None) -> DataSource:
    """The known set whose columns the files at `path` have, or one with the given columns. Raises InputError."""
    if columns is not None:
        return described(str(path), columns)
    found: set[str] = set()
    for file in files(path):
        try:
            found = set(pq.read_schema(located(path if path.is_dir() else path.parent, file)).names)
            break
        except (pa.ArrowException, OSError, PlaceError):
            continue
    else:
        raise InputError(f"No parquet file of {path} can be read; they are damaged or cut short, fetch them again.")
    fitting = [source for source in known.values() if source.columns <= found]
    if not fitting:
        raise InputError(
            f"{path} has the columns {listed(sorted(found))}, which are those of no known set; "
            "say which are which: --columns audio=NAME,text=NAME and, where there are such, speaker=NAME,style=NAME."
        )
    return max(fitting, key=lambda source: len(source.columns))


def described(repo: str, columns: Columns, config: str | None = None) -> DataSource:
    """A set that is not known, by the columns the user gives."""
    return DataSource(repo, columns.text, columns.speaker, columns.style, config, audio=columns.audio)


def _only(index: pa.Table, column: str | None, value: str) -> pa.Table:
    return index.filter(pc.equal(index.column(column), value))


def _values(index: pa.Table, column: str | None) -> list[str]:
    return sorted(value for value in pc.unique(index.column(column)).to_pylist() if value)
