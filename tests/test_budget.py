"""Memory: planned from what is the process's own, in smaller parts where it runs out, told in one sentence."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from coconut.build import Fitting
from coconut.config import InputError
from coconut.losses import alignment, ge2e, judge, mimi
from coconut.losses.logmel import LogMelTerm
from coconut.losses.mimi import MimiTerm
from coconut.losses.synthesis import chunked
from coconut.objective import Objective
from coconut.score import Score
from coconut.sweep import DEFAULT_SPACE, storage
from coconut.sweep.plan import Plan, Ticket
from coconut.sweep.worker import Worker, pin
from coconut.synthesis import Synthesizer, budget, memory
from coconut.synthesis.budget import Budget
from coconut.synthesis.memory import Parts, enough_for, ran_out
from experiments.bench import memory as memory_bench
from tests import pretend, toys
from tests.kmodels import random_styles, texts

WORDS = {
    "cuda": torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB."),
    "runtime": RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported"),
    "cpu": RuntimeError("[enforce fail at alloc_cpu.cpp:124] . DefaultCPUAllocator: can't allocate memory: you tried"),
    "windows": RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 8000 bytes."),
    "cudnn": RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    "handle": RuntimeError("cuDNN error: CUDNN_STATUS_NOT_INITIALIZED"),
    "cublas": RuntimeError("CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`"),
    "engine": RuntimeError("GET was unable to find an engine to execute this computation"),
    "mps": RuntimeError("MPS backend out of memory (MPS allocated: 17.0 GB)"),
    "host": MemoryError("Unable to allocate 2.00 GiB for an array with shape (1000, 1000)"),
    "c++": RuntimeError("std::bad_alloc"),
}


@pytest.fixture(params=WORDS.values(), ids=WORDS.keys())
def error(request):
    return request.param


def test_memory_that_ran_out_is_recognised_in_all_words(error):
    assert ran_out(error)


@pytest.mark.parametrize(
    "other",
    [RuntimeError("size mismatch"), RuntimeError("CUDA error: an illegal memory access"), ValueError("out of memory")],
)
def test_other_errors_are_no_lack_of_memory(other):
    assert not ran_out(other)
    with pytest.raises(type(other)), enough_for("nothing"):
        raise other


def test_parts_shrink_where_memory_runs_out_and_stay_so(error):
    sizes = []

    def work(part):
        sizes.append(len(part))
        if len(part) > 3:
            raise error
        return list(part)

    parts = Parts()
    assert [item for part in parts.run(range(10), work, 2.0) for item in part] == list(range(10))
    assert sizes == [10, 5, 2, 2, 2, 2, 2]
    sizes.clear()
    parts.run(range(10), work, 2.0)
    assert max(sizes) == 2
    parts.run(range(2), work, 4.0)  # of items twice as dear, half as many
    assert sizes[-2:] == [1, 1]


def test_what_fails_with_one_item_is_one_sentence_that_names_what_helps(error):
    def work(_):
        raise error

    with pytest.raises(InputError, match=r"for a voice.*--max-seconds.*--gpus-per-trial.*\.$"), enough_for("a voice"):
        Parts().run(range(4), work, 1.0)


def test_no_part_holds_more_than_its_limit():
    parts = Parts(100)
    x = torch.arange(14.0)
    sizes = []
    found = parts.rows(lambda a, b: (sizes.append(len(a)), a + b)[1], x, x, cost=30)
    assert torch.equal(found, 2 * x)
    assert sizes == [3, 3, 3, 3, 2]
    assert Parts(1).holds(5) == 1


# The plan of frames on a GPU


@pytest.fixture
def gpu():
    with pretend.device() as device:
        yield device


@pytest.fixture
def plan(gpu):
    """A budget at the cost of Kokoro-82M's frames."""
    plan = Budget(torch.device("cuda"))
    plan.bytes_per_frame = 470_000.0
    return plan


def test_the_plan_follows_the_share_and_no_neighbour(gpu, plan):
    gpu.total, gpu.fraction = 8 << 30, 0.25
    found = plan.frames
    assert found * plan.bytes_per_frame <= 0.25 * gpu.total
    for gpu.free in (0, 1 << 30, 8 << 30):  # what neighbours leave at the moment
        assert plan.frames == found
    gpu.fraction = 0.5
    assert found < plan.frames <= 2 * found + 1


def test_a_large_gpu_is_not_filled(gpu, plan):
    gpu.total, gpu.fraction = 80 << 30, 1.0
    assert plan.frames == budget.MOST


def test_a_process_without_a_share_leaves_room_for_its_own_context(gpu, plan):
    gpu.total, gpu.fraction = 1 << 30, 1.0
    assert plan.available() == pytest.approx(budget.SHARE * (gpu.total - memory.CONTEXT))
    gpu.total = memory.CONTEXT // 2
    assert plan.frames == 1


@pytest.mark.parametrize("share", [0.25, 0.5, 0.1])
def test_shares_that_sum_to_one_leave_room_for_all_contexts(gpu, monkeypatch, share):
    given = []
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", given.append)
    monkeypatch.setattr(torch, "set_num_threads", lambda _: None)
    gpu.total = 40 << 30
    pin(SimpleNamespace(cpus=1, gpus=share))
    assert given[0] > 0
    assert (given[0] * gpu.total + memory.CONTEXT) / share <= gpu.total * 1.0001


def test_what_did_not_fit_is_kept_in_the_checkpoint(job_of_one):
    first = job_of_one()
    steps = first.steps()
    state = next(steps).state()
    assert state["frames"] == first.synth.budget.frames
    first.synth.budget.limit = 77.0
    assert next(steps).state()["frames"] == 77
    again = job_of_one()
    assert next(again.steps(state | {"frames": 55})).state()["frames"] == 55


def test_a_resumed_fit_leaves_no_limit_behind(job_of_one):
    """The synthesizer is shared by all fits of a process, which may also come in turn."""
    one = job_of_one()
    frames = one.synth.budget.frames
    resumed = one.steps(next(one.steps()).state() | {"frames": 55})
    other = dataclasses.replace(one).steps()
    for _ in range(2):
        assert next(resumed).state()["frames"] == 55
        assert one.synth.budget.frames == frames
        assert next(other).state()["frames"] == frames


def test_what_a_resumed_fit_learns_of_memory_is_kept(plan):
    plan.limit = 1000.0
    with plan.within(100):
        assert plan.frames == 100
        plan.shrink(80)
    assert plan.frames == 40
    with plan.within(1000):
        assert plan.frames == 40


@pytest.fixture
def job_of_one():
    """Fits of the toy whose synthesizer is a real budget."""

    def made():
        toy = toys.Fitting(toys.job())
        plan = Budget(torch.device("cpu"))
        plan.bytes_per_frame = 1e5
        synth = SimpleNamespace(budget=plan)
        parts = (synth, toy.space, toys.Objective(), toys.Score(), toys.Windows())
        return Fitting(toy.job, toy.config, toy.voices, *parts)

    return made


# What a fit holds of a GPU


@pytest.mark.slow
def test_a_fit_of_kokoro_with_mimi_holds_little_before_its_first_population():
    """CUDA's own part is no tensor. Of the decoder there are folded layers alone, of Mimi the half that is used."""
    found = memory_bench.count()
    parameters = sum(p.numel() for p in memory_bench.empty_kokoro().parameters())
    assert sum(found.values()) <= min(memory_bench.HELD, 1.2e9)
    assert found["text encoders, prosody"] + found["decoder, folded"] < 4.6 * parameters
    assert found["Mimi"] < 0.52 * 4 * sum(p.numel() for p in memory_bench.empty_mimi().parameters())


def test_the_readme_has_the_plan():
    readme = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8").splitlines()
    rows = list(memory_bench.rows())
    start = readme.index(rows[0])
    assert readme[start : start + len(rows)] == rows
    assert len(rows) == 2 + len(memory_bench.SIZES)


@pytest.mark.parametrize("size", memory_bench.SIZES)
def test_the_plan_holds_what_it_says(size):
    total, need = size * 2**30, memory_bench.HELD + memory_bench.PEAK
    trials = budget.trials_of(total, need)
    share = 100 // trials / 100
    assert trials >= 1
    assert trials * share <= 1
    assert memory.own(share, total) >= need
    assert memory_bench.population(total, share) >= 1
    assert memory_bench.population(total, 1 / (1.25 * trials + 1)) == 0  # more of them do not fit


# Synthesis, losses, objective and score go on in smaller parts


def test_f0_and_durations_are_found_in_smaller_parts_and_that_is_remembered(single, monkeypatch):
    synth, styles = Synthesizer(single), random_styles(6, 1)
    script = synth.prepare(texts(single, 6))
    expected = synth.prosody(script, styles)
    sizes = {}

    def tighten(name, most):
        inner = getattr(synth, name)

        def work(x, *rest):
            sizes.setdefault(name, []).append(len(x))
            if len(x) > most:
                raise WORDS["engine"]
            return inner(x, *rest)

        monkeypatch.setattr(synth, name, work)

    tighten("_durations", 3), tighten("_contours", 1)
    found = synth.prosody(script, styles)
    assert torch.equal(found.durations, expected.durations)
    assert (found.F0 - expected.F0).abs().max() < 1e-2
    assert (max(sizes["_durations"]), max(sizes["_contours"])) == (6, 3)
    sizes.clear()
    synth.prosody(script, styles)
    assert (max(sizes["_durations"]), max(sizes["_contours"])) == (3, 1)


def test_a_text_that_memory_does_not_hold_is_one_sentence(single, monkeypatch):
    """Texts are encoded one by one: there is no smaller part."""
    synth = Synthesizer(single)

    def full(_):
        raise WORDS["engine"]

    monkeypatch.setattr(synth, "_encode", full)
    with pytest.raises(InputError, match=r"for the encoding of a text.*--gpus-per-trial.*\.$"):
        synth.prepare(["tˈɛkst"])


def test_spectra_are_computed_in_smaller_parts(monkeypatch):
    monkeypatch.setattr("coconut.losses.synthesis.SPECTRA.limit", 1e9)

    def tight(wav, lens):
        if len(wav) > 2:
            raise WORDS["cuda"]
        return wav[:, 0] + lens

    wav = torch.arange(12.0).view(6, 2)
    assert torch.equal(chunked(tight, wav, torch.ones(6)), wav[:, 0] + 1)
    assert chunked(tight, wav, torch.ones(6)).shape == (6,)


def few(x, *_, **__):
    """What memory holds for two items: it sums each up."""
    if len(x) > 2:
        raise WORDS["cuda"]
    return x.flatten(1).sum(1)


def embedded(kind):
    return lambda wav, lens: kind.forward(SimpleNamespace(_embed=few), wav, lens)


def aligned(wav, lens):
    mels = wav[:, None].expand(-1, 80, -1)
    syn, refs = SimpleNamespace(shape=(len(wav), 1), logmel=(mels, lens)), [(mels[0], torch.ones(80))]
    return LogMelTerm.__call__(SimpleNamespace(_distance=lambda _, ours, *rest: few(ours[:, 0])), refs, syn)[:, 0]


def encoded(wav, lens):
    refs = [SimpleNamespace(mel=wav[:1])]
    syn = SimpleNamespace(shape=(len(wav), 1), speech=(wav, lens), logmel=(wav[:, None], lens))
    return MimiTerm.__call__(SimpleNamespace(_part=lambda _, syn, part: few(syn.speech[0][part])), refs, syn)[:, 0]


@pytest.mark.parametrize(
    ("parts", "work"),
    [(ge2e.EMBEDDED, embedded(ge2e.SpeakerEncoder)), (judge.JUDGED, embedded(judge.Judge)),
     (alignment.CELLS, aligned), (mimi.ENCODED, encoded)],
    ids=["ge2e", "judge", "logmel", "mimi"],
)  # fmt: skip
def test_embeddings_and_alignments_are_computed_in_smaller_parts(monkeypatch, parts, work):
    monkeypatch.setattr(parts, "limit", 1e9)
    wav = torch.arange(12.0).view(6, 2)
    assert torch.equal(work(wav, torch.full((6,), 2)), wav.sum(1))
    assert parts.limit < 1e9


class Tight(Objective):
    """An objective whose memory holds `most` candidates."""

    def __init__(self, most):
        super().__init__(None, SimpleNamespace(device=torch.device("cpu")), {"term": None}, {"term": 1.0})
        self.most, self.seen = most, []

    def _heard(self, population, utterances, channel):
        self.seen.append(len(population))
        if len(population) > self.most:
            raise WORDS["runtime"]
        return {"term": population.sum(1)}, torch.zeros(len(population), dtype=torch.bool), float(len(population))


def test_a_population_that_does_not_fit_is_heard_in_parts_and_counted_once():
    objective, population = Tight(3), torch.rand(8, 4, dtype=torch.float64)
    losses = objective(population, ["a", "b"])
    assert torch.equal(losses.total, population.sum(1))
    assert (objective.syntheses, objective.audio_seconds) == (16, 8.0)
    assert objective.seen[0] == 8
    objective.seen.clear()
    objective(population, ["a", "b"])
    assert max(objective.seen) <= 3
    with pytest.raises(InputError, match="a candidate that speaks 2 texts"):
        Tight(0)(population, ["a", "b"])


def test_a_trial_that_memory_cannot_hold_is_refused_and_not_tried_again(tmp_path):
    """A refusal is the trial's last report; only what Ray sees raised is tried again."""

    def wire(job, config):
        toy, objective = toys.Fitting(job, config), Tight(0)
        objective.space = toy.space
        synth = SimpleNamespace(budget=Budget(torch.device("cpu")))
        return Fitting(job, config, toy.voices, synth, toy.space, objective, toys.Score(), toys.Windows())

    plan = Plan("toy", str(tmp_path), DEFAULT_SPACE)
    storage.save_job(plan, toys.job())
    found = Worker(plan, Ticket("one", 0, "", {}), wire)
    said = found.report()
    while "refused" not in said and found.failure is None:
        said = found.report()
    assert found.failure is None
    assert "--gpus-per-trial" in said["refused"]
    assert said["done"]


def test_a_score_is_taken_in_parts_and_counted_once(monkeypatch):
    score = Score.__new__(Score)
    score.synth = SimpleNamespace(device=torch.device("cpu"), prepare=lambda _: None)
    score.utterances, score.cost, score.together = (), 2, Parts()
    score.syntheses, score.audio_seconds = 0, 0.0

    def judge(part):
        if len(part) > 2:
            raise WORDS["handle"]
        return [float(x) for x in part[:, 0, 0]], 1.5

    monkeypatch.setattr(score, "_judge", judge)
    monkeypatch.setattr("coconut.score.Synthesis", SimpleNamespace(of=lambda synth, script, part: part))
    styles = torch.arange(5.0)[:, None, None].expand(-1, 2, 256)
    assert score.styles(styles) == [0.0, 1.0, 2.0, 3.0, 4.0]
    assert (score.syntheses, score.audio_seconds) == (10, 4.5)
