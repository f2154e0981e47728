"""Style spaces: a genome [D] and the voicepack [510, 1, 256] it stands for.

A voicepack of Kokoro is smooth over its rows and almost `base + profile[row] * slope`, with
one profile shared by all voices. Every space decodes to all 510 rows at once, so no row is
left unfitted. Genomes are whitened: one unit is one standard deviation of the stock voices.

    pca          base and slope each in the leading principal components of the stock voices
    whole        the same over all dims, with what lies outside the components too
    bias         start voice + one style vector added to every row
    interp       softmax mixture of the stock voices
    interp+bias  both together
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
from torch import Tensor
from torch.nn.functional import pad

from coconut.config import FitConfig, InputError, SpaceConfig
from coconut.prior import Prior, base_and_slope, unseen_spread
from coconut.voicepack import ROWS, STYLE

ENCODER, MIX = "encoder", "mix"
FOUND = (ENCODER, MIX)  # starts that are no stock voice: `coconut.job` finds their voicepack
START_WEIGHT = 0.7  # share of the start voice in a mixture that begins at a voice


class StyleSpace(Protocol):
    """Genomes [P, D] <-> voicepacks. `dim` is D."""

    dim: int

    def init(self) -> Tensor:
        """The genome [D] of the start."""

    def styles(self, genomes: Tensor, rows: Tensor) -> Tensor:
        """Style vectors [P, U, 256] of genomes [P, D] at voicepack rows [U]."""

    def decode(self, genomes: Tensor) -> Tensor:
        """Voicepacks [P, 510, 1, 256] of genomes [P, D]."""

    def settle(self, genome: Tensor) -> Tensor:
        """The genome [..., D] that a point of the search stands for: the point, where all of it may move."""


@dataclass(frozen=True)
class Stock:
    """What a space is made of: the stock voices [V, 510, 256], where they lie (None: to be computed from
    them), which of them the search starts at (None: their mean), and a start [510, 256] that is none of them.

    A mixture of stock voices cannot begin at such a `given` start, and begins at `start`."""

    packs: Tensor
    prior: Prior | None = None
    start: int | None = None
    given: Tensor | None = None

    @property
    def start_pack(self) -> Tensor:
        """[510, 256]."""
        if self.given is not None:
            return self.given
        return self.packs.mean(0) if self.start is None else self.packs[self.start]


class Space:
    """A kind of space: `settings` names the options of SpaceConfig that it alone uses."""

    settings: ClassVar[tuple[str, ...]] = ()
    dim: int

    @classmethod
    def build(cls, stock: Stock, config: SpaceConfig) -> Space:
        raise NotImplementedError

    def init(self) -> Tensor:
        raise NotImplementedError

    def styles(self, genomes: Tensor, rows: Tensor) -> Tensor:
        raise NotImplementedError

    def decode(self, genomes: Tensor) -> Tensor:
        rows = torch.arange(ROWS, device=genomes.device)
        return self.styles(genomes, rows).unsqueeze(2)

    def settle(self, genome: Tensor) -> Tensor:
        return genome

    def changes(self, dims: slice) -> Tensor:
        """[S, D]: by how much each of S dims of the style, moved by 1 on every row and nothing else, moves a genome.

        Raises InputError where no genome does that.
        """
        raise InputError(
            "This space has no dims of the prosody alone, which a staged fit begins with; set space.kind to whole or "
            "bias, or schedule to joint."
        )


class Pca(Space):
    """rest[r] + base + profile[r] slope, base and slope in principal components.

    `rest` is what the components leave of the start voice, so that the search begins exactly
    at that voice: 32 components miss about a third of a voice.
    """

    settings: ClassVar[tuple[str, ...]] = ("components", "slopes")

    @classmethod
    def build(cls, stock: Stock, config: SpaceConfig) -> Pca:
        prior = stock.prior or Prior.of(stock.packs)
        return cls(prior, stock.start_pack, config.components, config.slopes, config.whiten)

    def __init__(self, prior: Prior, start: Tensor, components: int, slopes: int, whiten: bool) -> None:
        self.profile = prior.profile
        self.base, self.base_axes = prior.base.mean, prior.base.axes(components, whiten)
        self.slope, self.slope_axes = prior.slope.mean, prior.slope.axes(slopes, whiten)
        self.start = start
        self.dim = len(self.base_axes) + len(self.slope_axes)
        self.rest = torch.zeros_like(start)
        self.rest = start - self.styles(self.init()[None], torch.arange(ROWS, device=start.device))[0]

    def init(self) -> Tensor:
        base, slope = base_and_slope(self.start[None], self.profile)
        parts = _project(base[0] - self.base, self.base_axes), _project(slope[0] - self.slope, self.slope_axes)
        return torch.cat(parts)

    def styles(self, genomes: Tensor, rows: Tensor) -> Tensor:
        k = len(self.base_axes)
        base = self.base + genomes[:, :k] @ self.base_axes
        slope = self.slope + genomes[:, k:] @ self.slope_axes
        return self.rest[rows][None] + base[:, None] + self.profile[rows][None, :, None] * slope[:, None]


class Whole(Pca):
    """As `pca`, over all 256 dims of the base: a voice that is no mixture of the stock voices can be reached.

    Dims in which the stock voices do not differ are scaled by what a stock voice that is left out has there
    (`prior.unseen_spread`): the search moves least in them, and the prior term holds it back.
    """

    settings = ("slopes",)

    @classmethod
    def build(cls, stock: Stock, config: SpaceConfig) -> Whole:
        prior = stock.prior or Prior.of(stock.packs)
        base = prior.base.whole(unseen_spread(base_and_slope(stock.packs, prior.profile)[0]))
        slope = prior.slope
        return cls(Prior(prior.profile, base, slope), stock.start_pack, STYLE, config.slopes, config.whiten)

    def changes(self, dims: slice) -> Tensor:
        base = (self.base_axes / self.base_axes.square().sum(1, keepdim=True).clamp_min(1e-12)).T[dims]
        return pad(base, (0, len(self.slope_axes)))


class Bias(Space):
    """start[r] + genome * scale, the same for every row."""

    @classmethod
    def build(cls, stock: Stock, config: SpaceConfig) -> Bias:
        return cls(stock.packs, stock.start_pack, config.whiten)

    def __init__(self, packs: Tensor, start: Tensor, whiten: bool) -> None:
        self.start = start
        self.scale = packs.mean(1).std(0) if whiten else torch.ones(STYLE).to(packs)
        self.dim = STYLE

    def init(self) -> Tensor:
        return torch.zeros(self.dim).to(self.start)

    def styles(self, genomes: Tensor, rows: Tensor) -> Tensor:
        return self.start[rows][None] + (genomes * self.scale)[:, None]

    def changes(self, dims: slice) -> Tensor:
        return self.scale.clamp_min(1e-12).reciprocal().diag()[dims]


class Interp(Space):
    """softmax(gain * genome) over the stock voices.

    Flat softmax logits barely move at the step sizes of a style vector; whitened, one unit is
    ln V, which lifts one voice of a flat mixture of V from 1/V to about 1/2.
    """

    @classmethod
    def build(cls, stock: Stock, config: SpaceConfig) -> Interp:
        return cls(stock.packs, stock.start, config.whiten)

    def __init__(self, packs: Tensor, start: int | None, whiten: bool) -> None:
        self.packs = packs
        self.gain = math.log(len(packs)) if whiten and len(packs) > 1 else 1.0
        self.start = start
        self.dim = len(packs)

    def init(self) -> Tensor:
        genome = torch.zeros(self.dim).to(self.packs)
        if self.start is not None and self.dim > 1:
            odds = START_WEIGHT / (1 - START_WEIGHT) * (self.dim - 1)
            genome[self.start] = math.log(odds) / self.gain
        return genome

    def weights(self, genomes: Tensor) -> Tensor:
        """Mixture weights [P, V], each row summing to 1."""
        return torch.softmax(self.gain * genomes, -1)

    def styles(self, genomes: Tensor, rows: Tensor) -> Tensor:
        return torch.einsum("pv,vus->pus", self.weights(genomes), self.packs[:, rows])


class InterpBias(Space):
    """A mixture of the stock voices plus a bias: genome = [V logits, 256 biases]."""

    @classmethod
    def build(cls, stock: Stock, config: SpaceConfig) -> InterpBias:
        return cls(stock.packs, stock.start, config.whiten)

    def __init__(self, packs: Tensor, start: int | None, whiten: bool) -> None:
        self.mix = Interp(packs, start, whiten)
        self.bias = Bias(packs, torch.zeros_like(packs[0]), whiten)
        self.dim = self.mix.dim + self.bias.dim

    def init(self) -> Tensor:
        return torch.cat([self.mix.init(), self.bias.init()])

    def styles(self, genomes: Tensor, rows: Tensor) -> Tensor:
        v = self.mix.dim
        return self.mix.styles(genomes[:, :v], rows) + self.bias.styles(genomes[:, v:], rows)


KINDS: dict[str, type[Space]] = {"pca": Pca, "whole": Whole, "bias": Bias, "interp": Interp, "interp+bias": InterpBias}


def build(
    config: SpaceConfig | FitConfig,
    stock: Mapping[str, Tensor],
    device: str = "cpu",
    prior: Prior | None = None,
    start: Tensor | None = None,
) -> Space:
    """The space that `config` names, over the stock voices {name: [510, 1, 256]}, on `device`, in float32.

    `prior` tells where they lie, for `pca`; default: computed from them.

    `config.start` is the name of a stock voice or `mean`; `nearest`, `encoder` and `mix` need a target,
    for which `coconut.job` finds a name or a voicepack: here they stand for the mean. `start`, a
    voicepack [510, 1, 256], is where `pca` and `bias` begin instead, exactly; `interp` and `interp+bias`
    know stock voices alone, and begin where `config.start` says. Raises InputError for an unknown
    kind or start, or when there are fewer than two stock voices.
    """
    config = config.space if isinstance(config, FitConfig) else config
    check_kind(config.kind)
    names = sorted(stock)
    if len(names) < 2:
        raise InputError(f"The model has {len(names)} stock voices; a style space needs at least 2.")
    packs = torch.stack([stock[name].reshape(ROWS, STYLE).float() for name in names]).to(device)
    known = None if prior is None else prior.to(device)
    given = None if start is None else start.reshape(ROWS, STYLE).to(packs)
    return KINDS[config.kind].build(Stock(packs, known, _start_index(config.start, names), given), config)


def check_kind(kind: str) -> None:
    """Raises InputError for a kind of space that does not exist."""
    if kind not in KINDS:
        raise InputError(f"space.kind is {kind}; it must be one of {', '.join(KINDS)}.")


def _project(vector: Tensor, axes: Tensor) -> Tensor:
    """Coordinates of a vector [S] along orthogonal axes [K, S]."""
    return axes @ vector / axes.square().sum(1).clamp_min(1e-12)


def _start_index(start: str, names: list[str]) -> int | None:
    if start in ("mean", "nearest", *FOUND):
        return None
    if start not in names:
        known = ", ".join(("nearest", "mean", *FOUND))
        raise InputError(f"space.start is {start}; it must be {known}, or a stock voice: {', '.join(names)}.")
    return names.index(start)
