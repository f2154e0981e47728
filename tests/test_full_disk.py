"""A full disk: what matters goes into a reserve, on a small file system of its own where one can be had."""

import errno
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from coconut.config import InputError
from coconut.files import Reserve, rescued
from coconut.sweep import DEFAULT_SPACE
from coconut.sweep.interrupt import interruptible
from coconut.sweep.plan import Plan
from coconut.sweep.room import Room

ROOT = Path(__file__).parent.parent
SMALL = (
    "mount -t tmpfs -o size=2m tmpfs {} && exec "  # in a namespace of its own, which takes no root where it is allowed
)

WRITES = """
import errno, sys
from pathlib import Path
from coconut.files import Reserve, write_text
from coconut.sweep import tracking

def away(*_):
    raise ConnectionError("away")

def fill(path):
    with path.open("wb", buffering=0) as file:
        try:
            while file.write(bytes(4096)):
                pass
        except OSError as error:
            assert error.errno == errno.ENOSPC

folder = Path(sys.argv[1])
tracking._Store.send = away
with Reserve(folder, 2**19) as reserve:
    tracker = tracking.Tracker("http://127.0.0.1:9", folder / "journal")
    fill(folder / "others")
    for step in range(200):
        tracker.log("one", {"score": 1.0}, step)
    print(reserve.held, len((folder / "journal" / "events.jsonl").read_text().splitlines()))
    write_text(folder / "sweep.json", "x" * 100_000)
    fill(folder / "more")
    try:
        write_text(folder / "sweep.json", "y" * 100_000)
    except OSError as error:
        print(errno.errorcode[error.errno], set((folder / "sweep.json").read_text()))
print(sorted(path.name for path in folder.iterdir()))
"""


def test_on_a_full_file_system_journal_and_record_are_written_into_the_reserve(tmp_path):
    unshare, disk = shutil.which("unshare"), tmp_path / "disk"
    disk.mkdir()
    inside = [unshare or "", "--user", "--map-root-user", "--mount", "sh", "-c"]
    if not unshare or subprocess.run([*inside, SMALL.format(disk) + "true"], capture_output=True).returncode:
        pytest.skip("no file system of one's own without root here")
    script = SMALL.format(disk) + f"'{sys.executable}' -c \"$WRITES\" '{disk}'"
    done = subprocess.run(
        [*inside, script], capture_output=True, text=True, cwd=ROOT, env={**os.environ, "WRITES": WRITES}
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "False 200", "ENOSPC {'x'}", "['journal', 'more', 'others', 'sweep.json']"
    ]  # fmt: skip


def full_while(path):
    """A write that finds the disk full as long as `path` is there."""

    def write():
        if path.exists():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return "written"

    return write


def test_a_write_is_tried_again_once_the_reserve_is_free(tmp_path):
    with Reserve(tmp_path, 100) as reserve:
        assert reserve.path.stat().st_size == 100
        assert rescued(full_while(reserve.path)) == "written"
        assert not reserve.held


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES])
def test_what_a_reserve_cannot_help_is_raised(tmp_path, number):
    def write():
        raise OSError(number, os.strerror(number))

    with Reserve(tmp_path, 100) as reserve:
        with pytest.raises(OSError, match=os.strerror(number)):
            rescued(write)
        assert reserve.held is (number == errno.EACCES)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def plan(tmp_path):
    made = Plan("toy", str(tmp_path), DEFAULT_SPACE)
    made.home.mkdir()
    return made


def test_a_disk_that_fills_stops_the_sweep_with_the_reserve_free_and_says_so(plan, monkeypatch):
    free = [2**30]
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=free[0]))
    with interruptible(None) as cut, Room(plan) as room:
        room.tick()
        assert (room.reserve.held, cut.asked, room.explain("interrupted")) == (True, False, "interrupted")
        free[0], room.looked = 2**20, 0.0
        with pytest.raises(KeyboardInterrupt):
            room.tick()
        assert (room.reserve.held, cut.asked) == (False, True)
        room.looked = 0.0
        room.tick()  # once is enough
    assert room.explain("interrupted") == (
        f"The disk of {plan.home} is full, and the sweep was stopped while its state could still be written."
    )
    assert room.explain("complete") == "complete"
    assert list(plan.home.iterdir()) == []


def test_a_write_that_needed_the_reserve_stops_the_sweep_too(plan):
    with Room(plan) as room, interruptible(None) as cut:
        rescued(full_while(room.reserve.path))
        with pytest.raises(KeyboardInterrupt):
            room.tick()
    assert (cut.asked, room.full) == (True, True)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_sweep_without_room_for_a_reserve_is_refused_in_words(plan, monkeypatch):
    def full(path, content):
        path.touch()
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(InputError, match="has less than 32 MB left; make room on it"), Room(plan):
        pass
    assert list(plan.home.iterdir()) == []
