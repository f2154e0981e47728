"""The Synthesizer against single calls of the stock model, and against itself in other company."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.utils import parametrize, remove_weight_norm
from torch.nn.utils.parametrizations import weight_norm

from coconut.audio import LogMel
from coconut.config import InputError
from coconut.synthesis import Synthesizer, ragged, synthesizer
from coconut.synthesis.batches import batches, bucket, halving
from coconut.synthesis.budget import Budget, peak_bytes
from tests.kmodels import kokoro_config, random_model, random_phonemes, random_styles, stock


@pytest.fixture(scope="module")
def double():
    return random_model(dtype=torch.float64)


@pytest.fixture(scope="module")
def single():
    return random_model()


def texts(model, *counts: int) -> list[str]:
    return [random_phonemes(count, count, model.vocab) for count in counts]


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


def test_float32_equals_stock_given_its_contours(monkeypatch):
    """A phase at the cut between -pi and pi is decided by rounding: a text with such a one proves nothing."""
    model = random_model(disable_complex=True)
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


def test_company_order_and_chunking_do_not_matter(double, monkeypatch):
    monkeypatch.setattr(synthesizer, "WASTE", 1.0)
    phonemes, styles = texts(double, 4, 10, 6), random_styles(4, 3).double()
    synth = widest(Synthesizer(double))
    together = synth(synth.prepare(phonemes), styles)
    tolerance = 1e-6 * together.wav.abs().max()
    shuffled = synth(synth.prepare([phonemes[i] for i in (2, 0, 1)]), styles[[3, 1, 0, 2]][:, [2, 0, 1]])
    assert torch.equal(shuffled.lens, together.lens[[3, 1, 0, 2]][:, [2, 0, 1]])
    assert (shuffled.wav - together.wav[[3, 1, 0, 2]][:, [2, 0, 1]]).abs().max() <= tolerance
    synth.budget.limit = 1
    apart = synth(synth.prepare(phonemes), styles)
    assert (apart.wav - together.wav).abs().max() <= tolerance
    alone = synth(synth.prepare(phonemes[1:2]), styles[2:3, 1:2])
    assert (alone.wav[0, 0] - together.wav[2, 1, : alone.wav.shape[-1]]).abs().max() <= tolerance


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


def test_shared_prosody_is_computed_once_and_changes_nothing(double, monkeypatch):
    phonemes, styles = texts(double, 4, 17), random_styles(5, 2).double()
    styles[:, :, 128:] = styles[:1, :, 128:]
    synth = Synthesizer(double)
    script = synth.prepare(phonemes)
    seen = []
    inner = synth._durations
    monkeypatch.setattr(synth, "_durations", lambda x, style: (seen.append(len(style)), inner(x, style))[1])
    shared = synth.prosody(script, styles)
    assert seen == [1, 1]
    assert shared.F0.shape[0] == shared.durations.shape[0] == 5
    single = synth.prosody(script, styles[3:4])
    assert torch.equal(shared.durations[3:4], single.durations)
    assert (shared.F0[3:4] - single.F0).abs().max() < 1e-9
    audio = synth.decode(script, shared, styles)
    assert (audio.lens == audio.lens[0]).all()
    assert not torch.equal(audio.wav[0], audio.wav[1])


def test_the_population_may_be_cut_into_slices(double, monkeypatch):
    phonemes, styles = texts(double, 4, 11), random_styles(5, 2).double()
    synth = Synthesizer(double)
    script = synth.prepare(phonemes)
    whole = synth.prosody(script, styles)
    monkeypatch.setattr(synthesizer, "SLICE_TOKENS", 30)
    parts = synth.prosody(script, styles)
    assert torch.equal(whole.durations, parts.durations)
    assert (whole.F0 - parts.F0).abs().max() < 1e-9


def mel_distance(a: Tensor, b: Tensor) -> float:
    lens = torch.tensor([len(a)])
    one, two = (LogMel()(x.float()[None], lens)[0] for x in (a, b))
    return float((one - two).abs().mean())


def test_float32_lies_nearer_to_the_float64_truth_than_stock_float32(double, single):
    """The phase is summed in float64: log-mel distance to the truth, over four texts."""
    phonemes, styles = texts(single, 12, 18, 24, 30), random_styles(1, 4)
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
    assert sum(ours) < 0.8 * sum(theirs)


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


def test_a_broken_candidate_harms_no_neighbour(double):
    phonemes, styles = texts(double, 4, 11), random_styles(5, 2).double()
    synth = Synthesizer(double)
    script = synth.prepare(phonemes)
    clean = synth(script, styles)
    broken = styles.clone()
    broken[1, 0, 3], broken[2, 1, 200] = float("nan"), float("inf")
    broken[3] = 1e30
    audio = synth(script, broken)
    expected = torch.tensor([[True, True], [False, True], [True, False], [False, False], [True, True]])
    assert torch.equal(audio.ok, expected)
    assert audio.wav.isfinite().all()
    assert (audio.wav[~audio.ok] == 0).all()
    tolerance = 1e-6 * clean.wav.abs().max()
    for p, u in audio.ok.nonzero().tolist():
        n = int(clean.lens[p, u])
        assert int(audio.lens[p, u]) == n
        assert (audio.wav[p, u, :n] - clean.wav[p, u, :n]).abs().max() <= tolerance


def test_endless_speech_is_cut_short_and_not_ok(single):
    synth = Synthesizer(single, max_seconds=1.0)
    audio = synth(synth.prepare(texts(single, 2, 60)), random_styles(2, 2))
    assert audio.ok.tolist() == [[True, False], [True, False]]
    assert audio.lens.max() <= 62 * 600
    assert (audio.wav[:, 1] == 0).all()


def test_unvoiced_throughout(double):
    synth = Synthesizer(double)
    script, styles = synth.prepare(texts(double, 9)), random_styles(1, 1).double()
    found = synth.prosody(script, styles)
    silent = synthesizer.Prosody(found.durations, found.F0 * 0, found.energy, found.frames, found.ok)
    audio = synth.decode(script, silent, styles)
    n = int(audio.lens[0, 0])
    wave, _ = stock(
        double, script.phonemes[0], styles[0, 0], script.noise(0, n), (silent.F0[0, 0], silent.energy[0, 0])
    )
    assert audio.ok.all()
    assert (audio.wav[0, 0] - wave).abs().max() <= 1e-6 * wave.abs().max()


def test_the_longest_and_the_shortest_text():
    model = random_model(pace=-7.5)
    synth = Synthesizer(model)
    longest = random_phonemes(510, 1, model.vocab)
    script = synth.prepare([longest, "a", "⁂a⁂"])
    assert script.lengths == [512, 3, 3]
    assert script.rows.tolist() == [509, 0, 2]  # Kokoro's pipeline reads row len(phonemes) - 1 of the string
    assert synth(script, random_styles(1, 3)).ok.all()


@pytest.mark.parametrize(
    ("phonemes", "said"), [("", "no phoneme"), ("⁂⁂", "no phoneme"), ("a" * 511, "511 phonemes, more than 510")]
)
def test_texts_that_cannot_be_spoken(single, phonemes, said):
    with pytest.raises(InputError, match=said):
        Synthesizer(single).prepare(["a", phonemes])


def test_other_bad_input(single):
    with pytest.raises(InputError, match="exact, fast"):
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


def test_memory_running_out_halves_the_batch(single, monkeypatch):
    phonemes, styles = texts(single, 6), random_styles(6, 1)
    styles[..., 128:] = styles[:1, :, 128:]
    synth = Synthesizer(single)
    script = synth.prepare(phonemes)
    expected = synth(script, styles)
    inner, sizes = synth._acoustics, []

    def tight(text: Tensor, *rest: Tensor) -> Tensor:
        sizes.append(len(text))
        if len(text) > 2:
            raise torch.OutOfMemoryError("out of memory")
        return inner(text, *rest)

    monkeypatch.setattr(synth, "_acoustics", tight)
    audio = synth(script, styles)
    assert sizes[0] == 6
    assert sizes.count(1) + 2 * sizes.count(2) == 6
    assert (audio.wav - expected.wav).abs().max() <= 1e-2 * expected.wav.abs().max()
    sizes.clear()
    synth(script, styles)
    assert max(sizes) < 6


def test_other_errors_are_not_swallowed():
    def work(_: list[int]) -> None:
        raise RuntimeError("size mismatch")

    with pytest.raises(RuntimeError, match="size mismatch"):
        halving([1, 2], work)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(3, 3000), min_size=1, max_size=40), st.integers(1, 5000), st.floats(0, 1))
def test_batches(frames, budget, waste):
    made = list(batches(frames, budget, waste))
    assert sorted(i for batch in made for i in batch) == list(range(len(frames)))
    for batch in made:
        longest, shortest = frames[batch[0]], frames[batch[-1]]
        assert len(batch) == 1 or bucket(longest) * len(batch) <= budget
        assert longest == max(frames[i] for i in batch)
        assert shortest >= (1 - waste) * longest
        assert longest <= bucket(longest) <= longest * 17 / 16 + 1


def test_memory_is_measured():
    def work() -> Tensor:
        kept = torch.zeros(1000)  # 4,000 bytes
        torch.zeros(500).add_(1)  # 2,000 at the same time, then gone
        return kept + 1  # 4,000 more

    assert peak_bytes(work, torch.device("cpu")) == 8000


def test_the_budget_follows_the_measurement(single):
    synth = Synthesizer(single)
    synth._warm_up()
    cost = synth.budget.bytes_per_frame
    assert 20_000 < cost < 500_000
    budget = Budget(torch.device("cpu"))
    budget.bytes_per_frame = cost
    assert budget.frames == int(budget.available() / cost)
    budget.shrink(64)
    assert budget.frames == 32
