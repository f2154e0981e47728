"""How a sweep is cut short: by Ctrl-C, by SIGTERM, by the end of its time."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Cut:
    """Whether somebody asked for the end (`asked`), or the time was up (`late`)."""

    def __init__(self) -> None:
        self.asked = self.late = False

    def follow(self) -> None:
        """Notice Ctrl-C although another handler, as Tune's, has taken the place of ours."""
        if threading.current_thread() is not threading.main_thread():
            return
        theirs = signal.getsignal(signal.SIGINT)

        def noticed(number: int, frame: FrameType | None) -> None:
            self.asked = True
            if callable(theirs):
                theirs(number, frame)

        signal.signal(signal.SIGINT, noticed)


@contextmanager
def interruptible(budget: float | None) -> Iterator[Cut]:
    """SIGTERM and the end of `budget` seconds act as Ctrl-C, which Tune turns into a last snapshot.

    Afterwards signals are handled as before, though Tune leaves a handler of its own behind.
    """
    cut = Cut()

    def expire() -> None:
        cut.late = True
        os.kill(os.getpid(), signal.SIGINT)

    main = threading.current_thread() is threading.main_thread()
    before = {name: signal.getsignal(name) for name in (signal.SIGINT, signal.SIGTERM)} if main else {}
    if main:
        signal.signal(signal.SIGTERM, lambda *_: os.kill(os.getpid(), signal.SIGINT))
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job would ignore it
        cut.follow()
    timer = threading.Timer(budget, expire) if budget else None
    if timer:
        timer.daemon = True
        timer.start()
    try:
        yield cut
    finally:
        if timer:
            timer.cancel()
        for name, handler in before.items():
            signal.signal(name, handler)
