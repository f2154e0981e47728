"""Ray itself: started on this machine or joined, its nodes, and single tasks. Trials are ray.py's.

It imports nothing heavy, so that Ray starts while the rest of the package is still being imported.
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from coconut.config import InputError
from coconut.quiet import quiet
from coconut.sweep.plan import Plan

STORE_BYTES = 2**28  # of Ray's object store: trials exchange next to nothing
SETTINGS: dict[str, Any] = {"worker_niceness": 0}  # else trials get only what all other programs leave
PRELOADED = {"preload_python_modules": ["coconut.sweep.ray"]}  # what a trial's process imports


class Session:
    """Ray from here to the end of the block, started or joined beside what the caller does meanwhile.

    One thread starts and ends it: Linux ends the processes of a local Ray with the thread that started them.
    """

    def __init__(self, plan: Plan, address: str | None) -> None:
        self._thread = ThreadPoolExecutor(1, "ray")
        self._mine = not ray.is_initialized()
        self._connected = self._thread.submit(connect, plan, address)

    def wait(self) -> None:
        """Until Ray is there. InputError when it is not to be had, or a trial could never be placed."""
        self._connected.result()

    def end(self) -> None:
        """Leave Ray, beside what the caller does next."""
        if self._mine:
            self._thread.submit(ray.shutdown)

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: Any) -> None:
        self.end()
        self._thread.shutdown()


def connect(plan: Plan, address: str | None = None) -> None:
    """Start Ray on this machine, or join a cluster. InputError when a trial could never be placed."""
    quiet()
    logging.getLogger("ray").setLevel(logging.ERROR)
    if address:
        _join(address)
        return
    if plan.cpus > (there := os.cpu_count() or 1):
        raise InputError(f"A trial asks for {plan.cpus:g} CPUs and this machine has {there}; ask for less.")
    if not ray.is_initialized():
        _start(plan)
    if plan.gpus > (there := ray.cluster_resources().get("GPU", 0)):
        raise InputError(f"A trial asks for {plan.gpus:g} GPUs and this machine has {there:g}; ask for less.")


def _join(address: str) -> None:
    if ray.is_initialized():
        return
    try:
        ray.init(address, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, ValueError) as error:
        raise InputError(f"No Ray cluster at {address}; start one with ray up, or leave --address away.") from error


def _start(plan: Plan) -> None:
    """A Ray of our own, with no more CPUs than the trials take and one for Tune's own tasks.

    Ray starts a process for each CPU at once. Where one is left over, they import what a trial needs while the
    job is being made; not with GPUs, which a process may only look for when Ray has given it its share.
    """
    package = str(Path(__file__).resolve().parents[2])  # workers find it where this process found it
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH")]))
    there, wanted = os.cpu_count() or 1, math.ceil(plan.concurrent * plan.cpus) + 1
    settings = SETTINGS | (PRELOADED if wanted <= there and not plan.gpus else {})
    ray.init(
        "local", num_cpus=min(wanted, there), include_dashboard=False, object_store_memory=STORE_BYTES,
        log_to_driver=False, logging_level=logging.ERROR, _system_config=settings,
    )  # fmt: skip


def cluster_gpus(address: str) -> float:
    """GPUs of the cluster as it is now; nodes that it may start later are not known."""
    connect(Plan("", "", ""), address)
    return float(ray.cluster_resources().get("GPU", 0))


def fitting_nodes(plan: Plan) -> list[dict[str, Any]]:
    """The nodes, as `ray.nodes` has them, that could run a trial."""

    def fits(node: dict[str, Any]) -> bool:
        has = node["Resources"]
        return node["Alive"] and has.get("CPU", 0) >= plan.cpus and has.get("GPU", 0) >= plan.gpus

    return [node for node in ray.nodes() if fits(node)]


def check_nodes(plan: Plan, folders: Sequence[str]) -> None:
    """Raise InputError for a node that could run trials and lacks one of `folders`."""

    def lacking() -> list[str]:
        return [folder for folder in folders if not Path(folder).is_dir()]

    for node in fitting_nodes(plan) if folders else ():
        there = NodeAffinitySchedulingStrategy(node_id=node["NodeID"], soft=False)
        if missing := ray.get(ray.remote(lacking).options(num_cpus=0, scheduling_strategy=there).remote()):
            raise InputError(
                f"The node {node['NodeManagerAddress']} ({node['NodeID'][:8]}) has no folder {missing[0]}; put it "
                "there, or where all nodes see it under that name."
            )


def remotely(plan: Plan, task: Callable[[], Any]) -> Any:
    """The result of a function, run where a trial would run. InputError comes through as such.

    Its process ends with it, so that no GPU is held any more.
    """

    def call() -> Any:
        from coconut.sweep.worker import pin

        pin(plan)
        return task()

    try:
        return ray.get(ray.remote(max_calls=1)(call).options(num_cpus=plan.cpus, num_gpus=plan.gpus).remote())
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, InputError):
            raise InputError(str(error.cause)) from error
        raise
