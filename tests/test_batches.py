"""How a population is cut into batches: by memory, without waste, and with no effect on what is heard."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from coconut.synthesis import Synthesizer, synthesizer
from coconut.synthesis.batches import batches, bucket, exactly, padding_share, plan
from coconut.synthesis.budget import Budget, peak_bytes
from coconut.synthesis.memory import Parts
from tests.kmodels import random_styles, texts


def test_company_order_and_chunking_do_not_matter(double, monkeypatch):
    monkeypatch.setattr(synthesizer, "WASTE", 1.0)
    phonemes, styles = texts(double, 4, 10, 6), random_styles(4, 3).double()
    synth = Synthesizer(double)
    synth._warm_up()
    synth.budget.bytes_per_frame = 1.0  # all in one batch
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


def test_shared_prosody_is_computed_once_and_changes_nothing(double, monkeypatch):
    phonemes, styles = texts(double, 4, 17), random_styles(5, 2).double()
    styles[:, :, 128:] = styles[:1, :, 128:]
    synth = Synthesizer(double)
    script = synth.prepare(phonemes)
    seen, drawn = [], []
    durations, contours = synth._durations, synth._contours
    monkeypatch.setattr(synth, "_durations", lambda x, style: (seen.append(len(style)), durations(x, style))[1])
    monkeypatch.setattr(synth, "_contours", lambda x, *rest: (drawn.append(len(x)), contours(x, *rest))[1])
    shared = synth.prosody(script, styles)
    assert seen == [1, 1]  # one row of each text
    assert sum(drawn) == 2
    assert shared.F0.shape[0] == shared.durations.shape[0] == 5
    single = synth.prosody(script, styles[3:4])
    assert torch.equal(shared.durations[3:4], single.durations)
    assert (shared.F0[3:4] - single.F0).abs().max() < 1e-9
    audio = synth.decode(script, shared, styles)
    assert (audio.lens == audio.lens[0]).all()
    assert not torch.equal(audio.wav[0], audio.wav[1])


def test_a_population_with_one_prosody_is_not_padded(double, monkeypatch):
    phonemes, styles = texts(double, 4, 17, 5), random_styles(5, 3).double()
    styles[:, :, 128:] = styles[:1, :, 128:]
    synth = Synthesizer(double)
    script = synth.prepare(phonemes)
    synth._warm_up()
    made = []
    inner = synth._acoustics
    monkeypatch.setattr(synth, "_acoustics", lambda *args: (made.append(args[-1]), inner(*args))[1])
    audio = synth(script, styles)
    assert all(lengths.equal for lengths in made)
    assert sum(lengths.total * len(lengths.steps) for lengths in made) * 600 == int(audio.lens.sum())
    alone = synth(synth.prepare(phonemes[1:2]), styles[2:3, 1:2])
    n = int(audio.lens[2, 1])
    assert (alone.wav[0, 0] - audio.wav[2, 1, :n]).abs().max() <= 1e-6 * alone.wav.abs().max()


def test_the_population_may_be_cut_into_slices(double):
    phonemes, styles = texts(double, 4, 11), random_styles(5, 2).double()
    synth = Synthesizer(double)
    script = synth.prepare(phonemes)
    whole = synth.prosody(script, styles)
    synth.tokens.limit = 30
    parts = synth.prosody(script, styles)
    assert torch.equal(whole.durations, parts.durations)
    assert (whole.F0 - parts.F0).abs().max() < 1e-9


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB."),
        RuntimeError("[enforce fail at alloc_cpu.cpp:124] . DefaultCPUAllocator: can't allocate memory: you tried"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    ],
    ids=["cuda", "cpu", "cudnn"],
)
def test_memory_running_out_halves_the_batch(single, monkeypatch, error):
    phonemes, styles = texts(single, 6), random_styles(6, 1)
    styles[..., 128:] = styles[:1, :, 128:]
    synth = Synthesizer(single)
    script = synth.prepare(phonemes)
    expected = synth(script, styles)
    inner, sizes = synth._acoustics, []

    def tight(text: Tensor, *rest: Tensor) -> Tensor:
        sizes.append(len(text))
        if len(text) > 2:
            raise error
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
        Parts().run([1, 2], work, 1.0)


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


def test_what_is_not_computed_is_in_no_batch_and_has_no_say():
    frames = [40, 0, 39, 0, 41, 12]
    assert sorted(i for batch in batches(frames, 10_000, 1.0) for i in batch) == [0, 2, 4, 5]
    assert list(batches([0, 0], 100, 0.1)) == []
    assert padding_share([0, 0], 100, 0.1) == 0
    assert plan([37, 90, 37, 90, 0, 0], 2, 0.1) == (0.0, exactly)
    assert plan([37, 90, 37, 0], 2, 0.1) == (0.0, exactly)
    assert plan([37, 90, 0, 0], 2, 0.1) == (0.1, bucket)  # a single candidate is left
    assert plan([0, 90, 37, 0], 2, 0.1) == (0.1, bucket)
    assert plan([0, 0, 0, 0], 2, 0.1) == (0.1, bucket)


def test_equal_lengths_are_not_padded():
    shared, ragged = [37, 90, 37, 90], [37, 90, 37, 91]
    assert plan(shared, 2, 0.1) == (0.0, exactly)
    assert plan(ragged, 2, 0.1) == (0.1, bucket)
    assert plan([37, 90], 2, 0.1) == (0.1, bucket)  # a single candidate: its next lengths will be others
    assert padding_share(shared, 1000, *plan(shared, 2, 0.1)) == 0
    assert padding_share(ragged, 1000, *plan(ragged, 2, 0.1)) > 0
