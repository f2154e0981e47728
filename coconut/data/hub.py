"""The known sets of the Hugging Face hub, streamed: nothing is downloaded whole.

The same code reads local parquet files with the same columns, given as a folder.
"""

from __future__ import annotations

import importlib.util
import itertools
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from coconut.config import InputError
from coconut.data.folder import Item

SEARCHED = 50_000  # rows looked at for a speaker before giving up
SHOWN = 40  # names listed in a message
HUB_SECONDS = 10.0


@dataclass(frozen=True)
class DataSource:
    """A set of the hub: where it is, how its columns are called, which rows to keep.

    `path`: a folder of parquet files to read instead. `always` {column: value}: rows kept
    besides the user's choice. `speakers`: all of them, where they are few.
    """

    repo: str
    text: str
    speaker: str
    style: str | None = None
    config: str | None = None
    always: Mapping[str, str] = field(default_factory=dict)
    speakers: tuple[str, ...] = ()
    path: Path | None = None

    @property
    def columns(self) -> set[str]:
        """Columns that must be there."""
        return {"audio", self.text, self.speaker, *self.always} | ({self.style} if self.style else set())

    @property
    def where(self) -> str:
        return str(self.path or self.repo)


_EXPRESSO = ("ex01", "ex02", "ex03", "ex04")
SOURCES: dict[str, DataSource] = {
    "expresso": DataSource(
        "ylacombe/expresso", "text", "speaker_id", style="style", config="read", speakers=_EXPRESSO
    ),
    "expresso-conversational": DataSource(
        "nytopop/expresso-conversational", "text", "speaker_id", style="style", config="conversational",
        speakers=_EXPRESSO,
    ),
    "animevox": DataSource("taresh18/AnimeVox", "transcription", "character_name"),
    "genshin": DataSource(
        "simon3000/genshin-voice", "transcription", "speaker", always={"language": "English(US)", "type": "Dialog"}
    ),
}  # fmt: skip


def read(source: DataSource, speaker: str | None, style: str | None) -> Iterator[Item]:
    """Rows of one speaker (in one style), in the order of the set.

    Raises InputError when no speaker is named (naming those there are), when the speaker, the
    style or the set is not known, or when the hub cannot be reached.
    """
    if style is not None and source.style is None:
        raise InputError(f"{source.where} has no speaking styles; leave --style out.")
    if speaker is None:
        raise InputError(f"{source.where} holds many speakers; choose one by --speaker: {_names(_speakers(source))}.")
    if source.speakers and source.path is None and speaker not in source.speakers:
        raise InputError(f"{source.where} has no speaker {speaker}; known: {', '.join(source.speakers)}.")
    return _matching(source, speaker, style)


def _matching(source: DataSource, speaker: str, style: str | None) -> Iterator[Item]:
    rows, seen = _open(source), _Seen()
    wanted = {**source.always, source.speaker: speaker} | ({source.style: style} if style and source.style else {})

    def keep(*values: Any) -> bool:
        row = dict(zip(columns, values, strict=True))
        seen.add(row, source)
        if seen.rows > SEARCHED and not seen.found:
            raise _NotFoundError
        seen.found = seen.found or all(row[name] == value for name, value in wanted.items())
        return all(row[name] == value for name, value in wanted.items())

    columns = sorted(source.columns - {"audio", source.text})
    found = False
    try:
        for number, row in enumerate(rows.filter(keep, input_columns=columns)):
            found = True
            yield _item(row, source, number)
    except _NotFoundError:
        pass
    except _network_errors() as error:
        raise _unreachable(source) from error
    if not found:
        raise _nobody(source, speaker, style, seen)


class _NotFoundError(Exception):
    """Enough rows were looked at."""


class _Seen:
    """Speakers, and the styles of each, that went by."""

    def __init__(self) -> None:
        self.rows, self.found = 0, False
        self.styles: dict[str, set[str]] = {}

    def add(self, row: Mapping[str, Any], source: DataSource) -> None:
        self.rows += 1
        if row[source.speaker] and all(row[name] == value for name, value in source.always.items()):
            styles = self.styles.setdefault(str(row[source.speaker]), set())
            if source.style and row[source.style]:
                styles.add(str(row[source.style]))


def _nobody(source: DataSource, speaker: str, style: str | None, seen: _Seen) -> InputError:
    if speaker in seen.styles:
        return InputError(
            f"{source.where} has no style {style} by {speaker}; known: {_names(sorted(seen.styles[speaker]))}."
        )
    return InputError(
        f"{source.where} has no speaker {speaker} in {seen.rows} rows; known: {_names(sorted(seen.styles))}."
    )


def _item(row: Mapping[str, Any], source: DataSource, number: int) -> Item:
    audio, text = row["audio"] or {}, row[source.text]
    name = str(row.get("id") or row.get("inGameFilename") or audio.get("path") or number)
    content = audio.get("bytes")
    if content is None and audio.get("path") and Path(audio["path"]).is_file():
        content = Path(audio["path"]).read_bytes()
    problem = None if content else "the row holds no audio"
    if text and "{" in text:
        problem = "its transcript is a template with {"
    return Item(name, content, text, problem=problem)


def _open(source: DataSource, columns: list[str] | None = None) -> Any:
    """The set as an IterableDataset whose audio is {bytes, path}: decoding it is not torchcodec's."""
    import datasets

    datasets.disable_progress_bars()
    options: dict[str, Any] = {"split": "train", "streaming": True}
    if columns:
        options["columns"] = columns
    try:
        if source.path is not None:
            files = sorted(str(path) for path in source.path.rglob("*.parquet"))
            rows = datasets.load_dataset("parquet", data_files=files, **options)
        else:
            _reach(source)
            rows = datasets.load_dataset(source.repo, source.config, **options)
        if columns:
            return rows
        return rows.cast_column("audio", {"bytes": datasets.Value("binary"), "path": datasets.Value("string")})
    except InputError:
        raise
    except _network_errors() as error:
        raise _unreachable(source) from error
    except ValueError as error:
        raise InputError(f"{source.where} cannot be read as a data set: {_line(error)}") from error


def _reach(source: DataSource) -> None:
    """Ask the hub once, without the long retries of a download."""
    import huggingface_hub

    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    try:
        huggingface_hub.HfApi().dataset_info(source.repo, timeout=HUB_SECONDS)
    except Exception as error:  # httpx, requests and the hub's own errors share no base class
        raise _unreachable(source) from error


def _network_errors() -> tuple[type[Exception], ...]:
    """What a lost connection may raise; httpx's errors are not OSErrors."""
    errors: tuple[type[Exception], ...] = (OSError, RuntimeError)
    if importlib.util.find_spec("httpx"):
        import httpx

        errors += (httpx.HTTPError,)
    return errors


def _unreachable(source: DataSource) -> InputError:
    return InputError(
        f"{source.where} is out of reach on the Hugging Face hub; check the network, or give a folder of recordings."
    )


def _speakers(source: DataSource) -> list[str]:
    """All speakers where they are few, else those of the first rows."""
    if source.speakers and source.path is None:
        return list(source.speakers)
    columns = sorted(source.columns - {"audio", source.text})
    seen = _Seen()
    for row in itertools.islice(_open(source, columns), SEARCHED):
        seen.add(row, source)
    return sorted(seen.styles)


def recognise(folder: Path) -> DataSource | None:
    """The known set whose columns the parquet files in `folder` have; None without parquet files.

    Raises InputError when there are such files with other columns.
    """
    files = sorted(folder.rglob("*.parquet"))
    if not files:
        return None
    import dataclasses

    import pyarrow.parquet

    columns = set(pyarrow.parquet.read_schema(files[0]).names)
    fitting = [source for source in SOURCES.values() if source.columns <= columns]
    if not fitting:
        raise InputError(
            f"{files[0]} has the columns {', '.join(sorted(columns))}, which are those of no known set; "
            "make it a folder of recordings with metadata.csv."
        )
    return dataclasses.replace(max(fitting, key=lambda source: len(source.columns)), path=folder)


def _names(names: list[str]) -> str:
    if not names:
        return "none seen"
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")


def _line(error: Exception) -> str:
    return str(error).splitlines()[0][:200] if str(error) else type(error).__name__
