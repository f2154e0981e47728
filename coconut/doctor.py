"""What works on this machine: one finding per thing that a fit may need."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import shutil
from collections.abc import Callable
from dataclasses import dataclass

import torch

from coconut.audio import SAMPLE_RATE
from coconut.config import EMBEDDED


@dataclass(frozen=True)
class Check:
    """A thing that a fit may need; `needed` when the demo does not run without it."""

    name: str
    ok: bool
    finding: str
    needed: bool = True


def examine() -> list[Check]:
    """All checks; each is tried, none raises."""
    return [
        Check("versions", True, ", ".join(_versions())),
        Check("accelerator", torch.cuda.is_available(), _device(), needed=False),
        _try("embedded model", _mini),
        _try("speaker encoder", _speaker),
        _try("phonemes", _phonemes),
        Check("spaCy English", importlib.util.find_spec("en_core_web_sm") is not None, _spacy(), needed=False),
        _try("model hub", _hub, needed=False),
        Check("disk", True, f"{shutil.disk_usage('.').free / 2**30:.0f} GiB free here"),
    ]


def _try(name: str, check: Callable[[], str], needed: bool = True) -> Check:
    try:
        return Check(name, True, check(), needed)
    except Exception as error:
        return Check(name, False, str(error).splitlines()[0] if str(error) else type(error).__name__, needed)


def _versions() -> list[str]:
    names = ("coconut", "torch", "kokoro", "transformers", "pyarrow", "ray", "optuna", "mlflow")
    found = []
    for name in names:
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            found.append(f"{name} not installed")
    return found


def _device() -> str:
    if not torch.cuda.is_available():
        return f"none that torch sees; {torch.get_num_threads()} CPU threads"
    free, total = torch.cuda.mem_get_info()
    return f"{torch.cuda.get_device_name()}, {free / 2**30:.0f} of {total / 2**30:.0f} GiB free"


def _mini() -> str:
    from coconut.synthesis import Synthesizer, load_model, stock_voices

    model = load_model(EMBEDDED)
    voices = stock_voices(model)
    synth = Synthesizer(model)
    script = synth.prepare(["həlˈO wˈɜɹld."])
    pack = next(iter(voices.values()))
    spoken = synth(script, pack[script.rows.cpu(), 0][None])
    return f"{len(voices)} voices; said 'hello world' in {int(spoken.lens[0, 0]) / SAMPLE_RATE:.2f} s of audio"


def _speaker() -> str:
    from coconut.losses import SpeakerEncoder

    return f"GE2E, {sum(p.numel() for p in SpeakerEncoder().parameters()) / 1e6:.1f} M parameters"


def _phonemes() -> str:
    from coconut.text import phonemize

    return f"'hello world' is {phonemize('hello world')}"


def _spacy() -> str:
    if importlib.util.find_spec("en_core_web_sm"):
        return "English is phonemised by misaki's dictionary"
    return "English is phonemised by espeak-ng; python -m spacy download en_core_web_sm is finer"


def _hub() -> str:
    from huggingface_hub import HfApi

    HfApi().model_info("hexgrad/Kokoro-82M", timeout=5)
    return "hexgrad/Kokoro-82M can be reached"
