"""What soundfile does not read: m4a, aac, webm and their like, through PyAV."""

from __future__ import annotations

from typing import BinaryIO

import av
import numpy as np
import numpy.typing as npt

FORMATS = ("mov", "mp4", "m4a", "3gp", "matroska", "webm", "aac", "ogg", "mp3", "asf", "amr", "caf", "aiff", "wav")
# A file that names others (a playlist, a list to be joined) is none of these, and none of these may open another.
ALONE = {"format_whitelist": ",".join(FORMATS), "protocol_whitelist": "none"}


def decode(file: BinaryIO) -> tuple[npt.NDArray[np.float32], int]:
    """(samples [N, C] float32, their rate) of the first sound in a seekable file.

    Nothing but the file itself is opened, whatever it refers to. Raises ValueError where it cannot be
    decoded or holds no sound.
    """
    try:
        return _decode(file)
    except av.FFmpegError as error:  # of many kinds, which share no other base
        raise ValueError(str(error)) from error


def _decode(file: BinaryIO) -> tuple[npt.NDArray[np.float32], int]:
    with av.open(file, mode="r", options=ALONE) as container:
        if not container.streams.audio:
            raise ValueError("there is no sound in it")
        stream = container.streams.audio[0]
        plain = av.AudioResampler(format="fltp", layout=stream.layout, rate=stream.rate)  # to floats, nothing else
        parts = [part.to_ndarray() for frame in container.decode(stream) for part in plain.resample(frame)]
        parts += [part.to_ndarray() for part in plain.resample(None)]
    samples = np.concatenate(parts, axis=1).T if parts else np.zeros((0, 1))
    return samples.astype(np.float32, copy=False), stream.rate
