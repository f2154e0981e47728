"""From a FitConfig to utterances: read, check, trim, phonemise, split."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from coconut import audio, text, writing
from coconut.config import FitConfig, InputError
from coconut.data import notes, plausible, sources, treated
from coconut.data.ahead import Ahead
from coconut.data.index import DataSource
from coconut.data.item import Item, Source, printable
from coconut.data.splits import split, spoken, written
from coconut.data.utterance import Dataset, Utterance, fingerprint
from coconut.waiting import bar

SIGNS = 12  # signs named in a note
MOST_SIGNS = 20 * text.LONGEST  # of a text that can have few enough phonemes
LONG = ("too long", "text too long")  # reasons to cut a recording into pieces

Cut = Callable[[Item], Iterator[Item]]  # a recording with its text: pieces with theirs, none where it is not long
Transcribe = Callable[[Item], str]  # a recording: its text


class Notice(Protocol):
    """Who is told of every recording, or piece of one, as it is read."""

    def keep(self, item: Item, utterance: Utterance, quality: audio.Quality) -> None:
        """It can be used, as far as it alone tells."""

    def skip(self, reason: str, name: str, why: str, item: Item | None) -> None:
        """It is left out. Without an `item` it is one that was kept before."""


class UnusableError(Exception):
    """Why one recording is left out: a short reason that is counted, and a sentence's end."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


def read(
    config: FitConfig,
    source: DataSource | None = None,
    cut: Cut | None = None,
    transcribe: Transcribe | None = None,
    notice: Notice | None = None,
) -> Dataset:
    """Utterances of `config.data`, in three splits; `source` stands in for a known set.

    `cut` makes pieces of what is too long, `transcribe` writes the texts that are missing, and `notice` is told
    what becomes of each recording.
    Recordings that cannot be used, that sound the same as an earlier one to the last bit, or whose text
    cannot be theirs are skipped and counted; reading stops at `config.limit` usable ones. `splits.sizes`
    tells how the splits shrink where sentences are few. Raises InputError when the source cannot be read
    or holds fewer than 2 different sentences.
    """
    reader = Reader(config, cut, transcribe, notice)
    reader.read(sources.find(config, source))
    utterances = reader.utterances
    parts = split(utterances, config.heldout, config.test, config.seed)
    if parts.sentences < 2:
        raise notes.too_few(config, utterances, reader.skipped)
    for take, kept in parts.left_out:
        where = "is held out" if kept in parts.heldout else "is in the test"
        reader.skip("repeated", _name(take), f"the same sentence as {_name(kept)}, which {where}")
    said = [*reader.notes, *(notes.skipped(reason, examples) for reason, examples in reader.skipped.items())]
    said += notes.sizes(config, parts)
    counts = {reason: len(examples) for reason, examples in reader.skipped.items()}
    return Dataset(parts.fit, parts.heldout, parts.test, config.data, counts, tuple(said))


class Reader:
    """Utterances as they are read, and what was left out on the way.

    `skipped`: what each of those was and why, by reason. `notes`: sentences about the rest.
    """

    def __init__(
        self,
        config: FitConfig,
        cut: Cut | None = None,
        transcribe: Transcribe | None = None,
        notice: Notice | None = None,
    ) -> None:
        self.config, self.cut, self.transcribe, self.notice = config, cut, transcribe, notice
        self.ahead = Ahead(config.max_seconds, torch.get_num_threads())
        self.skipped: dict[str, list[str]] = {}
        self.notes: list[str] = []
        self._kept: dict[str, Utterance] = {}  # by the fingerprint of their audio
        self._doubted: dict[str, str] = {}  # names of recordings that were given two texts, by fingerprint
        self._qualities: dict[str, audio.Quality] = {}  # of their recordings, by the same
        self._pieces: dict[str, int] = {}  # how many were made of a recording, by its name
        self._transcribed: list[str] = []  # names
        self._signs: list[str] = []  # those that are not spoken, of each transcript that has any

    @property
    def utterances(self) -> list[Utterance]:
        return list(self._kept.values())

    def read(self, source: Source) -> None:
        """Take in what can be used, up to the limit; all else is counted."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a note says the same
            second_choice = text.prepare(self.config.lang)
        with bar(f"reading {self.config.data}", self.config.limit) as tell:
            items = source.items(self.config.speaker, self.config.style)
            for item in self.ahead.over(items, lambda: self.config.limit - len(self._kept)):
                if second_choice and not item.phonemes and second_choice not in self.notes:
                    self.notes.append(second_choice)
                self._add(item)
                tell(len(self._kept))
                if self._full:
                    break
        treated.tidy()
        self._weigh()
        self.notes += self._work()
        self.notes += audio.notes([(_name(kept), self._qualities[sound]) for sound, kept in self._kept.items()])
        if self._signs:
            shown = " ".join(dict.fromkeys("".join(self._signs)[:SIGNS]))
            self.notes.append(f"Signs that nobody reads aloud are left out (transcripts: {len(self._signs)}): {shown}")

    @property
    def _full(self) -> bool:
        return len(self._kept) == self.config.limit

    def _add(self, item: Item) -> None:
        """Take in a recording, or its pieces where it is too long, or count it."""
        try:
            item = self._told(item)
            self._take(item)
        except UnusableError as problem:
            if problem.reason not in LONG or not self._cut(item):
                self.skip(problem.reason, item.name, str(problem), item)

    def _told(self, item: Item) -> Item:
        """With the text of a recording that has none, where somebody writes it. Raises UnusableError."""
        if self.transcribe is None or item.audio is None or item.problem is not None or (item.text or "").strip():
            return item
        try:
            item = dataclasses.replace(item, text=self.transcribe(item))
        except InputError as error:
            raise UnusableError("unusable audio", str(error).removeprefix(f"{item.name} ")) from error
        self._transcribed.append(item.name)
        return item

    def _cut(self, item: Item) -> bool:
        """Take in pieces of a recording, up to the limit; whether there are any."""
        for piece in self.cut(item) if self.cut else ():
            self._pieces[item.name] = self._pieces.get(item.name, 0) + 1
            self._add(piece)
            if self._full:
                break
        return item.name in self._pieces

    def _work(self) -> list[str]:
        """Sentences about recordings that were cut, and about texts that were written."""
        found = []
        if self._pieces:
            each = [f"{name} ({count} pieces)" for name, count in self._pieces.items()]
            long = f"longer than {self.config.max_seconds:g} s and cut at their pauses"
            found.append(f"Recordings {long}: {len(each)}, such as {'; '.join(each[: notes.EXAMPLES])}.")
        if self._transcribed:
            few = "; ".join(self._transcribed[: notes.EXAMPLES])
            found.append(f"Texts written by {self.config.transcribe}: {len(self._transcribed)}, such as that of {few}.")
        return found

    def skip(self, reason: str, name: str, why: str, item: Item | None = None) -> None:
        """Count something that is left out; an `item` that was not kept before."""
        self.skipped.setdefault(reason, []).append(f"{name}: {why}")
        if self.notice:
            self.notice.skip(reason, name, why, item)

    def _take(self, item: Item) -> None:
        """Raises UnusableError."""
        if item.problem is not None or item.audio is None:
            raise UnusableError(item.reason, item.problem or "there is no audio")
        if not item.text or not item.text.strip():
            raise UnusableError("no transcript", "there is no transcript")
        phonemes = _phonemes(item, self.config)
        wav, quality = self._audio(item)
        self._differs(item, phonemes, fingerprint(wav))
        name = f"{len(self._kept)}:{item.name}"
        utterance = Utterance(name, " ".join(item.text.split()), phonemes, wav, _origin(item, self.config))
        self._kept[utterance.fingerprint] = utterance
        self._qualities[utterance.fingerprint] = quality
        if self.notice:
            self.notice.keep(item, utterance, quality)
        if not item.phonemes and (signs := writing.cleaned(item.text)[1]):
            self._signs.append(signs)

    def _audio(self, item: Item) -> tuple[Tensor, audio.Quality]:
        config = self.config
        try:
            found = self.ahead.treat(item)
        except audio.TooLongError as error:
            raise _too_long(error.seconds, config) from error
        except InputError as error:
            raise UnusableError("unusable audio", str(error).removeprefix(f"{item.name} ")) from error
        seconds = len(found.wav) / audio.SAMPLE_RATE
        if seconds < config.min_seconds:
            raise UnusableError("too short", f"{seconds:.2f} s of speech, less than min_seconds {config.min_seconds:g}")
        if seconds > config.max_seconds:
            raise _too_long(seconds, config)
        return found.wav, found.quality

    def _differs(self, item: Item, phonemes: str, sound: str) -> None:
        """Raises UnusableError for a sound that is there. With another text, neither text can be trusted."""
        twin = self._kept.get(sound)
        if sound in self._doubted:
            raise UnusableError("two texts", f"the same sound as {self._doubted[sound]}, with another text")
        if twin is None:
            return
        if written(twin.text) == written(item.text or "") or spoken(twin.phonemes) == spoken(phonemes):
            raise UnusableError("duplicate", f"the same sound as {_name(twin)}")
        del self._kept[sound]
        self._doubted[sound] = _name(twin)
        self.skip("two texts", _name(twin), f"the same sound as {item.name}, with another text")
        raise UnusableError("two texts", f"the same sound as {_name(twin)}, with another text")

    def _weigh(self) -> None:
        """Leave out recordings whose text cannot be theirs."""
        if len(self._kept) > 1 and (note := plausible.note(self.utterances, self.config.data)):
            self.notes.append(note)
        for utterance, why in plausible.doubtful(self.utterances):
            del self._kept[utterance.fingerprint]
            self.skip("text and sound differ", _name(utterance), why)


def _name(utterance: Utterance) -> str:
    """What its source calls it."""
    return utterance.id.partition(":")[2]


def _origin(item: Item, config: FitConfig) -> str:
    """The path of a recording of one's own; the set and the name in it of any other."""
    if isinstance(item.audio, Path) and config.data != sources.DEMO:
        return printable(str(item.audio))
    return f"{config.data}: {item.name}"


def _too_long(seconds: float, config: FitConfig) -> UnusableError:
    return UnusableError("too long", f"{seconds:.1f} s of speech, more than max_seconds {config.max_seconds:g}")


def _phonemes(item: Item, config: FitConfig) -> str:
    if len(item.text or "") > MOST_SIGNS:  # which would take long to phonemise, in vain
        raise UnusableError("text too long", f"its text has {len(item.text or '')} characters; split the recording")
    phonemes = item.phonemes or _spoken(item.text or "", config.lang)
    if len(phonemes) > text.LONGEST:
        raise UnusableError(
            "text too long",
            f"its text has {len(phonemes)} phonemes, and Kokoro reads {text.LONGEST} at once; split the recording",
        )
    return phonemes


def _spoken(transcript: str, lang: str) -> str:
    strange = writing.foreign(transcript, lang)
    if strange:
        raise UnusableError(
            "other script",
            f"its text has letters that {lang} is not written in ({strange[:SIGNS]}); give its language by --lang",
        )
    try:
        return text.phonemize(transcript, lang)
    except InputError as error:
        raise UnusableError("no phonemes", "its transcript has nothing to pronounce") from error
