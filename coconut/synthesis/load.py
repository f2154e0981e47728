"""A stock KModel and its voices: embedded, from the Hugging Face hub, or from a folder."""

from __future__ import annotations

import json
import pickle
import re
import warnings
import zipfile
from pathlib import Path
from typing import Any

import huggingface_hub
import kokoro
import torch
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, RepositoryNotFoundError
from torch import Tensor

from coconut.config import EMBEDDED, InputError
from coconut.prior import Prior
from coconut.synthesis import mini
from coconut.voicepack import ROWS, STYLE

PARTS = ("bert", "bert_encoder", "predictor", "text_encoder", "decoder")
CONFIG_KEYS = ("vocab", "n_token", "hidden_dim", "style_dim", "n_layer", "n_mels", "max_dur", "istftnet", "plbert")
# Weights that a complete checkpoint may lack: fixed transforms, norms that are the identity unless
# trained, and layers of ALBERT that synthesis never reads.
OPTIONAL = re.compile(r"\.stft\.|\.norm\.(weight|bias)$|^pooler\.|position_ids$|token_type_ids$")


def load_model(name: str, device: str | torch.device = "cpu", disable_complex: bool = False) -> Any:
    """A stock kokoro.KModel: float32, evaluation mode, no gradients. The global RNG stays untouched.

    Its decoder, most of the weights, stays on the CPU: `Synthesizer` holds what it needs of it on the device.
    name: `mini`, a hub repository such as `hexgrad/Kokoro-82M`, or a folder with config.json, one
    *.pth and voices/*.pt. Raises InputError, in a sentence, where it cannot be had or is damaged.
    """
    if name == EMBEDDED:
        model = mini.build_model(disable_complex=disable_complex)
    else:
        config, weights = _folder_files(Path(name)) if Path(name).is_dir() else _hub_files(name)
        model = _build(_read_config(config), weights, disable_complex)
        model.repo_id = str(name)
    try:
        return placed(model.eval().requires_grad_(False), device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"The device {str(device)!r} cannot be used: {_first_line(error)}.") from error


def placed(model: Any, device: str | torch.device) -> Any:
    """The model on a device, but for its decoder: a Synthesizer has that folded there, and reads it only to do so."""
    for part in PARTS:
        if part != "decoder":
            getattr(model, part).to(device)
    return model


def stock_voices(model: Any) -> dict[str, Tensor]:
    """{name: voicepack [510, 1, 256] float32 on the CPU}, sorted by name, of a model from `load_model`."""
    name = model.repo_id
    if name == EMBEDDED:
        return mini.voices()
    folder = Path(name) if Path(name).is_dir() else _hub_voices(name)
    files = sorted((folder / "voices").glob("*.pt"))
    if not files:
        raise InputError(f"{folder} has no voices/*.pt: put the model's stock voicepacks there.")
    return {file.stem: _read_voice(file) for file in files}


def style_prior(model: Any) -> Prior | None:
    """What is shipped about where the stock voices of the model lie; None: to be computed from them."""
    return mini.prior() if model.repo_id == EMBEDDED else None


def _read_voice(file: Path) -> Tensor:
    pack = _torch_load(file)
    if not isinstance(pack, Tensor) or pack.ndim != 3 or len(pack) < ROWS or pack.shape[1:] != (1, STYLE):
        shape = list(pack.shape) if isinstance(pack, Tensor) else type(pack).__name__
        raise InputError(f"{file} is not a voicepack of shape [{ROWS}, 1, {STYLE}], but {shape}: remove or replace it.")
    if not pack.isfinite().all():
        raise InputError(f"{file} has values that are not finite: remove or replace it.")
    return pack[:ROWS].float()


def _folder_files(folder: Path) -> tuple[Path, Path]:
    if not (folder / "config.json").is_file():
        raise InputError(f"{folder} has no config.json: copy the one that belongs to the model there.")
    weights = sorted(folder.glob("*.pth"))
    if len(weights) != 1:
        found = "no *.pth file" if not weights else f"{len(weights)} *.pth files"
        raise InputError(f"{folder} has {found}: a model folder holds exactly one, the weights.")
    return folder / "config.json", weights[0]


def _hub_files(name: str) -> tuple[Path, Path]:
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", name) or name.startswith((".", "/")):
        raise InputError(
            f"There is no model {name!r}: give {EMBEDDED}, a hub name such as hexgrad/Kokoro-82M, or a folder."
        )
    known = kokoro.KModel.MODEL_NAMES
    if name not in known:
        raise InputError(
            f"{name!r} is neither a folder nor a known Kokoro model ({', '.join(sorted(known))}): "
            "download it and pass its folder."
        )
    fetched = [_fetch(name, lambda f=f: huggingface_hub.hf_hub_download(name, f)) for f in ("config.json", known[name])]
    return Path(fetched[0]), Path(fetched[1])


def _hub_voices(name: str) -> Path:
    return Path(_fetch(name, lambda: huggingface_hub.snapshot_download(name, allow_patterns="voices/*.pt")))


def _fetch(name: str, download: Any) -> str:
    try:
        return download()
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise InputError(f"The hub has no repository {name!r}, or it is private: check the name.") from error
    except (HfHubHTTPError, OSError) as error:  # offline mode and connection errors are OSErrors
        raise InputError(
            f"{name} cannot be had from the hub ({type(error).__name__}): download it where the hub is in reach "
            f"and pass the folder, or use --model {EMBEDDED}."
        ) from error


def _read_config(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InputError(f"{path} is not JSON ({error}): copy it again.") from error
    missing = [key for key in CONFIG_KEYS if key not in config] if isinstance(config, dict) else list(CONFIG_KEYS)
    if missing:
        raise InputError(f"{path} has no entry {missing[0]!r}: it is not the config of a Kokoro model.")
    vocab, tokens = config["vocab"], config["n_token"]
    if not isinstance(vocab, dict) or not vocab:
        raise InputError(f"{path}: vocab must map phonemes to ids, as in hexgrad/Kokoro-82M.")
    for symbol, index in vocab.items():
        if not isinstance(index, int) or isinstance(index, bool) or not 0 <= index < tokens:
            raise InputError(f"{path}: vocab gives {symbol!r} the id {index!r}, which is not within 0 to {tokens - 1}.")
    return config


def _build(config: dict[str, Any], weights: Path, disable_complex: bool) -> Any:
    try:
        model = mini.architecture(config, disable_complex=disable_complex)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"{weights.parent / 'config.json'} does not describe a Kokoro model: {error!r}.") from error
    store = _torch_load(weights)
    if not isinstance(store, dict) or not all(isinstance(store.get(part), dict) for part in PARTS):
        raise InputError(f"{weights} does not hold the five parts of a Kokoro model ({', '.join(PARTS)}).")
    for part in PARTS:
        _fill(getattr(model, part), store[part], f"{weights}: {part}")
    return model


def _fill(module: torch.nn.Module, state: dict[str, Tensor], where: str) -> None:
    """load_state_dict that says which weights did not load; the stock loader passes over them in silence."""
    own = module.state_dict()
    state = {_native(key.removeprefix("module."), own): value for key, value in state.items()}
    missing = [key for key in own if key not in state and not OPTIONAL.search(key)]
    if missing:
        raise InputError(f"{where} lacks {len(missing)} weights, such as {missing[0]}: the file is incomplete.")
    try:
        _, unknown = module.load_state_dict(state, strict=False)
    except (RuntimeError, AttributeError) as error:
        raise InputError(f"{where} does not fit config.json: {_first_line(error, -1)}.") from error
    unknown = [key for key in unknown if not OPTIONAL.search(key)]
    if unknown:
        warnings.warn(f"{where}: {len(unknown)} weights have no place, such as {unknown[0]}.", stacklevel=2)
    if not all(value.isfinite().all() for value in module.state_dict().values() if value.is_floating_point()):
        raise InputError(f"{where} has weights that are not finite: copy the file again.")


def _native(key: str, own: dict[str, Any]) -> str:
    """The name of a weight-normed weight in the kokoro at hand: wheel and git HEAD differ."""
    for old, new in (
        ("weight_g", "parametrizations.weight.original0"),
        ("weight_v", "parametrizations.weight.original1"),
    ):
        for theirs, ours in ((old, new), (new, old)):
            if key.endswith("." + theirs) and key not in own:
                return key.removesuffix(theirs) + ours
    return key


def _torch_load(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, pickle.UnpicklingError, EOFError, ValueError, OSError, zipfile.BadZipFile, KeyError) as error:
        raise InputError(f"{path} cannot be read as torch weights ({_first_line(error)}): copy it again.") from error


def _first_line(error: BaseException, index: int = 0) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[index].strip().rstrip(".")
