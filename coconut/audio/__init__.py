"""Mono audio at 24 kHz: files and their treatment, level, silence, log-mel and F0.

All but the files and their treatment is batched: wav [..., T] with lens [...] valid samples. What lies beyond an
item's length never changes its result, and an item in a batch equals itself alone.
"""

from coconut.audio.files import load, save
from coconut.audio.level import HOP, LEVEL, SAMPLE_RATE, activity, mask, span, speech, trim
from coconut.audio.loudness import loudness
from coconut.audio.mains import highpass
from coconut.audio.mel import LogMel, filterbank
from coconut.audio.pitch import f0
from coconut.audio.quality import Quality, notes
from coconut.audio.treatment import TooLongError, Treated, treat

__all__ = [
    "HOP",
    "LEVEL",
    "SAMPLE_RATE",
    "LogMel",
    "Quality",
    "TooLongError",
    "Treated",
    "activity",
    "f0",
    "filterbank",
    "highpass",
    "load",
    "loudness",
    "mask",
    "notes",
    "save",
    "span",
    "speech",
    "treat",
    "trim",
]
