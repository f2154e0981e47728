"""An inspection as plain values, ready for JSON."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from typing import Any

from coconut.audio import Quality
from coconut.data.item import UNREAD
from coconut.inspection.clips import Clip, Heard
from coconut.inspection.voices import Prospect
from coconut.job import SPLITS

FORMAT = 1


def record(heard: Heard, found: Prospect, warnings: Sequence[str]) -> dict[str, Any]:
    """Clips, totals, what a fit would use and why the rest is left out, notes, nearest voices, start and forecast."""
    config = heard.job.config
    return {
        "format": FORMAT,
        "data": config.data,
        "speaker": config.speaker,
        "style": config.style,
        "model": config.model,
        "totals": totals(heard),
        "clips": [clip_record(clip) for clip in heard.clips],
        "notes": [*heard.job.notes, *warnings],
        "nearest": [{"voice": name, "score": m.score, "parts": m.parts} for name, m in found.ranking],
        "start": {"note": found.note, "score": found.start.score, "parts": found.start.parts},
        "forecast": dataclasses.asdict(found.forecast) if found.forecast else None,
        "no_forecast": found.unknown,
    }


def clip_record(clip: Clip) -> dict[str, Any]:
    """Everything known of a clip, with what was measured of its sound beside the rest, None where it was not heard."""
    found = dataclasses.asdict(clip)
    measured = dict.fromkeys(field.name for field in dataclasses.fields(Quality)) | (found.pop("quality") or {})
    return found | measured | {"faults": clip.quality.faults if clip.quality else {}}


def totals(heard: Heard) -> dict[str, Any]:
    """Of recordings: how many, their seconds, what each split has of them, and how many are left out, by reason.

    Other files are counted among what is left out, and nowhere else.
    """
    spoken = heard.job.utterances
    measured = [clip.quality for clip in heard.clips if clip.quality]
    return {
        "recordings": sum(clip.reason != UNREAD for clip in heard.clips),
        "seconds": sum(quality.seconds for quality in measured),
        "used": sum(len(spoken[split]) for split in SPLITS),
        "speech": {split: sum(utterance.seconds for utterance in spoken[split]) for split in SPLITS},
        "sentences": {split: len(spoken[split]) for split in SPLITS},
        "left_out": dict(Counter(clip.reason for clip in heard.clips if clip.reason)),
    }
