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

    The event that it yields is set where it was the time. Afterwards signals are handled as before, though
    Tune leaves a handler of its own behind.
    """
    late = threading.Event()

    def expire() -> None:
        late.set()
        os.kill(os.getpid(), signal.SIGINT)

    main = threading.current_thread() is threading.main_thread()
    before = {name: signal.getsignal(name) for name in (signal.SIGINT, signal.SIGTERM)} if main else {}
    if main:
        signal.signal(signal.SIGTERM, lambda *_: os.kill(os.getpid(), signal.SIGINT))
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job would ignore it
    timer = threading.Timer(budget, expire) if budget else None
    if timer:
        timer.daemon = True
        timer.start()
    try:
        yield late
    finally:
        if timer:
            timer.cancel()
        for name, handler in before.items():
            signal.signal(name, handler)
