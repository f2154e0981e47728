"""Recordings with their texts: where they come from, what each is for, what a generation hears."""

from coconut.data.hub import SOURCES, DataSource
from coconut.data.reading import KNOWN, read
from coconut.data.splits import Splits, split
from coconut.data.utterance import Dataset, Utterance, Windows, fingerprint, quantised

__all__ = [
    "KNOWN",
    "SOURCES",
    "DataSource",
    "Dataset",
    "Splits",
    "Utterance",
    "Windows",
    "fingerprint",
    "quantised",
    "read",
    "split",
]
