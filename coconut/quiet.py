"""Third-party chatter off; our own warnings as plain sentences."""

from __future__ import annotations

import logging
import os
import sys
import warnings


def quiet() -> None:
    """Call before the libraries are imported: in the command line, and in every worker of a sweep."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    if not sys.stderr.isatty():  # on a terminal, a download shows its bytes
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("HF_HUB_VERBOSITY", "error")
    logging.getLogger("phonemizer").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")
    warnings.filterwarnings("default", module=r"coconut\.")
    warnings.formatwarning = lambda message, *_, **__: f"coconut: {message}\n"
