"""Recordings with their texts: where they come from, which are held out, what a generation hears."""

from coconut.data.hub import SOURCES, DataSource
from coconut.data.load import load, split
from coconut.data.utterance import Dataset, Utterance, Windows

__all__ = ["SOURCES", "DataSource", "Dataset", "Utterance", "Windows", "load", "split"]
