"""Sentences about what was read, and what was not."""

from __future__ import annotations

from coconut.config import FitConfig, InputError
from coconut.data.item import UNREAD
from coconut.data.splits import Splits
from coconut.data.utterance import Utterance

EXAMPLES = 3  # skipped recordings named in a note


def too_few(config: FitConfig, utterances: list[Utterance], skipped: dict[str, list[str]]) -> InputError:
    """Why the `utterances` that are left are no data set; `skipped`: the others, by reason."""
    of_recordings = {reason: found for reason, found in skipped.items() if reason != UNREAD}
    first = next((found[0] for found in of_recordings.values()), "")
    rest = f"; first problem: {first.rstrip('.')}" if first else ""
    needed = "and at least 2 are needed, one to fit and one to judge"
    if len(utterances) > 1:
        hint = f"; reading stopped at limit {config.limit}, so raise it" if len(utterances) == config.limit else ""
        return InputError(
            f"{config.data} has a single sentence, in {len(utterances)} recordings, {needed}{hint or rest}."
        )
    if utterances:
        return InputError(f"{config.data} has a single usable recording, {needed}{rest}.")
    total = sum(len(found) for found in of_recordings.values())
    return InputError(f"None of the {total} recordings of {config.data} can be used{rest}.")


def skipped(reason: str, examples: list[str]) -> str:
    """How many recordings were left out for one reason, and the first few."""
    shown = "; ".join(example.rstrip(".") for example in examples[:EXAMPLES])
    return f"{len(examples)} skipped ({reason}): {shown}{' ...' if len(examples) > EXAMPLES else ''}."


def sizes(config: FitConfig, parts: Splits) -> list[str]:
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
