"""Which recordings are one and the same, and which are by somebody else."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy  # its parts are loaded when they are first used: they take as long as a fifth of torch
import torch
from torch import Tensor
from torch.nn.functional import normalize

from coconut import cached, resources
from coconut.audio import SAMPLE_RATE
from coconut.audio.level import HOP
from coconut.data import fingerprint
from coconut.job import Job
from coconut.waiting import watched

Doubles = npt.NDArray[np.float64]

KIND = "kinship"  # of what is kept in the cache
EXAMPLES = 3  # recordings named in a sentence
LENGTH = 0.15  # s by which copies may differ: what trimming makes of another level and another codec
SAME = 0.7  # correlation of a recording with its copy: .99 through MP3 and Vorbis, .31 at most with another sentence
ALIKE = 0.6  # correlation of how loud they are, frame by frame: copies are far above
STRANGE = 0.25  # distance from the centre: .04 is usual for a synthetic speaker, .12 the most; others have .12 to .45
BEYOND = 2.5  # times the usual: people vary more than that


@dataclass(frozen=True)
class Kinship:
    """Of recordings by their places in a list.

    twins: by the place of a copy, that of the earlier one which it sounds like; distances: of each speaker from the
    centre of those that are used, 1 - the cosine of GE2E, 0 to 2.
    """

    twins: dict[int, int]
    distances: list[float]


def kinship(wavs: Sequence[Tensor], used: Sequence[int], device: str) -> Kinship:
    """Of treated samples [N], of which those at the places `used` are of one speaker.

    It is taken from the user's cache folder where the very same was compared before.
    """
    path = cached.place(KIND, [fingerprint(wav) for wav in wavs], list(used))
    kept = cached.read(path)
    if kept is None:
        kept = {"twins": twins(wavs), "distances": distances(wavs, used, device)}
        cached.write(path, kept)
    return Kinship(**kept)


def twins(wavs: Sequence[Tensor]) -> dict[int, int]:
    """Copies, each by its place, and the first that sounds the same.

    Level, codec and rate may differ, and up to LENGTH at their ends.
    """
    found: dict[int, int] = {}
    shapes = [_shape(wav) for wav in wavs]
    for first, second in itertools.combinations(range(len(wavs)), 2):
        if second in found or first in found or not _alike(shapes[first], shapes[second]):
            continue
        if _same(wavs[first], wavs[second]):
            found[second] = first
    return found


def distances(wavs: Sequence[Tensor], used: Sequence[int], device: str) -> list[float]:
    """Of the speaker of each from the centre of those that are used: 1 - cosine."""
    ears = resources.speaker_encoder(device)
    heard = watched(wavs, "comparing speakers")
    embeddings = torch.cat([ears(wav[None].to(device), torch.tensor([len(wav)], device=device)) for wav in heard])
    centre = normalize(embeddings[list(used)].mean(0), dim=-1)
    found: list[float] = (1 - embeddings @ centre).tolist()
    return found


def warnings(job: Job) -> list[str]:
    """Sentences about the utterances of a job. A fit uses all of them nevertheless."""
    spoken = [utterance for part in job.utterances.values() for utterance in part]
    names = [utterance.id.partition(":")[2] for utterance in spoken]
    found = kinship([utterance.audio for utterance in spoken], range(len(spoken)), job.config.device)
    pairs = {names[copy]: names[first] for copy, first in found.twins.items()}
    return sentences(pairs, dict(zip(names, found.distances, strict=True)))


def sentences(pairs: Mapping[str, str], far: Mapping[str, float]) -> list[str]:
    """About recordings that sound the same (a name by that of its copy), and about strangers (distances by name)."""
    found = []
    if pairs:
        shown = "; ".join(f"{copy} and {name}" for copy, name in itertools.islice(pairs.items(), EXAMPLES))
        found.append(
            f"{len(pairs)} of {len(far)} recordings sound the same as another: {shown}{_more(pairs)}; leave out copies."
        )
    if others := strangers(far):
        shown = "; ".join(f"{name} ({value:.2f})" for name, value in itertools.islice(others.items(), EXAMPLES))
        found.append(
            f"{len(others)} of {len(far)} recordings sound unlike the others (distance of the speaker from the centre "
            f"of all): {shown}{_more(others)}; leave out what somebody else says, or what was recorded elsewhere."
        )
    return found


def strangers(far: Mapping[str, float]) -> dict[str, float]:
    """Those of distances by name that are beyond STRANGE, and far beyond the usual: of somebody else, or in noise."""
    usual = float(torch.tensor(list(far.values())).median()) if far else 0.0
    return {name: value for name, value in far.items() if value > max(STRANGE, BEYOND * usual)}


def _more(found: Mapping[str, Any]) -> str:
    return " ..." if len(found) > EXAMPLES else ""


def _shape(wav: Tensor) -> Doubles:
    """How loud samples [N] are, frame by frame [F]: mean 0, norm 1."""
    frames = np.square(wav[: len(wav) // HOP * HOP].double().numpy()).reshape(-1, HOP).mean(1)
    level = np.sqrt(frames) - np.sqrt(frames).mean() if len(frames) else frames
    return np.asarray(level / (np.linalg.norm(level) + 1e-12), np.float64)


def _alike(a: Doubles, b: Doubles) -> bool:
    """Whether recordings of two shapes may be copies: comparing all of their samples takes a hundred times as long."""
    if abs(len(a) - len(b)) > LENGTH * SAMPLE_RATE / HOP + 1 or not len(a) or not len(b):
        return False
    return bool(np.correlate(a, b, "full").max() > ALIKE)


def _same(a: Tensor, b: Tensor) -> bool:
    if abs(len(a) - len(b)) > LENGTH * SAMPLE_RATE:
        return False
    x, y = a.double().numpy(), b.double().numpy()
    peak = float(abs(scipy.signal.correlate(x, y, method="fft")).max())
    return peak > SAME * float((x @ x) ** 0.5 * (y @ y) ** 0.5)
