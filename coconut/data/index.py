"""What parquet files hold, without their sound: which rows there are, of whom, and where."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from coconut.config import InputError
from coconut.data.item import listed

SHARD, GROUP, ROW, SIZE = "#shard", "#group", "#row", "#bytes"  # columns of an index beside its keys


@dataclass(frozen=True)
class DataSource:
    """A set in parquet files: where it is, how its columns are called, which rows to keep.

    `repo`: its name on the hub, and `config` the part of it. `path`: a local file or folder of files instead.
    `always` {column: value}: rows kept besides the user's choice. `speakers`: all of them, where they are few.
    """

    repo: str
    text: str
    speaker: str | None
    style: str | None = None
    config: str | None = None
    always: Mapping[str, str] = field(default_factory=dict)
    speakers: tuple[str, ...] = ()
    path: Path | None = None
    audio: str = "audio"

    @property
    def keys(self) -> list[str]:
        """Columns that tell whether a row is wanted."""
        return sorted({*self.always, *filter(None, (self.speaker, self.style))})

    @property
    def columns(self) -> set[str]:
        """Columns that must be there."""
        return {self.audio, self.text, *self.keys}

    @property
    def where(self) -> str:
        return str(self.path or self.repo)


@dataclass(frozen=True)
class Shard:
    """One parquet file: its name for messages, and how to open it anew."""

    name: str
    open: Callable[[], Any]


def index_of(shard: Shard, number: int, source: DataSource) -> pa.Table:
    """The key columns of a shard as text, and where each row is: number of the shard, group, row in it, and bytes.

    Raises InputError where columns are missing; pyarrow's errors and OSError where it cannot be read.
    """
    with shard.open() as file:
        opened = pq.ParquetFile(file, pre_buffer=True)
        missing = source.columns - set(opened.schema_arrow.names)
        if missing:
            raise InputError(
                f"{shard.name} lacks the columns {listed(sorted(missing))}; it has "
                f"{listed(sorted(opened.schema_arrow.names))}. Say which are which: --columns audio=NAME,text=NAME."
            )
        keys = opened.read(columns=source.keys, use_threads=False)
        groups = [opened.metadata.row_group(group) for group in range(opened.metadata.num_row_groups)]
    sizes = np.array([group.num_rows for group in groups], np.int64)
    sounds = np.array([_bytes(group, source.audio) for group in groups], np.int64)
    places = {
        SHARD: np.full(sizes.sum(), number, np.int32),
        GROUP: np.repeat(np.arange(len(sizes), dtype=np.int32), sizes),
        ROW: np.concatenate([np.arange(size, dtype=np.int32) for size in sizes] or [np.zeros(0, np.int32)]),
        SIZE: np.repeat(sounds, sizes),
    }
    texts = {name: keys.column(name).cast(pa.string()).combine_chunks() for name in source.keys}
    return pa.table(places | texts)


def densest(wanted: pa.Table) -> Iterator[tuple[int, int, list[int]]]:
    """(shard, group, rows in it) of an index: groups with far more wanted rows for their bytes first, else in order."""
    groups: dict[tuple[int, int], list[int]] = {}
    sizes: dict[tuple[int, int], int] = {}
    columns = [wanted.column(name).to_pylist() for name in (SHARD, GROUP, ROW, SIZE)]
    for shard, group, row, size in zip(*columns, strict=True):
        groups.setdefault((shard, group), []).append(row)
        sizes[shard, group] = size
    costs = {key: round(math.log2(max(sizes[key], 1) / len(rows))) for key, rows in groups.items()}
    for key in sorted(groups, key=lambda key: (costs[key], key)):
        yield *key, sorted(groups[key])


def unreadable(error: Exception) -> str:
    """What is wrong with a file that pyarrow cannot read: a sentence's end."""
    line = str(error).splitlines()[0][:200].rstrip(".") if str(error) else type(error).__name__
    return f"it cannot be read as parquet ({line})"


def _bytes(group: Any, audio: str) -> int:
    """Of the sound in a row group."""
    columns = [group.column(i) for i in range(group.num_columns)]
    return sum(c.total_compressed_size for c in columns if c.path_in_schema.split(".")[0] == audio)
