"""From a FitConfig to utterances: read, check, trim, phonemise, split."""

from __future__ import annotations

import itertools
import warnings
from collections import Counter
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

import torch
from torch import Tensor

from coconut import audio, text
from coconut.config import FitConfig, InputError
from coconut.data import folder, hub
from coconut.data.folder import Item
from coconut.data.utterance import Dataset, Utterance

DEMO = "demo"
EXAMPLES = 3  # skipped recordings named in a note


class UnusableError(Exception):
    """Why one recording is left out: a short reason that is counted, and a sentence's end."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


def load(config: FitConfig, source: hub.DataSource | None = None) -> Dataset:
    """Utterances of `config.data`, split; `source` stands in for a known set.

    Recordings that cannot be used are skipped and counted; reading stops at `config.limit`
    usable ones. Raises InputError when the source cannot be read or fewer than 2 are usable.
    """
    utterances: list[Utterance] = []
    skipped: dict[str, list[str]] = {}
    notes: list[str] = []
    second_choice = text.prepare(config.lang)
    for item in items(config, source):
        if second_choice and not item.phonemes and second_choice not in notes:
            notes.append(second_choice)
        try:
            utterances.append(_utterance(item, config, notes, len(utterances)))
        except UnusableError as problem:
            skipped.setdefault(problem.reason, []).append(f"{item.name}: {problem}")
        if len(utterances) == config.limit:
            break
    if len(utterances) < 2:
        raise _too_few(config.data, utterances, skipped)
    notes += [_skipped_note(reason, examples) for reason, examples in skipped.items()]
    fit, heldout = split(utterances, config.heldout, config.seed)
    if len(heldout) < config.heldout:
        notes.append(
            f"{config.data} has {len(utterances)} usable recordings, so {len(heldout)} are held out, "
            f"not {config.heldout}."
        )
    return Dataset(fit, heldout, config.data, {reason: len(found) for reason, found in skipped.items()}, tuple(notes))


def items(config: FitConfig, source: hub.DataSource | None = None) -> Iterator[Item]:
    """Everything the source holds of the wanted speaker and style, unread.

    Raises InputError for a source that is neither a folder nor known.
    """
    name, speaker, style = config.data, config.speaker, config.style
    known = {**hub.SOURCES, **{entry.repo: entry for entry in hub.SOURCES.values()}}
    path = Path(name).expanduser()
    if source is not None or name in known:
        return hub.read(source or known[name], speaker, style)
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


def split(utterances: list[Utterance], heldout: int, seed: int) -> tuple[tuple[Utterance, ...], tuple[Utterance, ...]]:
    """(fit, heldout), disjoint, the same for the same seed.

    Sorted by length and cut into as many equal parts as are held out, one is drawn from each, so
    that the held-out ones are spread over lengths. At most half are held out. Recordings of a
    held-out text are left out of the fit where others remain. The fit's are shuffled.
    """
    generator = torch.Generator().manual_seed(seed)
    count = max(1, min(heldout, len(utterances) // 2))
    order = sorted(range(len(utterances)), key=lambda i: (len(utterances[i].audio), utterances[i].id))
    edges = [round(part * len(order) / count) for part in range(count + 1)]
    drawn = {
        order[start + int(torch.randint(end - start, (), generator=generator))]
        for start, end in itertools.pairwise(edges)
    }
    judged = tuple(utterances[i] for i in sorted(drawn))
    shuffled = [i for i in torch.randperm(len(utterances), generator=generator).tolist() if i not in drawn]
    texts = {utterance.phonemes for utterance in judged}
    fresh = [i for i in shuffled if utterances[i].phonemes not in texts]
    return tuple(utterances[i] for i in fresh or shuffled), judged


def _utterance(item: Item, config: FitConfig, notes: list[str], number: int) -> Utterance:
    """Raises UnusableError."""
    if item.problem is not None or item.audio is None:
        raise UnusableError("incomplete", item.problem or "there is no audio")
    if not item.text or not item.text.strip():
        raise UnusableError("no transcript", "there is no transcript")
    wav = _audio(item, config)
    phonemes = _phonemes(item, config, notes)
    return Utterance(f"{number}:{item.name}", " ".join(item.text.split()), phonemes, wav)


def _audio(item: Item, config: FitConfig) -> Tensor:
    assert item.audio is not None
    try:
        source = item.audio
        wav = audio.trim(audio.highpass(audio.load(source, item.name)))
    except InputError as error:
        raise UnusableError("unusable audio", str(error).removeprefix(f"{item.name} ")) from error
    seconds = len(wav) / audio.SAMPLE_RATE
    if seconds < config.min_seconds:
        raise UnusableError("too short", f"{seconds:.2f} s of speech, less than min_seconds {config.min_seconds:g}")
    if seconds > config.max_seconds:
        raise UnusableError("too long", f"{seconds:.1f} s of speech, more than max_seconds {config.max_seconds:g}")
    return wav


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


def _too_few(source: str, utterances: list[Utterance], skipped: dict[str, list[str]]) -> InputError:
    first = next((found[0] for found in skipped.values()), "")
    counts = Counter({reason: len(found) for reason, found in skipped.items()})
    rest = f"; first problem: {first.rstrip('.')}" if first else ""
    total = sum(counts.values())
    if utterances:
        return InputError(
            f"{source} has a single usable recording, and at least 2 are needed, one to fit and one to judge{rest}."
        )
    return InputError(f"None of the {total} recordings of {source} can be used{rest}.")


def _skipped_note(reason: str, examples: list[str]) -> str:
    shown = "; ".join(example.rstrip(".") for example in examples[:EXAMPLES])
    return f"{len(examples)} skipped ({reason}): {shown}{' ...' if len(examples) > EXAMPLES else ''}."
