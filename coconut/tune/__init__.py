"""A sweep: many fits as Ray Tune trials, searched by Optuna, resumable after any kill."""

from coconut.tune.plan import METRIC, Monitor, Outcome, Plan, Row, Ticket, configure, trial_name
from coconut.tune.tune import Search, connect, remotely, run

__all__ = [
    "METRIC",
    "Monitor",
    "Outcome",
    "Plan",
    "Row",
    "Search",
    "Ticket",
    "configure",
    "connect",
    "remotely",
    "run",
    "trial_name",
]
