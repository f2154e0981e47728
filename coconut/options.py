"""Command-line options out of the config dataclasses: `--es.sigma 0.1`, one per leaf."""

from __future__ import annotations

import argparse
import difflib
import json
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, NoReturn

from coconut import config as configs
from coconut.config import EMBEDDED, FitConfig, InputError


class Parser(argparse.ArgumentParser):
    """argparse that raises InputError, so that every bad input ends the same way."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{**kwargs, "allow_abbrev": False})

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message[:1].upper()}{message[1:]}; see {self.prog} --help.")


def add_config_options(parser: argparse.ArgumentParser, model: str = EMBEDDED) -> None:
    """Add `--NAME` for every leaf of FitConfig, and `--config FILE`; the help says what holds for `model`."""
    group = parser.add_argument_group(f"settings of a fit, with their defaults for the model {model}")
    group.add_argument("--config", metavar="FILE", help="a config.json; the options below override it")
    add_options(group, model)


def add_options(group: argparse._ArgumentGroup, model: str = EMBEDDED, names: Collection[str] | None = None) -> None:
    """Add `--NAME` for the leaves of FitConfig that are among `names`; None: for all."""
    for name, spec, default in configs.walk(configs.defaults(model)):
        if names is not None and name not in names:
            continue
        kind, _ = configs.base_type(_hint(name))
        by_model = ", by the model" if name in configs.BY_MODEL else ""
        text = f"{spec.metadata['help']} (default: {default}{by_model})".replace("%", "%%")
        keywords: dict[str, Any] = {"dest": f"config:{name}", "default": argparse.SUPPRESS, "help": text}
        if kind is bool:
            keywords |= {"action": argparse.BooleanOptionalAction}
        else:
            keywords |= {"type": kind, "metavar": kind.__name__.upper()}
            keywords |= {"nargs": "?", "const": spec.metadata["bare"]} if spec.metadata["bare"] else {}
        group.add_argument(f"--{name}", **keywords)


def model_of(argv: Sequence[str] | None) -> str:
    """The model that a command line is about, so that its help can say what holds for it."""
    peek = Parser(add_help=False, exit_on_error=False)
    peek.add_argument("--model", default=None)
    peek.add_argument("--config", default=None)
    try:
        args, _ = peek.parse_known_args(argv)
        return args.model or (read_config(Path(args.config)).model if args.config else EMBEDDED)
    except (InputError, argparse.ArgumentError):
        return EMBEDDED  # the command itself will say what is wrong


def overrides(args: argparse.Namespace) -> dict[str, Any]:
    """The settings given explicitly on the command line, by dotted name."""
    return {key.removeprefix("config:"): value for key, value in vars(args).items() if key.startswith("config:")}


def config_from_args(args: argparse.Namespace) -> FitConfig:
    """FitConfig of the `--config` file (else the defaults) with the overrides on top."""
    return configs.from_dict(overrides(args), read_config(Path(args.config)) if args.config else None)


def read_config(path: Path) -> FitConfig:
    """The settings in a config.json. Raises InputError when it is missing or not one."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"No settings at {path}; give the config.json of an earlier fit.") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not JSON; give the config.json of an earlier fit.") from error
    if not isinstance(values, dict):
        raise InputError(f"{path} holds no settings; give the config.json of an earlier fit.")
    return configs.from_dict(values)


def parse(parser: argparse.ArgumentParser, argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse strictly: an unknown option is an InputError that names the nearest known one."""
    args, unknown = parser.parse_known_args(argv)
    for word in unknown:
        if word.startswith("-"):
            known = _known_options(parser)
            near = difflib.get_close_matches(word.split("=")[0], known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"see {parser.prog} --help."
            raise InputError(f"Unknown option {word}; {hint}")
        raise InputError(f"Unexpected word {word!r}; see {parser.prog} --help.")
    return args


def _known_options(parser: argparse.ArgumentParser) -> list[str]:
    options: list[str] = []
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for sub in action.choices.values():
                options += _known_options(sub)
        options += action.option_strings
    return options


def _hint(name: str) -> Any:
    cls: type = FitConfig
    for part in name.split("."):
        found = configs.hints(cls)[part]
        cls = found
    return found
