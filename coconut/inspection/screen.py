"""An inspection on the terminal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from rich.console import Console
from rich.table import Table
from rich.text import Text

from coconut.data.item import UNREAD
from coconut.inspection import kinship
from coconut.inspection.clips import Clip, Heard
from coconut.inspection.record import totals
from coconut.inspection.voices import Prospect

NAME = 12  # columns that a name has at least
WIDE = 100  # columns of a terminal where the name of a copy is in the table too
LISTED = 40  # lines of a list
USE = 4
SPLITS = {"fit": "fit", "heldout": "hold", "test": "test", "": "out"}


class Column(NamedTuple):
    """A figure of a clip: its heading, the fault of Quality that it shows, and how it is written; "" where unknown."""

    head: str
    fault: str
    write: Callable[[Clip], str]


def _of(form: Callable[..., str]) -> Callable[[Clip], str]:
    return lambda clip: form(clip.quality) if clip.quality else ""


COLUMNS = (
    Column("s", "", _of(lambda q: f"{q.seconds:.1f}")),
    Column("kHz", "", _of(lambda q: f"{q.rate / 1000:.3g}")),
    Column("up to", "bandwidth", _of(lambda q: f"{q.bandwidth / 1000:.1f}")),
    Column("clip", "clipping", _of(lambda q: f"{100 * q.clipped:.1f}")),
    Column("SNR", "noise", _of(lambda q: f"{q.snr:.0f}")),
    Column("hum", "hum", _of(lambda q: "" if q.hum is None else f"{q.hum:.0f}")),
    Column("DC", "offset", _of(lambda q: f"{q.offset:.2f}".removeprefix("0"))),
    Column("echo", "reverb", _of(lambda q: "" if q.reverb is None else f"{q.reverb:.2f}".removeprefix("0"))),
    Column("talk", "", _of(lambda q: f"{100 * q.share:.0f}")),
    Column("LUFS", "", _of(lambda q: f"{q.loudness:.1f}")),
    Column("ph/s", "pace", lambda clip: "" if clip.pace is None else f"{clip.pace:.1f}"),
    Column("far", "stranger", lambda clip: "" if clip.distance is None else f"{clip.distance:.2f}".removeprefix("0")),
)
LEGEND = (
    "s: seconds. kHz: sample rate. up to: kHz, where the sound ends. clip: % of samples at the peak. SNR: dB of speech "
    "over noise. hum: dB beside the speech. DC: constant offset beside the speech. echo: s of reverberation, .2 to .4 "
    "in a dead room, nothing where noise hides it. talk: % of the time. LUFS: loudness. ph/s: phonemes per second. "
    "far: of the speaker from the centre of all, 1 - cosine of GE2E. use: to fit, to hold out, to test, or left out. "
    "What is bad has a ! behind it."
)


def show_clips(console: Console, heard: Heard) -> None:
    """The table of clips, what it means, what a fit would use, and sentences about the rest."""
    console.print(_table(heard, console.width))
    console.print(LEGEND, style="dim")
    console.print(f"\n{used(heard)}", markup=False)
    _list(console, "Left out:", [_left_out(clip) for clip in heard.clips if clip.reason])
    _list(console, "To know:", [*_notes(heard), *warnings(heard)])


def show_prospect(console: Console, found: Prospect) -> None:
    """The nearest stock voices, the start, and the forecast."""
    console.print("\nNearest stock voices, on the first fitting sentences (100: the voice itself):")
    table = Table(box=None, pad_edge=False)
    for head in ("voice", "score", *found.ranking[0][1].parts):
        table.add_column(head, justify="left" if head == "voice" else "right")
    for name, metrics in found.ranking:
        table.add_row(name, f"{metrics.score:.1f}", *(f"{part:.2f}" for part in metrics.parts.values()))
    console.print(table)
    for sentence in (found.note, str(found.forecast or found.unknown)):
        if sentence:
            console.print(sentence, markup=False)


def warnings(heard: Heard) -> list[str]:
    """What `kinship.warnings` says of the job, of what was measured already."""
    clips = [clip for clip in heard.clips if clip.split]
    pairs = {clip.name: clip.twin for clip in clips if clip.twin}
    return kinship.sentences(pairs, {clip.name: clip.distance for clip in clips if clip.distance is not None})


def used(heard: Heard) -> str:
    """What a fit would take of all that was read."""
    found = totals(heard)
    speech, count = found["speech"], found["sentences"]
    parts = [f"{count['fit']} to fit ({speech['fit']:.0f} s of speech)", f"{count['heldout']} held out"]
    parts.append(f"{count['test']} to test" if count["test"] else "none to test")
    usable = sum(bool(clip.split) or clip.reason == "repeated" for clip in heard.clips)
    full = " Reading stopped there, at --limit." if usable >= heard.job.config.limit else ""
    return f"A fit would use {found['used']} of {found['recordings']} recordings: {', '.join(parts)}.{full}"


def _list(console: Console, title: str, sentences: Sequence[str]) -> None:
    """A line for each, the first LISTED of them, under a title."""
    if not sentences:
        return
    rest = [f"{len(sentences) - LISTED} more; --json FILE has all."] if len(sentences) > LISTED else []
    table = Table.grid(padding=(0, 1, 0, 0))
    for sentence in (*sentences[:LISTED], *rest):
        table.add_row("-", Text(sentence))
    console.print(title)
    console.print(table)


def _left_out(clip: Clip) -> str:
    copy = f" It sounds the same as {clip.twin}." if clip.twin else ""
    return f"{clip.name} ({clip.reason}): {clip.why.rstrip('.')}.{copy}"


def _notes(heard: Heard) -> list[str]:
    """Those of the job, but for what it says of recordings that are left out: here each has a sentence."""
    counted = tuple(f"{count} skipped ({reason}): " for reason, count in heard.job.skipped.items())
    return [note for note in heard.job.notes if not note.startswith(counted)]


def _table(heard: Heard, width: int) -> Table:
    """Figures have the room that they need, and names what remains of `width`."""
    clips = [clip for clip in heard.clips if clip.reason != UNREAD]
    strange = kinship.strangers({str(k): clip.distance for k, clip in enumerate(clips) if clip.distance is not None})
    rows = [_figures(clip, str(k) in strange) for k, clip in enumerate(clips)]
    shown = [k for k, column in enumerate(COLUMNS) if column.head != "hum" or any(row[k].plain for row in rows)]
    room = {k: max(len(COLUMNS[k].head), *(len(row[k].plain) for row in rows)) for k in shown}
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    names = [[Text(clip.name) for clip in clips]]
    if width >= WIDE and any(clip.twin for clip in clips):
        names.append([Text(clip.twin or "") for clip in clips])
    rest = width - sum(room.values()) - len(room) - USE - len(names)
    for head in ("clip", "sounds as")[: len(names)]:
        table.add_column(head, max_width=max(NAME, rest // len(names)), no_wrap=True, overflow="ellipsis")
    for k in shown:
        table.add_column(COLUMNS[k].head, justify="right", no_wrap=True, min_width=room[k])
    table.add_column("use", no_wrap=True, min_width=USE)
    for clip, row, *called in zip(clips, rows, *names, strict=True):
        table.add_row(*called, *(row[k] for k in shown), Text(SPLITS[clip.split]))
    return table


def _figures(clip: Clip, strange: bool) -> list[Text]:
    """Of COLUMNS, what is bad with a mark."""
    bad = set(clip.quality.faults if clip.quality else ())
    bad |= {"stranger"} if strange else set()
    bad |= {"pace"} if clip.reason == "text and sound differ" else set()
    written = [(column.write(clip), column.fault in bad) for column in COLUMNS]
    return [Text(f"{figure}!", "yellow") if marked else Text(figure) for figure, marked in written]
