"""Where a search begins that is no stock voice: found by score, kept in the job, begun at to the last bit."""

import dataclasses
import itertools
import math
from types import SimpleNamespace
from typing import ClassVar

import pytest
import safetensors.torch
import torch

from coconut import build, encoder, start, style, voicepack
from coconut.config import InputError, SpaceConfig, from_dict
from coconut.job import START, Job, Nearest, prepare
from coconut.score import Metrics, Score
from coconut.voicepack import ROUGHNESS_LIMIT, roughness
from tests.test_job import same
from tests.toys import job as toy
from tests.voices import stock

QUICK = {
    "generations": 2, "es.popsize": 4, "window.size": 2, "limit": 4, "heldout": 1, "test": 1, "device": "cpu",
    "stop.patience": 0, "es.kind": "snes", "space.start": "nearest",
}  # fmt: skip
VOICES = stock(12)


class Near:
    """A score that falls with the distance from a voice."""

    def __init__(self, pack):
        self.pack = pack

    def voicepack(self, pack):
        return Metrics(100 * float(torch.exp(-(pack - self.pack).norm() / self.pack.norm())), {})

    @property
    def ranking(self):
        scored = [(name, self.voicepack(pack)) for name, pack in VOICES.items()]
        return sorted(scored, key=lambda found: -found[1].score)


class Always:
    """An encoder that finds the same voice, whatever it hears."""

    table = encoder.Table(torch.zeros(2, 450), torch.zeros(2, 1), 0.1, 0.54)

    def __init__(self, pack):
        self.pack = pack

    def __call__(self, features, length=1.0):
        return self.pack * length


def find(target, encoded, kind="encoder"):
    score = Near(target)
    return start.find(kind, score, score.ranking, VOICES, lambda: (Always(encoded), torch.zeros(450)))


OTHER = stock(1, seed=7)["v_00"]


def test_the_best_by_score_is_taken():
    assert torch.equal(find(OTHER, OTHER).pack, OTHER)
    assert torch.equal(find(OTHER, OTHER / 1.15).pack, OTHER / 1.15 * 1.15)
    assert "at length 1.15" in find(OTHER, OTHER / 1.15).note
    near = Near(OTHER).ranking[0][0]
    halfway = find((OTHER + VOICES[near]) / 2, OTHER)
    assert torch.equal(halfway.pack, (OTHER + VOICES[near]) / 2)
    assert "half the nearest" in halfway.note


def test_a_stock_voice_stays_where_the_encoder_is_worse():
    found = find(VOICES["v_03"], -OTHER)
    assert torch.equal(found.pack, VOICES["v_03"])
    assert found.note.startswith("Start: the nearest stock voice, 100.0 ")
    assert "54% of the variance" in found.note


def test_a_voice_that_could_not_be_exported_is_none():
    rough = OTHER + 0.1 * torch.randn(OTHER.shape, generator=torch.Generator().manual_seed(0))
    assert roughness(rough) > ROUGHNESS_LIMIT
    assert roughness(find(rough, rough).pack) <= ROUGHNESS_LIMIT


def test_the_mix_is_of_the_ranked_voices_by_score_and_asks_no_encoder():
    score = Near(VOICES["v_03"])
    found = start.find("mix", score, score.ranking[:6], VOICES, lambda: pytest.fail("asked"))
    names, scores = zip(*[(name, metrics.score) for name, metrics in score.ranking[:6]], strict=True)
    weights = (torch.tensor(scores) / 4).exp()
    mean = sum(float(w / weights.sum()) * VOICES[name] for w, name in zip(weights, names, strict=True))
    torch.testing.assert_close(found.pack, mean)
    assert roughness(found.pack) <= ROUGHNESS_LIMIT


def begun(kind="pca", pack=OTHER, **settings):
    """A toy job that begins at `pack`."""
    job = dataclasses.replace(toy(), start=pack, nearest=Nearest("mk_03", 40.0, {}))
    return dataclasses.replace(
        job, config=from_dict({"space.start": "encoder", "space.kind": kind, **settings}, job.config)
    )


def test_a_job_keeps_its_start_to_the_last_bit(tmp_path):
    job = begun()
    folder = job.save(tmp_path / "job")
    again = Job.load(folder)
    assert same(job, again)
    assert torch.equal(again.start, job.start)
    assert torch.equal(voicepack.load(folder / START), OTHER)
    assert again.config.space.start == "encoder"


def test_the_start_is_part_of_what_a_job_is():
    assert begun().hash != begun(pack=OTHER + 1e-6).hash
    assert begun().hash != dataclasses.replace(begun(), start=None).hash


def test_a_job_without_a_start_writes_none(tmp_path):
    folder = toy().save(tmp_path / "job")
    assert not (folder / START).exists()
    assert Job.load(folder).start is None


def test_a_start_that_is_damaged_or_exchanged_is_one_sentence(tmp_path):
    folder = begun().save(tmp_path / "job")
    voicepack.save(OTHER + 1, folder / START)
    with pytest.raises(InputError, match=r"start.pt is not what was saved there"):
        Job.load(folder)
    (folder / START).write_bytes(b"PK")
    with pytest.raises(InputError, match=r"start.pt is missing or damaged; prepare the job again"):
        Job.load(folder)


@pytest.mark.parametrize("kind", ["pca", "bias"])
def test_spaces_begin_exactly_at_a_given_start(kind):
    config = SpaceConfig(kind=kind, start="v_03", components=3, slopes=1)
    space = style.build(config, stock=VOICES, start=OTHER)
    torch.testing.assert_close(space.decode(space.init()[None])[0], OTHER, atol=1e-5, rtol=1e-4)
    if kind == "bias":
        assert torch.equal(space.decode(space.init()[None])[0], OTHER)


@pytest.mark.parametrize("kind", ["interp", "interp+bias"])
def test_mixtures_begin_at_the_stock_voice_instead(kind):
    given = style.build(SpaceConfig(kind=kind, start="v_03"), stock=VOICES, start=OTHER)
    assert torch.equal(given.init(), style.build(SpaceConfig(kind=kind, start="v_03"), stock=VOICES).init())


def first(fitting):
    return fitting.voicepack(fitting.space.init())


def test_a_fit_begins_there_only_where_its_settings_say_so():
    voices = build.wire(toy()).voices
    pack = (voices["mk_01"] + voices["mk_02"]) / 2
    job = begun("bias", pack)
    assert torch.equal(first(build.wire(job)), pack)
    for name, expected in (("mk_05", voices["mk_05"]), ("nearest", voices["mk_03"])):
        assert torch.equal(first(build.wire(job, from_dict({"space.start": name}, job.config))), expected)
    mean = first(build.wire(job, from_dict({"space.start": "mean"}, job.config)))
    torch.testing.assert_close(mean, torch.stack(list(voices.values())).mean(0))
    mixture = build.wire(job, from_dict({"space.kind": "interp"}, job.config)).space
    assert int(mixture.init().argmax()) == sorted(voices).index("mk_03")
    assert build.wire(job).config.space.start == "encoder"


@pytest.mark.parametrize("name", ["encoder", "mix"])
def test_a_start_that_the_job_was_not_made_for_is_refused(name):
    with pytest.raises(InputError, match=f"space.start is {name}, for which this job was not made"):
        build.wire(toy(), from_dict({"space.start": name}, toy().config))


@pytest.mark.slow
def test_the_first_score_of_a_fit_is_that_of_the_start(tmp_path, monkeypatch):
    job = prepare(from_dict(QUICK | {"space.start": "encoder"}))
    assert job.config.space.start == "encoder"
    assert roughness(job.start) <= ROUGHNESS_LIMIT
    assert same(job, Job.load(job.save(tmp_path / "job")))
    assert any(note.startswith("Start: ") for note in job.notes)
    monkeypatch.setattr(start, "_searched", lambda *_: pytest.fail("the very same is searched once"))
    assert same(job, prepare(from_dict(QUICK | {"space.start": "encoder"})))
    expected = Score(None, job.synthesizer(), job.heldout).voicepack(job.start)
    ranked = Score(None, job.synthesizer(), job.fit[:4])
    nearest = build.wire(job).voices[job.nearest.name]
    assert ranked.voicepack(job.start).score > ranked.voicepack(nearest).score + 1
    for space, close in (("bias", 1e-6), ("pca", 0.02)):  # pca adds up what float32 keeps of it
        fitting = build.wire(job, from_dict({"space.kind": space}, job.config))
        assert next(fitting.steps()).metrics.score == pytest.approx(expected.score, abs=close)


def test_a_search_is_kept_by_all_that_it_depends_on():
    job = toy()
    config = from_dict({"space.start": "encoder"}, job.config)
    others = [{"space.start": "mix"}, {"seed": 1}, {"score.encoder": "judge"}]
    found = {start._place(c, job.synthesizer(c), job.fit) for c in (config, *(from_dict(o, config) for o in others))}
    found |= {start._place(config, job.synthesizer(config), spoken) for spoken in (job.fit[1:], job.fit[::-1])}
    voice = next(iter(build.wire(job).voices.values()))
    voice[0, 0, 0] += 1e-6
    found.add(start._place(config, job.synthesizer(config), job.fit))
    voice[0, 0, 0] -= 1e-6
    assert len(found) == len(others) + 4
    assert start._place(config, job.synthesizer(config), job.fit) in found


def test_the_table_of_mini_is_small():
    content = encoder.shipped()
    assert len(content) < 2**20
    assert {"features", "coordinates", "strength", "error", "key"} == set(safetensors.torch.load(content))


class Heard:
    """A score of utterances of 1, 3 and 2 s that notes what it is asked; the voices are as good as their number."""

    asked: ClassVar[list[tuple[list[float], list[str]]]] = []

    def __init__(self, space=None, synth=None, utterances=None, ears=None):
        self.synth, self.encoder, self.syntheses = synth, ears, 0
        self.utterances = utterances or [SimpleNamespace(seconds=seconds) for seconds in (1.0, 3.0, 2.0)]

    def rank(self, packs):
        self.asked.append(([u.seconds for u in self.utterances], sorted(packs)))
        self.syntheses += len(packs) * len(self.utterances)
        return [(name, Metrics(float(name[2:]), {})) for name in sorted(packs, reverse=True)]


@pytest.mark.parametrize(("count", "syntheses"), [(5, 15), (6, 18), (7, 7 + 18), (12, 12 + 18)])
def test_voices_say_one_sentence_and_the_best_of_them_all(count, syntheses, monkeypatch):
    monkeypatch.setattr(start, "Score", Heard)
    monkeypatch.setattr(Heard, "asked", [])
    score, names = Heard(), [f"v_{k:02d}" for k in range(count)]
    ranking = start.rank(score, dict.fromkeys(names, OTHER))
    assert [name for name, _ in ranking] == names[::-1][:6]
    assert score.syntheses == syntheses
    asked = len(Heard.asked)
    assert len(start.rank(Heard(), dict.fromkeys(names, OTHER), 10)) == min(10, count)
    heard = [(seconds, name) for seconds, part in Heard.asked[:asked] for name in part]
    finals = [([1.0, 3.0, 2.0], name) for name in sorted(names[::-1][:6])]
    assert heard == ([([3.0], name) for name in names] if count > 6 else []) + finals


def test_only_voices_that_are_near_by_their_features_are_ranked():
    """Each is near by another group of them; few voices are all ranked, without an encoder."""
    features = torch.randn(12, 450, generator=torch.Generator().manual_seed(0))
    features[5] = math.nan  # it cannot be heard
    table = encoder.Table(features, torch.zeros(12, 1), 0.1, 0.5)
    heard, edges = torch.zeros(450), [0, 256, 289, 290, 450]
    for place, (first, last) in zip((2, 7, 3, 11), itertools.pairwise(edges), strict=True):
        heard[first:last] = features[place, first:last]
    assert {2, 7, 11} <= set(table.nearest(heard, 1)) <= {2, 3, 7, 11}
    assert 3 not in table.nearest(heard, 1)  # by its rate alone
    every = start.likely(VOICES, lambda: (SimpleNamespace(table=table), heard))
    assert {"v_02", "v_07", "v_11"} < set(every) < set(VOICES)
    assert 5 not in table.nearest(heard, 12)
    few = dict(list(VOICES.items())[:6])
    assert start.likely(few, lambda: pytest.fail("asked")) is few


def test_what_was_heard_of_a_voice_is_heard_once(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    job = toy()
    synth, voices = job.synthesizer(), build.wire(job).voices
    first = start.heldout(job.config, synth, job.heldout[:1], voices["mk_05"])
    assert first == Score(None, synth, job.heldout[:1]).voicepack(voices["mk_05"])
    with monkeypatch.context() as patch:
        patch.setattr(start, "Score", lambda *_: pytest.fail("heard twice"))
        assert start.heldout(job.config, synth, job.heldout[:1], voices["mk_05"]) == first
    assert start.heldout(job.config, synth, job.heldout[:1], voices["mk_07"]) != first
