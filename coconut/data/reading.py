"""From a FitConfig to utterances: read, check, trim, phonemise, split."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from importlib import resources
from pathlib import Path

from torch import Tensor

from coconut import audio, text
from coconut.config import FitConfig, InputError
from coconut.data import folder, hub
from coconut.data.folder import Item
from coconut.data.splits import Splits, split
from coconut.data.utterance import Dataset, Utterance, fingerprint, quantised

DEMO = "demo"
SETS = {**hub.SOURCES, **{entry.repo: entry for entry in hub.SOURCES.values()}}  # by short name and by repository
KNOWN = (DEMO, *SETS)  # what `data` may be without being a folder
EXAMPLES = 3  # skipped recordings named in a note


class UnusableError(Exception):
    """Why one recording is left out: a short reason that is counted, and a sentence's end."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


def read(config: FitConfig, source: hub.DataSource | None = None) -> Dataset:
    """Utterances of `config.data`, in three splits; `source` stands in for a known set.

    Recordings that cannot be used, and those that sound the same as an earlier one to the last bit,
    are skipped and counted; reading stops at `config.limit` usable ones. `splits.sizes` tells how
    the splits shrink where sentences are few. Raises InputError when the source cannot be read or
    holds fewer than 2 different sentences.
    """
    skipped: dict[str, list[str]] = {}
    notes: list[str] = []
    utterances = _usable(config, source, skipped, notes)
    parts = split(utterances, config.heldout, config.test, config.seed)
    if parts.sentences < 2:
        raise _too_few(config, utterances, skipped)
    for take, kept in parts.left_out:
        where = "is held out" if kept in parts.heldout else "is in the test"
        found = f"{_name(take)}: the same sentence as {_name(kept)}, which {where}"
        skipped.setdefault("repeated", []).append(found)
    notes += [_skipped_note(reason, examples) for reason, examples in skipped.items()]
    notes += _size_notes(config, parts)
    counts = {reason: len(examples) for reason, examples in skipped.items()}
    return Dataset(parts.fit, parts.heldout, parts.test, config.data, counts, tuple(notes))


def items(config: FitConfig, source: hub.DataSource | None = None) -> Iterator[Item]:
    """Everything the source holds of the wanted speaker and style, unread.

    Raises InputError for a source that is neither a folder nor known.
    """
    name, speaker, style = config.data, config.speaker, config.style
    path = Path(name).expanduser()
    if source is not None or name in SETS:
        return hub.read(source or SETS[name], speaker, style)
    if name == DEMO:
        with resources.as_file(resources.files("coconut") / "assets" / "demo") as demo:
            if not demo.is_dir():
                raise InputError(
                    "This installation lacks its demo recordings; install coconut again, or give --data FOLDER."
                )
            return folder.read(demo, speaker, style)
    if path.is_dir():
        parquet = hub.recognise(path) if not (path / folder.METADATA).is_file() else None
        return hub.read(parquet, speaker, style) if parquet else folder.read(path, speaker, style)
    if path.is_file():
        raise InputError(f"{name} is a file; give the folder that holds the recordings and their transcripts.")
    raise InputError(
        f"There is no folder {name}, nor a known data set of that name ({', '.join((DEMO, *hub.SOURCES))})."
    )


def _usable(
    config: FitConfig, source: hub.DataSource | None, skipped: dict[str, list[str]], notes: list[str]
) -> list[Utterance]:
    """The first `config.limit` that can be used and differ in sound; why others cannot goes to `skipped`, by reason."""
    kept: dict[str, Utterance] = {}  # by the fingerprint of their audio
    second_choice = text.prepare(config.lang)
    for item in items(config, source):
        if second_choice and not item.phonemes and second_choice not in notes:
            notes.append(second_choice)
        try:
            utterance = _utterance(item, config, notes, kept)
            kept[utterance.fingerprint] = utterance
        except UnusableError as problem:
            skipped.setdefault(problem.reason, []).append(f"{item.name}: {problem}")
        if len(kept) == config.limit:
            break
    return list(kept.values())


def _utterance(item: Item, config: FitConfig, notes: list[str], kept: Mapping[str, Utterance]) -> Utterance:
    """Raises UnusableError; `kept`: those before it, by the fingerprint of their audio."""
    if item.problem is not None or item.audio is None:
        raise UnusableError("incomplete", item.problem or "there is no audio")
    if not item.text or not item.text.strip():
        raise UnusableError("no transcript", "there is no transcript")
    wav = _audio(item, config)
    twin = kept.get(fingerprint(wav))
    if twin is not None:
        raise UnusableError("duplicate", f"the same sound as {_name(twin)}")
    phonemes = _phonemes(item, config, notes)
    return Utterance(f"{len(kept)}:{item.name}", " ".join(item.text.split()), phonemes, wav, _origin(item, config))


def _name(utterance: Utterance) -> str:
    """What its source calls it."""
    return utterance.id.partition(":")[2]


def _origin(item: Item, config: FitConfig) -> str:
    """The path of a recording of one's own; the set and the name in it of any other."""
    if isinstance(item.audio, Path) and config.data != DEMO:
        return str(item.audio)
    return f"{config.data}: {item.name}"


def _audio(item: Item, config: FitConfig) -> Tensor:
    assert item.audio is not None
    try:
        source = item.audio
        wav = audio.trim(audio.highpass(audio.load(source, item.name)))
    except InputError as error:
        raise UnusableError("unusable audio", str(error).removeprefix(f"{item.name} ")) from error
    if not bool(wav.isfinite().all()):
        raise UnusableError("unusable audio", "its samples are far too large; convert it again")
    seconds = len(wav) / audio.SAMPLE_RATE
    if seconds < config.min_seconds:
        raise UnusableError("too short", f"{seconds:.2f} s of speech, less than min_seconds {config.min_seconds:g}")
    if seconds > config.max_seconds:
        raise UnusableError("too long", f"{seconds:.1f} s of speech, more than max_seconds {config.max_seconds:g}")
    return quantised(wav)


def _phonemes(item: Item, config: FitConfig, notes: list[str]) -> str:
    if item.phonemes:
        phonemes = item.phonemes
    else:
        try:
            phonemes = text.phonemize(item.text or "", config.lang)
        except InputError as error:
            raise UnusableError("no phonemes", "its transcript has nothing to pronounce") from error
    if len(phonemes) <= text.LONGEST:
        return phonemes
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        kept = text.cut(phonemes)
    notes.append(
        f"{item.name}: its transcript has {len(phonemes)} phonemes, more than {text.LONGEST}; it was cut at the end "
        f"of a sentence to {len(kept)}, while its recording was not: better split it."
    )
    return kept


def _too_few(config: FitConfig, utterances: list[Utterance], skipped: dict[str, list[str]]) -> InputError:
    first = next((found[0] for found in skipped.values()), "")
    rest = f"; first problem: {first.rstrip('.')}" if first else ""
    needed = "and at least 2 are needed, one to fit and one to judge"
    if len(utterances) > 1:
        hint = f"; reading stopped at limit {config.limit}, so raise it" if len(utterances) == config.limit else ""
        return InputError(
            f"{config.data} has a single sentence, in {len(utterances)} recordings, {needed}{hint or rest}."
        )
    if utterances:
        return InputError(f"{config.data} has a single usable recording, {needed}{rest}.")
    total = sum(len(found) for found in skipped.values())
    return InputError(f"None of the {total} recordings of {config.data} can be used{rest}.")


def _skipped_note(reason: str, examples: list[str]) -> str:
    shown = "; ".join(example.rstrip(".") for example in examples[:EXAMPLES])
    return f"{len(examples)} skipped ({reason}): {shown}{' ...' if len(examples) > EXAMPLES else ''}."


def _size_notes(config: FitConfig, parts: Splits) -> list[str]:
    """A sentence for each split that is smaller than asked for, and why."""
    why = f"{config.data} has {parts.sentences} different sentences, and the fit keeps at least half of them"
    heldout, test, notes = len(parts.heldout), len(parts.test), []
    if heldout < config.heldout:
        notes.append(f"{why}, so the held-out part has {heldout}, not the {config.heldout} of --heldout.")
    if test >= config.test:
        return notes
    why += "; the held-out part comes next"
    if test:
        notes.append(f"{why}, so the test has {test}, not the {config.test} of --test.")
    else:
        notes.append(f"{why}, so there is no test: the voice is judged only by the sentences that chose it.")
    return notes
