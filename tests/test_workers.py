"""Batches side by side: the same numbers, and nothing of the caller's changed."""

from __future__ import annotations

import threading

import pytest
import torch

from coconut.synthesis import Synthesizer, workers
from tests.kmodels import random_model, random_phonemes, random_styles

CPU = torch.device("cpu")


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("two_threads")
def test_items_are_worked_on_side_by_side():
    meet = threading.Barrier(2, timeout=20)  # passed only by two at a time

    def work(item: int) -> tuple[int, int, bool, int]:
        meet.wait()
        return item, torch.get_num_threads(), torch.is_grad_enabled(), threading.get_ident()

    found = workers.each(work, [3, 1, 4, 2], CPU)
    assert [item for item, *_ in found] == [3, 1, 4, 2]
    assert {(threads, grad) for _, threads, grad, _ in found} == {(1, False)}
    assert threading.get_ident() not in {ident for *_, ident in found}
    assert torch.get_num_threads() == 2


@pytest.mark.usefixtures("two_threads")
def test_one_item_has_all_threads_and_no_other():
    assert workers.each(lambda item: (item, torch.get_num_threads()), [7], CPU) == [(7, 2)]
    assert workers.count(torch.device("cuda")) == 1
    here = threading.get_ident()
    assert workers.each(lambda _: threading.get_ident(), [1, 2], torch.device("cuda")) == [here, here]


@pytest.mark.usefixtures("two_threads")
def test_an_error_reaches_the_caller():
    with pytest.raises(ZeroDivisionError):
        workers.each(lambda item: 1 // item, [1, 0, 2], CPU)


def test_any_number_of_threads_gives_the_same_audio():
    model = random_model(dtype=torch.float64)
    synth = Synthesizer(model)
    script = synth.prepare([random_phonemes(n, n, model.vocab) for n in (3, 7)])
    styles, before, heard = random_styles(3, 2).double(), torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            heard.append(synth(script, styles))
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    for audio in heard[1:]:
        assert torch.equal(audio.lens, heard[0].lens)
        assert (audio.wav - heard[0].wav).abs().max() <= 1e-6 * heard[0].wav.abs().max()
