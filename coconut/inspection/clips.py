"""Each recording of a data set: what was measured of it, and what a fit would do with it."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from coconut.audio import Quality
from coconut.config import FitConfig, InputError
from coconut.data import Item, Utterance, plausible, treated
from coconut.inspection import kinship
from coconut.job import Job, collect


@dataclass(frozen=True)
class Clip:
    """A recording, or a piece of one.

    split: fit, heldout or test; "" where it is left out, for a `reason` in few words, and `why` is a
    sentence's end. quality: of the file as it is; None where it was not heard, or is silent, broken or too long.
    pace: phonemes per second of speech; None where its text is not known. twin: name of an earlier clip that
    sounds the same. distance: of its speaker from that of all that are used, 0 to 2: 1 - the cosine of GE2E.
    """

    name: str
    split: str = ""
    reason: str = ""
    why: str = ""
    quality: Quality | None = None
    pace: float | None = None
    twin: str | None = None
    distance: float | None = None


@dataclass(frozen=True)
class Heard:
    """All clips in the order of their source, and the job that a fit of them would begin with."""

    clips: tuple[Clip, ...]
    job: Job


def hear(config: FitConfig) -> Heard:
    """Read the recordings of `config` as a fit does, and measure also those that it leaves out.

    Raises InputError as `collect` does.
    """
    notes = _Notes(config)
    job = collect(config, notes)
    splits = {utterance.id: split for split, spoken in job.utterances.items() for utterance in spoken}
    sounds = [entry for entry in notes.entries if entry.wav is not None]
    used = [place for place, entry in enumerate(sounds) if entry.id in splits]
    kin = kinship.kinship([entry.wav for entry in sounds if entry.wav is not None], used, job.config.device)
    for place, entry in enumerate(sounds):
        twin = sounds[kin.twins[place]].clip.name if place in kin.twins else None
        entry.clip = dataclasses.replace(
            entry.clip, split=splits.get(entry.id, ""), twin=twin, distance=kin.distances[place]
        )
    return Heard(tuple(entry.clip for entry in notes.entries), job)


@dataclass
class _Entry:
    """`id` of its utterance, and its sound, treated; "" and None where there is none."""

    clip: Clip
    id: str = ""
    wav: Tensor | None = None


class _Notes:
    """A data.Notice that keeps an entry for each recording."""

    def __init__(self, config: FitConfig) -> None:
        self.config = config
        self.entries: list[_Entry] = []
        self._heard = 0  # of those that are left out

    def keep(self, item: Item, utterance: Utterance, quality: Quality) -> None:
        pace = plausible.count(utterance.phonemes) / utterance.seconds
        self.entries.append(_Entry(Clip(item.name, quality=quality, pace=pace), utterance.id, utterance.audio))

    def skip(self, reason: str, name: str, why: str, item: Item | None) -> None:
        if item is None:  # it was kept before
            entry = next(entry for entry in reversed(self.entries) if entry.clip.name == name and not entry.clip.reason)
            entry.clip = dataclasses.replace(entry.clip, reason=reason, why=why)
            return
        entry = _Entry(Clip(name, reason=reason, why=why))
        self.entries.append(entry)
        if item.audio is not None and self._heard < self.config.limit:  # of a large set the first tell enough
            self._heard += 1
            self._measure(entry, item.audio)

    def _measure(self, entry: _Entry, sound: Path | bytes) -> None:
        try:
            found = treated.treat(sound, entry.clip.name, self.config.max_seconds)
        except InputError:
            return  # what is wrong with it is why it is left out
        entry.wav = found.wav
        entry.clip = dataclasses.replace(entry.clip, quality=found.quality)
