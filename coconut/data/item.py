"""What a source of recordings is: something that gives items, one for each recording or file it holds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from coconut.config import InputError

INCOMPLETE = "incomplete"
OUTSIDE = "outside the folder"
UNREAD = "not read"  # files that are no recordings
SHOWN = 40  # names listed in a message
LONGEST = 80  # signs of a name in a message


@dataclass(frozen=True)
class Item:
    """One recording as its source gives it; `name` stands for it in messages.

    `text` None: no transcript. `problem`: why it cannot be used, known without reading it, and
    `reason`: under which words such are counted.
    """

    name: str
    audio: Path | bytes | None
    text: str | None
    phonemes: str | None = None
    problem: str | None = None
    reason: str = INCOMPLETE


class Source(Protocol):
    """Where recordings come from. One that is not in the registry is still read by `reading.read`."""

    def items(self, speaker: str | None, style: str | None) -> Iterator[Item]:
        """Everything there is by `speaker` in `style` (None: all), unread, and what is left out, with its problem.

        Raises InputError when the source cannot be read as a whole, holds several speakers of whom
        none is named, or nobody of that name.
        """
        ...


@dataclass(frozen=True)
class Columns:
    """What the columns of a table are called. None: there is no such column."""

    audio: str
    text: str
    speaker: str | None = None
    style: str | None = None

    @classmethod
    def parse(cls, words: str) -> Columns:
        """Of "audio=clip,text=sentence,speaker=who,style=mood"; audio and text must be there. Raises InputError."""
        pairs = [word.partition("=") for word in words.split(",") if word.strip()]
        named = {key.strip(): value.strip() for key, _, value in pairs}
        unknown = set(named) - {"audio", "text", "speaker", "style"}
        if unknown or not {"audio", "text"} <= set(named) or not all(named.values()) or len(named) < len(pairs):
            raise InputError(
                f"--columns {words} does not name columns; write audio=NAME,text=NAME and, where there are such, "
                "speaker=NAME,style=NAME."
            )
        return cls(**named)


def shown(name: str, longest: int = LONGEST) -> str:
    """A name as a message may hold it: printable, and no longer than a line."""
    plain = printable(name)
    return plain if len(plain) <= longest else f"{plain[: longest - 20]}...{plain[-17:]}"


def printable(name: str) -> str:
    """A name without signs that no terminal shows and no file of UTF-8 takes."""
    return "".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in name)


def listed(names: list[str]) -> str:
    """Names for a message, as many as fit in it."""
    if not names:
        return "none"
    few = ", ".join(shown(name) for name in names[:SHOWN])
    return few + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
