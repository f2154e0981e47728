"""Voicepacks: one style vector per phoneme count, [510, 1, 256] float32.

Files that other Kokoro players read: `.pt` (hexgrad/kokoro: one tensor), `.npz` (one or
more named arrays) and `.bin` (raw little-endian float32, as kokoro-js reads; a file whose
content is an npz, as kokoro-onnx ships its voices, is recognised by its bytes).
"""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from coconut.config import InputError
from coconut.files import replacing
from coconut.text import LONGEST

ROWS, STYLE = LONGEST, 256  # 510: a row for every number of phonemes that Kokoro reads at once
ACOUSTIC, PROSODY = slice(0, 128), slice(128, 256)
# The 54 stock voices of Kokoro-82M reach 0.0013; packs walked by independent noise 0.06 and more.
ROUGHNESS_LIMIT = 0.0018


def load(path: str | Path, name: str | None = None) -> Tensor:
    """The voicepack in a file, [510, 1, 256] float32 on the CPU.

    `name` picks one voice of an npz. Raises InputError when the file is missing, unreadable, of
    another shape, or not finite, and for a name that it does not hold, or the lack of one among several.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"No voicepack at {path}; give a .pt, .npz or .bin file.")
    try:
        array = _read(path, name)
    except InputError:
        raise
    except Exception as error:
        kind = type(error).__name__
        raise InputError(f"{path} is not a readable voicepack ({kind}); give a .pt, .npz or .bin.") from error
    return validate(torch.as_tensor(np.asarray(array, dtype=np.float32)), str(path))


def validate(pack: Tensor, where: str = "the voicepack") -> Tensor:
    """`pack` as [510, 1, 256] float32, or InputError naming `where`."""
    if pack.numel() != ROWS * STYLE or pack.shape[0] != ROWS or pack.shape[-1] != STYLE:
        raise InputError(f"{where} has shape {list(pack.shape)}; a voicepack is [{ROWS}, 1, {STYLE}].")
    pack = pack.detach().to("cpu", torch.float32).reshape(ROWS, 1, STYLE).contiguous()
    if not bool(torch.isfinite(pack).all()):
        raise InputError(f"{where} holds NaN or infinite numbers; export the voice again.")
    return pack


def save(pack: Tensor, path: str | Path) -> Path:
    """Write a voicepack as .pt, .npz or .bin (by suffix), through a temporary name."""
    path = Path(path)
    pack = validate(pack)
    writers = {".pt": _save_pt, ".npz": _save_npz, ".bin": _save_bin}
    if path.suffix not in writers:
        raise InputError(f"Cannot write a voicepack as {path.name}; end the name in .pt, .npz or .bin.")
    with replacing(path) as temporary:
        writers[path.suffix](pack, temporary, path.stem)
    return path


def roughness(pack: Tensor) -> float:
    """Power of the differences between neighbouring rows over the power of the pack.

    sum_r |s[r+1] - s[r]|^2 / 509 divided by sum_r |s[r]|^2 / 510.
    """
    rows = pack.reshape(ROWS, STYLE).double()
    power = rows.square().mean()
    return float((rows[1:] - rows[:-1]).square().mean() / power) if power > 0 else 0.0


def _read(path: Path, name: str | None) -> np.ndarray:
    packed = zipfile.is_zipfile(path)
    if packed:
        with zipfile.ZipFile(path) as archive:
            arrays = [entry for entry in archive.namelist() if entry.endswith(".npy")]
        if arrays:
            return _read_npz(path, name)
    if name is not None:
        raise InputError(f"{path} holds one voice, which has no name; leave out --name {name}.")
    if path.suffix == ".bin" and not packed:
        return np.fromfile(path, dtype="<f4").reshape(-1, 1, STYLE)
    return torch.load(path, map_location="cpu", weights_only=True).float().numpy()


def _read_npz(path: Path, name: str | None) -> np.ndarray:
    with np.load(path, allow_pickle=False) as arrays:
        names = sorted(arrays.files)
        if name is None and len(names) > 1:
            raise InputError(f"{path} holds {len(names)} voices; choose one by --name: {', '.join(names)}.")
        if name is not None and name not in names:
            raise InputError(f"{path} has no voice {name}; it holds {', '.join(names)}.")
        return arrays[name or names[0]]


def _save_pt(pack: Tensor, path: Path, name: str) -> None:
    torch.save(pack.clone(), path)


def _save_npz(pack: Tensor, path: Path, name: str) -> None:
    """As np.savez does, which would take the name "file" for its own argument."""
    with zipfile.ZipFile(path, "w") as archive, archive.open(zipfile.ZipInfo(f"{name}.npy"), "w") as file:
        np.lib.format.write_array(file, pack.numpy(), allow_pickle=False)


def _save_bin(pack: Tensor, path: Path, name: str) -> None:
    pack.numpy().astype("<f4").tofile(path)
