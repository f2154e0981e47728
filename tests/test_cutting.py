"""Long recordings are cut at pauses, and each piece has what is said in it."""

import dataclasses
import io
import itertools
import tracemalloc

import numpy as np
import pytest
import soundfile
import torch

from coconut import audio, resources, speak
from coconut.config import FitConfig, from_dict
from coconut.cutting import Cutter, cutter, track
from coconut.cutting.pieces import Piece
from coconut.cutting.sound import Heard, cepstra
from coconut.cutting.template import EVEN, Template, hurried
from coconut.cutting.track import JUMP, LEAP
from coconut.cutting.words import LONGEST, sentences, words
from coconut.data import Item
from coconut.job import collect
from coconut.text import phonemize

READER, RATE = "mk_09", 24_000
SENTENCES = (
    "The kettle was still warm when she came back from the garden.",
    "Nobody told us that the bridge would be closed until Thursday.",
    "In 1987, a yellow bicycle leaned against the wall of the bakery.",
    "He measured the shelf twice, and still cut it too short.",
    "We have eleven minutes to catch the last ferry.",
    "The judge listened quietly and then closed the folder.",
    "My uncle keeps his money in a jar behind the flour.",
    "There is a hole in the fence, just wide enough for a fox.",
    "She whispered something in his ear, and he began to laugh.",
    "The museum has a whole room of broken clocks.",
)
UNREAD, UNWRITTEN = 3, 6  # of SENTENCES: in the text alone, and in the recording alone


def test_words_are_all_of_the_text_and_have_phonemes_of_their_own():
    text = "“Hello,” said Mr. Smith — twice; in 1999 ... 😀 It was (almost) over! And then"
    found = words(text, "en-us")
    assert " ".join(word.text for word in found) == text
    assert [word.text for word in found if word.ends] == ["“Hello,”", "Smith —", "twice;", "1999 ... 😀", "over!"]
    assert all(any(sign.isalpha() for sign in word.phonemes) for word in found)
    assert next(word.phonemes for word in found if "1999" in word.text) == phonemize("1999", "en-us")
    assert words("— 😀 ...", "en-us") == []


@pytest.mark.parametrize("text", ["One. " * 50, "word " * 200, "a few words, " * 60, "End of it"])
def test_sentences_are_short_enough_and_lose_nothing(text):
    spoken = words(text, "en-us")
    found = list(sentences(spoken))
    assert [word for sentence in found for word in sentence] == spoken
    assert all(sum(len(word.phonemes) + 1 for word in sentence) <= LONGEST + 20 for sentence in found)
    if "," in text:
        assert all(sentence[-1].ends for sentence in found)


@pytest.fixture(scope="module")
def synth():
    return resources.synthesizer("mini", "cpu", 0, "exact", 60.0)


@pytest.fixture(scope="module")
def voices():
    return resources.model("mini", "cpu").voices


def test_hurried_speech_takes_half_the_time_and_keeps_its_melody(synth, voices):
    script = synth.prepare([phonemize(SENTENCES[0]), phonemize(SENTENCES[3])])
    slow = synth.prosody(script, voices[READER][script.rows, 0][None])
    fast = hurried(slow)
    usual = (slow.durations + 1) // 2
    for u, size in enumerate(script.lengths):
        assert torch.equal(fast.durations[0, u, : size - 1], usual[0, u, : size - 1])
    assert ((fast.frames % EVEN == 0) & (fast.frames - usual.sum(-1) < EVEN)).all()
    assert torch.equal(fast.frames, fast.durations.sum(-1))
    for u, size in enumerate(script.lengths):
        slowly, fastly = (
            speech.F0[0, u, : 2 * int(speech.durations[0, u, : size - 1].sum())] for speech in (slow, fast)
        )
        assert set(fastly.tolist()) <= set(slowly.tolist())
        assert float(fastly.mean()) == pytest.approx(float(slowly.mean()), rel=0.05)


class Drawn(Template):
    """Columns that were drawn, not spoken: all are there from the start."""

    def __init__(self, features, word, filler):
        self.features, self.word, self.filler = features, word, filler

    def grow(self, columns):
        """Nothing to add."""


def drawn(rng, count=12, width=30):
    """A template of `count` words of `width` columns, a clause every three words; and what it is drawn from."""
    features, word, filler = [np.zeros(8)], [-1], [True]
    for k in range(count):
        for _ in range(width):
            features.append(rng.normal(size=8))
            word.append(k)
            filler.append(False)
        if k % 3 == 2:
            features.append(np.zeros(8))
            word.append(k)
            filler.append(True)
    return Drawn(np.array(features, np.float32), np.array(word), np.array(filler))


def read_aloud(template, order, rng, stretch=2):
    """Rows that say words in this order, each column `stretch` times; None is something else. And the words [R]."""
    rows, said = [], []
    for k in order:
        columns = rng.normal(size=(30, 8)) if k is None else template.features[(template.word == k) & ~template.filler]
        rows.append(np.repeat(columns, stretch, 0))
        said += [-1 if k is None else k] * stretch * len(columns)
    rows = np.concatenate(rows)
    rows = (rows + 0.3 * rng.normal(size=rows.shape)).astype(np.float32)
    return Heard(rows, np.arange(len(rows)), np.zeros(len(rows), np.int64), torch.zeros(24)), np.array(said)


def followed(heard, template):
    paths = list(track.track(heard, template))
    assert [path.start for path in paths] == list(np.cumsum([0, *[len(path.columns) for path in paths[:-1]]]))
    return np.concatenate([path.columns for path in paths])


@pytest.mark.parametrize(
    "order",
    [
        [*range(12)],
        [*range(3), None, None, *range(3, 12)],  # something that is not in the text
        [*range(3), *range(6, 12)],  # a clause that nobody says
        [None] * 8 + [*range(12)],
    ],
    ids=["all", "more", "less", "prelude"],
)
@pytest.mark.parametrize("block", [400, 16])
def test_the_path_is_that_of_what_was_said(monkeypatch, order, block):
    monkeypatch.setattr(track, "BLOCK", block)  # in small blocks it is settled long before the end
    monkeypatch.setattr(track, "LAG", 40)
    rng = np.random.default_rng(0)
    template = drawn(rng)
    heard, said = read_aloud(template, order, rng)
    columns = followed(heard, template)
    found = np.where(template.filler[columns], -1, template.word[columns])
    assert (found == said).mean() > 0.97
    moves = np.diff(columns)
    assert ((moves >= 0) & ((moves <= 2) | template.filler[columns[1:]])).all()


def test_no_path_is_cheaper():
    rng = np.random.default_rng(1)
    template = drawn(rng, count=6, width=3)
    heard = Heard(
        rng.normal(size=(40, 8)).astype(np.float32),
        np.arange(40),
        (rng.random(40) < 0.1).astype(np.int64),
        torch.zeros(24),
    )
    costs = track._costs(heard.cepstra, template.features, template.filler)
    steps = [track._steps(template.word, template.filler, paused) for paused in (False, True)]

    def step(row, a, b):
        if b - a in (0, 1, 2):
            return float(steps[int(heard.pauses[row] > 0)][b - a][a])
        return JUMP + LEAP * (b - a) if b > a and template.filler[a] and template.filler[b] else np.inf

    size = costs.shape[1]
    best = np.full(size, np.inf)
    for b in range(size):  # a path begins at column 0, before the first row
        best[b] = step(0, 0, b) + costs[0, b]
    for row in range(1, len(costs)):
        best = np.array([min(best[a] + step(row, a, b) for a in range(b + 1)) + costs[row, b] for b in range(size)])
    columns = followed(heard, template)
    taken = sum(
        step(row, a, b) + costs[row, b] for row, (a, b) in enumerate(zip([0, *columns[:-1]], columns, strict=True))
    )
    assert taken == pytest.approx(best.min(), rel=1e-4)


def test_memory_does_not_grow_with_the_recording(monkeypatch):
    for name, value in (("BLOCK", 50), ("BEHIND", 100), ("AHEAD", 200)):
        monkeypatch.setattr(track, name, value)
    rng, peaks = np.random.default_rng(2), []
    for count in (8, 20):
        template = drawn(rng, count)
        heard, said = read_aloud(template, range(count), rng)
        tracemalloc.start()
        right = [(template.word[path.columns] == said[path.start :][: len(path.columns)]).mean()
                 for path in track.track(heard, template)]  # fmt: skip
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert min(right) > 0.9
    assert peaks[1] < 1.4 * peaks[0]


def test_what_is_soft_tells_nothing_and_what_is_steady_has_no_slope():
    powers = torch.rand(40, 24) + 0.1
    assert np.abs(cepstra(1e-5 * powers) - cepstra(0 * powers)).max() < 0.05
    assert np.abs(cepstra(powers) - cepstra(0 * powers)).max() > 1
    assert np.allclose(cepstra(powers[:1].expand(40, -1))[:, 13:], 0, atol=1e-4)


@pytest.fixture(scope="module")
def book(tmp_path_factory, synth, voices):
    """A recording of SENTENCES but one, its text of SENTENCES but another, by another voice than tries to follow."""
    folder = tmp_path_factory.mktemp("book")
    rng, parts = torch.Generator().manual_seed(0), [torch.zeros(RATE)]
    for k, sentence in enumerate(SENTENCES):
        if k != UNREAD:
            pause = int((0.35 + 0.6 * float(torch.rand((), generator=rng))) * RATE)
            parts += [speak.speak(synth, voices[READER], sentence), torch.zeros(pause)]
    wav = torch.cat(parts)
    wav = wav + 1e-3 * torch.randn(len(wav), generator=rng)
    soundfile.write(folder / "chapter.flac", wav.numpy(), RATE)
    text = " ".join(sentence for k, sentence in enumerate(SENTENCES) if k != UNWRITTEN)
    (folder / "text.txt").write_text(text, encoding="utf-8")
    return folder


def test_a_long_recording_with_one_text_becomes_utterances(book, monkeypatch):
    monkeypatch.setattr(cutter, "TRIED", 2)
    job = collect(FitConfig(data=str(book), device="cpu"))
    said = [utterance.text for spoken in job.utterances.values() for utterance in spoken]
    pieces = [part + "." for text in said for part in text.rstrip(".").split(". ")]
    assert set(pieces) <= set(SENTENCES)
    assert len(pieces) == len(set(pieces)) >= 5
    assert SENTENCES[UNREAD] not in pieces
    assert SENTENCES[UNWRITTEN] not in pieces
    assert job.skipped["text not sure"] >= 1
    assert any(
        note.startswith("Recordings longer than 15 s and cut at their pauses: 1, such as ") for note in job.notes
    )
    assert all(1.5 <= u.seconds <= 12.5 for spoken in job.utterances.values() for u in spoken)
    monkeypatch.setattr(Template, "_spoken", lambda *_: pytest.fail("a second start synthesises nothing"))
    monkeypatch.setattr(audio, "treat", lambda *_: pytest.fail("and treats nothing"))
    assert collect(FitConfig(data=str(book), device="cpu")).hash == job.hash


def test_pieces_come_as_they_are_found(book, monkeypatch):
    monkeypatch.setattr(cutter, "TRIED", 2)
    item = Item("chapter.flac", book / "chapter.flac", (book / "text.txt").read_text())
    first = next(iter(Cutter(FitConfig(device="cpu"))(item)))
    assert first.text.startswith(SENTENCES[0])
    assert first.name == "chapter.flac, 0:00.9 to 0:05.3"
    assert isinstance(first.audio, bytes)


@pytest.fixture
def searched(monkeypatch, tmp_path):
    """How often pieces were looked for, in an empty cache: there are five in any recording."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    found = []

    def search(self, item):
        found.append(item.name)
        self.tried = ["mk_01"]
        return (Piece(3.0 * k, 2.5, f"{item.text} {k}", 0.5 * k) for k in range(5))

    monkeypatch.setattr(Cutter, "_pieces", search)
    return found


def test_pieces_are_found_once(book, searched):
    item, config = Item("chapter.flac", book / "chapter.flac", "The text."), FitConfig(device="cpu")
    every, cutter = list(Cutter(config)(item)), Cutter(config)
    assert [piece.problem is None for piece in every] == [False, True, True, True, True]
    assert list(cutter(item)) == every  # their sound too, to the last bit
    assert cutter.tried == ["mk_01"]
    assert len(searched) == 1
    others = [
        (config, dataclasses.replace(item, text="Another.")),
        (config, dataclasses.replace(item, audio=less(book))),
    ]
    others += [(from_dict({name: value}, config), item) for name, value in (("seed", 1), ("max_seconds", 8.0))]
    for count, (settings, other) in enumerate(others, 2):
        assert len(list(Cutter(settings)(other))) == 5
        assert len(searched) == count


def less(book):
    """The chapter without its last second."""
    wav, file = soundfile.read(book / "chapter.flac")[0], io.BytesIO()
    soundfile.write(file, wav[:-RATE], RATE, format="FLAC")
    return file.getvalue()


@pytest.mark.parametrize("wanted", [1, 3])
def test_pieces_that_nobody_asked_for_are_looked_for_when_somebody_does(wanted, book, searched):
    item, config = Item("chapter.flac", book / "chapter.flac", "The text."), FitConfig(device="cpu")
    first = list(itertools.islice(Cutter(config)(item), wanted))
    assert list(itertools.islice(Cutter(config)(item), wanted)) == first
    assert len(searched) == 1
    every = list(Cutter(config)(item))
    assert (len(searched), len(every), every[:wanted]) == (2, 5, first)
    assert list(Cutter(config)(item)) == every
    assert len(searched) == 2


def test_what_is_not_long_is_not_cut(book, tmp_path):
    wav, _ = soundfile.read(book / "chapter.flac", frames=6 * RATE)
    soundfile.write(tmp_path / "a.wav", wav, RATE)
    text = " ".join(SENTENCES)
    assert list(Cutter(FitConfig(device="cpu"))(Item("a.wav", tmp_path / "a.wav", text))) == []
    assert list(Cutter(FitConfig(device="cpu", max_seconds=3.0))(Item("a.wav", tmp_path / "a.wav", text))) == []
