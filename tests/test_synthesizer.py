"""The Synthesizer against single calls of the stock model, and against itself in other company."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn.utils import parametrize, remove_weight_norm
from torch.nn.utils.parametrizations import weight_norm

from coconut.audio import LogMel
from coconut.config import InputError
from coconut.synthesis import Synthesizer, convolution, layers, precision, ragged, synthesizer
from tests.kmodels import kokoro_config, random_model, random_styles, stock, texts


def widest(synth: Synthesizer) -> Synthesizer:
    """Batches of any lengths, padded to the longest: the hardest case."""
    synth._warm_up()
    synth.budget.bytes_per_frame = 1.0
    return synth


def deviation(synth, model, phonemes, styles, injected: bool = False) -> float:
    """The largest error over all items, relative to the item's peak; durations and lengths must be equal."""
    script = synth.prepare(phonemes)
    prosody = synth.prosody(script, styles)
    audio = synth.decode(script, prosody, styles)
    assert audio.ok.all()
    worst = 0.0
    for p in range(len(styles)):
        for u, text in enumerate(phonemes):
            frames = int(prosody.frames[p, u])
            contours = (prosody.F0[p, u, : 2 * frames], prosody.energy[p, u, : 2 * frames])
            noise = script.noise(u, 600 * frames)
            wave, durations = stock(model, text, styles[p, u], noise, contours if injected else None)
            assert torch.equal(prosody.durations[p, u, : script.lengths[u]], durations)
            assert prosody.durations[p, u, script.lengths[u] :].sum() == 0
            assert len(wave) == int(audio.lens[p, u])
            assert audio.wav[p, u, len(wave) :].abs().sum() == 0
            peak = float(wave.abs().max())
            assert peak > 1e-3
            worst = max(worst, float((audio.wav[p, u, : len(wave)] - wave).abs().max()) / peak)
    return worst


@pytest.fixture(params=["cpu path", "accelerator path"])
def path(request, monkeypatch):
    """The masked and fused path of accelerators runs on a CPU just as well."""
    if request.param == "accelerator path":
        monkeypatch.setattr(ragged, "on_cpu", lambda _: False)


@pytest.mark.usefixtures("path")
@pytest.mark.parametrize("disable_complex", [False, True])
def test_float64_equals_stock(monkeypatch, disable_complex):
    monkeypatch.setattr(convolution, "WIDE", 1)  # what only a larger model does
    monkeypatch.setattr(layers, "TILE", 50_000)
    monkeypatch.setattr(synthesizer, "WASTE", 1.0)
    monkeypatch.setattr(synthesizer, "PITCH_WASTE", 1.0)
    model = random_model(dtype=torch.float64, disable_complex=disable_complex)
    phonemes = texts(model, 1, 14, 5, 2, 14)
    assert deviation(widest(Synthesizer(model)), model, phonemes, random_styles(2, 5).double()) <= 1e-6


@pytest.mark.slow
def test_float64_equals_stock_over_twenty_texts():
    model = random_model(dtype=torch.float64, pace=-7.5)
    counts = [1, 2, 3, 4, 5, 6, 7, 9, 11, 13, 16, 20, 25, 32, 40, 52, 75, 120, 210, 400]
    order = torch.randperm(20, generator=torch.Generator().manual_seed(3)).tolist()
    phonemes = texts(model, *[counts[i] for i in order])
    assert deviation(Synthesizer(model), model, phonemes, random_styles(1, 20).double()) <= 1e-6


@pytest.mark.slow
def test_float64_equals_stock_for_the_real_architecture():
    model = random_model(kokoro_config(), torch.float64, pace=-7.5)
    synth = widest(Synthesizer(model))
    assert deviation(synth, model, texts(model, 1, 6, 2), random_styles(1, 3).double()) <= 1e-6


@pytest.mark.parametrize(
    "config", [None, pytest.param(kokoro_config(), marks=pytest.mark.slow)], ids=["mini", "Kokoro-82M"]
)
def test_float32_equals_stock_given_its_contours(monkeypatch, config):
    """A phase at the cut between -pi and pi is decided by rounding: a text with such a one proves nothing."""
    model = random_model(config, disable_complex=True, pace=-5.5 if config is None else -7.5)
    synth, styles = Synthesizer(model), random_styles(1, 1)
    cut = []
    inner = model.decoder.generator.stft.transform

    def transform(wave: Tensor) -> tuple[Tensor, Tensor]:
        magnitude, phase = inner(wave)
        cut.append(bool((phase[:, 1:-1].abs() > torch.pi - 2e-6).any()))
        return magnitude, phase

    monkeypatch.setattr(model.decoder.generator.stft, "transform", transform)
    found = [deviation(synth, model, texts(model, n), styles, injected=True) for n in (3, 30, 9, 5, 14)]
    clear = [error for error, doubtful in zip(found, cut, strict=True) if not doubtful]
    assert len(clear) >= 3
    assert max(clear) <= 1e-4


def test_a_model_with_parametrized_weight_norm_sounds_the_same(double):
    phonemes, styles = texts(double, 12), random_styles(2, 1).double()
    before = Synthesizer(double)
    expected = before(before.prepare(phonemes), styles).wav
    model = random_model(dtype=torch.float64)
    changed = 0
    for module in model.modules():
        if hasattr(module, "weight_g"):
            remove_weight_norm(module)
            weight_norm(module)
            changed += 1
    assert changed > 30
    assert parametrize.is_parametrized(model.decoder.generator.conv_post)
    synth = Synthesizer(model)
    found = synth(synth.prepare(phonemes), styles).wav
    assert (found - expected).abs().max() <= 1e-9 * expected.abs().max()


def test_one_seed_gives_the_same_bits_and_another_does_not(single):
    phonemes, styles = texts(single, 4, 17), random_styles(3, 2)
    first, again, other = (Synthesizer(single, seed=seed) for seed in (0, 0, 1))
    wavs = [synth(synth.prepare(phonemes), styles).wav for synth in (first, again, other)]
    assert torch.equal(wavs[0], wavs[1])
    assert not torch.equal(wavs[0], wavs[2])


def test_the_global_rng_is_left_alone(single):
    before = torch.get_rng_state()
    synth = Synthesizer(single)
    synth(synth.prepare(texts(single, 5)), random_styles(2, 1))
    assert torch.equal(torch.get_rng_state(), before)


def mel_distance(a: Tensor, b: Tensor) -> float:
    lens = torch.tensor([len(a)])
    one, two = (LogMel()(x.float()[None], lens)[0] for x in (a, b))
    return float((one - two).abs().mean())


@pytest.mark.slow
def test_float32_lies_nearer_to_the_float64_truth_than_stock_float32(double, single):
    """The phase is summed in float64: log-mel distance to the truth, over twenty texts."""
    phonemes, styles = texts(single, *range(3, 23)), random_styles(1, 20)
    synth = Synthesizer(single)
    script = synth.prepare(phonemes)
    audio = synth(script, styles)
    ours, theirs = [], []
    for u, text in enumerate(phonemes):
        noise = script.noise(u, int(audio.lens[0, u]))
        truth, _ = stock(double, text, styles[0, u], noise)
        wave, _ = stock(single, text, styles[0, u], noise)
        ours.append(mel_distance(audio.wav[0, u, : len(truth)], truth))
        theirs.append(mel_distance(wave, truth))
    nearer = sum(a < b for a, b in zip(ours, theirs, strict=True))
    print(f"log-mel L1 to the truth: ours {sum(ours) / 20:.4f}, stock {sum(theirs) / 20:.4f}, nearer in {nearer} of 20")
    assert sum(ours) < 0.8 * sum(theirs)
    assert nearer >= 15


def test_fast_is_fast_in_name_only_where_it_really_is(single):
    """Where bfloat16 multiplies, its effect stays below that of another noise; elsewhere exact is said."""
    phonemes, styles = texts(single, 20, 30), random_styles(2, 2)
    exact, other = Synthesizer(single), Synthesizer(single, seed=1)
    capable = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    if not (capable.get("avx512_bf16") or capable.get("amx_bf16")):
        with pytest.warns(UserWarning, match="exact is used"):
            assert Synthesizer(single, precision="fast").precision == "exact"
        return
    fast = Synthesizer(single, precision="fast")
    assert fast.precision == "fast"
    wavs = [synth(synth.prepare(phonemes), styles).wav.flatten(0, 1) for synth in (exact, fast, other)]
    effect = sum(mel_distance(a, b) for a, b in zip(wavs[0], wavs[1], strict=True))
    floor = sum(mel_distance(a, b) for a, b in zip(wavs[0], wavs[2], strict=True))
    assert 0 < effect < floor


@pytest.mark.parametrize(
    ("phonemes", "said"), [("", "no phoneme"), ("⁂⁂", "no phoneme"), ("a" * 511, "511 phonemes, more than 510")]
)
def test_texts_that_cannot_be_spoken(single, phonemes, said):
    with pytest.raises(InputError, match=said):
        Synthesizer(single).prepare(["a", phonemes])


def test_other_bad_input(single):
    with pytest.raises(InputError, match="exact, tf32, fast, auto"):
        Synthesizer(single, precision="quick")
    synth = Synthesizer(single)
    with pytest.raises(InputError, match="list"):
        synth.prepare("abc")
    with pytest.raises(InputError, match="one row of the voicepack"):
        synth.prosody(synth.prepare(["a", "b"]), random_styles(2, 1))


def test_texts_are_encoded_once(single, monkeypatch):
    synth = Synthesizer(single)
    first = synth.prepare(["abc", "abd"])
    monkeypatch.setattr(synth._encode, "_encode", lambda _: pytest.fail("encoded again"))
    again = synth.prepare(["abd", "abc"])
    assert again.texts == first.texts[::-1]


@pytest.mark.parametrize("allowed", [False, True])
def test_the_caller_keeps_its_own_tf32(allowed):
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = (matmul.allow_tf32, cudnn.allow_tf32, cudnn.deterministic, cudnn.benchmark)

    def fail() -> None:
        with precision.tensor_cores(torch.device("cuda"), allowed):
            assert matmul.allow_tf32 is allowed
            assert cudnn.allow_tf32 is allowed
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert (matmul.allow_tf32, cudnn.allow_tf32, cudnn.deterministic, cudnn.benchmark) == before
