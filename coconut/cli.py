"""The `coconut` command: fit, sweep, speak, voices, export, doctor, bench.

Bad input ends with one sentence on stderr and exit code 2; Ctrl-C with 130.
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from coconut import health
from coconut.config import EMBEDDED, InputError, flatten, from_dict
from coconut.importing import importing
from coconut.options import Parser, add_config_options, config_from_args, model_of, overrides, parse
from coconut.quiet import quiet
from coconut.sweep import command as sweep

if TYPE_CHECKING:
    from coconut.inspection.faults import Faults
    from coconut.trial import Row, Trial

console = Console(soft_wrap=True, highlight=False)
JOB = "job"
RESUMABLE = {"budget", "generations", "device"}  # settings that may change with --resume


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    quiet()
    parser = _parser(model_of(argv))
    try:
        args = parse(parser, argv)
        code: int = args.run(args)
        return code
    except InputError as error:
        print(f"coconut: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def _parser(model: str) -> argparse.ArgumentParser:
    parser = Parser(prog="coconut", description="Find a Kokoro voice that sounds like a given speaker.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _fit_parser(commands.add_parser("fit", help="fit a voice to recordings"), model)
    sweep.add_parser(commands, model)
    _speak_parser(commands.add_parser("speak", help="speak a text in a voice, to a wav"))
    _voices_parser(commands.add_parser("voices", help="list the stock voices of a model"))
    _export_parser(commands.add_parser("export", help="write a voice as .pt, .npz or .bin for other players"))
    health.add_parsers(commands)
    return parser


def _fit_parser(parser: argparse.ArgumentParser, model: str) -> None:
    parser.add_argument("--out", type=Path, help="folder for the results (default: runs/fit-DATE-TIME)")
    parser.add_argument("--resume", action="store_true", help="go on with the fit in --out")
    add_config_options(parser, model)
    parser.set_defaults(run=fit_command)


def fit_command(args: argparse.Namespace) -> int:
    """`coconut fit`: run or resume one fit and write its folder."""
    with importing():
        from coconut import artifacts

    folder: Path = args.out or Path("runs") / time.strftime("fit-%Y%m%d-%H%M%S")
    trial = _resumed(args, folder) if args.resume else _fresh(args, folder)
    try:
        _run(trial, folder)
    except KeyboardInterrupt:
        trial.save(folder)
        console.print(f"Stopped by hand. Go on with: coconut fit --out {folder} --resume")
        raise
    with console.status("speaking the held-out texts"):
        paths = trial.write(folder)
        assert trial.best is not None
        _, result = artifacts.write_result(folder, trial.fitting, trial.best, trial.stop)
    _conclude(trial, result, paths["voice.pt"])
    return 0


def _fresh(args: argparse.Namespace, folder: Path) -> Trial:
    """A new fit, its start scored, its job in `folder`. Nothing of an earlier fit is overwritten."""
    from coconut import artifacts
    from coconut.inspection import kinship
    from coconut.inspection.faults import Faults
    from coconut.job import prepare
    from coconut.trial import Trial

    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} is not empty; choose another --out, or add --resume to go on with the fit there.")
    config = config_from_args(args)
    console.print("[dim]Reading the recordings, then looking for a voice to begin at.[/]")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what matters of them is in the notes
        faults = Faults()
        trial = Trial(prepare(config, notice=faults))
        trial.advance()
    for note in (*trial.job.notes, *kinship.warnings(trial.job)):
        console.print(note, style="dim", markup=False)
    _introduce(trial)
    _foretell(trial, faults)
    trial.job.save(folder / JOB)
    artifacts.write_config(folder, trial.fitting.config)
    trial.save(folder)
    return trial


def _resumed(args: argparse.Namespace, folder: Path) -> Trial:
    """The fit in `folder`, as it was saved: neither recordings nor hub are asked again."""
    from coconut.job import Job, settle
    from coconut.trial import Trial

    if not (folder / "state.pt").is_file():
        raise InputError(f"{folder} holds no fit to resume; name its folder with --out, or leave --resume away.")
    changed = overrides(args)
    if args.config or set(changed) - RESUMABLE:
        raise InputError(
            "--resume keeps the settings of the fit; only --budget, --generations and --device may change."
        )
    job = Job.load(folder / JOB)
    settled = flatten(settle(from_dict(changed, job.config)))
    trial = Trial(job, {name: settled[name] for name in changed})
    trial.load(folder)
    _introduce(trial)
    return trial


def _introduce(trial: Trial) -> None:
    job, config = trial.job, trial.fitting.config
    seconds = sum(utterance.seconds for utterance in job.fit)
    console.print(
        f"{config.data}: {len(job.fit)} utterances to fit ({seconds:.0f} s), {len(job.heldout)} held out, "
        f"{len(job.test)} to test. {config.es.kind} in {config.space.kind} ({trial.fitting.space.dim} numbers), "
        f"from {config.space.start}.",
        markup=False,
    )


def _foretell(trial: Trial, faults: Faults) -> None:
    """What a fit of these settings is likely to reach, where that is known."""
    from coconut.forecast import forecast

    first = trial.rows[0]
    parts = {name.removeprefix("score."): value for name, value in first.items() if name.startswith("score.")}
    if found := forecast(trial.fitting.config, parts, faults.of(trial.job)):
        console.print(str(found), style="dim", markup=False)


def _run(trial: Trial, folder: Path) -> None:
    """Advance under a progress bar that runs over syntheses; state and rows are saved as they are due."""
    from coconut.fit import progress

    config = trial.fitting.config
    text, share = TextColumn("{task.description}"), TextColumn("{task.percentage:.0f}%")
    with Progress(
        text, BarColumn(), share, TimeRemainingColumn(), console=console, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task("fitting", total=1.0)
        bar.update(task, completed=progress(trial.rows[-1], config))
        while not trial.ended:
            row = trial.advance()
            if trial.due:
                trial.save(folder)
            bar.update(task, completed=progress(row, config), description=_line(row))
            if not console.is_terminal and (trial.ended or row["generation"] % 10 == 0):
                console.print(f"{row['syntheses']:.0f} of {config.budget} syntheses: {_line(row)}")


def _line(row: Row) -> str:
    best = f"best {row['best_score']:.2f} at generation {row['best_generation']:.0f}"
    return f"generation {row['generation']:.0f}, score {row.get('score', float('nan')):.2f}, {best}"


def _conclude(trial: Trial, result: dict[str, Any], path: Path) -> None:
    best, first, last = trial.best, trial.rows[0], trial.rows[-1]
    assert best is not None
    table = Table(show_header=True, box=None, pad_edge=False)
    for column in ("", "start", "fitted"):
        table.add_column(column, justify="left" if not column else "right")
    table.add_row("held-out score", f"{first['score']:.2f}", f"{best.score:.2f}")
    for name, value in best.parts.items():
        table.add_row(f"  {name}", f"{first.get(f'score.{name}', float('nan')):.3f}", f"{value:.3f}")
    console.print(table)
    console.print(_test_line(trial, result))
    console.print(
        f"Ended by {trial.stop} after generation {last['generation']:.0f}; the voice is that of generation "
        f"{best.generation}. {last['syntheses']:,.0f} syntheses, {last['audio_seconds']:,.0f} s of audio, "
        f"in {last['seconds']:.0f} s."
    )
    console.print(f"Voice: {path}\nCurves: {path.parent / 'train.png'}")
    console.print(f"Listen: {path.parent / 'voice_0.wav'} beside {path.parent / 'target_0.wav'}")


def _test_line(trial: Trial, result: dict[str, Any]) -> str:
    """The honest number: sentences that chose neither the voice nor its generation."""
    count, score = len(trial.job.test), result["voice"]["test_score"]
    if score is None:
        return "There was no test: all recordings were needed to fit and to choose the voice."
    nearest = result.get("nearest")
    beside = f"; the nearest stock voice, {nearest['name']}, {nearest['test_score']:.2f}" if nearest else ""
    return f"Test score, on {count} sentences that chose nothing: {score:.2f}{beside}."


def _speak_parser(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--voice", required=True, help="a voicepack file, or the name of a stock voice")
    parser.add_argument("--name", help="which voice of a file that holds several")
    parser.add_argument("--text", required=True, help="what to say; @FILE reads it from a file")
    parser.add_argument("-o", "--out", type=Path, required=True, help="the wav to write")
    parser.add_argument("--model", default=EMBEDDED, help=f"mini, a hub name, or a folder (default: {EMBEDDED})")
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
    pack = speak.find_voice(args.voice, model, args.name)
    wav = speak.speak(Synthesizer(model, seed=args.seed), pack, text, args.lang)
    path = audio.save(args.out, wav)
    console.print(f"{path}: {len(wav) / audio.SAMPLE_RATE:.2f} s")
    return 0


def _voices_parser(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", default=EMBEDDED, help=f"mini, a hub name, or a folder (default: {EMBEDDED})")
    parser.set_defaults(run=voices_command)


def voices_command(args: argparse.Namespace) -> int:
    """`coconut voices`: the stock voices of a model and what is known of them."""
    from coconut.synthesis import load_model, mini, stock_voices

    names = sorted(stock_voices(load_model(args.model)))
    cards = {card["name"]: card for card in mini.cards()} if args.model == EMBEDDED else {}
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
    parser.add_argument("--name", help="which voice of a file that holds several")
    parser.add_argument("-o", "--out", type=Path, required=True, help="NAME.pt, NAME.npz or NAME.bin")
    parser.set_defaults(run=export_command)


def export_command(args: argparse.Namespace) -> int:
    """`coconut export`: a voicepack in another format, refused when its rows are rough."""
    from coconut import artifacts, voicepack

    path = artifacts.export(voicepack.load(args.voice, args.name), args.out)
    console.print(f"{path}: {path.stat().st_size} bytes")
    return 0


def entry() -> None:
    """Console script."""
    sys.exit(main())


if __name__ == "__main__":
    entry()
