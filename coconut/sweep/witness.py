"""The last words of a sweep whose process ends without any: killed, crashed, or ended by a library."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

# The shell waits for a line or for the end of its input, which comes when the process that holds the other end is gone.
WAIT = 'read -r well || printf "%s\\n" "$1" >&2'


@contextmanager
def witnessed(words: str) -> Iterator[None]:
    """Should this process die within the block, or leave it by an error that nobody foresaw, `words` go to its stderr.

    They are said by a shell in a session of its own, which outlives the process and which Ctrl-C does not reach.
    """
    shell = subprocess.Popen(["sh", "-c", WAIT, "sh", words], stdin=subprocess.PIPE, start_new_session=True)
    well = True
    try:
        yield
    except Exception:
        well = False
        raise
    finally:
        assert shell.stdin is not None
        if well:
            shell.stdin.write(b"well\n")
            shell.stdin.close()
            shell.wait()
