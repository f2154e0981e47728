"""Sets of the hub, by an imitation: what is read and how often, and what is said when something is wrong."""

import io

import huggingface_hub
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile

from coconut import data
from coconut.config import FitConfig, InputError
from coconut.data import ranges
from coconut.waiting import traffic
from tests.hubs import Hub
from tests.sounds import sentence
from tests.test_data import parquet as known_set

pytestmark = pytest.mark.filterwarnings("ignore:spaCy")
REPO = "ylacombe/expresso"
WORDS = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]
SPEAKERS = ("ex01", "ex02", "ex03", "ex04")
ROWS = 32  # of a shard, in groups of 8


def sound(i):
    """About 130 kB, different for each i."""
    wav = np.repeat(sentence([i % 5, (i + 1) % 5, i % 3]).numpy() * (0.5 + i / 1000), 2)
    file = io.BytesIO()
    soundfile.write(file, np.stack([wav, wav], 1), 48000, format="WAV")
    return file.getvalue()


@pytest.fixture(scope="module")
def shards():
    """One shard for each speaker, the last of whom comes last; the second half of each whispers."""
    sounds = [sound(i) for i in range(12)]
    found = {}
    for number, speaker in enumerate(SPEAKERS):
        places = range(ROWS)
        table = pa.table({
            "audio": [{"bytes": sounds[i % 12] + bytes([number, i]), "path": f"{i}.wav"} for i in places],
            "text": [f"Now say the number {WORDS[i % 12]} once more for me." for i in places],
            "speaker_id": [speaker] * ROWS,
            "style": ["calm" if i < ROWS // 2 else "whisper" for i in places],
            "id": [f"{speaker}_{i:03d}" for i in places],
        })  # fmt: skip
        file = io.BytesIO()
        pq.write_table(table, file, row_group_size=8, compression="none", use_dictionary=["speaker_id", "style"])
        found[f"read/train-{number:05d}-of-00004.parquet"] = file.getvalue()
    return found


@pytest.fixture
def hub(shards, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(ranges, "PATIENCE", 0.2)
    configs = [{"config_name": "read", "data_files": [{"split": "train", "path": "read/train-*"}]}]
    constants = huggingface_hub.constants
    with Hub(REPO, shards, configs) as made:
        template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(constants.ENDPOINT, made.url)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "ENDPOINT", made.url)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        yield made


def read(name="expresso", **options):
    return data.read(FitConfig(data=name, **{"heldout": 1, "test": 0, "limit": 3, "speaker": "ex04", **options}))


def every(dataset):
    return [*dataset.fit, *dataset.heldout]


def keys(shards):
    """Bytes of the columns that tell who speaks, in what style."""
    groups = [meta.row_group(g) for content in shards.values()
              for meta in [pq.read_metadata(io.BytesIO(content))] for g in range(meta.num_row_groups)]  # fmt: skip
    columns = [group.column(i) for group in groups for i in range(group.num_columns)]
    return sum(c.total_compressed_size for c in columns if c.path_in_schema in ("speaker_id", "style"))


@pytest.mark.parametrize(("speaker", "style"), [("ex01", None), ("ex04", None), ("ex04", "whisper")])
def test_little_more_is_read_than_is_used_for_the_last_speaker_too(hub, shards, speaker, style):
    before = traffic.bytes
    dataset = read(speaker=speaker, style=style, limit=6)
    first = ROWS // 2 if style else 0
    assert sorted(u.id.split(":")[1] for u in every(dataset)) == [f"{speaker}_{first + i:03d}" for i in range(6)]
    used = sum(len(sound(i)) for i in range(6))
    assert used > 500_000
    assert hub.sent <= 3 * used + keys(shards)
    assert traffic.bytes - before == hub.sent  # which is what the bars tell
    assert hub.sent < sum(map(len, shards.values())) / 5


def test_a_second_start_asks_for_the_newest_commit_alone(hub):
    first, sent = read(), hub.sent
    hub.requests.clear()
    second = read()
    assert hub.requests == [f"/api/datasets/{REPO}"]
    assert hub.sent == sent
    assert [u.fingerprint for u in every(second)] == [u.fingerprint for u in every(first)]
    hub.requests.clear()
    other = read(speaker="ex01")  # its index is there, its sound is not
    assert len(every(other)) == 3
    assert {path for path in hub.requests if "/resolve/" in path} == {
        f"/datasets/{REPO}/resolve/{hub.sha}/read/train-00000-of-00004.parquet"
    }
    hub.sha = "b" * 40
    hub.requests.clear()
    read()
    assert any("/resolve/" + "b" * 40 in path for path in hub.requests)


def test_speakers_and_styles_are_all_known(hub):
    columns = "audio=audio,text=text,speaker=speaker_id,style=style"
    with pytest.raises(InputError, match="choose one by --speaker: ex01, ex02, ex03, ex04"):
        read(REPO + ":read", columns=columns, speaker=None)  # its entry is not that of the known set
    with pytest.raises(InputError, match="has no style loud by ex04; known: calm, whisper"):
        read(style="loud")


@pytest.mark.parametrize(
    ("pattern", "status", "headers", "words"),
    [
        (
            "^/api",
            404,
            {"X-Error-Code": "RepoNotFound"},
            r"shows no data set .* \(404\); it was renamed",
        ),
        (
            "^/api",
            401,
            {"X-Error-Code": "RepoNotFound"},
            r"shows no data set ylacombe/expresso \(401\); .* private and needs `hf auth login`",
        ),
        (
            "^/api",
            401,
            {"X-Error-Message": "Invalid credentials in Authorization header"},
            "does not let you in",
        ),
        ("^/api", 403, {}, r"refuses ylacombe/expresso to your account \(403\); ask its owner"),
        ("resolve", 403, {"X-Error-Code": "GatedRepo"}, "is gated: accept its conditions at https://huggingface.co/"),
        ("resolve", 401, {"X-Error-Code": "GatedRepo"}, "then log in by `hf auth login`"),
        ("^/api", 429, {}, r"still asks to wait \(429\)"),
        ("resolve", 429, {"Retry-After": "100"}, r"still asks to wait \(429\)"),
        ("^/api", 503, {}, "answers 503"),
        ("resolve", 404, {"X-Error-Code": "EntryNotFound"}, r"No file of .* the hub lists it, but does not have it"),
    ],
)
def test_each_fault_has_its_own_sentence(hub, pattern, status, headers, words):
    hub.faults.append((pattern, status, headers))
    with pytest.raises(InputError, match=words) as error:
        read()
    assert "\n" not in str(error.value)
    assert len(hub.requests) <= 1 + 2 * len(hub.files)


def test_without_a_network_it_is_out_of_reach(hub, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(InputError, match="expresso is out of reach on the Hugging Face hub; check the network"):
        read()


def test_a_busy_hub_is_asked_again(hub, monkeypatch):
    monkeypatch.setattr(ranges, "PATIENCE", 5.0)
    original, failed = hub.answer, []

    def answer(path, asked):
        if len(failed) < 2:
            failed.append(path)
            return 503, {"Retry-After": "0.1"}, b"{}"
        return original(path, asked)

    hub.answer = answer
    assert len(every(read())) == 3
    assert len(failed) == 2


@pytest.mark.parametrize("header", [{}, {"Retry-After": "7"}, {"Retry-After": "1000"}, {"Retry-After": "soon"}])
def test_waiting_has_an_end(header, monkeypatch):
    monkeypatch.setattr(ranges, "PATIENCE", 30.0)
    waits = []

    class BusyError(Exception):
        response = type("Response", (), {"status_code": 429, "headers": header})

    def ask():
        raise BusyError

    def wait(seconds):
        waits.append(seconds)
        assert traffic.waiting == f"the hub is busy (429), asked again in {seconds:.0f} s"

    with pytest.raises(BusyError):
        ranges.patiently(ask, wait)
    assert not traffic.waiting
    assert sum(waits) == pytest.approx(30)
    assert len(waits) <= 6


def test_a_missing_and_a_cut_shard_are_counted_and_named(hub):
    names = sorted(hub.files)
    hub.faults.append((names[0], 404, {"X-Error-Code": "EntryNotFound"}))
    hub.files[names[1]] = hub.files[names[1]][:-100]
    dataset = read(speaker="ex03")
    assert dataset.skipped == {"unreadable file": 2}
    notes = "\n".join(dataset.notes)
    assert f"{names[0]}: the hub lists it, but does not have it (404)" in notes
    assert f"{names[1]}: it cannot be read as parquet (" in notes


def test_a_wrong_part_is_named_with_those_there_are(hub):
    columns = "audio=audio,text=text,speaker=speaker_id"
    with pytest.raises(InputError, match="has no part write on the Hugging Face hub; known: read"):
        read("ylacombe/expresso:write", columns=columns)
    hub.configs = None  # then their folders are its parts
    with pytest.raises(InputError, match="has no part write on the Hugging Face hub; known: read"):
        read("ylacombe/expresso:write", columns=columns)
    assert len(every(read())) == 3


def test_any_set_is_read_by_its_columns(hub):
    hub.repo, hub.configs = "some/set", None
    hub.files = {name.replace("read/", "data/"): content for name, content in hub.files.items()}
    with pytest.raises(InputError, match="say which of its columns are which: --columns"):
        read("some/set")
    with pytest.raises(InputError, match="lacks the columns words; it has audio, id, speaker_id, style, text"):
        read("some/set", columns="audio=audio,text=words")
    dataset = read("some/set", columns="audio=audio,text=text,speaker=speaker_id", speaker="ex02")
    assert {u.id.split(":")[1][:4] for u in every(dataset)} == {"ex02"}
    hub.moved["old/name"] = "some/set"
    moved = read("old/name", columns="audio=audio,text=text,speaker=speaker_id", speaker="ex02")
    assert [u.fingerprint for u in every(moved)] == [u.fingerprint for u in every(dataset)]


def test_a_set_in_another_format_is_read_from_the_hubs_own_parquet_files(hub):
    hub.exported = {name.replace("-of-00004", "").replace("train-", "train/"): c for name, c in hub.files.items()}
    hub.files, hub.configs = {"README.md": b"x"}, None
    assert len(every(read())) == 3
    hub.exported = {}
    with pytest.raises(InputError, match="has no parquet files on the Hugging Face hub"):
        read()


@pytest.mark.parametrize(
    ("name", "speaker", "ids"),
    [
        ("expresso", "ex02", 4),
        ("expresso-conversational", "ex02", 4),
        ("animevox", "Rem", 4),
        ("genshin", "Paimon", 2),
    ],
)
def test_the_known_sets_are_read_in_their_true_schemas(hub, tmp_path, name, speaker, ids):
    source = data.SOURCES[name]
    folder = known_set(tmp_path / name, name)
    hub.repo, hub.configs = source.repo, None
    prefix = f"{source.config}/" if source.config else "data/"
    hub.files = {f"{prefix}{path.name}": path.read_bytes() for path in folder.iterdir()}
    assert len(every(read(name, speaker=speaker, limit=8))) == ids
