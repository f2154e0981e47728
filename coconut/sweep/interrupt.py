"""How a sweep is cut short: by Ctrl-C, by SIGTERM, by the end of its time."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def interruptible(budget: float | None) -> Iterator[threading.Event]:
    """SIGTERM and the end of `budget` seconds act as Ctrl-C, which Tune turns into a last snapshot.

    The event that it yields is set where it was the time.
    """
    late = threading.Event()

    def expire() -> None:
        late.set()
        os.kill(os.getpid(), signal.SIGINT)

    main = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, lambda *_: os.kill(os.getpid(), signal.SIGINT)) if main else None
    ignored = main and signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    if ignored:  # a shell's background job, which would sleep through its own budget
        signal.signal(signal.SIGINT, signal.default_int_handler)
    timer = threading.Timer(budget, expire) if budget else None
    if timer:
        timer.daemon = True
        timer.start()
    try:
        yield late
    finally:
        if timer:
            timer.cancel()
        if main:
            signal.signal(signal.SIGTERM, before)
        if ignored:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
