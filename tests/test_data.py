"""Data: folders, the known sets as local parquet, splits, windows, and every kind of bad input."""

import csv
import dataclasses
import io
import shutil

import datasets
import numpy as np
import pyarrow.parquet
import pytest
import soundfile
import torch
from hypothesis import given
from hypothesis import strategies as st

from coconut import data
from coconut.config import FitConfig, InputError
from coconut.data import hub
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
    return sorted(u.id.split(":", 1)[1] for u in dataset.fit + dataset.heldout)


def test_a_folder_of_recordings_beside_their_texts(folder):
    dataset = data.load(config(folder))
    assert names(dataset) == ["r0.wav", "r1.flac", "r2.ogg", "r3.wav", "r4.wav"]
    assert (len(dataset.fit), len(dataset.heldout)) == (3, 2)
    assert dataset.skipped == {}
    for u in dataset.fit + dataset.heldout:
        assert u.text == TEXTS[int(u.id.split(":r")[1][0])]
        assert u.phonemes.startswith("ðɪs ɪz sˈɛntəns nˈʌmbəɹ")
        assert u.audio.dtype == torch.float32
        assert 0.5 < u.seconds < 2
        assert u.audio.square().mean().sqrt() == pytest.approx(0.08, rel=0.2)


def test_a_table_brings_texts_phonemes_speakers_and_styles(folder):
    rows = [(f"r{i}.{s}", TEXTS[i], "həlˈO" if i == 0 else "", "ann" if i < 4 else "bob", "calm" if i < 3 else "glad")
            for i, s in enumerate(("wav", "flac", "ogg", "wav", "wav"))]  # fmt: skip
    table(folder, rows, ("file_name", "transcription", "phonemes", "speaker", "style"))
    dataset = data.load(config(folder, speaker="ann", style="calm"))
    assert names(dataset) == ["r0.wav", "r1.flac", "r2.ogg"]
    assert next(u for u in dataset.fit + dataset.heldout if "r0" in u.id).phonemes == "həlˈO"
    with pytest.raises(InputError, match="2 speakers; choose one by --speaker: ann, bob"):
        data.load(config(folder))
    with pytest.raises(InputError, match="has no speaker eve; known: ann, bob"):
        data.load(config(folder, speaker="eve"))
    with pytest.raises(InputError, match="has no style sad; known: calm, glad"):
        data.load(config(folder, speaker="ann", style="sad"))


def test_what_cannot_be_used_is_skipped_counted_and_said(folder):
    (folder / "empty.wav").write_bytes(b"")
    (folder / "empty.txt").write_text("Empty.")
    (folder / "mute.wav").write_bytes(wav_bytes())
    (folder / "silent.wav").write_bytes(b"RIFF")
    soundfile.write(folder / "silent.wav", np.zeros(24000), 24000)
    (folder / "silent.txt").write_text("Silent.")
    (folder / "dots.wav").write_bytes(wav_bytes())
    (folder / "dots.txt").write_text("...")
    (folder / "latin.wav").write_bytes(wav_bytes())
    (folder / "latin.txt").write_bytes(b"caf\xe9")
    (folder / "blink.wav").write_bytes(wav_bytes([1]))
    (folder / "blink.txt").write_text("Blink.")
    (folder / "notes.md").write_text("not a recording")
    dataset = data.load(config(folder))
    assert names(dataset) == ["r0.wav", "r1.flac", "r2.ogg", "r3.wav", "r4.wav"]
    assert dataset.skipped == {
        "unusable audio": 2, "no transcript": 1, "no phonemes": 1, "incomplete": 1, "too short": 1,
    }  # fmt: skip
    notes = " ".join(dataset.notes)
    for name in ("empty.wav", "mute.wav", "silent.wav", "dots.wav", "latin.wav", "blink.wav"):
        assert name in notes
    assert "r0" not in notes


def test_a_table_may_err_too(folder):
    table(
        folder,
        [("r0.wav", TEXTS[0]), ("r1.flac", TEXTS[1]), ("gone.wav", "Gone."), ("r2.ogg", ""), ("r3.wav", TEXTS[3])],
    )
    dataset = data.load(config(folder))
    assert names(dataset) == ["r0.wav", "r1.flac", "r3.wav"]
    assert dataset.skipped == {"incomplete": 1, "no transcript": 2}  # r4.wav is not listed
    assert "gone.wav: metadata.csv lists it, but there is no such file" in " ".join(dataset.notes)


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
        ("no recordings", "holds no wav, flac, ogg or mp3 file"),
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
        data.load(config(folder))
    assert str(error.value).count("\n") == 0
    assert str(error.value).endswith(".")


@pytest.mark.parametrize("option", ["speaker", "style"])
def test_a_folder_without_a_table_knows_no_speakers(folder, option):
    with pytest.raises(InputError, match=f"--{option} ann needs a metadata.csv with a column {option}"):
        data.load(config(folder, **{option: "ann"}))


def test_a_text_over_510_phonemes_is_cut_at_a_sentence_and_said(folder):
    (folder / "r0.txt").write_text("This is a sentence. " * 60)
    dataset = data.load(config(folder))
    cut = next(u for u in dataset.fit + dataset.heldout if "r0" in u.id)
    assert 450 < len(cut.phonemes) <= 510
    assert cut.phonemes.endswith("sˈɛntəns.")
    assert any(
        "r0.wav: its transcript has" in note and "cut at the end of a sentence" in note for note in dataset.notes
    )


def test_limits_of_count_and_length(folder):
    assert names(data.load(config(folder, limit=3))) == ["r0.wav", "r1.flac", "r2.ogg"]
    assert data.load(config(folder, max_seconds=1.0)).skipped == {"too long": 3}


def test_an_unknown_language_is_said_before_anything_is_read(folder):
    with pytest.raises(InputError, match="lang is 'xx'"):
        data.load(config(folder, lang="xx"))


def clips(lengths, texts=None):
    return [
        data.Utterance(f"{i}", "x", texts[i] if texts else f"x{i}", torch.zeros(length))
        for i, length in enumerate(lengths)
    ]


@given(st.lists(st.integers(1, 1000), min_size=2, max_size=60), st.integers(1, 12), st.integers(0, 5))
def test_split_is_disjoint_whole_repeatable_and_spread_over_lengths(lengths, heldout, seed):
    utterances = clips(lengths)
    fit, held = data.split(utterances, heldout, seed)
    assert {u.id for u in fit} | {u.id for u in held} == {u.id for u in utterances}
    assert len(fit) + len(held) == len(utterances)
    assert len(held) == min(heldout, len(utterances) // 2)
    again = data.split(utterances, heldout, seed)
    assert [u.id for u in again[0]] == [u.id for u in fit]
    assert [u.id for u in again[1]] == [u.id for u in held]
    ordered = sorted(range(len(lengths)), key=lambda i: (lengths[i], str(i)))
    parts = [round(k * len(lengths) / len(held)) for k in range(len(held) + 1)]
    ranks = sorted(ordered.index(int(u.id)) for u in held)
    assert all(low <= rank < high for low, rank, high in zip(parts, ranks, parts[1:], strict=False))


def test_splits_differ_by_seed():
    utterances = clips(range(1, 41))
    assert len({tuple(u.id for u in data.split(utterances, 4, seed)[1]) for seed in range(8)}) > 4


def test_a_text_that_is_judged_is_not_fitted():
    utterances = clips([10, 20, 30, 40, 50, 60], texts=["a", "b", "a", "b", "c", "d"])
    for seed in range(10):
        fit, held = data.split(utterances, 2, seed)
        assert fit
        assert not {u.phonemes for u in fit} & {u.phonemes for u in held}
    fit, held = data.split(clips([10, 20], texts=["a", "a"]), 1, 0)
    assert (len(fit), len(held)) == (1, 1)


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
    dataset = data.load(config(name, **options), source)
    assert names(dataset) == ids if ids else len(names(dataset)) == 4
    texts = {u.text for u in dataset.fit + dataset.heldout}
    assert texts <= set(TEXTS)
    assert {round(u.seconds, 1) for u in dataset.fit + dataset.heldout} <= {round(0.1 * k, 1) for k in range(5, 20)}
    if name == "genshin":
        assert dataset.skipped == {"no transcript": 1, "incomplete": 1}
        assert "vo_6.wem: its transcript is a template" in " ".join(dataset.notes)
    here = data.load(config(tmp_path / name, **options))
    assert names(here) == names(dataset)


@pytest.mark.parametrize("name", SETS)
def test_a_known_set_names_its_speakers_and_styles(tmp_path, name):
    folder = parquet(tmp_path / name, name)
    known = {"animevox": "Aqua, Rem", "genshin": "Amber, Paimon"}.get(name, "ex01, ex02")
    with pytest.raises(InputError, match=f"choose one by --speaker: {known}"):
        data.load(config(folder))
    with pytest.raises(InputError, match=f"has no speaker Nobody in 8 rows; known: {known}"):
        data.load(config(folder, speaker="Nobody"))
    speaker = known.split(", ")[0]
    words = "has no style angry by ex01; known: default, whisper" if "expresso" in name else "has no speaking styles"
    with pytest.raises(InputError, match=words):
        data.load(config(folder, speaker=speaker, style="angry"))


def test_reading_stops_at_the_limit(tmp_path, monkeypatch):
    folder = parquet(tmp_path / "set", "animevox", shards=4)
    read, original = [], hub._item
    monkeypatch.setattr(hub, "_item", lambda row, *rest: read.append(row) or original(row, *rest))
    assert len(names(data.load(config(folder, speaker="Rem", limit=2, heldout=1)))) == 2
    assert len(read) == 2


@pytest.mark.parametrize("name", ["expresso", "ylacombe/expresso", "genshin", "simon3000/genshin-voice"])
def test_without_the_hub_it_is_one_sentence(name):
    with pytest.raises(InputError, match="is out of reach on the Hugging Face hub") as error:
        data.load(config(name, speaker="ex01"))
    assert "\n" not in str(error.value)


def test_a_known_set_knows_its_speakers_without_the_hub():
    with pytest.raises(InputError, match="has no speaker ex09; known: ex01, ex02, ex03, ex04"):
        data.load(config("expresso", speaker="ex09"))
    with pytest.raises(InputError, match="choose one by --speaker: ex01, ex02, ex03, ex04"):
        data.load(config("ylacombe/expresso"))


def test_parquet_with_other_columns_is_no_known_set(tmp_path):
    datasets.Dataset.from_dict({"sound": [1], "words": ["a"]}).to_parquet(tmp_path / "x.parquet")
    with pytest.raises(InputError, match="has the columns sound, words, which are those of no known set"):
        data.load(config(tmp_path, speaker="a"))


def test_the_demo_is_whole():
    dataset = data.load(FitConfig())
    assert len(dataset.fit) + len(dataset.heldout) >= 10
    assert len(dataset.heldout) == 4
    assert dataset.skipped == {}
    assert all(1 < u.seconds < 12 for u in dataset.fit + dataset.heldout)
