"""Fused kernels: under Triton's interpreter against float64, compiled for GPUs that need not be there, and how it is
decided whether one is used. What needs Triton is left out where it is not installed."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch

from coconut.losses import alignment
from coconut.synthesis import Synthesizer, acoustics, convolution, kernels, layers, source
from coconut.synthesis.kernels import ACTIVATE, ADD, BLEND, KERNELS, MOMENTS, Kernel
from coconut.synthesis.ragged import Lengths
from experiments.bench import launches as bench
from tests import pretend
from tests.kmodels import random_model, random_styles, texts

fused = None
if importlib.util.find_spec("triton"):
    from coconut.synthesis import triton_kernels as fused
needs_triton = pytest.mark.skipif(fused is None, reason="Triton is not installed")
CPU = torch.device("cpu")


def draw(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def wide(args):
    """The same arguments in float64."""
    if isinstance(args, list | tuple):
        return type(args)(wide(x) for x in args)
    return args.double() if isinstance(args, torch.Tensor) and args.is_floating_point() else args


STEPS = torch.tensor([600, 1, 256, 257])


@needs_triton
@pytest.mark.parametrize("name", sorted(KERNELS))
def test_a_kernel_is_what_torch_computes_in_float64(name):
    args = KERNELS[name].example(CPU)
    expected = kernels._flat(KERNELS[name].plain(*wide(args)))
    for found, truth in zip(kernels._flat(getattr(fused, name)(*args)), expected, strict=True):
        assert found.dtype == torch.float32
        size = truth.nan_to_num(posinf=0.0).abs().max().clamp_min(1.0)
        assert torch.allclose(found.double(), truth.double(), rtol=0.0, atol=2e-6 * float(size))


@needs_triton
@pytest.mark.parametrize("offset", [0.0, 100.0])
def test_moments_are_those_of_float64_of_each_item_alone(offset):
    x = draw(4, 600, 70) + offset
    x[:, 0] = 0.0  # an outlier at the beginning, as the edge of a convolution is one
    truth = MOMENTS.plain(x.double(), STEPS)
    found = fused.moments(x, STEPS)
    assert torch.allclose(found[:, 0].double(), truth[:, 0], rtol=1e-6, atol=1e-6)
    assert torch.allclose(found[:, 1].double(), truth[:, 1], rtol=1e-5, atol=1e-6)
    for item, n in enumerate(STEPS.tolist()):
        assert torch.equal(fused.moments(x[item : item + 1, :n], None)[0], found[item])


@needs_triton
def test_a_sum_is_written_with_its_moments():
    terms = [draw(4, 600, 5, seed=k) for k in range(3)]
    terms[1], bias = terms[1].bfloat16(), draw(5, seed=4)
    total, moments = fused.add(terms, bias, STEPS)
    truth = sum(x.double() for x in terms) + bias.double()
    assert torch.allclose(moments.double(), MOMENTS.plain(truth, STEPS), atol=1e-5)
    for item, n in enumerate(STEPS.tolist()):
        assert torch.allclose(total[item, :n].double(), truth[item, :n], atol=1e-6)
        assert not total[item, n:].any()


@needs_triton
@pytest.mark.parametrize("slope", [None, 0.2])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_adain_and_what_follows_are_one(slope, dtype):
    x, styles, steps = draw(2, 50, 70).to(dtype), draw(2, 1, 150, seed=1), torch.tensor([50, 31])
    args = (x, MOMENTS.plain(x, steps), styles[..., :70], styles[..., 75:145], 1e-5, slope, steps)
    found = fused.activate(*args, dtype)
    truth = ACTIVATE.plain(*wide(args), torch.float64)
    assert found.dtype == dtype
    accuracy = 3e-6 if dtype == torch.float32 else 2.0**-7  # the interpreter cuts numbers off where a GPU rounds them
    assert torch.allclose(found.double(), truth, rtol=accuracy, atol=accuracy)


@needs_triton
def test_a_blend_is_scaled_bent_and_ended():
    terms = [draw(4, 600, 5, seed=k) for k in range(2)]
    for bias in (None, draw(5, seed=4).bfloat16()):
        found = fused.blend(terms, bias, 0.5, 0.1, STEPS)
        assert torch.allclose(found.double(), BLEND.plain(wide(terms), wide(bias), 0.5, 0.1, STEPS), atol=1e-6)


@needs_triton
@pytest.mark.parametrize("band", [0.1, 2.0])
def test_alignments_have_the_bits_of_the_loop(band):
    cost, carried = draw(4, 9, 13).abs(), draw(4, 9, 13, seed=1)
    cost[3, 3:6, 3:6] = float("nan")
    n, m = torch.tensor([9, 1, 6, 9]), torch.tensor([13, 8, 1, 13])
    for pair in (carried, None):
        both = zip(fused.warp(cost, n, m, band, pair), alignment._warp(cost, n, m, band, pair), strict=True)
        for found, expected in both:
            assert torch.equal(found[:3], expected[:3])
            assert found[3].isnan() == expected[3].isnan()
    grid, expected = (f(cost[:1], n[:1], m[:1], band) for f in (fused.warp_grid, alignment._warp_grid))
    assert torch.equal(grid, expected)


@needs_triton
def test_a_phase_is_true_for_minutes():
    f0 = (200 + 50 * draw(2, 4801).sin()).clamp_min(80)
    with torch.no_grad():
        sines = source.SineSource(random_model().decoder.generator.m_source)
        starts, slopes = (x[:, -5:] for x in sines.lines(f0))  # two minutes later
        found = fused.sines(f0, starts, slopes, sines.weights, sines.hop)
        along = (torch.arange(sines.hop, dtype=torch.float64) + 0.5) / sines.hop
        weights = torch.tensor(sines.weights, dtype=torch.float64)[:, None, None]
        truth = (weights * (2 * torch.pi * (slopes * along + starts).frac()).sin()).sum(0)
    assert torch.allclose(found.double(), truth, atol=1e-6)


COMPILE = """
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from coconut.synthesis import triton_kernels as fused

F, B, N, S = "*fp32", "*bf16", "i32", "fp32"
forms = dict(EQUAL=False, WIDTH=64, ROWS=32, CHUNK=fused.CHUNK, JOINED=fused.JOINED, TERMS=3, BIASED=True, SNAKE=True,
             SAMPLES=fused.SAMPLES, CARRIED=True, BLOCK=1024)
types = dict(b=B, y=B, steps="*i64", total=N, chunks=N, channels=N, stride=N, eps=S, slope=S, factor=S, starts="*fp64",
             slopes="*fp64", lines=N, harmonics=N, hop=N, turn=S, sizes_n="*i64", sizes_m="*i64", band=S, rows=N,
             columns=N, depth=N)
for kernel in ("_chunk_moments", "_item_moments", "_activate", "_blend", "_sines", "_warp", "_chunk_slopes", "_slopes"):
    function = getattr(fused, kernel)
    names = function.arg_names
    fixed = {name: forms[name] for name in names if name in forms}
    signature = {name: "constexpr" if name in fixed else types.get(name, F) for name in names}
    made = triton.compile(ASTSource(function, signature, fixed), target=GPUTarget("cuda", 80, 32))
    print(kernel, len(made.asm["ptx"]), "sin.approx" in made.asm["ptx"])
"""


@needs_triton
@pytest.mark.slow
def test_kernels_compile_for_gpus_and_their_sines_are_no_rough_ones(tmp_path):
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"} | {"TRITON_CACHE_DIR": str(tmp_path)}
    root = Path(__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-c", COMPILE], capture_output=True, text=True, cwd=root, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 8
    assert all(line.endswith("False") for line in lines)


# Which is used


@pytest.fixture
def _untried(monkeypatch):
    """No kernel has been tried."""
    for kernel in KERNELS.values():
        monkeypatch.setattr(kernel, "agreed", set())
        monkeypatch.setattr(kernel, "refused", {})


def test_on_a_cpu_in_float64_and_on_a_tape_it_is_torch(monkeypatch):
    monkeypatch.setattr(Kernel, "agrees", lambda *_: True)
    x = torch.ones(1, 4, 2)
    assert not MOMENTS.serves((x, None))
    assert not ADD.serves(([x, x], None, None))
    with pretend.device():
        x = torch.ones(1, 4, 2, device="cuda")
        assert MOMENTS.serves((x, None))
        assert ADD.serves(([x.bfloat16(), x], None, None))
        assert not MOMENTS.serves((x.double(), None))
        assert not MOMENTS.serves((x.requires_grad_(), None))
        with torch.no_grad():
            assert MOMENTS.serves((x, None))


@pytest.mark.usefixtures("_untried")
def test_without_triton_it_is_said_once_and_torch_computes(monkeypatch):
    monkeypatch.setattr(kernels, "installed", lambda: False)
    with pretend.device(fused=None):
        x = draw(2, 9, 3).to("cuda")
        with pytest.warns(UserWarning, match="step by step on cuda:0, which is slower: Triton is not installed"):
            MOMENTS(x, None)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            ADD([x, x], None, None), MOMENTS(x, None)
        assert "Triton is not installed" in kernels.state(x.device)


@pytest.mark.usefixtures("_untried")
@pytest.mark.parametrize("fault", ["other", "raises"])
def test_a_kernel_that_does_not_agree_is_not_used(monkeypatch, fault):
    def wrong(x, steps):
        if fault == "raises":
            raise RuntimeError("no C compiler\nhere")
        return MOMENTS.plain(x, steps) + 0.01

    monkeypatch.setattr(kernels, "installed", lambda: True)
    monkeypatch.setattr(MOMENTS, "operation", wrong)
    with pretend.device(fused=None):
        x = draw(2, 9, 3).to("cuda")
        with pytest.warns(UserWarning, match="other numbers than torch" if fault == "other" else "no C compiler"):
            found = MOMENTS(x, None)
        assert torch.allclose(found.cpu(), MOMENTS.plain(x.cpu(), None))
        assert ADD.serves(([x, x], None, None))
        assert kernels.used(x.device).startswith("no fused moments: ")
        assert kernels.state(x.device).startswith("no fused moments: ")
    assert kernels.used(torch.device("cpu")) == ""


@pytest.mark.usefixtures("_untried")
def test_memory_that_runs_out_says_nothing_of_a_kernel(monkeypatch):
    def full(*_):
        raise RuntimeError("CUDA error: out of memory")

    monkeypatch.setattr(kernels, "installed", lambda: True)
    monkeypatch.setattr(MOMENTS, "operation", full)
    with pretend.device(fused=None):
        x = draw(2, 9, 3).to("cuda")
        with pytest.raises(RuntimeError, match="out of memory"):
            MOMENTS(x, None)
    assert not MOMENTS.refused


def test_the_fused_path_is_the_one_of_single_operations(monkeypatch):
    """In float64, on a padded batch; with torch's operations in place of kernels."""
    monkeypatch.setattr(convolution, "WIDE", 1 << 30)  # no convolution in the fast form, which is a CPU's
    model = random_model(dtype=torch.float64)
    synth, styles = Synthesizer(model), random_styles(3, 2)
    script = synth.prepare(texts(model, 5, 9))
    prosody = synth.prosody(script, styles)
    expected = synth.decode(script, prosody, styles)
    for module in (layers, acoustics):
        monkeypatch.setattr(module, "apart", lambda *_: False)
    found, again = synth.decode(script, prosody, styles), synth.prosody(script, styles)
    assert (found.wav - expected.wav).abs().max() < 1e-9
    assert (again.F0 - prosody.F0).abs().max() < 1e-9
    assert len(set(prosody.frames.flatten().tolist())) > 1


@pytest.mark.slow
def test_a_batch_of_kokoros_size_takes_a_third_of_the_launches_and_a_quarter_of_the_bytes(monkeypatch):
    """1,304 launches and 59.5 MB an output frame without kernels (experiments/log/cuda.md); counted without memory."""
    monkeypatch.setattr(Kernel, "serves", lambda *_: True)
    made, count = bench.synth("exact"), bench.Count()
    steps, frames = [240, 228] * 17, 240
    curve, style = (torch.empty(len(steps), n, device=bench.META) for n in (2 * frames, 128))
    noise = torch.empty(len(steps), 600 * frames, device=bench.META)
    text = torch.empty(len(steps), frames, 512, device=bench.META)
    with torch.no_grad(), count, count.within("decode"):
        made._acoustics(text, curve, curve, style, noise, Lengths(steps, bench.META))
    assert count.launches["decode"] <= 1304 / 3
    assert count.moved["decode"] / sum(steps) <= 15e6
