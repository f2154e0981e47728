"""What soundfile does not read: m4a, aac, webm and their like, through PyAV."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Any, BinaryIO

import av
import numpy as np
import numpy.typing as npt

Samples = npt.NDArray[np.float32]

FORMATS = ("mov", "mp4", "m4a", "3gp", "matroska", "webm", "aac", "ogg", "mp3", "asf", "amr", "caf", "aiff", "wav",
           "flac")  # fmt: skip
# A file that names others (a playlist, a list to be joined) is none of these, and none of these may open another.
ALONE = {"format_whitelist": ",".join(FORMATS), "protocol_whitelist": "none"}
INDEXED = ("mov", "matroska")  # they know where in the file a time is; in others one would be guessed
AHEAD = 1.0  # s: a decoder that starts anywhere needs some sound to get going
PLANES = "fltp"  # floats, a channel after another


def blocks(file: BinaryIO, start: float = 0.0) -> Iterator[tuple[Samples, int]]:
    """(samples [N, C] float32, their rate) of the first sound in a seekable file, a few at a time, from `start` s on.

    Nothing but the file itself is opened, whatever it refers to. Raises ValueError where it cannot be
    decoded or holds no sound.
    """
    try:
        yield from _blocks(file, start)
    except av.FFmpegError as error:  # of many kinds, which share no other base
        raise ValueError(str(error)) from error


def _blocks(file: BinaryIO, start: float) -> Iterator[tuple[Samples, int]]:
    with av.open(file, mode="r", options=ALONE) as container:
        if not container.streams.audio:
            raise ValueError("there is no sound in it")
        stream = container.streams.audio[0]
        tick, first = stream.time_base or Fraction(1), stream.start_time or 0
        sought = start > AHEAD and container.format.name.partition(",")[0] in INDEXED
        if sought:
            container.seek(first + int((start - AHEAD) / tick), stream=stream)
        left: int | None = None  # samples before the start
        for frame in _floats(container, stream):
            if left is None:
                begun = float((frame.time or 0.0) - first * tick) if sought else 0.0
                left = round((start - begun) * stream.rate)
            samples = frame.to_ndarray().T
            yield samples[max(left, 0) :], stream.rate
            left -= len(samples)


def _floats(container: Any, stream: Any) -> Iterator[Any]:
    """Frames of floats, of the layout and the rate that the file promises."""
    plain = av.AudioResampler(format=PLANES, layout=stream.layout, rate=stream.rate)
    promised, used = (PLANES, stream.layout.name, stream.rate), False
    for frame in container.decode(stream):
        if not used and (frame.format.name, frame.layout.name, frame.sample_rate) == promised:
            yield frame
        else:
            used = True
            yield from plain.resample(frame)
    yield from plain.resample(None) if used else ()
