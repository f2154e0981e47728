"""What works on this machine: one finding per thing that a fit may need."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import importlib.util
import shutil
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import torch

from coconut.audio import SAMPLE_RATE
from coconut.config import EMBEDDED
from coconut.synthesis import kernels
from coconut.synthesis.memory import ran_out

TROUBLES = {  # what torch says of a device, and what that means
    "not compiled with cuda": "this torch was built without CUDA; install one that was, as pytorch.org tells",
    "no nvidia driver": "the machine has no NVIDIA driver, or hides it from this program",
    "driver on your system is too old": "the NVIDIA driver is too old for this torch; renew it, or take an older torch",
    "no cuda gpus are available": "the driver shows no GPU; CUDA_VISIBLE_DEVICES may hide it",
    "no cuda-capable device": "the driver shows no GPU; CUDA_VISIBLE_DEVICES may hide it",
    "invalid device ordinal": "torch sees no GPU of this number; they are counted from 0",
    "busy or unavailable": "another process has it to itself (exclusive mode); end that one, or run fits one at a time",
    "exclusive": "another process has it to itself (exclusive mode); end that one, or run fits one at a time",
    "no kernel image": "this torch has no kernels for a GPU of its age; take another build or version",
    "could not run 'aten": "this torch was not built for it",
    "expected one of": "torch knows no such device; choose cpu, cuda, cuda:1 or mps",
    "invalid device string": "torch knows no such device; choose cpu, cuda, cuda:1 or mps",
}
FULL = "its memory is full; end other programs that use it, or wait for them"


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
        accelerator(),
        _try("embedded model", _mini),
        _try("speaker encoder", _speaker),
        _try("phonemes", _phonemes),
        Check("spaCy English", importlib.util.find_spec("en_core_web_sm") is not None, _spacy(), needed=False),
        _try("model hub", _hub, needed=False),
        Check("disk", True, f"{shutil.disk_usage('.').free / 2**30:.0f} GiB free here"),
    ]


def accelerator() -> Check:
    """The GPU that `--device auto` would take, if there is one."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what torch warns of, it also says in an error
        there = torch.cuda.is_available()
    if there:
        return dataclasses.replace(device("cuda"), name="accelerator", needed=False)
    return Check("accelerator", False, f"none that torch sees; {torch.get_num_threads()} CPU threads", needed=False)


def device(name: str) -> Check:
    """Whether the device `name` can be used now, what it is, and how much of its memory is whose. Never raises."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tried = torch.zeros(1, device=name)
            float(tried + 1)  # a kernel, and a value that comes back
            return Check("device", True, _described(tried.device))
    except Exception as error:
        return Check("device", False, f"{name} cannot be used: {trouble(error)}")


def elementwise(name: str) -> Check:
    """How a CUDA device computes elementwise layers."""
    return _try("kernels", lambda: kernels.state(torch.zeros(1, device=name).device), needed=False)


def trouble(error: BaseException) -> str:
    """What is wrong with a device, as one clause, of an error of torch's."""
    if ran_out(error):
        return FULL
    said = str(error).lower()
    known = next((meaning for words, meaning in TROUBLES.items() if words in said), None)
    return known or first_line(error)


def first_line(error: BaseException) -> str:
    """Of what an error says, or its type where it says nothing."""
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__


def _described(where: torch.device) -> str:
    if where.type != "cuda":
        return f"{where}, {torch.get_num_threads()} threads" if where.type == "cpu" else str(where)
    free, total = torch.cuda.mem_get_info(where)
    share = torch.cuda.get_per_process_memory_fraction(where)
    major, minor = torch.cuda.get_device_capability(where)
    return (
        f"{torch.cuda.get_device_name(where)}, compute capability {major}.{minor}, {free / 2**30:.1f} of "
        f"{total / 2**30:.1f} GiB free, share of this process {share:.2f}"
    )


def _try(name: str, check: Callable[[], str], needed: bool = True) -> Check:
    try:
        return Check(name, True, check(), needed)
    except Exception as error:
        return Check(name, False, first_line(error), needed)


def _versions() -> list[str]:
    names = ("coconut", "torch", "kokoro", "transformers", "pyarrow", "ray", "optuna", "mlflow")
    found = []
    for name in names:
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            found.append(f"{name} not installed")
    return found


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
