"""Mono audio at 24 kHz: files, level, silence, log-mel and F0.

All but the files is batched: wav [..., T] with lens [...] valid samples. What lies beyond an
item's length never changes its result, and an item in a batch equals itself alone.
"""

from coconut.audio.files import load, save
from coconut.audio.level import HOP, LEVEL, SAMPLE_RATE, activity, highpass, mask, span, speech, trim
from coconut.audio.mel import LogMel, filterbank
from coconut.audio.pitch import f0

__all__ = [
    "HOP",
    "LEVEL",
    "SAMPLE_RATE",
    "LogMel",
    "activity",
    "f0",
    "filterbank",
    "highpass",
    "load",
    "mask",
    "save",
    "span",
    "speech",
    "trim",
]
