"""Settings of the whole suite: reproducible hypothesis, no hub, a quiet Ray, and which process runs what.

Files whose tests start Ray come first and share one process, since two Rays at once slow each other down; every
other file has one process for its fixtures to be made once. `pytest -n 0` runs everything in one process.
"""

import atexit
import os
import shutil
import tempfile
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("MPLCONFIGDIR", str(Path.home() / ".cache" / "matplotlib"))  # its list of fonts is slow to make
os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp(prefix="coconut-cache-")  # nothing is found there that no test made
os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported: the processes of the suite share the cores
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_worker_niceness", "0")  # a lower priority than the tests beside it would starve a sweep
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("TRITON_INTERPRET", "1")  # before Triton is imported, if it is there: its kernels need no GPU

import pytest
from hypothesis import HealthCheck, settings

STARTS_RAY = (
    "test_ray.py", "test_faults.py", "test_cluster.py", "test_sweep.py", "test_once.py", "test_extend.py",
    "test_kills.py",
)  # fmt: skip
MOST_PROCESSES = 4  # each holds models of its own

atexit.register(shutil.rmtree, os.environ["XDG_CACHE_HOME"], ignore_errors=True)
settings.register_profile(
    "coconut", deadline=None, derandomize=True, max_examples=50, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("coconut")


@pytest.fixture(scope="module")
def double():
    """A random KModel in float64, where only an error of ours is left."""
    import torch

    from tests.kmodels import random_model

    return random_model(dtype=torch.float64)


@pytest.fixture
def case(tmp_path, monkeypatch):
    """A folder of recordings that a test spoils, watched (tests/hostile.py)."""
    from tests.hostile import watching

    with watching(tmp_path, monkeypatch) as made:
        yield made


@pytest.fixture(scope="module")
def single():
    """The same in float32."""
    from tests.kmodels import random_model

    return random_model()


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: item.path.name not in STARTS_RAY)  # the longest chain begins at once


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config):
    """One for each core; none beside this one for a single file, whose imports would take longer than it saves."""
    several = len(config.args) > 1 or Path(config.args[0]).is_dir()
    return min(os.cpu_count() or 1, MOST_PROCESSES) if several else 0


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    from xdist.scheduler import LoadFileScheduling

    class RayInOneProcess(LoadFileScheduling):
        def _split_scope(self, nodeid):
            file = super()._split_scope(nodeid)
            return "ray" if file.endswith(STARTS_RAY) else file

    return RayInOneProcess(config, log)
