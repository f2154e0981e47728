"""A wired fit on the embedded model: real data, real synthesis, real losses, small."""

import time
from types import SimpleNamespace

import pytest
import torch

from coconut import build, resources
from coconut.config import InputError, from_dict
from coconut.fit import Step
from coconut.job import Job, prepare
from coconut.score import Score
from coconut.start import RANKED_UTTERANCES, rank
from coconut.synthesis.budget import Budget
from coconut.voicepack import ROUGHNESS_LIMIT, roughness

QUICK = {
    "generations": 2, "es.popsize": 4, "window.size": 2, "limit": 8, "heldout": 2, "test": 2, "space.start": "mean",
    "stop.patience": 0, "es.kind": "snes", "stop.every": 1,
}  # fmt: skip


def rows(fitting, state=None):
    """Numbers of each step but the clock, with the kept genome."""
    return [
        ({k: v for k, v in step.row().items() if k != "seconds"}, step.best.genome, step.state())
        for step in fitting.steps(state)
    ]


def same(one, two):
    assert [row for row, *_ in one] == [row for row, *_ in two]
    assert all(torch.equal(a[1], b[1]) for a, b in zip(one, two, strict=True))


@pytest.fixture(scope="module")
def job():
    return prepare(from_dict(QUICK))


@pytest.fixture(scope="module")
def fitting(job):
    return build.wire(job)


@pytest.fixture(scope="module")
def whole(fitting):
    return rows(fitting)


@pytest.mark.slow
def test_two_fits_of_one_seed_are_equal_to_the_last_bit_and_so_is_a_resumed_one(whole, job, tmp_path):
    """Also where the job was loaded from its folder, and nothing was kept from the fit before."""
    before = torch.random.get_rng_state()
    same(whole, rows(build.wire(job)))
    again = Job.load(job.save(tmp_path / "job"))
    resources.forget()
    same(whole, rows(build.wire(again)))
    same(whole[2:], rows(build.wire(again), whole[1][2]))
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.slow
def test_every_default_term_is_measured(fitting, whole):
    last = whole[-1][0]
    for term in ("logmel", "spectral", "speaker", "f0", "duration", "prior"):
        assert last[f"loss.{term}"] > 0
    assert "loss.mimi" not in last
    assert 0 < last["score"] <= last["best_score"] <= 100


@pytest.mark.slow
def test_all_rows_of_the_voice_move_and_stay_smooth(fitting, whole):
    *_, (_, genome, _) = whole
    pack = fitting.voicepack(genome + 0.5)
    start = fitting.voicepack(fitting.space.init())
    assert pack.shape == (510, 1, 256)
    assert roughness(pack) <= ROUGHNESS_LIMIT
    assert ((pack - start).abs().amax(-1) > 1e-3).all()


@pytest.mark.slow
def test_nearest_is_the_stock_voice_that_scores_best():
    job = prepare(from_dict(QUICK | {"space.start": "nearest", "limit": 3, "heldout": 1, "test": 0}))
    voices = resources.model("mini", "cpu").voices
    ranking = rank(Score(None, job.synthesizer(), job.fit[:RANKED_UTTERANCES]), voices)
    assert ranking[0][0] == job.nearest.name == job.config.space.start
    heldout = Score(None, job.synthesizer(), job.heldout).voicepack(voices[job.nearest.name])
    assert (job.nearest.score, job.nearest.parts) == (heldout.score, heldout.parts)


@pytest.mark.slow
def test_the_test_is_heard_on_its_own_sentences(job):
    pack = resources.model("mini", "cpu").voices["mk_07"]
    heard = build.hear_test(job, pack)
    assert heard == Score(None, job.synthesizer(), job.test).voicepack(pack)
    assert build.hear_test(Job(job.config, job.fit, job.heldout), pack) is None


@pytest.mark.slow
def test_a_second_fit_of_a_job_is_wired_at_once_with_nothing_loaded_twice(job, monkeypatch):
    build.wire(job)
    for place in ("coconut.resources.load_model", "coconut.resources.SpeakerEncoder", "coconut.build.Score"):
        monkeypatch.setattr(place, lambda *_, **__: pytest.fail("something was built twice"))
    began = time.perf_counter()
    second = build.wire(job, from_dict({"es.kind": "cem", "space.kind": "bias", "loss.speaker": 3.0}, job.config))
    assert time.perf_counter() - began < 0.5
    assert second.config.es.kind == "cem"
    known = second.objective._references
    second.objective.reference("logmel", job.fit[0])
    assert build.wire(job).objective._references is known


def test_heldout_utterances_are_never_fitted(fitting):
    heldout = {utterance.id for utterance in fitting.job.heldout}
    heard = {utterance.id for generation in range(50) for utterance in fitting.windows[generation]}
    assert heldout
    assert not heldout & heard


def test_a_start_that_no_voice_has_is_refused(job):
    with pytest.raises(InputError, match="start is nobody"):
        build.wire(job, from_dict({"space.start": "nobody"}, job.config))


def test_a_budget_without_room_for_a_generation_is_refused(job):
    with pytest.raises(InputError, match="a fit of one generation takes 12 syntheses"):
        next(build.wire(job, from_dict({"budget": 11}, job.config)).steps())


@pytest.mark.parametrize("left", [0, 1])
def test_a_fit_goes_on_in_a_process_that_has_measured_no_batch(left):
    """A generation that follows the gradient and is not scored measures none, and one that had ended computes none."""
    step = Step(3, None, None, None, torch.zeros(2), 0.1, None, {}, {"generation": 3})
    budget = Budget(torch.device("cpu"))
    resumed = SimpleNamespace(synth=SimpleNamespace(budget=budget), _steps=lambda state: iter([step] * left))
    states = [step.state() for step in build.Fitting.steps(resumed, {"frames": 100})]
    assert states == [{"generation": 3, "frames": 100}] * left
