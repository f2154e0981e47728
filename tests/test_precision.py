"""What is computed in which arithmetic: settings of TF32 that are restored, and compiled programs that stay few."""

from __future__ import annotations

import functools
from types import SimpleNamespace

import pytest
import torch

from coconut.synthesis import layers, precision
from coconut.synthesis.layers import AdaIN, SnakeBlock, adain_snake
from coconut.synthesis.precision import Fused, tensor_cores
from coconut.synthesis.ragged import Lengths

CUDA = torch.device("cuda")
matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
newer = pytest.mark.skipif(not hasattr(cudnn, "conv"), reason="this torch has no fp32_precision")


def said():
    """All settings of TF32, old and new; a refusal to answer is an answer."""
    found = [torch.backends.fp32_precision, matmul.fp32_precision, cudnn.conv.fp32_precision, cudnn.rnn.fp32_precision]
    for read in (lambda: matmul.allow_tf32, lambda: cudnn.allow_tf32, torch.get_float32_matmul_precision):
        try:
            found.append(read())
        except RuntimeError:
            found.append("refused")
    return [*found, cudnn.deterministic, cudnn.benchmark]


@pytest.fixture
def settings():
    before = precision._Tf32.read()
    before.write()
    yield
    torch.backends.fp32_precision = "none"
    before.write()
    matmul.allow_tf32, cudnn.allow_tf32 = False, True  # torch's own; the older interface can be read again


def set_matmul():
    matmul.fp32_precision = "tf32"


def set_convolutions():
    cudnn.conv.fp32_precision = "ieee"


def set_all():
    torch.backends.fp32_precision = "tf32"


@newer
@pytest.mark.usefixtures("settings")
@pytest.mark.parametrize("allowed", [False, True])
@pytest.mark.parametrize("host", [set_matmul, set_convolutions, set_all, lambda: None])
def test_a_program_that_uses_the_newer_settings_keeps_them(host, allowed):
    host()
    before, expected = said(), "tf32" if allowed else "ieee"
    with tensor_cores(CUDA, allowed):
        assert {cudnn.conv.fp32_precision, cudnn.rnn.fp32_precision, matmul.fp32_precision} == {expected}
        assert (matmul.allow_tf32, cudnn.allow_tf32) == (allowed, allowed)
        with tensor_cores(CUDA, not allowed):
            assert matmul.allow_tf32 is not allowed
        assert cudnn.conv.fp32_precision == expected
    assert said() == before


@newer
@pytest.mark.usefixtures("settings")
@pytest.mark.parametrize("name", ["highest", "high", "medium"])
def test_the_older_setting_keeps_its_three_values(name):
    torch.set_float32_matmul_precision(name)
    before = said()
    with tensor_cores(CUDA, False):
        assert not matmul.allow_tf32
    assert said() == before
    assert torch.get_float32_matmul_precision() == name


@pytest.mark.slow
def test_four_programs_serve_all_batches_and_the_warm_up_makes_them(monkeypatch):
    """One for each dtype of the input, for one item and for several: Dynamo would keep eight, and be eager beyond."""
    programs = []

    def backend(graph, _):
        programs.append(graph)
        return graph.forward

    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend=backend))
    monkeypatch.setattr(layers.ragged, "on_cpu", lambda x: False)
    block = SnakeBlock.__new__(SnakeBlock)
    block.dtype, block.fused, block.padded = torch.bfloat16, Fused(adain_snake, True), True

    def run(steps, total, channels):
        lengths = Lengths(steps, torch.device("cpu"), total)
        styles = torch.randn(len(steps), 2 * channels)
        for dtype in (torch.float32, torch.bfloat16):
            x = torch.randn(len(steps), total, channels).to(dtype)
            found = block._activate(AdaIN(0, channels, 1e-5), x, styles, lengths)
            assert found.dtype == torch.bfloat16
        return found

    run([13], 13, 7), run([13, 12], 13, 7)  # as Synthesizer._warm_up does
    assert len(programs) == 4
    for steps, total in (([40], 40), ([39], 40), ([40, 40], 40), ([40, 31, 7], 48), ([5] * 9, 5)):
        for channels in (7, 6):
            run(steps, total, channels)
    assert len(programs) == 4
    assert block.fused.compiled


def test_padding_changes_nothing_where_there_is_none():
    lengths, styles = Lengths([9, 9], torch.device("cpu")), torch.randn(2, 8, dtype=torch.float64)
    x = torch.randn(2, 9, 4, dtype=torch.float64)
    found = []
    for padded in (False, True):
        block = SnakeBlock.__new__(SnakeBlock)
        block.dtype, block.fused, block.padded = None, adain_snake, padded
        found.append(block._activate(AdaIN(0, 4, 1e-5), x, styles, lengths))
    assert torch.allclose(*found, rtol=1e-12, atol=1e-12)


def test_memory_that_runs_out_does_not_end_compiling():
    def fail(*_):
        raise RuntimeError("CUDA error: out of memory")

    fused = Fused(SimpleNamespace, False)
    fused.function = fail  # as if it had been compiled
    with pytest.raises(RuntimeError, match="out of memory"):
        fused()
    assert fused.function is fail
