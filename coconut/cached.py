"""What was computed before, in the user's cache folder: never that of another input, or of other code.

The name of a file is a digest of all that its content was computed of, so that nothing has to be declared stale. A file
that is damaged counts as none, and the folder may be deleted at any time.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import io
import json
import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from coconut.files import cache_folder, replacing

# What coconut computes with; another version of it may give another last bit.
LIBRARIES = ("torch", "numpy", "scipy", "soxr", "soundfile", "av", "pyloudnorm", "kokoro", "misaki", "transformers")
CHECKED = 32  # bytes of a checksum, before the content


def place(kind: str, *parts: object) -> Path:
    """The file of this `kind` for what is computed of `parts`, which JSON can write, by the code as it is."""
    key = json.dumps([program(), *parts]).encode()
    return cache_folder() / kind / hashlib.sha256(key).hexdigest()[:40]


@cache
def program() -> str:
    """A digest of coconut's code and of the versions of its libraries, in hexadecimal."""
    digest = hashlib.sha256()
    root = Path(__file__).parent
    for path in sorted(root.rglob("*.py")):
        digest.update(f"\n{path.relative_to(root)}\n".encode())
        digest.update(path.read_bytes())
    digest.update(json.dumps([importlib.metadata.version(name) for name in LIBRARIES]).encode())
    return digest.hexdigest()


def digest_of(tensors: Mapping[str, Tensor]) -> str:
    """Of tensors on any device, to the last bit, in hexadecimal."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def read(path: Path) -> Any:
    """What is kept there, None where nothing is; from now on the latest that was used."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    checksum, body = content[:CHECKED], content[CHECKED:]
    if hashlib.sha256(body).digest() != checksum:
        return None
    with contextlib.suppress(OSError):  # of a folder that cannot be written
        os.utime(path)
    return torch.load(io.BytesIO(body), weights_only=True)


def write(path: Path, value: Any) -> None:
    """Keep a value of tensors, numbers, texts, lists and dicts there, whole or not at all.

    Where that cannot be, it costs the same computation the next time, and nothing else.
    """
    file = io.BytesIO()
    torch.save(value, file)
    body = file.getvalue()
    with contextlib.suppress(OSError), replacing(path) as temporary:
        temporary.write_bytes(hashlib.sha256(body).digest() + body)


def tidy(kind: str, most: int) -> None:
    """Delete what was not used for longest, until all of this `kind` takes at most so many bytes."""
    try:
        found = [(entry.stat(), entry.path) for entry in os.scandir(cache_folder() / kind)]
    except OSError:
        return
    size = sum(known.st_size for known, _ in found)
    for known, path in sorted(found, key=lambda entry: entry[0].st_mtime_ns):
        if size <= most:
            return
        with contextlib.suppress(OSError):  # another process may tidy as well
            os.unlink(path)
        size -= known.st_size
