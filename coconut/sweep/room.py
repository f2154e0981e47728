"""Room on the disk for a sweep's last state: kept while there is some, and given free when there is none left."""

from __future__ import annotations

import os
import shutil
import signal
import time

from coconut.config import InputError
from coconut.files import FULL, Reserve
from coconut.sweep.plan import Plan, Row, Ticket

PERIOD = 1.0  # seconds between looks at the disk


class Room:
    """Watches the disk of a sweep's results, a monitor of its events.

    When less is left than half of the reserve, the reserve is given free and the sweep is stopped as by Ctrl-C:
    journal, sweep.json, Tune's snapshot and the trials' checkpoints are then written into it. A write that found the
    disk full before has the same effect (`files.rescued`). Raises InputError where there is no room to begin with.
    """

    def __init__(self, plan: Plan) -> None:
        self.folder, self.looked = plan.home, 0.0
        self.reserve = Reserve(plan.home)
        self.full = False

    def __enter__(self) -> Room:
        try:
            self.reserve.__enter__()
        except OSError as error:
            if error.errno not in FULL:
                raise
            size = self.reserve.size / 2**20
            raise InputError(f"The disk of {self.folder} has less than {size:.0f} MB left; make room on it.") from error
        return self

    def __exit__(self, *_: object) -> None:
        self.reserve.free()

    def tick(self) -> None:
        if self.full or time.monotonic() - self.looked < PERIOD:
            return
        self.looked = time.monotonic()
        if not self.reserve.held or shutil.disk_usage(self.folder).free < self.reserve.size / 2:
            self.full = True
            self.reserve.free()
            os.kill(os.getpid(), signal.SIGINT)

    def began(self, ticket: Ticket) -> None: ...

    def reported(self, ticket: Ticket, row: Row) -> None: ...

    def ended(self, ticket: Ticket, error: str | None) -> None: ...

    def explain(self, how: str) -> str:
        """How the sweep ended, with the disk as the reason where it was."""
        if how != "interrupted" or not self.full:
            return how
        return f"The disk of {self.folder} is full, and the sweep was stopped while its state could still be written."
