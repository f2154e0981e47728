"""Fit a voice many times over, each time with other settings, and keep the best.

    python experiments/sweep.py                                   the demo, on the embedded model
    python experiments/sweep.py --data my_recordings --trials 32 --name me
    python experiments/sweep.py --name me --resume                after any interruption

Every setting of `coconut fit` (--es.kind, --loss.speaker, ...) may be given and then holds for
all trials; what is not given is searched, see spaces.py. Exit codes: 0 all went well, 1 no trial
finished, 2 bad input, 130 interrupted.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
import uuid
import warnings
from dataclasses import asdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch

from coconut import tune
from coconut.config import FitConfig, InputError, from_dict
from coconut.options import Parser, add_config_options, config_from_args, overrides, parse
from coconut.tracking import Tracker
from coconut.tune import Plan
from experiments import conduct
from experiments.conduct import console, home

SHORT = {"generations": 20, "stop.patience": 8, "window.size": 2}  # for the embedded model, unless given
LONG = {"generations": 100}
SEARCHED = ("es.", "space.", "loss.", "window.")
KEEP = {"name", "resume", "address", "time_budget", "tracking_uri", "storage"}  # may go with --resume
GPU_SHARE = 0.25


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    warnings.filterwarnings("ignore")
    try:
        args = parse(parser(), argv)
        return resume(args) if args.resume else start(args)
    except InputError as error:
        print(f"sweep: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("sweep: interrupted; --resume with its --name goes on with a sweep that had begun.", file=sys.stderr)
        return 130


def parser() -> argparse.ArgumentParser:
    made = Parser(prog="sweep.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = made.add_argument
    add("--trials", type=int, help="fits in all (default: 8)")
    add("--concurrent", type=int, help="trials at once (default: as many as the CPUs and GPUs take)")
    add("--cpus-per-trial", type=float, help="CPUs of a trial (default: 1)")
    add("--gpus-per-trial", type=float, help=f"GPUs of a trial (default: {GPU_SHARE} where there is one, else 0)")
    add("--scheduler", choices=("asha", "none"), help="what stops trials that fall behind (default: asha)")
    add("--time-budget", type=float, metavar="SECONDS", help="end the sweep after so long; --resume goes on")
    add("--address", help="a Ray cluster to run on, such as auto (default: this machine alone)")
    add("--storage", help="folder or URI for results, reachable from every node (default: runs)")
    add("--tracking-uri", help="MLflow store (default: sqlite:///runs/mlflow.db)")
    add("--name", help="name of the sweep (default: sweep-DATE-TIME)")
    add("--resume", action="store_true", help="go on with the sweep of that --name, as it began")
    add("--dry-run", action="store_true", help="say what would run, and run nothing")
    add_config_options(made)
    return made


def start(args: argparse.Namespace) -> int:
    """A new sweep: check all that can be checked, settle the start voice, run."""
    plan = make_plan(args)
    fixed = {name: value for name, value in overrides(args).items() if name.startswith(SEARCHED)}
    uri = args.tracking_uri or f"sqlite:///{home(plan).parent.resolve() / 'mlflow.db'}"
    Tracker.check(uri)
    sweep: conduct.Sweep = {"id": uuid.uuid4().hex[:12], "fixed": fixed, "tracking_uri": uri}
    sweep["mimi"] = plan.base.model != "mini" or bool(fixed.get("loss.mimi"))
    if home(plan).exists():
        raise InputError(f"{home(plan)} exists already; choose another --name, or add --resume to go on with it.")
    if args.dry_run:
        conduct.describe(plan, sweep)
        return 0
    if args.address:
        tune.connect(plan, args.address)
    console.print(f"{plan.name}: {plan.base.data} on {plan.base.model}; which stock voice is nearest?", highlight=False)
    plan, nearest, notes = conduct.settle(plan, args.address)
    for note in notes:
        console.print(note, style="dim", highlight=False, soft_wrap=True)
    console.print(f"{nearest.name}, with a held-out score of {nearest.score:.2f}. Now the trials.", highlight=False)
    sweep |= {"nearest": asdict(nearest), "plan": conduct.record(plan)}
    tune.connect(plan, args.address)
    conduct.save(home(plan), sweep)
    return conduct.carry_out(plan, sweep, again=False, budget=args.time_budget)


def resume(args: argparse.Namespace) -> int:
    """Go on with a sweep, whatever ended it."""
    if not args.name:
        raise InputError("--resume needs the --name of the sweep to go on with.")
    given = {name for name, value in vars(args).items() if value and not name.startswith("config:")}
    if extra := sorted((given | set(overrides(args))) - KEEP):
        raise InputError(f"--resume keeps the settings of the sweep; leave {', '.join(extra)} away.")
    folder = local_root(args.storage) / args.name
    try:
        plan, sweep = conduct.load(folder)
    except (OSError, ValueError) as error:
        raise InputError(f"{folder} holds no sweep to resume; check --name and --storage.") from error
    sweep["tracking_uri"] = args.tracking_uri or sweep["tracking_uri"]
    Tracker.check(sweep["tracking_uri"])
    tune.connect(plan, args.address)
    return conduct.carry_out(plan, sweep, again=True, budget=args.time_budget)


def make_plan(args: argparse.Namespace) -> Plan:
    """The plan that the options ask for. InputError where one of them makes no sense."""
    first = config_from_args(args)
    given = set(overrides(args)) | ({*SHORT} if args.config else set())
    defaults = SHORT if first.model == "mini" else LONG
    base = from_dict({name: value for name, value in defaults.items() if name not in given}, first)
    storage = args.storage if "://" in (args.storage or "") else str(local_root(args.storage).resolve())
    trials = 8 if args.trials is None else args.trials
    cpus = 1.0 if args.cpus_per_trial is None else args.cpus_per_trial
    gpus = default_gpus(args, base) if args.gpus_per_trial is None else args.gpus_per_trial
    limits = (("trials", trials, 1), ("concurrent", args.concurrent, 1), ("cpus-per-trial", cpus, 0.01))
    for option, value, least in (*limits, ("gpus-per-trial", gpus, 0), ("time-budget", args.time_budget, 1)):
        if value is not None and value < least:
            raise InputError(f"--{option} is {value:g}; it must be at least {least:g}.")
    name = time.strftime("sweep-%Y%m%d-%H%M%S") if args.name is None else args.name
    if Path(name).name != name or name.startswith(".") or name in ("", "mlartifacts"):
        raise InputError(f"--name {name!r} cannot name a folder here; use letters, digits, dots and dashes.")
    concurrent = args.concurrent or default_concurrent(args, cpus, gpus, trials)
    return Plan(name, storage, base, trials, concurrent, cpus, gpus, args.scheduler or "asha", base.seed)


def local_root(storage: str | None) -> Path:
    """The storage itself, or runs/ beside a remote one."""
    return Path("runs") if not storage or "://" in storage else Path(storage)


def default_gpus(args: argparse.Namespace, base: FitConfig) -> float:
    """A share of the GPU that this machine has and may use."""
    wanted = not args.address and base.device.split(":")[0] in ("auto", "cuda")
    return GPU_SHARE if wanted and torch.cuda.is_available() else 0.0


def default_concurrent(args: argparse.Namespace, cpus: float, gpus: float, trials: int) -> int:
    """As many as this machine takes; on a cluster as many as there are trials."""
    if args.address:
        return trials
    fits = (os.cpu_count() or 1) / cpus
    if gpus:
        fits = min(fits, torch.cuda.device_count() / gpus)
    return max(1, min(trials, int(fits)))


if __name__ == "__main__":
    sys.exit(main())
