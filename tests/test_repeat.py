"""The best trials again: what is chosen, what is drawn anew, who leads and by how much more than luck."""

import dataclasses
import re
from dataclasses import asdict, replace

import pytest
import torch

from coconut.data import Utterance
from coconut.sweep import DEFAULT_SPACE, lastwords, page, repeat, storage
from coconut.sweep.board import Board, ranked
from coconut.sweep.errors import mean_gap, verdicts
from coconut.sweep.plan import Plan, Record, Repeat, Ticket
from coconut.sweep.search import Search
from tests.test_board import NEAREST, entry, told
from tests.toys import job

PLAN = Plan("toy", "/nowhere", DEFAULT_SPACE, {"device": "cpu"}, 8)
RANKED = [Ticket(str(number), number, "", {"es.sigma": number / 10}) for number in (5, 2, 7)]


def test_the_best_are_repeated_seed_by_seed_with_their_settings():
    made = repeat.choose(PLAN, RANKED, top=2, seeds=2)
    assert [(r.number, r.of, r.seed) for r in made] == [(8, 5, 1), (9, 2, 1), (10, 5, 2), (11, 2, 2)]
    assert made[0].settings == {"es.sigma": 0.5}
    assert [r.seed for r in repeat.choose(replace(PLAN, seed=7), RANKED, 1, 2)] == [8, 9]


def test_only_what_is_new_is_repeated_when_more_is_asked_for():
    there = replace(PLAN, repeats=repeat.choose(PLAN, RANKED, 2, 2))
    assert repeat.choose(there, RANKED, 2, 2) == ()
    assert [(r.number, r.of, r.seed) for r in repeat.choose(there, RANKED, 3, 2)] == [(12, 7, 1), (13, 7, 2)]
    assert [(r.of, r.seed) for r in repeat.choose(there, RANKED, 2, 3)] == [(5, 3), (2, 3)]


def spoken(count):
    sounds = torch.linspace(0, 1, count * 2400).reshape(count, 2400)
    return [Utterance(str(i), f"text {i}", f"tˈɛkst {chr(97 + i)}", sounds[i]) for i in range(count)]


def test_other_sentences_are_held_out_and_the_test_stays():
    found = spoken(20)
    before = replace(job(), fit=tuple(found[:12]), heldout=tuple(found[12:16]), test=tuple(found[16:]), spent=9)
    draws = [repeat.redraw(before, seed, {}) for seed in (1, 1, 2)]
    ids = [[u.id for u in drawn.heldout] for drawn in draws]
    assert ids[0] == ids[1] != ids[2]
    for drawn in draws:
        assert (len(drawn.fit), len(drawn.heldout)) == (12, 4)
        assert {u.id for u in (*drawn.fit, *drawn.heldout)} == {u.id for u in found[:16]}
        assert drawn.test == before.test
        assert (drawn.nearest, drawn.start, drawn.spent) == (None, None, 0)  # they were of other sentences
    assert (draws[0].config.seed, draws[0].config.space.start) == (1, before.config.space.start)
    assert repeat.redraw(before, 1, {"space.start": "nearest"}).config.space.start == "nearest"


def test_jobs_are_laid_down_once_and_a_sweep_that_was_killed_chooses_the_same(tmp_path, monkeypatch):
    plan = replace(PLAN, storage=str(tmp_path))
    record, settled = Record(plan, "id", "sqlite:///x.db", top=1, seeds=2), []

    def settle(drawn):
        settled.extend(one.config.seed for one in drawn)
        return [replace(one, nearest=NEAREST) for one in drawn]

    def killed(record):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(storage, "save_record", killed)
        with pytest.raises(KeyboardInterrupt):
            repeat.prepare(record, job(), RANKED, settle)
    record = Record(plan, "id", "sqlite:///x.db", top=1, seeds=2)
    assert repeat.prepare(record, job(), RANKED, settle)
    assert settled == [1, 2, 1, 2]
    assert storage.load_job(plan, 2).config.seed == 2
    assert Record.load(tmp_path / "toy") == record
    assert record.draws["1"] == asdict(NEAREST)
    assert not repeat.prepare(record, job(), RANKED, settle)


def test_a_repeat_is_suggested_in_its_turn_and_none_of_optunas():
    again = Repeat(1, 0, 4, {"es.sigma": 0.5})
    search = Search(DEFAULT_SPACE, job().config, {}, presets={}, repeats=[again])
    found = [search.suggest(key) for key in "abc"]
    assert found[1] == {"es.sigma": 0.5, "seed": 4, "number": 1, "preset": "repeat of 000, seed 4", "draw": 4}
    assert "draw" not in found[2]
    search.complete("b", {"best_score": 99.0, "syntheses": 1})
    assert len(search.study.trials) == 2


# --- who leads -------------------------------------------------------------------------------


def repeated(folder, number, of, draw, gain, nearest=40.0, **options):
    """A repeat that ended so far above the nearest stock voice of its own sentences."""
    made = entry(folder, number, [nearest, nearest + gain], **options)
    word, there = f"repeat of {of:03d}, seed {draw}", dataclasses.replace(NEAREST, score=nearest)
    return dataclasses.replace(made, preset=word, of=f"trial_{of:03d}", draw=draw, nearest=there, test_score=50 + gain)


def board(folder, gains, asked=None, **last):
    """Trials 0, 1, 2 in the order of their own scores, and the gains of repeats by (trial, seed)."""
    entries = [entry(folder, 0, [50, 70]), entry(folder, 1, [50, 69]), entry(folder, 2, [50, 68])]
    repeats = [
        repeated(folder, 3 + place, of, seed, gain, 40.0 + seed)
        for place, ((of, seed), gain) in enumerate(gains.items())
    ]
    if last:
        repeats[-1] = dataclasses.replace(repeats[-1], **last)
    asked = len(repeats) if asked is None else asked
    return Board("try", ranked(entries, repeats, asked), NEAREST, 7, 1.0, repeats=repeats, repeats_asked=asked)


STEADY = {(0, 1): 10.0, (1, 1): 14.0, (0, 2): 11.0, (1, 2): 15.5, (0, 3): 9.0, (1, 3): 13.0}
LUCK = {(0, 1): 10.0, (1, 1): 14.0, (0, 2): 11.0, (1, 2): 8.0}
DECISIONS = {  # gains, what is different -> the order of the trials
    "the mean of the repeats decides": (STEADY, {}, [1, 0, 2]),
    "not while one of them is to run": (STEADY, {"asked": 7}, [0, 1, 2]),
    "not while one of them runs": (STEADY, {"status": "unfinished"}, [0, 1, 2]),
    "one that failed does not count": (LUCK, {"status": "failed"}, [1, 0, 2]),
    "there are none": ({}, {}, [0, 1, 2]),
}


@pytest.mark.parametrize("name", DECISIONS)
def test_who_leads(tmp_path, name):
    gains, different, expected = DECISIONS[name]
    assert [int(e.trial[-1]) for e in board(tmp_path, gains, **different).entries] == expected


def test_the_winner_is_named_with_its_error_and_whom_it_is_told_apart_from(tmp_path):
    made = board(tmp_path, STEADY)
    assert made.best.trial == "trial_001"
    first = made.repeated[0]
    assert (first.mean, first.error) == (pytest.approx(42.5 / 3), pytest.approx(0.7265, abs=1e-4))
    by = "over 3 repeats with other seeds and held-out sentences"
    assert verdicts(made)[:2] == [
        f"trial_001 is told apart from the nearest stock voice: +14.17 ± 0.73 {by}.",
        "trial_001 is told apart from trial_000: +4.17 ± 0.17 over 3 repeats.",
    ]
    luck = verdicts(board(tmp_path / "luck", LUCK))
    assert luck[1] == (
        "trial_001 is not told apart from trial_000: +0.50 ± 3.50 over 2 repeats, where ± 44.47 may be chance."
    )
    assert mean_gap([1.0]) is None


def test_repeats_are_seen_everywhere_and_stand_beside_no_other_trial(tmp_path):
    made = board(tmp_path, STEADY)
    summary = made.summary()
    assert [r["rank"] for r in summary["leaderboard"]] == [1, 2, 3] + [None] * 6
    again = summary["leaderboard"][3]
    assert (again["preset"], again["repeat_of"], again["gain"]) == ("repeat of 000, seed 1", "trial_000", 10.0)
    assert [r["trial"] for r in summary["repeated"]] == ["trial_001", "trial_000"]
    assert summary["repeated"][0]["test_score"] == pytest.approx(50 + 42.5 / 3)
    assert summary["ledger"]["syntheses"] == 9 * 4
    text = page.page(made)
    assert text.count("repeat of 000, seed 1") == 1  # not among the voices, whose sentences are others
    assert re.search(r"<td>\+14.17 <span class=\"dim\">± 0.7</span></td>", text)
    assert "repeat of" not in told(summary)
    said = lastwords._repeated(summary["repeated"][0])
    assert said == (
        "trial_001 again, with 3 other seeds: gain +14.17 ± 0.73 (+14.00, +15.50, +13.00), test score 64.17 ± 0.73."
    )
