"""Settings of the whole suite: reproducible hypothesis, no hub, a quiet Ray."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("MPLBACKEND", "Agg")

import pytest
import torch
from hypothesis import HealthCheck, settings

from tests.kmodels import random_model

settings.register_profile(
    "coconut", deadline=None, derandomize=True, max_examples=50, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("coconut")


@pytest.fixture(scope="module")
def double():
    """A random KModel in float64, where only an error of ours is left."""
    return random_model(dtype=torch.float64)


@pytest.fixture(scope="module")
def single():
    """The same in float32."""
    return random_model()
