"""A job: all that a fit needs, resolved once, in a folder that travels.

`prepare` is the one place that reads recordings, asks a hub, phonemises and chooses the start voice.
What it finds is a folder of its own, which needs no network, no phonemizer and no recording any more:

    job.json         settled settings, utterances, the nearest stock voice, notes, versions, hashes
    audio/000.flac   the utterances as treated: 24 kHz, mono, 24 bit
    start.pt         the voicepack to begin at, where it is none of the stock voices
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.metadata
import json
import os
import platform
import shutil
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import soundfile
import torch
from torch import Tensor

from coconut import data, resources, start, strategy, style, voicepack
from coconut.audio import SAMPLE_RATE
from coconut.config import EMBEDDED, GE2E, JUDGE, FitConfig, InputError, complete, flatten, from_dict, to_dict
from coconut.cutting import Cutter
from coconut.data import Notice, Utterance
from coconut.files import write_text
from coconut.synthesis import Synthesizer
from coconut.transcribe import Transcriber

FILE, AUDIO, START = "job.json", "audio", "start.pt"
FORMAT = 2
SPLITS = ("fit", "heldout", "test")
PATIENCE, PATIENT = 3.0, 5.0  # no candidate may speak longer than so many times the longest recording, or so many s
PACKAGES = ("coconut", "torch", "kokoro", "misaki", "transformers", "pyarrow")


@dataclass(frozen=True)
class Nearest:
    """The stock voice nearest to the target and its held-out score: what a fit has to beat."""

    name: str
    score: float
    parts: dict[str, float]


@dataclass(frozen=True, eq=False)
class Job:
    """A fit's settled settings and its utterances, in three splits that share no text and no sound.

    `config` holds no relative path, no device "auto" and no "nearest". `fit` leads the search, `heldout`
    chooses the voice, `test` is heard once, at the end; it is empty where recordings are few.
    `nearest` is None where the start was given and nobody asked which voice is nearest. `start`
    [510, 1, 256] is the voicepack behind a `space.start` of "encoder" or "mix", else None;
    `spent` is how many syntheses it took to find it.
    """

    config: FitConfig
    fit: tuple[Utterance, ...]
    heldout: tuple[Utterance, ...]
    test: tuple[Utterance, ...] = ()
    nearest: Nearest | None = None
    start: Tensor | None = None
    spent: int = 0
    notes: tuple[str, ...] = ()
    skipped: Mapping[str, int] = dataclasses.field(default_factory=dict)
    versions: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @property
    def utterances(self) -> dict[str, tuple[Utterance, ...]]:
        """By split."""
        return {split: getattr(self, split) for split in SPLITS}

    @property
    def max_seconds(self) -> float:
        """The longest that a candidate may speak over one text: one that goes on and on costs nobody its time."""
        longest = max(utterance.seconds for spoken in self.utterances.values() for utterance in spoken)
        return max(PATIENT, PATIENCE * longest)

    @cached_property
    def hash(self) -> str:
        """Of all that is in it: equal jobs give equal fits."""
        return hashlib.sha256(json.dumps(self._record(), sort_keys=True).encode()).hexdigest()

    def synthesizer(self, config: FitConfig | None = None) -> Synthesizer:
        """That of this process, for the model, device, seed and precision of `config` (default: the job's own)."""
        config = config or self.config
        return resources.synthesizer(config.model, config.device, config.seed, config.precision, self.max_seconds)

    def save(self, folder: str | Path) -> Path:
        """Write the job as `folder`, whole or not at all. Raises InputError when there is something else."""
        folder = Path(folder)
        temporary = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
        shutil.rmtree(temporary, ignore_errors=True)
        (temporary / AUDIO).mkdir(parents=True)
        try:
            record = self._record()
            for entry, utterance in zip(record["utterances"], self._all(), strict=True):
                soundfile.write(temporary / entry["file"], utterance.audio.numpy(), SAMPLE_RATE, subtype="PCM_24")
            if self.start is not None:
                voicepack.save(self.start, temporary / START)
            write_text(temporary / FILE, json.dumps(record | {"hash": self.hash}, indent=1, ensure_ascii=False) + "\n")
            os.replace(temporary, folder)
        except OSError as error:
            raise InputError(f"The job cannot be written to {folder} ({error.strerror}).") from error
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        return folder

    @classmethod
    def load(cls, folder: str | Path) -> Job:
        """The job in `folder`, equal to the one that was saved, to the last bit. It reads nothing else.

        Raises InputError where a file is missing, damaged or of another version.
        """
        folder = Path(folder)
        try:
            record = json.loads((folder / FILE).read_text(encoding="utf-8"))
        except OSError as error:
            raise InputError(f"There is no job in {folder}; give the folder that holds {FILE}.") from error
        except ValueError as error:
            raise InputError(f"{folder / FILE} is damaged; prepare the job again.") from error
        if record.get("format") != FORMAT:
            raise InputError(f"{folder / FILE} is of another version of coconut; prepare the job again.")
        spoken: dict[str, list[Utterance]] = {split: [] for split in SPLITS}
        for entry in record["utterances"]:
            audio = _read(folder / entry["file"], entry["sha256"])
            utterance = Utterance(entry["id"], entry["text"], entry["phonemes"], audio, entry["origin"])
            spoken[entry["split"]].append(utterance)
        return cls(
            config=from_dict(record["config"]),
            **{split: tuple(found) for split, found in spoken.items()},  # type: ignore[arg-type]
            nearest=Nearest(**record["nearest"]) if record["nearest"] else None,
            start=_read_start(folder / START, record["start"]) if "start" in record else None,
            spent=record["spent"],
            notes=tuple(record["notes"]),
            skipped=record["skipped"],
            versions=record["versions"],
        )

    def _all(self) -> list[Utterance]:
        return [utterance for spoken in self.utterances.values() for utterance in spoken]

    def _record(self) -> dict[str, Any]:
        """What job.json holds, but for its own hash."""
        entries: list[dict[str, Any]] = []
        for split, spoken in self.utterances.items():
            for utterance in spoken:
                entry = {"file": f"{AUDIO}/{len(entries):03d}.flac", "split": split, "id": utterance.id}
                entry |= {"text": utterance.text, "phonemes": utterance.phonemes, "origin": utterance.origin}
                entries.append(entry | {"seconds": utterance.seconds, "sha256": _sound(utterance.audio)})
        found = {} if self.start is None else {"start": data.fingerprint(self.start)}
        return found | {
            "format": FORMAT,
            "config": to_dict(self.config),
            "nearest": dataclasses.asdict(self.nearest) if self.nearest else None,
            "spent": self.spent,
            "notes": list(self.notes),
            "skipped": dict(self.skipped),
            "versions": dict(self.versions),
            "utterances": entries,
        }


def prepare(config: FitConfig, rank: bool = False, notice: Notice | None = None) -> Job:
    """Read, check and split the recordings of `config`, and settle all that it leaves open.

    `rank`: find the nearest stock voice even where the search starts elsewhere. `notice` is told what becomes of
    each recording. Raises InputError for anything that cannot be used; nothing is written.
    """
    return settle_start(collect(config, notice), rank)


def collect(config: FitConfig, notice: Notice | None = None) -> Job:
    """The job without its start: all that needs the recordings. Only long ones need a model, to be cut.

    `notice` is told what becomes of each recording.
    """
    config = settle(config)
    writer = Transcriber(config.transcribe, config.lang, config.device) if config.transcribe else None
    found = data.read(config, cut=Cutter(config), transcribe=writer, notice=notice)
    return Job(
        config,
        found.fit,
        found.heldout,
        found.test,
        notes=tuple(found.notes),
        skipped=found.skipped,
        versions=_versions(),
    )


def settle_start(job: Job, rank: bool = False, device: str | None = None) -> Job:
    """The job with its start voice, where it is to be found on fitting utterances: the stock voice that scores
    best, or one that `coconut.start` makes.

    `device`: where to find it, if not on the job's own.
    """
    kind = job.config.space.start
    if kind not in ("nearest", *style.FOUND) and not rank:
        return job
    where = dataclasses.replace(job.config, device=device or job.config.device)
    for name, weight in dataclasses.asdict(where.loss).items():
        if weight:  # what a term lacks is said before the stock voices are ranked, which takes a while
            resources.term(name, where.device, where.model, where.mimi_model)
    synth = job.synthesizer(where)
    found = start.search(where, synth, job.fit)
    score = start.heldout(where, synth, job.heldout, resources.model(where.model, where.device).voices[found.nearest])
    near = Nearest(found.nearest, score.score, dict(score.parts))
    job = dataclasses.replace(job, nearest=near, spent=found.syntheses + len(job.heldout))
    if kind == "nearest":
        return dataclasses.replace(job, config=from_dict({"space.start": found.nearest}, job.config))
    if found.start:
        return dataclasses.replace(job, start=found.start.pack, notes=(*job.notes, found.start.note))
    return job


def settle(config: FitConfig) -> FitConfig:
    """`config` with nothing left to the model, the machine or the folder it was typed in.

    Raises InputError for what can be refused without loading anything.
    """
    strategy.options(config.es.kind)
    style.check_kind(config.space.kind)
    config = complete(config)
    names = {"data": data.KNOWN, "model": (EMBEDDED,), "mimi_model": (EMBEDDED,), "score.encoder": (GE2E, JUDGE)}
    names["transcribe"] = ()
    given = flatten(config)
    values = {name: absolute(given[name], known) for name, known in names.items() if given[name] is not None}
    if config.device == "auto":
        values["device"] = "cuda" if torch.cuda.is_available() else "cpu"
    config = from_dict(values, config)
    resources.check_device(config.device)
    return config


def absolute(name: str, known: Collection[str] = ()) -> str:
    """A name that is a file or folder here as a path that holds everywhere; any other, and a known one, as it is."""
    path = Path(name).expanduser()
    return str(path.resolve()) if name not in known and os.path.exists(path) else name


def _read(path: Path, expected: str) -> Tensor:
    try:
        samples, rate = soundfile.read(path, dtype="float32")
    except (soundfile.SoundFileError, OSError, RuntimeError) as error:
        raise InputError(f"{path} is missing or damaged; prepare the job again.") from error
    audio = torch.from_numpy(samples)
    if rate != SAMPLE_RATE or _sound(audio) != expected:
        raise InputError(f"{path} is not what was saved there; prepare the job again.")
    return audio


def _read_start(path: Path, expected: str) -> Tensor:
    try:
        pack = voicepack.load(path)
    except InputError as error:
        raise InputError(f"{path} is missing or damaged; prepare the job again.") from error
    if data.fingerprint(pack) != expected:
        raise InputError(f"{path} is not what was saved there; prepare the job again.")
    return pack


def _sound(audio: Tensor) -> str:
    return data.fingerprint(audio + 0.0)  # FLAC knows no -0.0


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:  # run from a checkout that is not installed
            found[name] = "not installed"
    return found
