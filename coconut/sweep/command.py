"""`coconut sweep`: its options, and what they come to before anything is spent.

Exit codes: 0 all went well, 1 no trial finished or something broke, 2 bad input, 130 interrupted.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
import time
import uuid
from pathlib import Path
from typing import Any

from coconut.config import FitConfig, InputError
from coconut.importing import importing
from coconut.options import add_config_options, config_from_args, overrides
from coconut.sweep import DEFAULT_SPACE, SEARCHED

DESCRIPTION = """Fit a voice many times over, each time with other settings, and keep the best.

    coconut sweep                                     the demo, on the embedded model
    coconut sweep --data my_recordings --trials 32 --name me
    coconut sweep --name me --resume                  after any interruption
    coconut sweep --name me --resume --trials 64      go on with more trials, or with a larger --budget
    coconut sweep --name me --resume --repeat-top 3   the best three again, with other seeds
    coconut sweep --data others --warm-start me       begin with what an earlier sweep found

Every setting of `coconut fit` may be given and then holds for all trials; what is not given is searched."""
KEEP = {"run", "command", "name", "resume", "address", "time_budget", "tracking_uri", "storage", "space"}
GROW = {"trials", "repeat_top", "seeds"}  # options that --resume takes, beside --budget, to go on with more
TRIALS = 8
SEEDS = 3


def add_parser(commands: Any, model: str) -> None:
    """Add the command to the subparsers of `coconut`."""
    parser = commands.add_parser(
        "sweep", help="fit a voice many times, with settings searched", description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    add = parser.add_argument
    add("--trials", type=int, help=f"fits in all; with --resume more than before (default: {TRIALS})")
    add("--concurrent", type=int, help="trials at once (default: as many as the CPUs and GPUs take)")
    add("--cpus-per-trial", type=float, help="CPUs of a trial (default: 1)")
    add("--gpus-per-trial", type=float, help="GPUs of a trial; 0: none (default: 0.25 where there is one, else 0)")
    add("--scheduler", choices=("asha", "none"), help="what stops trials that fall behind (default: asha)")
    add("--space", default=DEFAULT_SPACE, metavar="FILE.py:FUNCTION",
        help=f"what is searched; a file or a module, with a function (default: {DEFAULT_SPACE})")  # fmt: skip
    add("--warm-start", nargs="+", metavar="SWEEP",
        help="earlier sweeps, by name or folder: on the same held-out sentences their trials inform the search, "
        "else their best settings are tried first")  # fmt: skip
    add("--repeat-top", type=int, metavar="K",
        help="fit the best K trials again, with other seeds and held-out sentences, and rank their means")  # fmt: skip
    add("--seeds", type=int, metavar="N", help=f"times that each of them is repeated (default: {SEEDS})")
    add("--time-budget", type=float, metavar="SECONDS", help="end the sweep after so long; --resume goes on")
    add("--address", help="a Ray cluster to run on, such as auto (default: this machine alone)")
    add("--storage", help="folder or URI for results, reachable from every node (default: runs)")
    add("--tracking-uri", help="MLflow store (default: sqlite:///runs/mlflow.db)")
    add("--name", help="name of the sweep (default: sweep-DATE-TIME)")
    add("--resume", action="store_true",
        help="go on with the sweep of that --name, as it began; --trials, --budget and --repeat-top may ask for more: "
        "trials that used a smaller --budget go on from where they stood")  # fmt: skip
    add("--dry-run", action="store_true", help="say what would run, and run nothing")
    add_config_options(parser, model)
    parser.set_defaults(run=sweep_command)


def sweep_command(args: argparse.Namespace) -> int:
    """`coconut sweep`: a new sweep, or on with one."""
    try:
        return resume(args) if args.resume else start(args)
    except KeyboardInterrupt:
        print("coconut: interrupted; --resume with its --name goes on with a sweep that had begun.", file=sys.stderr)
        return 130


def start(args: argparse.Namespace) -> int:
    """A new sweep: check all that can be checked, make the job, run."""
    with importing():
        from coconut.sweep.plan import Record
        from coconut.sweep.ray import Session
        from coconut.sweep.tracking import Tracker, bare

        plan, config = make_plan(args)
    (top, seeds), before = repeats(args), earlier(args)
    fixed = {name: value for name, value in overrides(args).items() if name.startswith(SEARCHED)}
    uri = absolute_uri(args.tracking_uri or f"sqlite:///{plan.home.parent / 'mlflow.db'}")
    Tracker.check(uri)
    if plan.home.exists():
        raise InputError(f"{plan.home} exists already; choose another --name, or add --resume to go on with it.")
    if args.dry_run:
        from coconut.sweep import run

        run.describe(plan, config, fixed, bare(uri))
        if top:
            print(f"Then the best {top} trials again, with {seeds} other seeds each, under the same budget.")
        return 0
    Tracker.preflight(uri)
    with importing():
        from coconut.sweep import run, storage, warm
        from coconut.sweep.lastwords import console
    with Session(plan, args.address) as session:  # Ray starts while the job is made
        console.print(f"{plan.name}: {config.data} on {config.model}; which stock voice is nearest?", markup=False)
        job = run.prepare(plan, config, session, args.address)
        for note in job.notes:
            console.print(note, style="dim", markup=False)
        assert job.nearest is not None
        console.print(f"{job.nearest.name}, with a held-out score of {job.nearest.score:.2f}. Now the trials.")
        record = Record(plan, uuid.uuid4().hex[:12], bare(uri), fixed, top=top, seeds=seeds)
        record.earlier = [trial for folder in before for trial in warm.read(folder, job)]
        storage.save_record(record)
        return run.carry_out(record, job, uri, session, resumed=False, budget=args.time_budget)


def resume(args: argparse.Namespace) -> int:
    """Go on with a sweep, whatever ended it, and with more of it where that is asked."""
    from coconut.sweep import storage, unchanged
    from coconut.sweep.tracking import Tracker

    if not args.name:
        raise InputError("--resume needs the --name of the sweep to go on with.")
    given = {name for name, value in vars(args).items() if value is not None and not name.startswith("config:")}
    given = {name for name in given if getattr(args, name) is not False} - KEEP - GROW
    if extra := sorted(given | set(overrides(args)) - {"budget"}):
        raise InputError(f"--resume keeps the settings of the sweep; leave {', '.join(extra)} away.")
    record = grown(storage.load_record(args.storage or "", local_root(args.storage) / args.name), args)
    uri = absolute_uri(args.tracking_uri or record.tracking_uri)
    try:
        Tracker.preflight(uri)
    except InputError as error:  # trials are worth more: what MLflow does not take waits in the journal
        print(f"coconut: {error} The sweep goes on without it.", file=sys.stderr)
    more = args.repeat_top is not None
    if record.finished and not more and unchanged.holds(record, uri):
        return unchanged.tell(record, uri)
    with importing():
        from coconut.sweep import run
        from coconut.sweep.ray import Session
    if record.finished and not more:
        return run.tell_again(record, storage.load_job(record.plan), uri)
    with Session(record.plan, args.address, resumed=True) as session:
        job = storage.load_job(record.plan)
        return run.carry_out(record, job, uri, session, resumed=True, budget=args.time_budget)


def grown(record: Any, args: argparse.Namespace) -> Any:
    """The record of a sweep that has as much to do as is asked for now, saved where that is more than before."""
    from coconut.sweep import extend, storage

    (top, seeds), budget = repeats(args), overrides(args).get("budget")
    if args.trials is None and budget is None and not top:
        return record
    job = storage.load_job(record.plan)
    now = record.plan.configure(job).budget
    fresh = extend.enlarge(record, now, args.trials, budget)
    if fresh is not record and fresh.plan.concurrent == record.plan.trials:  # there were no more to run at once
        concurrent = default_concurrent(args.address, fresh.plan.cpus, fresh.plan.gpus, fresh.plan.trials)
        fresh = dataclasses.replace(fresh, plan=dataclasses.replace(fresh.plan, concurrent=concurrent))
    fresh = extend.go_on(fresh, fresh.plan.configure(job).budget)
    if top:
        fresh = dataclasses.replace(fresh, top=top, seeds=seeds)
    storage.save_record(fresh)
    return fresh


def earlier(args: argparse.Namespace) -> list[Path]:
    """The folders of the sweeps to begin with."""
    if not args.warm_start:
        return []
    from coconut.sweep import warm

    return warm.find(args.warm_start, local_root(args.storage))


def repeats(args: argparse.Namespace) -> tuple[int, int]:
    """How many of the best trials are to be repeated, and how often; none unless it is asked for."""
    if args.repeat_top is None:
        if args.seeds is not None:
            raise InputError("--seeds says how often the trials of --repeat-top are repeated; give --repeat-top too.")
        return 0, 0
    seeds = SEEDS if args.seeds is None else args.seeds
    if args.repeat_top < 1 or seeds < 2:
        raise InputError(
            f"--repeat-top is {args.repeat_top} and --seeds is {seeds}; they must be at least 1 and 2, as one repeat "
            "has no error."
        )
    return args.repeat_top, seeds


def make_plan(args: argparse.Namespace) -> tuple[Any, FitConfig]:
    """The plan that the options ask for, and the settings its job is made of. InputError where one makes no sense."""
    from coconut.sweep.plan import Plan
    from coconut.sweep.space import locate

    config = config_from_args(args)
    trials = TRIALS if args.trials is None else args.trials
    cpus = 1.0 if args.cpus_per_trial is None else args.cpus_per_trial
    for option, value, least in (
        ("trials", trials, 1), ("concurrent", args.concurrent, 1), ("cpus-per-trial", cpus, 0.01),
        ("time-budget", args.time_budget, 1),
    ):  # fmt: skip
        if value is not None and value < least:
            raise InputError(f"--{option} is {value:g}; it must be at least {least:g}.")
    name = time.strftime("sweep-%Y%m%d-%H%M%S") if args.name is None else args.name
    if Path(name).name != name or name.startswith(".") or name in ("", "mlartifacts"):
        raise InputError(f"--name {name!r} cannot name a folder here; use letters, digits, dots and dashes.")
    device, gpus = devices(args, config)
    storage = args.storage if "://" in (args.storage or "") else str(local_root(args.storage))
    concurrent = args.concurrent or default_concurrent(args.address, cpus, gpus, trials)
    settings = {"device": device}
    scheduler = args.scheduler or "asha"
    plan = Plan(name, storage, locate(args.space), settings, trials, concurrent, cpus, gpus, scheduler, config.seed)
    return plan, config


def devices(args: argparse.Namespace, config: FitConfig) -> tuple[str, float]:
    """The device of the trials and their share of a GPU."""
    import torch

    from coconut.sweep.plan import settle_devices

    there = 0.0
    if args.address and args.gpus_per_trial is None and config.device == "auto":
        from coconut.sweep.ray import cluster_gpus

        there = cluster_gpus(args.address)
        if not there:
            print("The cluster has no GPU now, so trials run on CPUs; --gpus-per-trial asks for one.")
    return settle_devices(config.device, args.gpus_per_trial, torch.cuda.device_count(), args.address, there)


def default_concurrent(address: str | None, cpus: float, gpus: float, trials: int) -> int:
    """As many as this machine takes; on a cluster as many as there are trials."""
    import torch

    if address:
        return trials
    fits = (os.cpu_count() or 1) / cpus
    if gpus:
        fits = min(fits, torch.cuda.device_count() / gpus)
    return max(1, min(trials, int(fits)))


def local_root(storage: str | None) -> Path:
    """The storage itself, or runs/ beside a remote one, as a path that holds in every folder."""
    return (Path("runs") if not storage or "://" in storage else Path(storage).expanduser()).resolve()


def absolute_uri(uri: str) -> str:
    """A sqlite address with the whole path of its file; any other as it is."""
    kind, _, path = uri.partition(":///")
    return f"{kind}:///{Path(path).resolve()}" if kind == "sqlite" and path else uri
