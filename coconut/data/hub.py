"""Sets of the Hugging Face hub: who speaks is read first, then the sound of the chosen rows alone.

One question tells the newest commit of a set. All that is read of a commit is kept in the cache folder: an
index of its speakers and styles, and the pieces of its files. So a second start asks that one question.
"""

from __future__ import annotations

import fnmatch
import hashlib
import json
import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from coconut.config import InputError
from coconut.data.index import DataSource, Shard, index_of, unreadable
from coconut.data.item import Item, listed
from coconut.data.parquet import UNREADABLE, Parquet
from coconut.data.ranges import PATIENCE, SECONDS, RemoteFile, UnreachedError, passing, patiently, status_of
from coconut.files import cache_folder, replacing
from coconut.waiting import bar, watched

SPLIT = "train"
FORMAT = 1  # of an index in the cache
AT_ONCE = 8  # files whose key columns are read side by side
EXPORT = "refs/convert/parquet"  # where the hub keeps parquet files of sets in other formats
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


def remote(source: DataSource, speaker: str | None, style: str | None) -> Parquet:
    """The set on the hub, its index read. What is known to be wrong is said without asking.

    Raises InputError, a sentence of its own for each fault of the hub, the name or the permission.
    """
    check(source, speaker, style)
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    with bar(f"asking the Hugging Face hub for {source.where}"):
        files = _files(source)
    folder = cache_folder() / "hub"
    shards = [Shard(file.name, partial(file.open, folder / "pieces")) for file in files]
    fault = partial(_fault, source)
    index, missing = _index(folder / "index", source, files, shards)
    return Parquet(source, shards, index, missing, fault)


def check(source: DataSource, speaker: str | None, style: str | None) -> None:
    """Raises InputError for a speaker or a style that the set is known not to have."""
    if style is not None and source.style is None:
        raise InputError(f"{source.where} has no speaking styles; leave --style out.")
    if source.speakers and speaker is None:
        raise InputError(
            f"{source.where} holds many speakers; choose one by --speaker: {listed(list(source.speakers))}."
        )
    if source.speakers and speaker not in source.speakers:
        raise InputError(f"{source.where} has no speaker {speaker}; known: {listed(list(source.speakers))}.")


def _files(source: DataSource) -> list[RemoteFile]:
    """The parquet files of the set's training part at its newest commit, else those the hub made of it."""
    info = _info(source, None)
    chosen = _chosen(source, info)
    if not chosen:
        info = _info(source, EXPORT)
        chosen = _chosen(source, info)
    if not chosen:
        raise InputError(
            f"{source.where} has no parquet files on the Hugging Face hub; download it and make it a folder of "
            "recordings with metadata.csv."
        )
    sizes = {entry.rfilename: entry.size for entry in info.siblings}
    return [RemoteFile(info.id, info.sha, name, sizes[name]) for name in chosen]


def _info(source: DataSource, revision: str | None) -> Any:
    from huggingface_hub import HfApi, constants

    api = HfApi(endpoint=constants.ENDPOINT)
    try:
        return patiently(
            partial(api.dataset_info, source.repo, revision=revision, timeout=SECONDS, files_metadata=True)
        )
    except Exception as error:  # httpx, requests and the hub's own errors share no base class
        raise InputError(_sentence(source, error)) from error


def _chosen(source: DataSource, info: Any) -> list[str]:
    """Names of the files of `source.config` (default: the set's own) for training, by the set's card or their folders.

    Raises InputError for a config that the set does not have.
    """
    names = sorted(entry.rfilename for entry in info.siblings or () if entry.rfilename.endswith(".parquet"))
    cards = {card["config_name"]: card for card in (info.card_data or {}).get("configs") or () if "config_name" in card}
    cards = {name: card for name, card in cards.items() if "data_files" in card}
    if cards and any(_matching(names, card) for card in cards.values()):
        default = next((name for name, card in cards.items() if card.get("default")), None)
        config = source.config or default or ("default" if "default" in cards else next(iter(cards)))
        _known(source, config, list(cards))
        return _matching(names, cards[config])
    folders = sorted({name.split("/")[0] for name in names if "/" in name} - {"data"})
    if source.config and folders and source.config not in folders and source.config != "default":
        _known(source, source.config, folders)
    if source.config in folders:
        names = [name for name in names if name.startswith(f"{source.config}/")]
    return [name for name in names if SPLIT in name] or names


def _matching(names: Sequence[str], card: dict[str, Any]) -> list[str]:
    """The files that a config of a set's card gives for training, else for its first split."""
    given = card["data_files"]
    entries = given if isinstance(given, list) else [given]
    splits: dict[str, list[str]] = {}
    for entry in entries:
        split, paths = (entry.get("split", SPLIT), entry.get("path", [])) if isinstance(entry, dict) else (SPLIT, entry)
        splits.setdefault(split, []).extend(paths if isinstance(paths, list) else [paths])
    patterns = splits.get(SPLIT) or next(iter(splits.values()), [])
    return [name for name in names if any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)]


def _known(source: DataSource, config: str, configs: Sequence[str]) -> None:
    if config not in configs:
        raise InputError(
            f"{source.where} has no part {config} on the Hugging Face hub; known: {listed(list(configs))}. "
            f"Choose one as {source.repo}:PART."
        )


def _index(
    folder: Path, source: DataSource, files: Sequence[RemoteFile], shards: Sequence[Shard]
) -> tuple[pa.Table, tuple[Item, ...]]:
    """The key columns of all files, from the cache where they were read before; and the files that cannot be read."""
    key = json.dumps(
        [FORMAT] + [[file.repo, file.revision, file.name] for file in files] + [source.keys, sorted(source.columns)]
    )
    path = folder / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.parquet"
    try:
        return pq.read_table(path), ()
    except (OSError, pa.ArrowException):
        pass
    with ThreadPoolExecutor(AT_ONCE) as pool:
        waiting = [pool.submit(_keys, source, number, shard) for number, shard in enumerate(shards)]
        try:
            found = [one.result() for one in watched(waiting, f"reading who speaks in {source.where}")]
        finally:
            pool.shutdown(cancel_futures=True)  # after a fault that all would meet
    tables = [table for table in found if not isinstance(table, Item)]
    missing = [item for item in found if isinstance(item, Item)]
    if not tables:
        raise InputError(f"No file of {source.where} can be read; {missing[0].name}: {missing[0].problem}.")
    index = pa.concat_tables(tables)
    if not missing:
        with replacing(path) as temporary:
            pq.write_table(index, temporary)
    return index, tuple(missing)


def _keys(source: DataSource, number: int, shard: Shard) -> pa.Table | Item:
    """The index of one file, or why there is none. Raises InputError where the others will not do better."""
    try:
        return index_of(shard, number, source)
    except (pa.ArrowException, OSError) as error:
        return Item(shard.name, None, None, problem=_fault(source, error, shard), reason=UNREADABLE)


def _fault(source: DataSource, error: Exception, shard: Shard) -> str:
    """What is wrong with one file; raises InputError where the others will not do better."""
    if not isinstance(error, UnreachedError):
        return unreadable(error)
    cause = error.__cause__
    assert isinstance(cause, Exception)
    if status_of(cause) == 404 and not _gated(cause):
        return "the hub lists it, but does not have it (404)"
    raise InputError(_sentence(source, cause)) from error


def _sentence(source: DataSource, error: Exception) -> str:
    """What went wrong with the hub, and what to do about it."""
    from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError

    repo, status = source.where, status_of(error)
    if _gated(error):
        return (
            f"{repo} is gated: accept its conditions at https://huggingface.co/datasets/{source.repo}, then log in by "
            "`hf auth login` or set HF_TOKEN."
        )
    if isinstance(error, RepositoryNotFoundError) or status == 404:
        return (
            f"The Hugging Face hub shows no data set {repo} ({status}); it was renamed or removed, or it is private "
            "and needs `hf auth login`."
        )
    if status == 401:
        return (
            f"The Hugging Face hub does not let you in (401) for {repo}; log in, or log in again, by `hf auth login`."
        )
    if status == 403:
        return f"The Hugging Face hub refuses {repo} to your account (403); ask its owner for access."
    if status == 429:
        return (
            f"The Hugging Face hub still asks to wait (429) for {repo} after {PATIENCE:.0f} s; try later, or log in by "
            "`hf auth login`, which raises the limit."
        )
    if status is not None:
        tried = f" after {PATIENCE:.0f} s" if passing(error) else ""
        return f"The Hugging Face hub answers {status} for {repo}{tried}; try later, or give a folder of recordings."
    if isinstance(error, HFValidationError):
        return f"{repo} is no name of a data set of the Hugging Face hub; write OWNER/NAME."
    return f"{repo} is out of reach on the Hugging Face hub; check the network, or give a folder of recordings."


def _gated(error: Exception) -> bool:
    from huggingface_hub.errors import GatedRepoError

    return isinstance(error, GatedRepoError)
