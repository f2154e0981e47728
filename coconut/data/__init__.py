"""Recordings with their texts: where they come from, what each is for, what a generation hears."""

from coconut.data.hub import SOURCES
from coconut.data.index import DataSource
from coconut.data.item import Item, Source
from coconut.data.reading import Notice, read
from coconut.data.sources import KNOWN
from coconut.data.splits import Splits, split
from coconut.data.utterance import Dataset, Utterance, Windows, fingerprint, quantised

__all__ = [
    "KNOWN",
    "SOURCES",
    "DataSource",
    "Dataset",
    "Item",
    "Notice",
    "Source",
    "Splits",
    "Utterance",
    "Windows",
    "fingerprint",
    "quantised",
    "read",
    "split",
]
