"""Take the GE2E speaker encoder out of the resemblyzer wheel (Apache-2.0), as data.

    pip download --no-deps resemblyzer==0.1.4
    python experiments/mini/extract_ge2e.py Resemblyzer-0.1.4-py3-none-any.whl

writes coconut/losses/assets/ge2e.safetensors: the LSTM and the linear layer in float16.
Resemblyzer itself needs webrtcvad, which has no wheel; nothing else of it is used here.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import os
import zipfile
from pathlib import Path

import torch
from safetensors.torch import save_file

MEMBER = "resemblyzer/pretrained.pt"
TARGET = Path(__file__).resolve().parents[2] / "coconut/losses/assets/ge2e.safetensors"


def extract(wheel: Path, target: Path) -> None:
    """Write the network's weights in `wheel` to `target`, through a temporary name."""
    with zipfile.ZipFile(wheel) as archive:
        content = archive.read(MEMBER)
    state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)["model_state"]
    kept = {name: value.half().contiguous() for name, value in state.items() if name.startswith(("lstm.", "linear."))}
    origin = {
        "source": f"{wheel.name}:{MEMBER}",
        "sha256": hashlib.sha256(content).hexdigest(),
        "license": "Apache-2.0",
    }
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_suffix(".tmp")
    save_file(kept, temporary, metadata=origin)
    temporary.chmod(0o644)
    os.replace(temporary, target)
    print(f"{target}: {len(kept)} tensors, {target.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wheel", type=Path)
    parser.add_argument("--target", type=Path, default=TARGET)
    arguments = parser.parse_args()
    extract(arguments.wheel, arguments.target)
