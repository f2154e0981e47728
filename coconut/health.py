"""`coconut doctor` and `coconut bench`: what works here, how fast a device is, and what settings suit it.

Of recordings, `coconut doctor --data` tells (`coconut.inspection`).
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from coconut.config import EMBEDDED, MIMI, InputError
from coconut.inspection import command as inspection

if TYPE_CHECKING:
    from coconut.doctor import Check
    from coconut.gauge import Reading

console = Console(soft_wrap=True, highlight=False)
STAGES = ("prosody", "decode", "losses", "score", "step")
POPSIZE = 8  # of a check: small, yet a batch
SIZES = (1, 4, 16, 64)  # of a benchmark
WIDTH = 110  # of the table, whatever the terminal's: a cut number is none


def add_parsers(commands: Any) -> None:
    """Add both commands to the subparsers of `coconut`."""
    doctor = commands.add_parser("doctor", help="say what works on this machine, or what recordings are like")
    doctor.add_argument(
        "--device", help="also time a small population on it: cpu, cuda, cuda:1, mps; with --data, rank voices there"
    )
    _timing_options(doctor)
    inspection.add_inspection_options(doctor)
    doctor.set_defaults(run=doctor_command)
    bench = commands.add_parser("bench", help="time populations of several sizes on a device")
    bench.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1, mps (default: cpu)")
    bench.add_argument(
        "--popsize", nargs="+", type=int, default=SIZES, help=f"candidates (default: {' '.join(map(str, SIZES))})"
    )
    _timing_options(bench)
    bench.set_defaults(run=bench_command)


def _timing_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", default=EMBEDDED, help=f"mini, a hub name, or a folder (default: {EMBEDDED})")
    parser.add_argument(
        "--mimi", help=f"model of that loss: a hub name, a folder or none (default: {MIMI}; mini: none)"
    )
    parser.add_argument("--precision", nargs="+", help="exact, tf32, fast (default: all that the device has)")


def doctor_command(args: argparse.Namespace) -> int:
    """`coconut doctor`: one line per thing a fit needs. With --data: recordings.

    Exit code 1 when one is missing, 2 when the device that was named cannot be used.
    """
    if inspection.asked(args):
        return inspection.inspect_command(args)
    from coconut import doctor

    checks = doctor.examine()
    _say(checks)
    if args.device:
        usable, found = _device(args.device)
        if not usable:
            return 2
        readings, troubles = _readings(args, (POPSIZE,))
        checks += found + troubles
        _conclude(readings, args.device)
    return 0 if all(check.ok or not check.needed for check in checks) else 1


def bench_command(args: argparse.Namespace) -> int:
    """`coconut bench`: a table, and what it advises.

    Exit code 1 where something could not be timed, 2 where the device cannot be used at all.
    """
    if min(args.popsize) < 1:
        raise InputError(f"--popsize is {min(args.popsize)}; it must be at least 1.")
    usable, _ = _device(args.device)
    if not usable:
        return 2
    readings, troubles = _readings(args, args.popsize)
    _conclude(readings, args.device)
    return 1 if troubles else 0


def _device(name: str) -> tuple[bool, list[Check]]:
    """Whether a device can be used, and what is said of it."""
    from coconut import doctor

    found = [doctor.device(name)]
    usable = found[0].ok
    if usable and name.startswith("cuda"):
        found.append(doctor.elementwise(name))
    _say(found)
    return usable, found


def _readings(args: argparse.Namespace, sizes: Sequence[int]) -> tuple[list[Reading], list[Check]]:
    """What could be timed, and a sentence for what could not."""
    from coconut import build, doctor, gauge
    from coconut.synthesis.precision import PRECISIONS, available

    names = args.precision or available(args.device)
    if unknown := sorted(set(names) - set(PRECISIONS)):
        raise InputError(f"--precision {unknown[0]} is none of {', '.join(PRECISIONS)}.")
    readings: list[Reading] = []
    troubles: list[Check] = []
    for name in names:
        try:
            build.forget()  # so that each holds its own alone
            with console.status(f"timing {name}"):
                fitting = gauge.prepare(args.model, args.device, name, mimi=args.mimi)
                for popsize in sizes:
                    readings.append(gauge.read(fitting, popsize))
        except InputError as error:
            troubles.append(doctor.Check(name, False, str(error)))
        except Exception as error:  # whatever a device may come up with
            troubles.append(doctor.Check(name, False, f"{args.device} failed: {doctor.trouble(error)}"))
    _say(troubles)
    return readings, troubles


def _say(checks: Sequence[Check]) -> None:
    for check in checks:
        mark = "[green]ok[/]" if check.ok else "[red]missing[/]" if check.needed else "[yellow]absent[/]"
        console.print(f"{mark:>20}  {check.name}: ", end="")
        console.print(check.finding, markup=False)


def _conclude(readings: Sequence[Reading], device: str) -> None:
    if not readings:
        return
    Console(width=WIDTH, highlight=False).print(_table(readings), crop=False)
    console.print(
        "Seconds of each part for a population that speaks two sentences: a generation is prosody, decode and losses; "
        "score judges its mean, step is one of the gradient for one voice and one sentence. rate: seconds of speech "
        "made and compared per second. apart: nepers of log-mel from the CPU's exact speech (another noise: 0.02). "
        "frames: of a batch at most, 40 a second."
    )
    for sentence in _advice(readings, device):
        console.print(sentence, markup=False)


def _table(readings: Sequence[Reading]) -> Table:
    gpu = any(reading.peak for reading in readings)
    table = Table(box=None, pad_edge=False)
    columns = ["precision", "popsize", *STAGES, "rate", "apart", "frames", "held MB"]
    for column in columns + ["peak MB"] * gpu:
        table.add_column(column, justify="left" if column == "precision" else "right")
    for reading in readings:
        spent = [f"{reading.seconds[stage]:.3f}" if stage in reading.seconds else "" for stage in STAGES]
        sizes = [f"{size / 1e6:,.0f}" for size in (reading.held, reading.peak)[: 1 + gpu]]
        table.add_row(
            reading.precision, str(reading.popsize), *spent, f"{reading.rate:,.1f}", f"{reading.apart:.5f}",
            f"{reading.frames:,}", *sizes,
        )  # fmt: skip
    return table


def _advice(readings: Sequence[Reading], device: str) -> list[str]:
    import torch

    from coconut import gauge

    best = gauge.fastest(readings)
    found = [
        f"Take --precision {best.precision}: {best.rate:,.1f} candidate-seconds per second with --es.popsize "
        f"{best.popsize}, {best.apart:.5f} nepers from exact speech."
    ]
    if torch.device(device).type != "cuda":
        return [*found, "A sweep takes a core for each trial here (--cpus-per-trial 1)."]
    _, total = torch.cuda.mem_get_info(device)
    share = gauge.share(max(readings, key=lambda reading: reading.peak), total)
    if share is None:
        return [*found, "A fit fills this GPU: take a smaller --es.popsize or --window.size."]
    return [*found, f"Take --gpus-per-trial {share:g}: such a trial fits into that share, its context included."]
