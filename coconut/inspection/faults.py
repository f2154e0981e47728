"""What is bad of the recordings that a job is made of."""

from __future__ import annotations

from coconut.audio import Quality
from coconut.data import Item, Utterance
from coconut.job import Job


class Faults:
    """A data.Notice that keeps the faults of each recording that can be used."""

    def __init__(self) -> None:
        self._kinds: dict[str, frozenset[str]] = {}

    def keep(self, item: Item, utterance: Utterance, quality: Quality) -> None:
        """See data.Notice."""
        self._kinds[utterance.id] = frozenset(quality.faults)

    def skip(self, reason: str, name: str, why: str, item: Item | None) -> None:
        """See data.Notice: what is left out does not count."""

    def of(self, job: Job) -> list[frozenset[str]]:
        """For each utterance of a job."""
        return [self._kinds[utterance.id] for spoken in job.utterances.values() for utterance in spoken]
