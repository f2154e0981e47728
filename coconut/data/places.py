"""Files of a folder: found, and refused where they lie outside of it."""

from __future__ import annotations

import codecs
import os
import unicodedata
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from coconut.data.item import OUTSIDE

SOUNDS = frozenset({
    ".wav", ".flac", ".ogg", ".oga", ".mp3", ".opus", ".aif", ".aiff", ".au", ".caf", ".w64", ".rf64", ".m4a", ".mp4",
    ".aac", ".webm", ".mka", ".wma", ".amr", ".3gp",
})  # fmt: skip
TEXTS = (".txt", ".lab")
TABLES = frozenset({"metadata.csv", "metadata.tsv", "metadata.jsonl"})
MOST_TEXT = 2**20  # bytes of one transcript; a longer file is none


class PlaceError(Exception):
    """Why a file is not read: a sentence's end. `reason`: under which words it is counted, None for the usual ones."""

    def __init__(self, problem: str, reason: str | None = None) -> None:
        super().__init__(problem)
        self.reason = reason


@dataclass(frozen=True)
class Listing:
    """What a folder holds, by name: recordings, tables, possible transcripts, and all that is neither."""

    root: Path
    sounds: list[Path] = field(default_factory=list)
    tables: list[Path] = field(default_factory=list)
    texts: dict[str, list[Path]] = field(default_factory=lambda: defaultdict(list))  # by `stem`
    others: list[tuple[str, str]] = field(default_factory=list)  # name, why it is not read

    def name(self, path: Path) -> str:
        """Of a file, as it stands in messages."""
        return str(path.relative_to(self.root))


def stem(path: Path) -> str:
    """A path without its suffix, equal for all spellings of its accents: a Mac and others write them differently."""
    return unicodedata.normalize("NFC", str(path.with_suffix("")))


def scan(root: Path) -> Listing:
    """The files in `root` and below it. Links to folders are not followed, nor are hidden folders entered."""
    listing = Listing(root)

    def unreadable(error: OSError) -> None:
        listing.others.append((listing.name(Path(error.filename)), f"it cannot be opened ({error.strerror})"))

    for place, folders, files in os.walk(root, onerror=unreadable):
        for name in sorted(folders):
            path = Path(place, name)
            if path.is_symlink() or name.startswith("."):
                why = "a link to a folder" if path.is_symlink() else "a hidden folder"
                listing.others.append((f"{listing.name(path)}/", why))
                folders.remove(name)
            elif name.lower() in TABLES:
                listing.tables.append(path)  # reading it will say what it is
        folders.sort()
        for name in sorted(files):
            _sort(listing, Path(place, name))
    listing.sounds.sort()
    return listing


def _sort(listing: Listing, path: Path) -> None:
    suffix = path.suffix.lower()
    if path.name.startswith("."):
        listing.others.append((listing.name(path), "a hidden file"))
    elif path.name.lower() in TABLES:
        listing.tables.append(path)
    elif suffix in SOUNDS:
        listing.sounds.append(path)
    elif suffix in TEXTS:
        listing.texts[stem(path)].append(path)
    else:
        listing.others.append((listing.name(path), "neither a recording nor a transcript"))


def located(root: Path, name: str | Path, base: Path | None = None) -> Path:
    """The file `name`, relative to `base` (default: `root`), which must lie in `root`, links followed.

    Raises PlaceError where it lies elsewhere, where there is none, or where no file can have that name.
    Nothing is read.
    """
    try:
        path = (base or root) / name
        if not path.resolve().is_relative_to(root.resolve()):
            raise PlaceError("it lies outside the folder; copy it there", OUTSIDE)
        if not path.exists():
            raise PlaceError("there is no such file")
        if not path.is_file():
            raise PlaceError("it is not a file")
        return path
    except (OSError, ValueError, RuntimeError) as error:  # too long, a NUL in it, links that go in circles
        raise PlaceError("no file can have that name") from error


def read_text(root: Path, path: Path) -> str:
    """A text file in UTF-8, or in UTF-16 that says so. Raises PlaceError where it is none or cannot be read."""
    path = located(root, path)
    try:
        with path.open("rb") as file:
            content = file.read(MOST_TEXT + 1)
        if len(content) > MOST_TEXT:
            raise PlaceError(f"{path.name} is too large for a transcript")
        return decoded(content)
    except OSError as error:
        raise PlaceError(f"{path.name} cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise PlaceError(f"{path.name} is not UTF-8 text") from error


def decoded(content: bytes) -> str:
    """UTF-8, or UTF-16 or 32 where its first bytes say so, as spreadsheets write it. Raises UnicodeDecodeError."""
    if content.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        return content.decode("utf-32")
    wide = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return content.decode("utf-16" if wide else "utf-8-sig")
