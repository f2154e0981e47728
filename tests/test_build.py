"""A wired fit on the embedded model: real data, real synthesis, real losses, small."""

import pytest
import torch

from coconut import build
from coconut.config import InputError, from_dict
from coconut.voicepack import ROUGHNESS_LIMIT, roughness

QUICK = {
    "generations": 2, "es.popsize": 4, "window.size": 2, "limit": 6, "heldout": 2, "space.start": "mean",
    "stop.patience": 0,
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
def fitting():
    return build.wire(from_dict(QUICK))


@pytest.mark.slow
def test_two_fits_of_one_seed_are_equal_to_the_last_bit_and_so_is_a_resumed_one(fitting):
    before = torch.random.get_rng_state()
    whole = rows(fitting)
    same(whole, rows(build.wire(from_dict(QUICK))))
    same(whole[2:], rows(build.wire(from_dict(QUICK)), whole[1][2]))
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.slow
def test_every_default_term_is_measured(fitting):
    last = rows(fitting)[-1][0]
    for term in ("logmel", "spectral", "speaker", "f0", "duration", "prior"):
        assert last[f"loss.{term}"] > 0
    assert "loss.mimi" not in last
    assert any("Mimi term is off" in note for note in fitting.notes)
    assert 0 < last["score"] <= last["best_score"] <= 100


@pytest.mark.slow
def test_all_rows_of_the_voice_move_and_stay_smooth(fitting):
    *_, (_, genome, _) = rows(fitting)
    pack = fitting.voicepack(genome + 0.5)
    start = fitting.voicepack(fitting.space.init())
    assert pack.shape == (510, 1, 256)
    assert roughness(pack) <= ROUGHNESS_LIMIT
    assert ((pack - start).abs().amax(-1) > 1e-3).all()


@pytest.mark.slow
def test_nearest_is_the_stock_voice_that_scores_best():
    fitting = build.wire(from_dict(QUICK | {"space.start": "nearest", "limit": 2, "heldout": 1}))
    name, metrics = fitting.baseline
    assert name == fitting.start
    ranking = build.Score(None, fitting.synth, fitting.dataset.fit[: build.RANKED_UTTERANCES]).rank(fitting.voices)
    assert ranking[0][0] == name
    assert metrics == build.Score(None, fitting.synth, fitting.dataset.heldout).voicepack(fitting.voices[name])


def test_heldout_utterances_are_never_fitted(fitting):
    heldout = {utterance.id for utterance in fitting.dataset.heldout}
    heard = {utterance.id for generation in range(50) for utterance in fitting.windows[generation]}
    assert heldout
    assert not heldout & heard


@pytest.mark.parametrize(
    ("change", "sentence"),
    [({"device": "warp"}, "device warp"), ({"space.start": "nobody"}, "space.start is nobody")],
)
def test_bad_settings_are_refused(change, sentence):
    with pytest.raises(InputError, match=sentence):
        build.wire(from_dict(QUICK | change))
