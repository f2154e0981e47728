"""The excitation and the short-time transform, against kokoro's own modules and torch.stft."""

from __future__ import annotations

import pytest
import torch
from kokoro.custom_stft import CustomSTFT
from kokoro.istftnet import SourceModuleHnNSF, TorchSTFT

from coconut.synthesis import Synthesizer, elementwise
from coconut.synthesis.ragged import Lengths
from coconut.synthesis.source import SineSource, UnitNoise
from coconut.synthesis.stft import Stft
from tests.kmodels import default_dtype, random_model

CPU = torch.device("cpu")


def contour(frames: int, seed: int = 0) -> torch.Tensor:
    """[1, N] Hz: a wavering pitch with unvoiced stretches, below the threshold and below zero."""
    generator = torch.Generator().manual_seed(seed)
    f0 = 160 + 60 * torch.sin(torch.arange(frames) / 9) + 5 * torch.randn(frames, generator=generator)
    f0[frames // 3 : frames // 2] = -3.0
    f0[-frames // 6 :] = 4.0
    return f0[None].double()


def test_unit_noise_depends_on_seed_and_text_alone():
    noise = UnitNoise(0, "abc")
    short = noise.first(100, CPU, torch.float32).clone()
    long = noise.first(60_000, CPU, torch.float32)
    assert torch.equal(short, long[:100])
    assert torch.equal(long, UnitNoise(0, "abc").first(60_000, CPU, torch.float32))
    for other in (UnitNoise(1, "abc"), UnitNoise(0, "abd")):
        assert abs(float((other.first(60_000, CPU, torch.float32) * long).mean())) < 0.02
    assert abs(float(long.mean())) < 0.02
    assert abs(float(long.std()) - 1) < 0.02


def test_a_text_has_its_noise_in_any_script():
    synth = Synthesizer(random_model())
    one, two = synth.prepare(["ab", "cd"]), synth.prepare(["cd"])
    assert torch.equal(one.noise(1, 5000), two.noise(0, 5000))
    assert one.noise(0, 700).shape == (700,)


def test_the_source_equals_the_stock_source(monkeypatch):
    """In float64, with stock's noise silenced and ours beside it at zero."""
    with default_dtype(torch.float64):
        module = SourceModuleHnNSF(24_000, 300, harmonic_num=8, voiced_threshod=10).double()
        monkeypatch.setattr(torch, "randn_like", torch.zeros_like)
        f0 = contour(60)
        expected = module(f0.repeat_interleave(300, 1)[..., None])[0][..., 0]
    found = SineSource(module)(f0, torch.zeros(1, 18_000).double())
    assert (found - expected).abs().max() < 1e-9


def test_noise_of_nine_harmonics_is_one_noise(monkeypatch):
    """Equal in law: the same spread over many draws, voiced and unvoiced alike."""
    with default_dtype(torch.float64):
        module = SourceModuleHnNSF(24_000, 300, harmonic_num=8, voiced_threshod=10).double()
        f0 = torch.tensor([[0.0, 200.0]]).repeat_interleave(30, 1).double()
        generator = torch.Generator().manual_seed(0)
        monkeypatch.setattr(
            torch, "randn_like", lambda x: torch.randn(x.shape, generator=generator, dtype=torch.float64)
        )
        stock = torch.stack([module(f0.repeat_interleave(300, 1)[..., None])[0][0, :, 0] for _ in range(12)])
    noise = torch.randn(12, 18_000, generator=generator, dtype=torch.float64)
    ours = SineSource(module)(f0.expand(12, -1), noise)
    for half in (slice(0, 9000), slice(9500, 18_000)):
        assert float(ours[:, half].detach().std(0).mean()) == pytest.approx(
            float(stock[:, half].detach().std(0).mean()), rel=0.02
        )


def test_the_source_ignores_what_follows_the_end():
    with default_dtype(torch.float64):
        module = SourceModuleHnNSF(24_000, 300, harmonic_num=8).double()
    f0, noise = contour(40), torch.zeros(1, 18_000).double()
    alone = SineSource(module)(f0, noise[:, :12_000])
    padded = SineSource(module)(torch.cat([f0, f0.new_zeros(1, 20)], 1), noise)
    assert (padded[:, :12_000] - alone).abs().max() < 1e-12


def test_a_float32_phase_stays_true_for_minutes():
    with default_dtype(torch.float64):
        module = SourceModuleHnNSF(24_000, 300, harmonic_num=8)
    f0 = contour(4800).clamp(min=80)
    source = SineSource(module)
    truth = source.sines(f0)
    narrow = source.sines(f0.float().double().float())
    exact = source.sines(f0.float().double())  # the same F0, so that only the phase differs
    assert (narrow - exact).abs().max() < 1e-5 * truth.abs().max()


def stfts(n_fft: int, hop: int):
    torch_stft = TorchSTFT(n_fft, hop, n_fft)
    torch_stft.window = torch_stft.window.double()
    return [torch_stft, CustomSTFT(n_fft, hop, n_fft).double()]


@pytest.mark.parametrize(("n_fft", "hop"), [(20, 5), (60, 15), (24, 5)])
@pytest.mark.parametrize("kind", [0, 1])
def test_ragged_transform_and_inverse(n_fft, hop, kind):
    module = stfts(n_fft, hop)[kind]
    if kind == 1 and n_fft % hop:
        pytest.skip("CustomSTFT's own inverse changes the length then")
    ours = Stft(module, torch.float64, CPU)
    lengths = Lengths([hop * n for n in (40, 97, 60)], CPU)
    generator = torch.Generator().manual_seed(0)
    waves = [torch.randn(n, generator=generator, dtype=torch.float64) for n in lengths.steps]
    batch = torch.nn.utils.rnn.pad_sequence(waves, batch_first=True, padding_value=9.0)
    found = ours.transform(batch, lengths)
    frames = ours.frames(lengths)
    bins = n_fft // 2 + 1
    magnitude, phase = found[..., :bins].clone(), found[..., bins:].clone()
    magnitude[:, 1:] *= 1.5  # not a spectrum of any wave: the inverse has to divide by its envelope
    back = ours.inverse(magnitude, phase, frames)
    for i, wave in enumerate(waves):
        n = frames.steps[i]
        expected = [x[0].T for x in module.transform(wave[None])]
        assert len(expected[0]) == n
        assert (found[i, :n, :bins] - expected[0]).abs().max() < 1e-6
        turn = (found[i, :n, bins:] - expected[1]).abs()
        assert torch.minimum(turn, 2 * torch.pi - turn)[:, 1:-1].max() < 1e-4
        assert found[i, n:].abs().sum() == 0
        expected_wave = module.inverse(magnitude[i, :n].T[None], phase[i, :n].T[None]).flatten()
        assert len(expected_wave) == lengths.steps[i]
        assert (back[i, : lengths.steps[i]] - expected_wave).abs().max() < 1e-9


def test_vectorised_loops_agree_with_torch():
    x = torch.linspace(-200, 200, 10_001)
    y = torch.cat([torch.zeros(1), -torch.zeros(1), x[2:].flip(0)])
    for name in ("sin", "cos", "tanh"):
        exact = getattr(torch, name)(x.double())
        assert (getattr(elementwise, name)(x).double() - exact).abs().max() < 3e-7
    assert (elementwise.exp(x / 4) / (x.double() / 4).exp() - 1).abs().max() < 1e-5
    assert (elementwise.atan2(y, x).double() - torch.atan2(y.double(), x.double())).abs().max() < 1e-6
    assert elementwise.snake_(torch.ones(1)).item() == pytest.approx(1 + torch.ones(1).sin().item() ** 2)
