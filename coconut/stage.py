"""A fit in two stages: the prosody first, which takes no decoding, then all of the voice.

    stage 1   FIRST generations over the prosody alone, by F0 and speaking time; scored at its end
    stage 2   a fit like any other, begun where the score was better: at the start, or after stage 1

Each is a `fit`. The second one resumes from the first one's last state, with a new strategy in it.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from typing import Any

from coconut.config import FitConfig, InputError, from_dict
from coconut.fit import ObjectiveLike, ScoreLike, Step, WindowsLike, cost, fit, searcher

FIRST = 40  # generations of stage 1


def staged(
    config: FitConfig,
    prosody: ObjectiveLike,
    objective: ObjectiveLike,
    score: ScoreLike,
    windows: WindowsLike,
    state: dict[str, Any] | None = None,
) -> Iterator[Step]:
    """The steps of both stages as those of one fit: its generations, ledger and best go on. `Step.stage` tells them.

    Raises InputError as `fit` does, and where budget or generations have no room for two stages.
    """
    if state is None or state.get("stage") == 1:
        early, late = (cost(config, stage, len(windows[0])) for stage in (prosody, objective))
        _check_room(config, early, late, score.cost)
        first = from_dict({"generations": FIRST, "stop.every": FIRST, "stop.patience": 0, "budget": None}, config)
        for step in fit(first, prosody, score, windows, state):
            state = step.state() | {"stage": 1}
            if step.stop:
                state |= {"stage": 2, "stop": None, "strategy": searcher(config, step.best.genome).state_dict()}
            yield dataclasses.replace(step, stage=1, stop=None, _state=state)
    for step in fit(config, objective, score, windows, state):
        yield dataclasses.replace(step, stage=2, _state=step.state() | {"stage": 2})


def _check_room(config: FitConfig, early: float, late: float, scoring: int) -> None:
    """`early` and `late` are the syntheses of a generation of either stage, `scoring` those of scoring it."""
    need = math.ceil(FIRST * early + late + 3 * scoring)
    if config.budget is not None and config.budget < need:
        raise InputError(
            f"budget is {config.budget}, and a staged fit takes at least {need} syntheses; raise it, or set schedule "
            "to joint."
        )
    if config.generations is not None and config.generations <= FIRST:
        raise InputError(
            f"generations is {config.generations}, and a staged fit takes {FIRST} for the prosody alone; raise it, or "
            "set schedule to joint."
        )
