"""`coconut doctor --data ...`: recordings told of, on the terminal or as JSON."""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from pathlib import Path

from rich.console import Console

from coconut.config import EMBEDDED, InputError, from_dict
from coconut.files import write_text
from coconut.importing import importing
from coconut.options import add_options, overrides
from coconut.waiting import bar

# Of a fit, those that say which recordings, and what becomes of them.
OPTIONS = (
    "data", "columns", "speaker", "style", "transcribe", "lang", "limit", "heldout", "test", "min_seconds",
    "max_seconds", "seed",
)  # fmt: skip
STDOUT = "-"


def add_inspection_options(parser: argparse.ArgumentParser) -> None:
    """What `coconut doctor` takes to look at recordings."""
    group = parser.add_argument_group("recordings, to be looked at before a fit; as the options of coconut fit")
    group.add_argument("--json", metavar="FILE", help="also write all of it as JSON; - for stdout, and nothing else")
    add_options(group, EMBEDDED, OPTIONS)


def asked(args: argparse.Namespace) -> bool:
    """Whether a command line is about recordings. Raises InputError where it does not say which."""
    given = overrides(args)
    if "data" in given:
        if timing := [name for name in ("mimi", "precision") if getattr(args, name)]:
            raise InputError(f"--{timing[0]} is about a device, and --data about recordings; leave out one of them.")
        return True
    if given or args.json:
        name = next(iter(given), "json")
        raise InputError(f"--{name} is about recordings; say which by --data.")
    return False


def inspect_command(args: argparse.Namespace) -> int:
    """Read, measure, rank, and tell. Raises InputError for recordings that no fit could use."""
    target = _target(args.json)
    console = Console(highlight=False, quiet=args.json == STDOUT)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what matters of them is in the notes
        with bar(f"loading {args.model}"), importing():
            from coconut import resources
            from coconut.inspection import clips, record, screen, voices
            from coconut.job import settle

            config = settle(from_dict({**overrides(args), "model": args.model, "device": args.device or "auto"}))
            resources.model(config.model, config.device)  # without it nothing can be ranked
        heard = clips.hear(config)
        screen.show_clips(console, heard)
        found = voices.prospect(heard)
    screen.show_prospect(console, found)
    if args.json:
        text = json.dumps(record.record(heard, found, screen.warnings(heard)), indent=1, allow_nan=False) + "\n"
        _write(console, target, text)
    return 0


def _write(console: Console, target: Path | None, text: str) -> None:
    if target is None:
        sys.stdout.write(text)
        return
    try:
        console.print(f"JSON: {write_text(target, text)}", markup=False)
    except OSError as error:
        raise InputError(f"{target} cannot be written ({error.strerror}); name another file by --json.") from error


def _target(name: str | None) -> Path | None:
    """The file to write, None for stdout. Raises InputError where it cannot be one."""
    if name is None or name == STDOUT:
        return None
    path = Path(name)
    if path.is_dir():
        raise InputError(f"--json {name} is a folder; name a file in it.")
    return path
