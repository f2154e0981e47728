"""Convolutions with fewer multiplications, and stretches of time, against torch's own."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from coconut.synthesis import convolution, layers
from coconut.synthesis.convolution import Conv
from coconut.synthesis.elementwise import snake_
from coconut.synthesis.ragged import Lengths

CPU = torch.device("cpu")


def same(channels: int, taps: int, dilation: int, dtype: torch.dtype = torch.float64) -> nn.Conv1d:
    generator = torch.Generator().manual_seed(taps)
    module = nn.Conv1d(channels, channels, taps, dilation=dilation, padding=(taps - 1) * dilation // 2, dtype=dtype)
    for parameter in module.parameters():
        parameter.data.copy_(torch.randn(parameter.shape, generator=generator) / (channels * taps) ** 0.5)
    return module.requires_grad_(False)


@settings(max_examples=60, deadline=None)
@given(st.integers(7, 15), st.integers(1, 5), st.integers(1, 90), st.integers(1, 3), st.integers(0, 99))
def test_fewer_multiplications_give_the_same(taps, dilation, steps, batch, seed):
    module = same(5, taps | 1, dilation)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(convolution, "WIDE", 1)
        conv = Conv(module)
    assert conv.short is not None
    x = torch.randn(batch, steps, 5, generator=torch.Generator().manual_seed(seed)).double()
    assert (conv(x) - module(x.transpose(1, 2)).transpose(1, 2)).abs().max() < 1e-12


def multiplications(short) -> int:
    return short.numel() if isinstance(short, torch.Tensor) else sum(multiplications(s) for s in short)


@pytest.mark.parametrize(("channels", "taps"), [(256, 7), (256, 11), (128, 11)])
def test_less_is_multiplied_and_float32_stays_accurate(channels, taps):
    module, truth = (same(channels, taps, 3, dtype) for dtype in (torch.float32, torch.float64))
    truth.weight.data, truth.bias.data = module.weight.double(), module.bias.double()
    conv = Conv(module)
    assert multiplications(conv.short) / convolution.PARTS <= 0.63 * module.weight.numel()
    x = torch.randn(1, 400, channels, generator=torch.Generator().manual_seed(0))
    exact = truth(x.double().transpose(1, 2)).transpose(1, 2)
    assert (conv(x) - exact).abs().max() <= 3e-6 * exact.abs().max()


@pytest.mark.parametrize("wide", [1, 10**9])
@pytest.mark.parametrize("tile", [1, 200, 1000, 10**9])
def test_stretches_join_seamlessly(monkeypatch, wide, tile):
    monkeypatch.setattr(convolution, "WIDE", wide)
    monkeypatch.setattr(layers, "TILE", tile)
    module = same(4, 7, 3)
    conv, lengths = Conv(module), Lengths([50, 61], CPU, 64)
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(2, 64, 4, generator=generator).double()
    scale, shift = (torch.randn(2, 1, 4, generator=generator).double() for _ in range(2))
    expected = module(lengths.blank_(snake_(x * scale + shift)).transpose(1, 2)).transpose(1, 2)
    parts = list(layers.stretches(x, (scale, shift), conv, lengths))
    assert [start for start, _, _ in parts] == [0, *(stop for _, stop, _ in parts)][:-1]
    assert parts[-1][1] == 64
    assert (torch.cat([found for *_, found in parts], 1) - expected).abs().max() < 1e-12
