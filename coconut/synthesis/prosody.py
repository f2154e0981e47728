"""The prosody half: how long each phoneme lasts, how high and how loud it is.

A walk over the stock predictor's own submodules (kokoro/modules.py) for many styles at once.
Reads only dims 128:256 of a style vector.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from coconut.synthesis.convolution import Conv
from coconut.synthesis.layers import ResBlock, StyleBank
from coconut.synthesis.ragged import Lengths


class Durations:
    """Encodings of one text, many styles -> features and durations of its tokens."""

    def __init__(self, predictor: Any) -> None:
        self.predictor = predictor

    def __call__(self, encoded: Tensor, styles: Tensor) -> tuple[Tensor, Tensor]:
        """encoded [B, S, H], styles [B, 128] -> features [B, S, H + 128], durations [B, S] long."""
        x, steps = self.soft(encoded, styles)
        return x, whole(steps)

    def soft(self, encoded: Tensor, styles: Tensor) -> tuple[Tensor, Tensor]:
        """The same with the durations as they are before they are rounded, in frames."""
        style = styles[:, None].expand(-1, encoded.shape[1], -1)
        x = torch.cat([encoded, style], -1)
        for block in self.predictor.text_encoder.lstms:
            if isinstance(block, nn.LSTM):
                x, _ = block(x)
            else:  # AdaLayerNorm
                gamma, beta = block.fc(styles)[:, None].chunk(2, -1)
                x = torch.addcmul(beta, 1 + gamma, F.layer_norm(x, (block.channels,), eps=block.eps))
                x = torch.cat([x, style], -1)
        hidden, _ = self.predictor.lstm(x)
        return x, torch.sigmoid(self.predictor.duration_proj(hidden)).sum(-1)


def whole(steps: Tensor) -> Tensor:
    """Durations in whole frames, at least one, as the model rounds them."""
    return steps.round().nan_to_num(1.0).clamp(min=1).long()


class Contours:
    """Features of every frame -> F0 and energy at twice the frame rate (F0Ntrain)."""

    def __init__(self, predictor: Any) -> None:
        self.shared = BiLstm(predictor.shared)
        self.bank = StyleBank()
        self.f0 = [ResBlock(block, self.bank) for block in predictor.F0]
        self.energy = [ResBlock(block, self.bank) for block in predictor.N]
        self.bank.close()
        self.f0_proj, self.energy_proj = Conv(predictor.F0_proj), Conv(predictor.N_proj)

    def __call__(self, features: Tensor, styles: Tensor, lengths: Lengths) -> tuple[Tensor, Tensor]:
        """features [B, T, H + 128], styles [B, 128] -> F0 in Hz and energy, both [B, 2T], 0 past the end."""
        projected = self.bank(styles)
        x = self.shared(features, lengths)
        f0 = self._branch(self.f0, self.f0_proj, x, projected, lengths)
        return f0, self._branch(self.energy, self.energy_proj, x, projected, lengths)

    @staticmethod
    def _branch(blocks: list[ResBlock], project: Conv, x: Tensor, styles: Tensor, lengths: Lengths) -> Tensor:
        for block in blocks:
            x = block(x, styles, lengths)
            lengths = lengths.times(2) if block.upsample else lengths
        return lengths.blank_(project(x)).squeeze(-1)


class BiLstm:
    """A bidirectional LSTM over items of unequal length, without packing.

    The backward direction reads every item turned round within its own length, so that both
    directions meet the padding last.
    """

    def __init__(self, lstm: nn.LSTM) -> None:
        self.both = lstm
        self.forward, self.backward = (_direction(lstm, suffix) for suffix in ("", "_reverse"))

    def __call__(self, x: Tensor, lengths: Lengths) -> Tensor:
        if lengths.equal:
            return self.both(x)[0]
        turn = lengths.reversal()[:, :, None]
        there, _ = self.forward(x)
        back, _ = self.backward(x.gather(1, turn.expand_as(x)))
        return torch.cat([there, back.gather(1, turn.expand_as(back))], -1)


def _direction(lstm: nn.LSTM, suffix: str) -> nn.LSTM:
    weight = lstm.weight_ih_l0
    with torch.random.fork_rng(devices=[]):
        one = nn.LSTM(lstm.input_size, lstm.hidden_size, batch_first=True, dtype=weight.dtype, device=weight.device)
    for name, parameter in one.named_parameters():
        parameter.data.copy_(getattr(lstm, name + suffix))
    return copy.deepcopy(one).requires_grad_(False).eval()


def align(durations: Tensor, frames: int) -> Tensor:
    """[B, S] durations -> [B, frames] index of the token that each frame belongs to.

    Past an item's end the last token; the caller's lengths say where that is.
    """
    ends = durations.cumsum(-1)
    steps = torch.arange(frames, device=durations.device).expand(len(durations), -1).contiguous()
    return torch.searchsorted(ends, steps, right=True).clamp_max(durations.shape[1] - 1)
