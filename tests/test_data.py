"""Data: folders, the known sets as local parquet, splits, windows, and every kind of bad input."""

import csv
import dataclasses
import io
import itertools
import shutil
import unicodedata
from collections import Counter

import datasets
import numpy as np
import pyarrow.parquet
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from coconut import data
from coconut.config import FitConfig, InputError
from coconut.data.parquet import Parquet
from coconut.data.splits import contents, sizes
from tests.sounds import sentence

pytestmark = pytest.mark.filterwarnings("ignore:spaCy")
TEXTS = [f"This is sentence number {word}." for word in ["one", "two", "three", "four", "five", "six", "seven", "ten"]]


def wav_bytes(order=(0, 1, 2, 3), rate=24000, kind="WAV"):
    file = io.BytesIO()
    wav = sentence(list(order)).numpy()
    soundfile.write(file, np.interp(np.arange(0, len(wav), 24000 / rate), np.arange(len(wav)), wav), rate, format=kind)
    return file.getvalue()


def order(i):
    return [i % 5, (i + 1) % 5, (3 * i) % 5] + [2] * (i % 4 + 1)


def config(source, **options):
    return FitConfig(data=str(source), **{"heldout": 2, **options})


@pytest.fixture
def folder(tmp_path):
    """Five recordings of different formats, each with its .txt."""
    target = tmp_path / "speech"
    target.mkdir()
    for i, suffix in enumerate(("wav", "flac", "ogg", "wav", "wav")):
        (target / f"r{i}.{suffix}").write_bytes(wav_bytes(order(i), kind=suffix.upper()))
        (target / f"r{i}.txt").write_text(f" {TEXTS[i]}\n", encoding="utf-8")
    return target


def table(folder, rows, columns=("file_name", "transcription")):
    with (folder / "metadata.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(rows)


def names(dataset):
    return sorted(u.id.split(":", 1)[1] for u in every(dataset))


def every(dataset):
    return (*dataset.fit, *dataset.heldout, *dataset.test)


def spelled(folder, texts):
    """One recording for each text, all of different sounds."""
    folder.mkdir()
    for i, text in enumerate(texts):
        (folder / f"r{i}.wav").write_bytes(wav_bytes(order(i)))
        (folder / f"r{i}.txt").write_text(text, encoding="utf-8")
    return folder


def test_a_folder_of_recordings_beside_their_texts(folder):
    dataset = data.read(config(folder))
    assert names(dataset) == ["r0.wav", "r1.flac", "r2.ogg", "r3.wav", "r4.wav"]
    assert (len(dataset.fit), len(dataset.heldout)) == (3, 2)
    assert dataset.skipped == {}
    for u in every(dataset):
        assert u.text == TEXTS[int(u.id.split(":r")[1][0])]
        assert u.phonemes.startswith("ðɪs ɪz sˈɛntəns nˈʌmbəɹ")
        assert u.audio.dtype == torch.float32
        assert 0.5 < u.seconds < 2
        assert u.audio.square().mean().sqrt() == pytest.approx(0.08, rel=0.2)


def test_a_table_brings_texts_phonemes_speakers_and_styles(folder):
    rows = [(f"r{i}.{s}", TEXTS[i], "həlˈO" if i == 0 else "", "ann" if i < 4 else "bob", "calm" if i < 3 else "glad")
            for i, s in enumerate(("wav", "flac", "ogg", "wav", "wav"))]  # fmt: skip
    table(folder, rows, ("file_name", "transcription", "phonemes", "speaker", "style"))
    dataset = data.read(config(folder, speaker="ann", style="calm"))
    assert names(dataset) == ["r0.wav", "r1.flac", "r2.ogg"]
    assert next(u for u in every(dataset) if "r0" in u.id).phonemes == "həlˈO"
    with pytest.raises(InputError, match="2 speakers; choose one by --speaker: ann, bob"):
        data.read(config(folder))
    with pytest.raises(InputError, match="has no speaker eve; known: ann, bob"):
        data.read(config(folder, speaker="eve"))
    with pytest.raises(InputError, match="has no style sad; known: calm, glad"):
        data.read(config(folder, speaker="ann", style="sad"))


def test_what_cannot_be_used_is_skipped_counted_and_said(folder):
    (folder / "empty.wav").write_bytes(b"")
    (folder / "empty.txt").write_text("Empty.")
    (folder / "mute.wav").write_bytes(wav_bytes())
    (folder / "silent.wav").write_bytes(b"RIFF")
    soundfile.write(folder / "silent.wav", np.zeros(24000), 24000)
    (folder / "silent.txt").write_text("Silent.")
    soundfile.write(folder / "huge.wav", 1e30 * np.random.default_rng(0).standard_normal(24000), 24000, subtype="FLOAT")
    (folder / "huge.txt").write_text("Huge.")
    (folder / "dots.wav").write_bytes(wav_bytes())
    (folder / "dots.txt").write_text("...")
    (folder / "latin.wav").write_bytes(wav_bytes())
    (folder / "latin.txt").write_bytes(b"caf\xe9")
    (folder / "blink.wav").write_bytes(wav_bytes([1]))
    (folder / "blink.txt").write_text("Blink.")
    (folder / "notes.md").write_text("not a recording")
    dataset = data.read(config(folder))
    assert names(dataset) == ["r0.wav", "r1.flac", "r2.ogg", "r3.wav", "r4.wav"]
    assert dataset.skipped == {
        "unusable audio": 3, "no transcript": 1, "no phonemes": 1, "incomplete": 1, "too short": 1, "not read": 1,
    }  # fmt: skip
    notes = " ".join(dataset.notes)
    for name in ("empty.wav", "mute.wav", "silent.wav", "huge.wav", "dots.wav", "latin.wav", "blink.wav", "notes.md"):
        assert name in notes
    assert "r0" not in notes


def test_a_table_may_err_too(folder):
    table(
        folder,
        [("r0.wav", TEXTS[0]), ("r1.flac", TEXTS[1]), ("gone.wav", "Gone."), ("r2.ogg", ""), ("r3.wav", TEXTS[3])],
    )
    dataset = data.read(config(folder))
    assert names(dataset) == ["r0.wav", "r1.flac", "r3.wav"]
    assert dataset.skipped == {"incomplete": 1, "no transcript": 2, "not read": 5}  # r4.wav is not listed
    notes = " ".join(dataset.notes)
    assert "gone.wav: its table lists it, but there is no such file" in notes
    assert "r4.wav: no table lists it" in notes
    assert "r0.txt: the texts of its table are used" in notes


def spoilt(how):
    return {
        "no transcripts": lambda f: [p.unlink() for p in f.glob("*.txt")],
        "empty": lambda f: [p.write_bytes(b"") for p in f.iterdir() if p.suffix != ".txt"],
        "no recordings": lambda f: [p.unlink() for p in f.iterdir() if p.suffix != ".txt"],
        "no phonemes": lambda f: [p.write_text("?!") for p in f.glob("*.txt")],
        "one": lambda f: [p.unlink() for p in f.iterdir() if p.stem != "r0"],
        "column": lambda f: table(f, [("r0.wav", "x")], ("file", "words")),
        "empty table": lambda f: table(f, []),
        "binary table": lambda f: (f / "metadata.csv").write_bytes(b"\xff\xfe\x00"),
        "a file": lambda f: (shutil.rmtree(f), f.write_bytes(b"x")),
        "nothing": lambda f: shutil.rmtree(f),
    }[how]


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("no transcripts", r"None of the 5 recordings .*r0\.wav: there is no transcript"),
        ("empty", r"None of the 5 recordings .*r0\.wav: cannot be decoded as audio"),
        ("no recordings", "holds no recording"),
        ("no phonemes", r"r0\.wav: its transcript has nothing to pronounce"),
        ("one", "a single usable recording, and at least 2 are needed"),
        ("column", "needs the columns file_name and transcription; it has file, words"),
        ("empty table", "lists no recording"),
        ("binary table", "not a UTF-8 table"),
        ("a file", "is a file; give the folder"),
        ("nothing", "There is no folder"),
    ],
)
def test_a_source_without_two_good_recordings_is_one_sentence(folder, how, words):
    spoilt(how)(folder)
    with pytest.raises(InputError, match=words) as error:
        data.read(config(folder))
    assert str(error.value).count("\n") == 0
    assert str(error.value).endswith(".")


@pytest.mark.parametrize("option", ["speaker", "style"])
def test_a_folder_without_a_table_knows_no_speakers(folder, option):
    with pytest.raises(InputError, match=f"--{option} ann needs a metadata.csv with a column {option}"):
        data.read(config(folder, **{option: "ann"}))


def test_a_text_over_510_phonemes_is_not_cut_for_a_recording_that_says_it_all(folder):
    (folder / "r0.txt").write_text("This is a sentence. " * 60)
    dataset = data.read(config(folder))
    assert names(dataset) == ["r1.flac", "r2.ogg", "r3.wav", "r4.wav"]
    assert dataset.skipped == {"text too long": 1}
    assert "r0.wav: its text has 1139 phonemes, and Kokoro reads 510 at once; split the recording" in dataset.notes[-2]


def test_limits_of_count_and_length(folder):
    assert names(data.read(config(folder, limit=3))) == ["r0.wav", "r1.flac", "r2.ogg"]
    assert data.read(config(folder, max_seconds=1.0)).skipped == {"too long": 3}


def test_an_unknown_language_is_said_before_anything_is_read(folder):
    with pytest.raises(InputError, match="lang is 'xx'"):
        data.read(config(folder, lang="xx"))


def clips(lengths, texts=None):
    """Utterances of different sounds with these lengths, and these texts or different ones."""
    return [
        data.Utterance(f"{i}", texts[i] if texts else f"x{i}", f"f{i}", torch.full((length,), i / 64))
        for i, length in enumerate(lengths)
    ]


def ids(utterances):
    return [u.id for u in utterances]


@given(
    st.lists(st.integers(1, 1000), min_size=2, max_size=60), st.integers(1, 12), st.integers(0, 12), st.integers(0, 5)
)
def test_split_is_disjoint_whole_repeatable_and_spread_over_lengths(lengths, heldout, test, seed):
    utterances = clips(lengths)
    parts = data.split(utterances, heldout, test, seed)
    assert sorted(ids(every(parts))) == sorted(ids(utterances))
    assert (len(parts.heldout), len(parts.test)) == sizes(len(utterances), heldout, test)
    again = data.split(utterances, heldout, test, seed)
    assert [ids(part) for part in again[:3]] == [ids(part) for part in parts[:3]]
    assert ids(data.split(utterances, heldout, 0, seed).heldout) == ids(parts.heldout)  # which a test does not change
    ordered = sorted(range(len(lengths)), key=lambda i: (lengths[i], str(i)))
    for part in (parts.heldout, parts.test):
        edges = [round(k * len(ordered) / max(len(part), 1)) for k in range(len(part) + 1)]
        ranks = sorted(ordered.index(int(u.id)) for u in part)
        assert all(low <= rank < high for low, rank, high in zip(edges, ranks, edges[1:], strict=False))
        ordered = [i for i in ordered if str(i) not in ids(part)]


def test_splits_differ_by_seed_and_the_fit_is_shuffled():
    parts = [data.split(clips(range(1, 41)), 4, 4, seed) for seed in range(8)]
    assert len({tuple(ids(part.heldout)) for part in parts}) > 4
    assert len({tuple(ids(part.test)) for part in parts}) > 4
    assert all(ids(part.fit) != sorted(ids(part.fit), key=int) for part in parts)


@pytest.mark.parametrize(
    ("sentences", "expected"),
    [(2, (1, 0)), (3, (1, 0)), (4, (2, 0)), (8, (4, 0)), (9, (4, 0)), (10, (4, 1)), (15, (4, 3)), (16, (4, 4)),
     (99, (4, 4)), (1, (0, 0))],
)  # fmt: skip
def test_few_sentences_shrink_the_test_first_and_then_the_held_out_part(sentences, expected):
    assert sizes(sentences, 4, 4) == expected
    assert sizes(sentences, 4, 0) == (expected[0], 0)


@st.composite
def odd_lists(draw):
    """2 to 60 utterances of few sentences and few sounds, each spelled in several ways; some link two sentences."""
    numbers, size = st.integers(0, draw(st.integers(0, 40))), draw(st.integers(2, 60))
    marks, stress = st.sampled_from(["", "!", " ,", "…"]), st.sampled_from(["", "ˈ", "ˌ", " "])
    spellings = st.sampled_from([str.lower, str.upper, str.title, lambda _: ""])
    made = []
    for i in range(size):
        text, phonemes, sound = [draw(numbers)] * 3
        if draw(st.integers(0, 9)) == 0:
            text, phonemes, sound = draw(numbers), draw(numbers), draw(numbers)
        take = draw(st.integers(0, 2))
        made.append(
            data.Utterance(
                f"{i}:x",
                draw(spellings)(f"wörd, ß {text}{draw(marks)}"),
                f"{draw(marks)}{draw(stress)}f{'t' * phonemes}",
                torch.full((1 + sound % 7,), (3 * sound + take) / 128),
            )
        )
    return made


def linked(utterances):
    """Groups of positions that share a content, by growing each from one utterance; the slow way."""
    left, groups = set(range(len(utterances))), []
    while left:
        group, grown = set(), {min(left)}
        while group != grown:
            group = grown
            known = set().union(*(contents(utterances[i]) for i in group))
            grown = {i for i in range(len(utterances)) if contents(utterances[i]) & known}
        groups.append(group)
        left -= group
    return groups


@settings(max_examples=60, deadline=None)
@given(odd_lists(), st.integers(1, 20), st.integers(0, 20), st.integers(0, 2**31))
def test_no_text_and_no_sound_stands_in_two_splits(utterances, heldout, test, seed):
    parts = data.split(utterances, heldout, test, seed)
    for one, other in itertools.combinations((parts.fit, parts.heldout, parts.test), 2):
        for kind in (
            lambda u: u.audio.numpy().tobytes(),
            lambda u: "".join(c for c in u.text.casefold() if c.isalnum()),
            lambda u: "".join(c for c in u.phonemes if c.isalpha() and c not in "ˈˌ"),
        ):
            assert not {kind(u) for u in one} & {kind(u) for u in other} - {""}
    left = [u for u, _ in parts.left_out]
    assert Counter(ids([*every(parts), *left])) == Counter(ids(utterances))
    assert all(kept in parts.heldout + parts.test for _, kept in parts.left_out)
    groups = linked(utterances)
    judged, tested = min(heldout, len(groups) // 2), max(0, min(test, len(groups) // 2 - heldout))
    assert (parts.sentences, len(parts.heldout), len(parts.test)) == (len(groups), judged, tested)
    assert len(groups) < 2 or (parts.fit and parts.heldout)
    fitted = {int(u.id.split(":")[0]) for u in parts.fit}
    assert sum(group <= fitted for group in groups) == len(groups) - judged - tested >= len(groups) / 2
    again = data.split(utterances, heldout, test, seed)
    assert [ids(part) for part in again[:3]] == [ids(part) for part in parts[:3]]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (("Well, hello!", "a"), ("well hello", "b"), True),
        (("Straße", "a"), ("STRASSE.", "b"), True),
        (("café", "a"), (unicodedata.normalize("NFD", "Café"), "b"), True),
        (("two", "tˈu"), ("too", "ˌtu."), True),  # what is spoken is the same
        (("one", "t↗u"), ("other", "t↘u"), False),  # tones tell words apart
        (("one", "tuː"), ("other", "tu"), False),
        (("का", "a"), ("कि", "b"), False),
        (("-", "a"), ("...", "b"), False),  # a transcript without letters tells nothing
        (("Take 1", "a"), ("Take 2", "b"), False),
    ],
)
def test_what_counts_as_the_same_sentence(one, other, same):
    utterances = [data.Utterance(str(i), *texts, torch.full((2,), float(i))) for i, texts in enumerate((one, other))]
    assert data.split(utterances, 1, 0, 0).sentences == 2 - same


def test_takes_are_linked_through_others():
    sounds = [torch.full((2,), float(i)) for i in range(4)]
    texts = [("red", "a"), ("blue", "b"), ("red", "b"), ("green", "c")]
    utterances = [
        data.Utterance(str(i), *text, sound) for i, (text, sound) in enumerate(zip(texts, sounds, strict=True))
    ]
    parts = [data.split(utterances, 1, 0, seed) for seed in range(20)]
    assert {tuple(sorted(ids(part.fit))) for part in parts} == {("0", "1", "2"), ("3",)}
    assert {tuple((u.id, kept.id) for u, kept in part.left_out) for part in parts} == {(), (("1", "0"), ("2", "0"))}


def test_the_same_clip_under_two_names_is_read_once(folder):
    for name, twin in (("z1.wav", "r0.wav"), ("z2.flac", "r1.flac")):
        shutil.copy(folder / twin, folder / name)
    (folder / "z1.txt").write_text(TEXTS[0].upper())
    (folder / "z2.txt").write_text(TEXTS[1])
    dataset = data.read(config(folder, test=0))
    assert names(dataset) == ["r0.wav", "r1.flac", "r2.ogg", "r3.wav", "r4.wav"]
    assert dataset.skipped == {"duplicate": 2}
    assert dataset.notes[-1] == (
        "2 skipped (duplicate): z1.wav: the same sound as r0.wav; z2.flac: the same sound as r1.flac."
    )
    table(folder, [(f, TEXTS[i // 2]) for i, f in enumerate(("r0.wav", "z1.wav", "r1.flac", "z2.flac", "r2.ogg"))])
    assert names(data.read(config(folder, limit=3))) == ["r0.wav", "r1.flac", "r2.ogg"]


def test_other_takes_of_a_judged_sentence_are_left_out_and_said(tmp_path):
    texts = ["Once more, please.", "ONCE MORE PLEASE", *TEXTS[:4], "once more... please!", TEXTS[4]]
    folder, seen = spelled(tmp_path / "takes", texts), set()
    takes = {"r0.wav", "r1.wav", "r6.wav"}
    for seed in range(12):
        dataset = data.read(config(folder, test=1, seed=seed))
        assert [len({u.text.casefold().strip(".!") for u in part}) for part in (dataset.heldout, dataset.test)] == [
            2,
            1,
        ]
        where = next(k for k in ("fit", "heldout", "test") if takes & {u.id[2:] for u in getattr(dataset, k)})
        seen.add(where)
        if where == "fit":
            assert takes < {u.id[2:] for u in dataset.fit}
            assert dataset.skipped == {}
            continue
        assert takes & set(names(dataset)) == {"r0.wav"}
        assert dataset.skipped == {"repeated": 2}
        place = "is held out" if where == "heldout" else "is in the test"
        said = [f"{name}: the same sentence as r0.wav, which {place}" for name in ("r1.wav", "r6.wav")]
        assert f"2 skipped (repeated): {'; '.join(said)}." in dataset.notes
    assert seen == {"fit", "heldout", "test"}


def test_a_single_sentence_is_refused(tmp_path):
    folder = spelled(tmp_path / "one", ["Hello, you.", "hello you", "HELLO! You?", TEXTS[0]])
    with pytest.raises(InputError, match=r"a single sentence, in 2 recordings, .* stopped at limit 2, so raise it.$"):
        data.read(config(folder, limit=2))
    (folder / "r3.wav").write_bytes((folder / "r0.wav").read_bytes())
    (folder / "r3.txt").write_text("hello, you")
    with pytest.raises(InputError, match=r"a single sentence, in 3 .*one to judge; first problem: r3.wav: the same"):
        data.read(config(folder))
    for name in ("r1.wav", "r2.wav"):
        (folder / name).write_bytes((folder / "r0.wav").read_bytes())
    with pytest.raises(InputError, match=r"a single usable recording.*r1.wav: the same sound as r0.wav"):
        data.read(config(folder))


def test_splits_that_are_smaller_than_asked_for_are_said(tmp_path):
    folder = spelled(tmp_path / "few", TEXTS)

    def notes(**options):
        dataset = data.read(config(folder, **options))
        assert len(dataset.fit) + len(dataset.heldout) + len(dataset.test) == 8 == len(names(dataset))
        return [note.removeprefix(f"{folder} ") for note in dataset.notes if str(folder) in note]

    why = "has 8 different sentences, and the fit keeps at least half of them"
    assert notes(heldout=2, test=2) == notes(heldout=4, test=0) == []
    assert notes(heldout=3, test=2) == [f"{why}; the held-out part comes next, so the test has 1, not the 2 of --test."]
    assert notes(heldout=5, test=0) == [f"{why}, so the held-out part has 4, not the 5 of --heldout."]
    (none,) = notes(heldout=4, test=1)
    assert none.startswith(f"{why}; the held-out part comes next, so there is no test: ")


def test_it_is_said_where_an_utterance_came_from(folder, tmp_path):
    assert {u.origin for u in every(data.read(config(folder)))} == {
        str(p) for p in folder.glob("r*") if p.suffix != ".txt"
    }
    source = dataclasses.replace(data.SOURCES["expresso"], path=parquet(tmp_path / "set", "expresso"))
    assert "expresso: ex_00001" in {u.origin for u in every(data.read(config("expresso", speaker="ex02"), source))}
    assert "demo: demo_01.ogg" in {u.origin for u in every(data.read(FitConfig(limit=4)))}
    assert data.Utterance("0", "x", "x", torch.zeros(2)).origin == ""


def flac(path, wav):
    """What a 24-bit FLAC file gives back of it."""
    soundfile.write(path, wav.numpy(), 24000, subtype="PCM_24")
    return torch.from_numpy(soundfile.read(path, dtype="float32")[0])


@pytest.mark.parametrize("gain", [1e-8, 1e-3, 0.1, 1.0, 30.0])
def test_quantised_audio_comes_back_from_a_flac_file_bit_for_bit(tmp_path, gain):
    wav = data.quantised(gain * torch.randn(20_000, generator=torch.Generator().manual_seed(0)))
    assert wav.dtype == torch.float32
    assert float(wav.max()) <= 1 - 2**-23
    assert float(wav.min()) >= -1
    assert torch.equal(wav.double() * 2**23, (wav.double() * 2**23).round())
    assert flac(tmp_path / "a.flac", wav).numpy().tobytes() == wav.numpy().tobytes()
    assert data.quantised(wav).numpy().tobytes() == wav.numpy().tobytes()


def test_quantised_audio_is_softer_where_it_exceeded_1_and_has_one_zero(tmp_path):
    wav = data.quantised(torch.tensor([-2.0, 1.0, 0.5, -1e-9, 2**-25]))
    assert wav.tolist() == [-1, 0.5, 0.25, 0, 0]
    assert not torch.signbit(wav[3])
    assert data.quantised(torch.tensor([1.0, -0.5])).tolist() == [1 - 2**-23, -0.5]
    ends = torch.tensor([-1, -1 + 2**-23, -(2**-23), 2**-23, 1 - 2**-23])
    assert torch.equal(data.quantised(ends), ends)
    assert torch.equal(flac(tmp_path / "ends.flac", ends), ends)


def test_what_is_read_is_quantised(folder):
    for utterance in every(data.read(config(folder))):
        assert torch.equal(data.quantised(utterance.audio), utterance.audio)
        assert utterance.fingerprint == data.fingerprint(utterance.audio.clone())


@given(st.integers(1, 30), st.integers(1, 12), st.integers(0, 40), st.integers(0, 500))
def test_windows_are_a_function_of_the_generation_and_cover_all(n, size, stride, generation):
    utterances = clips([1] * n)
    windows = data.Windows(utterances, size, stride)
    window = [u.id for u in windows[generation]]
    assert window == [u.id for u in data.Windows(utterances, size, stride)[generation]]
    assert len(window) == len(set(window)) == min(size, n)
    seen = {u.id for g in range(n * n + 1) for u in windows[g]}
    assert len(seen) == (n if stride else min(size, n))


def test_windows_move_by_the_stride():
    windows = data.Windows(clips([1] * 7), 3, 2)
    assert [[int(u.id) for u in windows[g]] for g in range(4)] == [[0, 1, 2], [2, 3, 4], [4, 5, 6], [6, 0, 1]]


# The four known sets, as the hub stores them: parquet with an Audio column, one file of several rows each.

SETS = {
    "expresso": lambda i: {
        "audio": wav_bytes(order(i), 48000), "text": TEXTS[i], "speaker_id": f"ex0{i % 2 + 1}",
        "style": "default" if i < 6 else "whisper", "id": f"ex_{i:05d}",
    },
    "animevox": lambda i: {
        "audio": wav_bytes(order(i), 44100), "transcription": TEXTS[i], "character_name": ["Aqua", "Rem"][i % 2],
        "anime": "A Show",
    },
    "genshin": lambda i: {
        "audio": wav_bytes(order(i), 48000),
        "transcription": [TEXTS[i], TEXTS[i], TEXTS[i], TEXTS[i], TEXTS[i], None, "Hello {NICKNAME}!", TEXTS[i]][i],
        "language": "Japanese" if i == 1 else "English(US)", "speaker": None if i == 2 else "Paimon" if i else "Amber",
        "speaker_type": "NPC", "type": "Dialog" if i != 7 else "Fetter", "inGameFilename": f"vo_{i}.wem",
    },
}  # fmt: skip
SETS["expresso-conversational"] = SETS["expresso"]


def parquet(folder, name, shards=2):
    """Eight rows of the set in some files, with the schema the hub's own files have.

    `datasets` cannot write an Audio column without torchcodec; on disk it is a struct of bytes and
    path whose schema metadata says Audio.
    """
    rows = [SETS[name](i) for i in range(8)]
    texts = {key: datasets.Value("string") for key in rows[0] if key != "audio"}
    plain = {"bytes": datasets.Value("binary"), "path": datasets.Value("string")}
    sound = plain if name == "expresso-conversational" else datasets.Audio()
    schema = datasets.Features({"audio": sound, **texts}).arrow_schema
    rows = [{**row, "audio": {"bytes": row["audio"], "path": "a.wav"}} for row in rows]
    folder.mkdir(parents=True, exist_ok=True)
    for shard in range(shards):
        part = pyarrow.Table.from_pylist(rows[shard * 8 // shards : (shard + 1) * 8 // shards], schema)
        pyarrow.parquet.write_table(part, folder / f"train-{shard:05d}-of-{shards:05d}.parquet")
    return folder


@pytest.mark.parametrize(
    ("name", "speaker", "style", "ids"),
    [
        ("expresso", "ex02", None, ["ex_00001", "ex_00003", "ex_00005", "ex_00007"]),
        ("expresso", "ex01", "default", ["ex_00000", "ex_00002", "ex_00004"]),
        ("expresso-conversational", "ex02", "default", ["ex_00001", "ex_00003", "ex_00005"]),
        ("animevox", "Rem", None, None),
        ("genshin", "Paimon", None, ["vo_3.wem", "vo_4.wem"]),
    ],
)
def test_a_known_set_is_read_row_by_row(tmp_path, name, speaker, style, ids):
    source = dataclasses.replace(data.SOURCES[name], path=parquet(tmp_path / name, name))
    options = {"speaker": speaker, "style": style, "min_seconds": 0.3}
    dataset = data.read(config(name, **options), source)
    assert names(dataset) == ids if ids else len(names(dataset)) == 4
    texts = {u.text for u in every(dataset)}
    assert texts <= set(TEXTS)
    assert {round(u.seconds, 1) for u in every(dataset)} <= {round(0.1 * k, 1) for k in range(5, 20)}
    if name == "genshin":
        assert dataset.skipped == {"no transcript": 1, "incomplete": 1}
        assert "vo_6.wem: its transcript is a template" in " ".join(dataset.notes)
    here = data.read(config(tmp_path / name, **options))
    assert names(here) == names(dataset)


@pytest.mark.parametrize("name", SETS)
def test_a_known_set_names_its_speakers_and_styles(tmp_path, name):
    folder = parquet(tmp_path / name, name)
    known = {"animevox": "Aqua, Rem", "genshin": "Amber, Paimon"}.get(name, "ex01, ex02")
    with pytest.raises(InputError, match=f"choose one by --speaker: {known}"):
        data.read(config(folder))
    with pytest.raises(InputError, match=f"has no speaker Nobody in 8 rows; known: {known}"):
        data.read(config(folder, speaker="Nobody"))
    speaker = known.split(", ")[0]
    words = "has no style angry by ex01; known: default, whisper" if "expresso" in name else "has no speaking styles"
    with pytest.raises(InputError, match=words):
        data.read(config(folder, speaker=speaker, style="angry"))


def test_reading_stops_at_the_limit(tmp_path, monkeypatch):
    folder = parquet(tmp_path / "set", "animevox", shards=4)
    read, original = [], Parquet._item
    monkeypatch.setattr(Parquet, "_item", lambda self, row, *rest: read.append(row) or original(self, row, *rest))
    assert len(names(data.read(config(folder, speaker="Rem", limit=2, heldout=1)))) == 2
    assert len(read) == 2


@pytest.mark.parametrize("name", ["expresso", "ylacombe/expresso", "genshin", "simon3000/genshin-voice"])
def test_without_the_hub_it_is_one_sentence(name):
    with pytest.raises(InputError, match="is out of reach on the Hugging Face hub") as error:
        data.read(config(name, speaker="ex01"))
    assert "\n" not in str(error.value)


def test_a_known_set_knows_its_speakers_without_the_hub():
    with pytest.raises(InputError, match="has no speaker ex09; known: ex01, ex02, ex03, ex04"):
        data.read(config("expresso", speaker="ex09"))
    with pytest.raises(InputError, match="choose one by --speaker: ex01, ex02, ex03, ex04"):
        data.read(config("ylacombe/expresso"))


def test_parquet_with_other_columns_is_no_known_set(tmp_path):
    datasets.Dataset.from_dict({"sound": [1], "words": ["a"]}).to_parquet(tmp_path / "x.parquet")
    with pytest.raises(InputError, match="has the columns sound, words, which are those of no known set"):
        data.read(config(tmp_path, speaker="a"))


def test_the_demo_is_whole():
    dataset = data.read(FitConfig())
    assert (len(dataset.fit), len(dataset.heldout), len(dataset.test)) == (12, 4, 4)
    assert dataset.skipped == {}
    assert all(1 < u.seconds < 12 for u in every(dataset))
