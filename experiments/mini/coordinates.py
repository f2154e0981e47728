"""Coordinates of the style space in which no direction is dead.

56 learned styles span 56 of a half's 128 dims. Training strengthens what reads a style (AdaIN's `fc`, columns of
the LSTMs) along those, and leaves the rest at its random start, where one standard deviation does a third of what
it does along the voices. Kokoro's encoder gave every utterance a style of its own, so its space has no such rest.

The coordinates of a style are free: with s' = M^-1 s and W' = W M every reader sees W s as before.
M = P + g (1 - P), where P projects on the span of the voices' bases, and g is such that a standard deviation
off the span moves what the readers see as much as one along it. Voices sound as they did; a search in all 256
dims can do as much harm, and as much overfitting, in any direction.
"""

from __future__ import annotations

import torch
from torch import Tensor

STYLE = 128  # dims of a half


def level(
    weights: dict[str, Tensor], half: str, base: Tensor, slope: Tensor
) -> tuple[dict[str, Tensor], Tensor, float]:
    """(weights, slope, g) in the new coordinates of a half, "acoustic" or "prosody".

    weights: a KModel's; base, slope [V, 128]: the voices', of which the bases stay as they are.
    """
    names = [name for name in weights if _reads(name, half)]
    seen = torch.cat([_style_columns(name, weights[name]) for name in names]).double()
    centred = base.double() - base.double().mean(0)
    axes = torch.linalg.svd(base.double(), full_matrices=False).Vh
    span = axes.T @ axes
    off = torch.eye(STYLE, dtype=torch.float64) - span

    along = (seen @ centred.T).square().sum() / (len(base) - 1)
    across = (seen @ off * centred.std(0)).square().sum()
    gain = float((along / across).sqrt())
    made = {name: weight.clone() for name, weight in weights.items()}
    for name in names:
        columns = _style_columns(name, made[name])
        columns.copy_(columns.double() @ (span + gain * off))
    return made, (slope.double() @ (span + off / gain)).to(slope), gain


def _reads(name: str, half: str) -> bool:
    """Whether a weight multiplies a style of this half."""
    if half == "acoustic":
        return name.startswith("decoder.") and name.endswith(".fc.weight")
    return name.startswith("predictor.") and (name.endswith(".fc.weight") or ".weight_ih_l0" in name)


def _style_columns(name: str, weight: Tensor) -> Tensor:
    """The part of a reader's weight that meets the style: all of it, or the last columns of an LSTM's."""
    return weight if name.endswith(".fc.weight") else weight[:, -STYLE:]
