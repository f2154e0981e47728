"""Score: a fixed formula that discriminates, blind to losses, and never NaN."""

import inspect
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from coconut import score as module
from coconut import style
from coconut.config import InputError, SpaceConfig
from coconut.data import Utterance
from coconut.losses import SpeakerEncoder
from coconut.losses.judge import Judge
from coconut.score import LEAST, WEIGHTS, Metrics, Score, combine, likeness
from coconut.synthesis import Synthesizer, load_model, stock_voices

PHONEMES = ("ɪt ˈɔlwˌAz ɹˈAnz ɑn sˈʌndA.", "ðə kwˈɪk bɹˈWn fˈɑks ʤˈʌmps.")
TARGET = 5


@pytest.fixture(scope="module")
def voices():
    return dict(list(stock_voices(load_model("mini")).items())[:12])


@pytest.fixture(scope="module")
def score(voices):
    """Held-out recordings are those of a stock voice, so that the right answer is known."""
    synth = Synthesizer(load_model("mini"), seed=0)
    script = synth.prepare(PHONEMES)
    pack = list(voices.values())[TARGET].reshape(510, 256)
    audio = Synthesizer(load_model("mini"), seed=7)(script, pack[script.rows][None])  # another noise
    heldout = [Utterance(str(u), "x", PHONEMES[u], audio.wav[0, u, : int(audio.lens[0, u])]) for u in range(2)]
    space = style.build(SpaceConfig(kind="interp", start="mean"), stock=voices)
    return Score(space, synth, heldout, SpeakerEncoder())


def test_the_right_voice_ranks_first_and_near_the_top(score, voices):
    ranking = score.rank(voices)
    name, best = ranking[0]
    assert name == list(voices)[TARGET]
    assert best.score > 80
    assert ranking[1][1].score < best.score - 5
    assert [m.score for _, m in ranking] == sorted((m.score for _, m in ranking), reverse=True)
    assert len({m.score for _, m in ranking}) == len(voices)


def test_a_step_towards_the_target_raises_the_score_all_the_way(score, voices):
    packs = [voice.reshape(510, 256) for voice in voices.values()]
    start = packs[(TARGET + 3) % len(packs)]
    line = [start + t * (packs[TARGET] - start) for t in (0.0, 0.25, 0.5, 0.75, 0.9, 1.0)]
    found = [metrics.score for metrics in score.styles(torch.stack(line)[:, score.rows])]
    assert found == sorted(found)
    assert found[-1] - found[-2] > 0.5  # no saturation near the top


def test_genome_styles_and_voicepack_are_judged_alike(score, voices):
    genome = score.space.init()
    pack = score.space.decode(genome[None])[0]
    by_genome, by_pack = score(genome), score.voicepack(pack)
    assert by_genome.score == pytest.approx(by_pack.score, abs=0.3)
    in_company = dict(score.rank({**voices, "mean": pack}))["mean"]
    assert in_company.score == pytest.approx(by_pack.score, abs=0.3)


def test_a_genome_always_has_the_same_score_to_the_bit(score):
    genome = score.space.init()
    again = Score(score.space, Synthesizer(load_model("mini"), seed=0), score.utterances, SpeakerEncoder())
    assert score(genome) == score(genome) == again(genome)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_voice_that_is_not_finite_scores_0_and_harms_no_other(score, voices, bad):
    styles = torch.stack([voice.reshape(510, 256)[score.rows] for voice in voices.values()])[:3]
    clean = score.styles(styles)
    styles[1, 0, 7] = bad
    found = score.styles(styles)
    assert found[1] == Metrics(0.0, dict.fromkeys(WEIGHTS, 0.0))
    for p in (0, 2):
        assert found[p].score == pytest.approx(clean[p].score, abs=0.3)


def test_a_runaway_scores_0_and_harms_no_other(score, voices, monkeypatch):
    styles = torch.stack([voice.reshape(510, 256)[score.rows] for voice in voices.values()])[:3]
    synth = Synthesizer(score.synth.model, seed=0, max_seconds=10)
    beside = Score(None, synth, score.utterances, score.encoder)
    clean = beside.styles(styles)
    inner = synth._durations

    def slow(encoded, style):
        features, steps = inner(encoded, style)
        steps[1] *= 1000
        return features, steps

    monkeypatch.setattr(synth, "_durations", slow)
    found = beside.styles(styles)
    assert found[1] == Metrics(0.0, dict.fromkeys(WEIGHTS, 0.0))
    for p in (0, 2):
        assert found[p].score == pytest.approx(clean[p].score, abs=0.3)
    monkeypatch.setattr(synth, "_durations", lambda *args: (lambda x, steps: (x, 1000 * steps))(*inner(*args)))
    assert {metrics.score for metrics in beside.styles(styles)} == {0.0}


def test_genomes_are_float64_on_the_cpu(score):
    genome = score.space.init().double()
    assert score(genome) == score(genome.float())


def test_the_same_score_within_another_space(score, voices):
    bare = Score(None, score.synth, score.utterances, score.encoder)
    with pytest.raises(ValueError, match="without a style space"):
        bare(score.space.init())
    placed = bare.within(score.space)
    assert placed(score.space.init()) == score(score.space.init())
    assert placed.refs is bare.refs
    assert (placed.syntheses, bare.syntheses, bare.space) == (2, 0, None)


def test_a_monstrous_style_has_a_finite_score(score):
    found = score.styles(torch.full((1, 2, 256), 1e4))[0]
    assert 0 <= found.score < 30
    assert all(math.isfinite(value) for value in found.parts.values())


def test_the_score_cannot_see_the_losses_weights():
    known = ["space", "synth", "utterances", "speaker_encoder", "beside"]
    assert list(inspect.signature(Score.__init__).parameters)[1:] == known
    assert "LossConfig" not in inspect.getsource(module)
    assert "FitConfig" not in inspect.getsource(module)


def test_spending_is_counted(score):
    before = score.syntheses, score.audio_seconds
    score(score.space.init())
    assert score.cost == 2
    assert score.syntheses == before[0] + score.cost
    assert 1 < score.audio_seconds - before[1] < 8


def test_without_utterances_there_is_no_score(score):
    with pytest.raises(InputError, match="hold out at least one"):
        Score(score.space, score.synth, [])


def parts(**changed):
    return {**dict.fromkeys(WEIGHTS, 0.5), **changed}


def test_other_ears_judge_the_speaker_alone_and_ge2e_is_told_beside_them(score, voices):
    judged = Score(None, score.synth, score.utterances, Judge(), {"ge2e": score.encoder})
    pack = next(iter(voices.values()))
    ours, theirs = judged.voicepack(pack), score.voicepack(pack)
    assert list(ours.parts) == [*WEIGHTS, "ge2e"]
    assert ours.parts["ge2e"] == pytest.approx(theirs.parts["speaker"], rel=1e-5)
    assert {n: ours.parts[n] for n in WEIGHTS} | {"speaker": 0} == {**theirs.parts, "speaker": 0}
    assert ours.parts["speaker"] != theirs.parts["speaker"]
    assert ours.score == combine({n: ours.parts[n] for n in WEIGHTS}).score
    alone = [Score(None, score.synth, [score.utterances[1 - u]], Judge()) for u in range(2)]
    assert judged.left_out(pack) == pytest.approx([one.voicepack(pack).score for one in alone], rel=1e-4)


@given(st.floats(-0.5, 0.9), st.floats(-1, 1), st.floats(1e-3, 0.1))
def test_likeness_grows_with_the_cosine_to_1_whoever_listens(stranger, cosine, gain):
    less, more, same, strange = likeness(torch.tensor([cosine, cosine + gain, 1.0, stranger]).double(), stranger)
    assert less < more
    assert float(same) == pytest.approx(1)
    assert float(strange) == pytest.approx(math.log(2) / math.log1p(math.exp(10)), rel=1e-5)


def test_combine_is_the_weighted_geometric_mean():
    assert sum(WEIGHTS.values()) == pytest.approx(1)
    assert combine(dict.fromkeys(WEIGHTS, 1.0)).score == pytest.approx(100)
    assert combine(parts()).score == pytest.approx(50)
    for name, weight in WEIGHTS.items():
        assert combine(parts(**{name: 0.25})).score == pytest.approx(50 * 0.5**weight)


@given(st.dictionaries(st.sampled_from(sorted(WEIGHTS)), st.floats(allow_nan=True, allow_infinity=True)))
def test_combine_is_always_a_number_from_0_to_100(values):
    found = combine(values)
    assert 0 <= found.score <= 100
    whole = set(values) == set(WEIGHTS) and all(math.isfinite(value) for value in values.values())
    assert (found.score > 0) == whole
    assert all(LEAST <= value <= 1 for value in found.parts.values()) or found.score == 0


@given(st.sampled_from(sorted(WEIGHTS)), st.floats(LEAST, 0.99), st.floats(1e-4, 0.01))
def test_every_gain_of_a_part_is_a_gain_of_score(name, value, gain):
    assert combine(parts(**{name: value + gain})).score > combine(parts(**{name: value})).score


def test_with_an_utterance_left_out_a_voice_scores_as_on_the_others(score, voices):
    pack = next(iter(voices.values()))
    alone = [Score(None, score.synth, [score.utterances[1 - u]], score.encoder) for u in range(2)]
    assert score.left_out(pack) == pytest.approx([one.voicepack(pack).score for one in alone], rel=1e-4)
    assert alone[0].left_out(pack) == []
    assert score.left_out(torch.full_like(pack, math.nan)) == [0.0, 0.0]
