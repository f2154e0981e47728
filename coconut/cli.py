"""The `coconut` command: fit, speak, voices, export, doctor.

Bad input ends with one sentence on stderr and exit code 2; Ctrl-C with 130.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from coconut.config import InputError
from coconut.options import Parser, add_config_options, config_from_args, overrides, parse, read_config

if TYPE_CHECKING:
    from coconut.build import Fitting
    from coconut.fit import Best

console = Console(soft_wrap=True, highlight=False)
State = dict[str, Any]
Rows = list[dict[str, float]]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    _quiet()
    parser = _parser()
    try:
        args = parse(parser, argv)
        code: int = args.run(args)
        return code
    except InputError as error:
        print(f"coconut: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("coconut: interrupted.", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="coconut", description="Find a Kokoro voice that sounds like a given speaker.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _fit_parser(commands.add_parser("fit", help="fit a voice to recordings"))
    _speak_parser(commands.add_parser("speak", help="speak a text in a voice, to a wav"))
    _voices_parser(commands.add_parser("voices", help="list the stock voices of a model"))
    _export_parser(commands.add_parser("export", help="write a voice as .pt, .npz or .bin for other players"))
    _doctor_parser(commands.add_parser("doctor", help="say what works on this machine"))
    return parser


def _fit_parser(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, help="folder for the results (default: runs/fit-DATE-TIME)")
    parser.add_argument("--resume", action="store_true", help="go on with the fit in --out")
    add_config_options(parser)
    parser.set_defaults(run=fit_command)


def fit_command(args: argparse.Namespace) -> int:
    """`coconut fit`: run or resume one fit and write its folder."""
    from coconut import artifacts, build

    folder: Path = args.out or Path("runs") / time.strftime("fit-%Y%m%d-%H%M%S")
    state = _claim(args, folder)
    base = read_config(folder / "config.json") if state else None
    config = config_from_args(args, base)
    with console.status("loading the model, the recordings and the nearest stock voice"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what matters of them is in the notes
        fitting = build.wire(config)
    for note in fitting.notes:
        console.print(f"[dim]{note}[/]")
    _introduce(fitting)
    folder.mkdir(parents=True, exist_ok=True)
    artifacts.write_config(folder, fitting.config)
    rows = artifacts.read_rows(folder, state["generation"]) if state else []
    artifacts.write_rows(folder, rows)
    try:
        best, stop = _run(fitting, folder, state, rows)
    except KeyboardInterrupt:
        console.print(f"Stopped by hand. Go on with: coconut fit --out {folder} --resume")
        raise
    with console.status("speaking the held-out texts"):
        paths = artifacts.write(folder, fitting, rows, best, stop)
    _conclude(rows, best, stop, paths["voice.pt"])
    return 0


def _claim(args: argparse.Namespace, folder: Path) -> State | None:
    """The saved state to resume, or None for a fresh folder. Nothing of an earlier fit is overwritten."""
    from coconut import artifacts

    state = artifacts.load_state(folder)
    if args.resume and state is None:
        raise InputError(f"{folder} holds no fit to resume; name its folder with --out, or leave --resume away.")
    if not args.resume and folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} is not empty; choose another --out, or add --resume to go on with the fit there.")
    if args.resume and set(overrides(args)) - {"generations", "device"}:
        raise InputError("--resume keeps the settings of the fit; only --generations and --device may change.")
    return state if args.resume else None


def _introduce(fitting: Fitting) -> None:
    data, config = fitting.dataset, fitting.config
    seconds = sum(len(utterance.audio) for utterance in data.fit) / 24000
    console.print(
        f"{data.source}: {len(data.fit)} utterances to fit ({seconds:.0f} s), {len(data.heldout)} held out. "
        f"{config.es.kind} in {config.space.kind} ({fitting.space.dim} numbers), from {fitting.start}."
    )


def _run(fitting: Fitting, folder: Path, state: State | None, rows: Rows) -> tuple[Best, str]:
    """Iterate the fit under a progress bar, logging each step before its state."""
    from coconut import artifacts

    total = fitting.config.generations
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    best = _saved_best(state) if state else None
    stop = str(state["stop"]) if state else ""
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("fitting", total=total, completed=state["generation"] if state else 0)
        for step in fitting.steps(state):
            row = step.row()
            rows.append(row)
            artifacts.append_row(folder, row)
            artifacts.save_state(folder, step)
            best, stop = step.best, step.stop.value if step.stop else ""
            line = f"score {row.get('score', float('nan')):.2f}  best {best.score:.2f} at {best.generation}"
            progress.update(task, completed=step.generation, description=line)
            if not console.is_terminal and (step.stop or step.generation % 10 == 0):
                console.print(f"generation {step.generation}/{total}: {line}")
    assert best is not None  # a fresh fit yields its start at once
    return best, stop


def _saved_best(state: State) -> Best:
    from coconut.fit import Best

    return Best(**state["best"])


def _conclude(rows: Rows, best: Best, stop: str, path: Path) -> None:
    table = Table(show_header=True, box=None, pad_edge=False)
    for column in ("", "start", "fitted"):
        table.add_column(column, justify="left" if not column else "right")
    table.add_row("held-out score", f"{rows[0]['score']:.2f}", f"{best.score:.2f}")
    for name, value in best.parts.items():
        table.add_row(f"  {name}", f"{rows[0].get(f'score.{name}', float('nan')):.3f}", f"{value:.3f}")
    console.print(table)
    seconds, spoken = rows[-1]["seconds"], rows[-1]["audio_seconds"]
    console.print(
        f"Ended by {stop} after generation {rows[-1]['generation']:.0f}; "
        f"the voice is that of generation {best.generation}. "
        f"{spoken:.0f} s of audio synthesised in {seconds:.0f} s."
    )
    console.print(f"Voice: {path}\nCurves: {path.parent / 'train.png'}")
    console.print(f"Listen: {path.parent / 'voice_0.wav'} beside {path.parent / 'target_0.wav'}")


def _speak_parser(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--voice", required=True, help="a voicepack file, or the name of a stock voice")
    parser.add_argument("--text", required=True, help="what to say; @FILE reads it from a file")
    parser.add_argument("-o", "--out", type=Path, required=True, help="the wav to write")
    parser.add_argument("--model", default="mini", help="mini, a hub name, or a folder (default: mini)")
    parser.add_argument("--lang", default="en-us", help="language of the text (default: en-us)")
    parser.add_argument("--device", default="cpu", help="cpu, cuda, mps (default: cpu)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the source noise (default: 0)")
    parser.set_defaults(run=speak_command)


def speak_command(args: argparse.Namespace) -> int:
    """`coconut speak`: a text in a voice, of any length, to a wav."""
    from coconut import audio, speak
    from coconut.synthesis import Synthesizer, load_model

    text = speak.read_text(args.text)
    model = load_model(args.model, device=args.device)
    pack = speak.find_voice(args.voice, model)
    wav = speak.speak(Synthesizer(model, seed=args.seed), pack, text, args.lang)
    path = audio.save(args.out, wav)
    console.print(f"{path}: {len(wav) / audio.SAMPLE_RATE:.2f} s")
    return 0


def _voices_parser(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", default="mini", help="mini, a hub name, or a folder (default: mini)")
    parser.set_defaults(run=voices_command)


def voices_command(args: argparse.Namespace) -> int:
    """`coconut voices`: the stock voices of a model and what is known of them."""
    from coconut.synthesis import load_model, mini, stock_voices

    names = sorted(stock_voices(load_model(args.model)))
    cards = {card["name"]: card for card in mini.cards()} if args.model == "mini" else {}
    fields = [field for field in (next(iter(cards.values())) if cards else {}) if field != "name"]
    table = Table(box=None, pad_edge=False)
    for field in ("voice", *fields):
        table.add_column(field.replace("_", " "))
    for name in names:
        table.add_row(name, *(_cell(cards.get(name, {}).get(field)) for field in fields))
    console.print(table)
    console.print(f"{len(names)} voices of {args.model}.")
    return 0


def _cell(value: object) -> str:
    return "" if value is None else f"{value:.1f}" if isinstance(value, float) else str(value)


def _export_parser(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--voice", type=Path, required=True, help="a voicepack file")
    parser.add_argument("-o", "--out", type=Path, required=True, help="NAME.pt, NAME.npz or NAME.bin")
    parser.set_defaults(run=export_command)


def export_command(args: argparse.Namespace) -> int:
    """`coconut export`: a voicepack in another format, refused when its rows are rough."""
    from coconut import artifacts, voicepack

    path = artifacts.export(voicepack.load(args.voice), args.out)
    console.print(f"{path}: {path.stat().st_size} bytes")
    return 0


def _doctor_parser(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(run=doctor_command)


def doctor_command(args: argparse.Namespace) -> int:
    """`coconut doctor`: one line per thing a fit needs; exit code 1 when one is missing."""
    from coconut import doctor

    checks = doctor.examine()
    for check in checks:
        mark = "[green]ok[/]" if check.ok else "[red]missing[/]" if check.needed else "[yellow]absent[/]"
        console.print(f"{mark:>20}  {check.name}: {check.finding}", highlight=False)
    return 0 if all(check.ok or not check.needed for check in checks) else 1


def _quiet() -> None:
    """Third-party chatter off, before anything of it is imported; our own warnings as plain sentences."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("HF_HUB_VERBOSITY", "error")
    logging.getLogger("phonemizer").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")
    warnings.filterwarnings("default", module=r"coconut\.")
    warnings.formatwarning = lambda message, *_, **__: f"coconut: {message}\n"


def entry() -> None:
    """Console script."""
    sys.exit(main())


if __name__ == "__main__":
    entry()
