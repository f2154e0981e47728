"""Where recordings come from, by name: the demo, a folder, parquet files, a known set, any set of the hub."""

from __future__ import annotations

import os
import re
from importlib import resources
from pathlib import Path

from coconut.config import FitConfig, InputError
from coconut.data import hub, parquet
from coconut.data.folder import Folder
from coconut.data.index import DataSource
from coconut.data.item import Columns, Source, shown
from coconut.data.places import TABLES

DEMO = "demo"
SETS = {**hub.SOURCES, **{entry.repo: entry for entry in hub.SOURCES.values()}}  # by short name and by repository
KNOWN = (DEMO, *SETS)  # what `data` may be without being a folder
PATH = 300  # signs of a path in a message
REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+(:[\w.-]+)?")  # OWNER/NAME of the hub, or OWNER/NAME:PART


def find(config: FitConfig, source: DataSource | None = None) -> Source:
    """The source that `config.data` names; `source` stands in for a known set.

    A name that is known is never a folder. Raises InputError for one that is nothing.
    """
    name, columns = config.data, Columns.parse(config.columns) if config.columns else None
    path = Path(name).expanduser()
    known = source or SETS.get(name)
    if known is not None:
        known = parquet.described(known.repo, columns, known.config) if columns else known
        return parquet.local(known.path, known) if known.path else hub.remote(known, config.speaker, config.style)
    if name == DEMO:
        return _demo()
    if os.path.isdir(path):  # which is false for names that no file can have, where Path would raise
        return _in_folder(path, columns)
    if os.path.isfile(path):
        return _in_file(path, columns)
    if REPOSITORY.fullmatch(name):
        return _on_hub(config, columns)
    raise InputError(
        f"There is no folder {shown(name, PATH)}, nor a known data set of that name "
        f"({', '.join((DEMO, *hub.SOURCES))})."
    )


def _demo() -> Folder:
    demo = Path(str(resources.files("coconut"))) / "assets" / "demo"
    if not demo.is_dir():
        raise InputError("This installation lacks its demo recordings; install coconut again, or give --data FOLDER.")
    return Folder(demo, tells=False)


def _in_folder(path: Path, columns: Columns | None) -> Source:
    """Parquet files, unless a table lists recordings."""
    listed = any((path / table).exists() for table in TABLES)
    if listed or not any(path.rglob("*.parquet")):
        return Folder(path, columns)
    return parquet.local(path, parquet.recognise(path, hub.SOURCES, columns))


def _in_file(path: Path, columns: Columns | None) -> Source:
    if path.suffix.lower() != ".parquet":
        raise InputError(f"{path} is a file; give the folder that holds the recordings and their transcripts.")
    return parquet.local(path, parquet.recognise(path, hub.SOURCES, columns))


def _on_hub(config: FitConfig, columns: Columns | None) -> Source:
    repo, _, part = config.data.partition(":")
    if columns is None:
        raise InputError(
            f"There is no folder {config.data}; if it is a data set of the Hugging Face hub, say which of its columns "
            "are which: --columns audio=NAME,text=NAME and, where there are such, speaker=NAME,style=NAME."
        )
    return hub.remote(parquet.described(repo, columns, part or None), config.speaker, config.style)
