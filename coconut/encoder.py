"""A first voice for a speaker, from the features of recordings: what Kokoro's unpublished encoder does, linearly.

Every stock voice of a model speaks three fixed texts, once. Ridge regression (Hoerl and Kennedy, Technometrics
12(1), 1970) leads from the features of that speech to the coordinates of the voices: base and slope in the
whitened principal components of `coconut.prior`. The same features of a speaker's recordings then give the
coordinates of a voice like theirs.

The ridge is as strong as predicts voices that were left out; where two do it almost equally well, the weaker one
leaves more of a voice. A ridge pulls towards the mean voice, so that a `length` above 1, to be judged by ear, is
often more like the speaker. What was measured is a `Table`. It is kept
per model in the user's cache folder; that of `mini` is shipped: `python -m coconut.encoder mini` makes it anew.

Tried on four speakers that `mini` was not trained on, and left out: mixtures of two voices as further rows, 2 and 4
for each voice (no gain on voices left out, half a point of score less, each at its best strength by voices left
out); a strength for each component (.41 instead of .54 of the variance unexplained, one point of score less).
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.resources
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from coconut.config import EMBEDDED, InputError
from coconut.features import FEATURES, GROUPS, TEXTS, Scale, spoken
from coconut.files import cache_folder, replacing
from coconut.losses import SpeakerEncoder
from coconut.prior import Prior, base_and_slope
from coconut.synthesis import Synthesizer, load_model, stock_voices, style_prior
from coconut.voicepack import ROUGHNESS_LIMIT, ROWS, STYLE, roughness

VERSION = 1  # of the recipe below: another one makes other tables
LONGEST = 20.0  # s: a voice that takes longer over one of them cannot be heard
STRENGTHS = [10 ** (k / 4) for k in range(-16, 5)]  # of the ridge; 1 is the mean square of a voice's features
ALMOST = 1.02  # errors that differ by less count as equal: then the weakest ridge is taken
LIKENESS = ("GE2E", "F0", "spectrum")  # groups of features by which a voice may be near; the texts differ in their rate
ASSET = "encoder.safetensors"


@dataclass(frozen=True)
class Table:
    """What was measured of a model's voices, by name: features [V, 450] and coordinates [V, K].

    A voice that cannot be heard has no feature but NaN. strength: of the ridge; error: what it leaves unexplained of
    stock voices that were left out, 0 to 1 and more, as a share of their variance.
    """

    features: Tensor
    coordinates: Tensor
    strength: float
    error: float

    def save(self, path: Path, key: str) -> Path:
        """Write it as safetensors, whole or not at all."""
        store = {"key": torch.frombuffer(bytearray.fromhex(key), dtype=torch.uint8)}
        store |= {name: getattr(self, name).contiguous() for name in ("features", "coordinates")}
        store |= {name: torch.tensor(getattr(self, name), dtype=torch.float64) for name in ("strength", "error")}
        with replacing(path) as temporary:
            temporary.write_bytes(safetensors.torch.save(store))
        return path

    @classmethod
    def read(cls, content: bytes, key: str, shape: tuple[int, int]) -> Table | None:
        """The table in a file's content; None where it is damaged, of another `key`, or not of `shape` [V, K]."""
        try:
            store = safetensors.torch.load(content)
            if bytes(store.pop("key").tolist()).hex() != key:
                return None
            x, y = store["features"].float(), store["coordinates"].float()
            table = cls(x, y, float(store["strength"]), float(store["error"]))
        except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError):
            return None
        fits = x.shape == (shape[0], FEATURES) and y.shape == shape and int(table.heard.sum()) > 1
        return table if fits and table.strength > 0 and bool(y.isfinite().all()) else None

    @property
    def heard(self) -> Tensor:
        """[V] which voices can be heard."""
        return self.features.isfinite().any(1)

    def nearest(self, features: Tensor, count: int) -> list[int]:
        """Places of the voices nearest to a speaker's features [450]: `count` by each of GE2E, F0 and spectrum.

        Each group counts by itself, because an accent or a room moves one of them far more than the others.
        """
        scale = Scale.of(self.features)
        apart = (scale(self.features) - scale(features[None])).square().masked_fill(~self.heard[:, None], math.inf)
        groups = dict(zip(GROUPS, apart.split(list(GROUPS.values()), 1), strict=True))
        found = [groups[name].sum(1).argsort(stable=True)[:count].tolist() for name in LIKENESS]
        return sorted({place for places in found for place in places if self.heard[place]})


@dataclass(frozen=True)
class Encoder:
    """features [450] -> voicepack [510, 1, 256], of a model whose voices lie as `prior` says."""

    table: Table
    prior: Prior

    def __call__(self, features: Tensor, length: float = 1.0) -> Tensor:
        """The voice of a speaker, `length` times as far from the mean voice as the ridge says.

        Its slope is made as small as smooth rows ask for (voicepack.ROUGHNESS_LIMIT).
        """
        table, scale = self.table, Scale.of(self.table.features)
        ridge = Ridge(scale(table.features[table.heard]), table.coordinates[table.heard].double())
        found = ridge.mean + length * (ridge(scale(features[None]), [table.strength])[0] - ridge.mean)
        base, slope = (part[0] for part in voices_of(found.float(), self.prior))
        profile = self.prior.profile[:, None]
        for _ in range(20):
            pack = (base + profile * slope)[:, None].contiguous()
            if roughness(pack) <= ROUGHNESS_LIMIT:
                break
            slope = slope / math.sqrt(2)
        return pack


class Ridge:
    """Ridge regression of y [N, K] on x [N, F] with an intercept, float64, for many strengths at once."""

    def __init__(self, x: Tensor, y: Tensor) -> None:
        self.centre, self.mean = x.mean(0), y.mean(0)
        self.x = x - self.centre
        self.values, self.axes = torch.linalg.eigh(self.x @ self.x.T)  # the dual form: N is less than F
        self.along = self.axes.T @ (y - self.mean)

    def __call__(self, x: Tensor, strengths: Sequence[float]) -> Tensor:
        """Predictions [strengths, M, K] at x [M, F]."""
        near = (x - self.centre) @ self.x.T @ self.axes
        return torch.stack([self.mean + near / (self.values.clamp_min(0) + s) @ self.along for s in strengths])


def coordinates(packs: Tensor, prior: Prior) -> Tensor:
    """Coordinates [N, K] of voices [N, 510, 256]: base, then slope, in whitened principal components."""
    parts = zip(base_and_slope(packs, prior.profile), (prior.base, prior.slope), strict=True)
    return torch.cat([(part - where.mean) @ where.components.T / where.spread for part, where in parts], 1)


def voices_of(coordinates: Tensor, prior: Prior) -> tuple[Tensor, Tensor]:
    """Base and slope [N, 256] of coordinates [N, K]."""
    parts = coordinates.split([len(prior.base.spread), len(prior.slope.spread)], 1)
    base, slope = (
        where.mean + (part * where.spread) @ where.components
        for part, where in zip(parts, (prior.base, prior.slope), strict=True)
    )
    return base, slope


def measure(ears: SpeakerEncoder, synth: Synthesizer, voices: Mapping[str, Tensor], prior: Prior) -> Table:
    """The table of a model's stock voices {name: [510, 1, 256]}: 3 syntheses for each of them.

    Raises InputError where fewer than two can be heard.
    """
    packs = stacked(voices)
    found, places = spoken(ears, synth, packs), coordinates(packs, prior)
    kept = found.isfinite().any(1)
    if kept.sum() < 2:
        raise InputError("Fewer than two stock voices of the model can be heard; start at --space.start mean.")
    errors = left_out(found[kept], places[kept], torch.cat([prior.base.spread, prior.slope.spread]))
    best = int((errors <= ALMOST * errors.min()).nonzero()[0])
    return Table(found, places, STRENGTHS[best], float(errors[best]))


def left_out(features: Tensor, coordinates: Tensor, spread: Tensor) -> Tensor:
    """Error [strengths] of each voice [256] predicted from all others, as a share of the voices' variance.

    Squared, in units of a style vector (`spread` [K] of the coordinates), summed over voices.
    features [N, F], coordinates [N, K].
    """
    x, y, wrong = Scale.of(features)(features), coordinates.double(), torch.zeros(len(STRENGTHS), dtype=torch.float64)
    for row in range(len(x)):
        others = torch.arange(len(x)) != row
        guess = Ridge(x[others], y[others])(x[row : row + 1], STRENGTHS)[:, 0]
        wrong += ((guess - y[row]) * spread).square().sum(-1)
    return wrong / ((y - y.mean(0)) * spread).square().sum().clamp_min(1e-12)


def stacked(voices: Mapping[str, Tensor]) -> Tensor:
    """Voices [V, 510, 256] by name."""
    return torch.stack([voices[name].reshape(ROWS, STYLE).float() for name in sorted(voices)])


def table_key(model: str, voices: Mapping[str, Tensor]) -> str:
    """What a table belongs to, in hexadecimal: the recipe, the model's name, and its voices to the last bit."""
    digest = hashlib.sha256(repr((VERSION, TEXTS, model, sorted(voices))).encode())
    digest.update(stacked(voices).contiguous().numpy().tobytes())
    return digest.hexdigest()


def cache_file(key: str) -> Path:
    """Where the table of a model is kept."""
    return cache_folder() / f"encoder-{key[:16]}.safetensors"


def shipped() -> bytes:
    """The table that is part of the package, that of `mini`."""
    return _content(importlib.resources.files("coconut.synthesis") / "assets" / ASSET)


def _content(path: Path | Traversable) -> bytes:
    """Of a file; nothing where it cannot be read."""
    try:
        return path.read_bytes()
    except OSError:
        return b""


def find(model: str, network: Any, ears: SpeakerEncoder, voices: Mapping[str, Tensor], prior: Prior) -> Encoder:
    """The encoder of a `model` (its name and KModel): as shipped, as in the cache, or measured now and put there.

    A file that is damaged or belongs to something else is passed over, and replaced. A cache that cannot be
    written costs the same measurement the next time, and nothing else.
    """
    key, shape = table_key(model, voices), (len(voices), len(prior.base.spread) + len(prior.slope.spread))
    for place in (shipped, partial(_content, cache_file(key))):
        if table := Table.read(place(), key, shape):
            return Encoder(table, prior)
    table = measure(ears, Synthesizer(network, max_seconds=LONGEST), voices, prior)
    with contextlib.suppress(OSError):
        table.save(cache_file(key), key)
    return Encoder(table, prior)


def main(model: str) -> None:
    """Measure the table of `mini` and write it where it is shipped."""
    if model != EMBEDDED:
        raise SystemExit(f"Only {EMBEDDED} has its table shipped; that of another model is made when it is needed.")
    network = load_model(model)
    voices = stock_voices(network)
    prior = style_prior(network) or Prior.of(stacked(voices))
    table = measure(SpeakerEncoder(), Synthesizer(network, max_seconds=LONGEST), voices, prior)
    path = table.save(Path(__file__).parent / "synthesis" / "assets" / ASSET, table_key(model, voices))
    print(f"{path}: strength {table.strength:g}, {table.error:.1%} of a voice left out is not explained")


if __name__ == "__main__":
    main(*sys.argv[1:])
