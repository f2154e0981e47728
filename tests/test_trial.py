"""A fit that is advanced, saved, resumed and written down, on the toy problem."""

import io
from itertools import pairwise

import pytest
import torch

from coconut import voicepack
from coconut.config import InputError
from coconut.fit import progress
from coconut.trial import CHECKPOINT_EVERY, Trial
from tests.toys import Fitting, job


def trial(**settings):
    return Trial(job(), {"es.kind": "cmaes", **settings}, Fitting)


def run_to_the_end(one):
    """Rows of what is left, and whether a checkpoint was due after each."""
    found = []
    while not one.ended:
        row = one.advance()
        found.append((row, one.due))
        if one.due:
            one.save_to = one._saved = row["generation"]  # as a caller that saves does
    return found


def clockless(rows):
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


def test_a_checkpoint_is_due_at_each_new_best_and_every_few_generations():
    rows = run_to_the_end(trial(**{"generations": 40, "es.sigma": 1.0}))
    due = [row["generation"] for row, wanted in rows if wanted]
    assert all(wanted for row, wanted in rows if row["best_generation"] == row["generation"])
    assert max(b - a for a, b in pairwise(due)) <= CHECKPOINT_EVERY
    assert len(due) < len(rows)
    assert due[-1] == rows[-1][0]["generation"]


@pytest.mark.parametrize("at", [1, 3, 8])
def test_one_resumed_from_a_checkpoint_equals_one_that_never_stopped(tmp_path, at):
    whole, early, late = trial(), trial(), trial()
    run_to_the_end(whole)
    for _ in range(at):
        early.advance()
    early.save(tmp_path)
    late.load(tmp_path)
    assert late.best.score == early.best.score
    run_to_the_end(late)
    assert clockless(late.rows) == clockless(whole.rows)
    assert torch.equal(late.best.genome, whole.best.genome)


def test_one_resumed_after_its_end_only_says_so_again(tmp_path):
    one, again = trial(), trial()
    last = run_to_the_end(one)[-1][0]
    one.save(tmp_path)
    again.load(tmp_path)
    assert again.advance() == last
    assert again.stop == one.stop


def test_what_it_was_loaded_from_can_be_saved_again(tmp_path):
    one, again = trial(), trial()
    one.advance()
    one.save(tmp_path / "a")
    again.load(tmp_path / "a")
    again.save(tmp_path / "b")
    assert (tmp_path / "a" / "steps.jsonl").read_bytes() == (tmp_path / "b" / "steps.jsonl").read_bytes()
    states = [torch.load(io.BytesIO((tmp_path / x / "state.pt").read_bytes()), weights_only=True) for x in "ab"]
    assert states[0]["history"] == states[1]["history"]


def test_it_leaves_the_voice_of_its_peak(tmp_path):
    one = trial()
    run_to_the_end(one)
    paths = one.write(tmp_path)
    assert {"voice.pt", "voice_0.wav", "target_0.wav", "start_0.wav", "train.png", "steps.jsonl"} <= set(paths)
    expected = one.fitting.voicepack(one.best.genome)
    assert torch.equal(voicepack.load(paths["voice.pt"]), expected)


def test_settings_that_cannot_be_used_are_said_when_it_is_wired():
    with pytest.raises(InputError, match="did you mean es"):
        trial(**{"es.sgima": 1.0}).advance()


@pytest.mark.parametrize(
    ("row", "settings", "share"),
    [
        ({"syntheses": 50, "generation": 2}, {"budget": 100, "generations": None}, 0.5),
        ({"syntheses": 50, "generation": 2}, {"budget": 100, "generations": 2}, 1.0),
        ({"syntheses": 50, "generation": 2}, {"budget": 1000, "generations": 8}, 0.25),
        ({"syntheses": 120, "generation": 2}, {"budget": 100, "generations": None}, 1.0),
    ],
)
def test_progress_runs_over_what_ends_first(row, settings, share):
    assert progress(row, job(**settings).config) == share
