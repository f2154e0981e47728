"""Make the embedded model from nothing: `python experiments/mini/pretrain.py`.

Speech by espeak-ng (56 speakers, 3.6 hours, made in 2 to 4 minutes), then the prosody and the acoustic half side by
side (one thread each), then the assets. Everything lies in runs/mini and goes on from there when started again.
Needs the extra `dev` (espeakng-loader, pyworld). With the default steps it takes two hours and a quarter on
two free cores; `--device cuda` moves the halves to a GPU.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")
ROOT = Path(__file__).resolve().parents[2]
if __name__ == "__main__":
    sys.path[0] = str(ROOT)

STAGES = ("data", "prosody", "acoustic", "assemble", "demo")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage", nargs="?", choices=("all", *STAGES), default="all")
    parser.add_argument("--folder", type=Path, default=ROOT / "runs" / "mini", help="data and checkpoints")
    parser.add_argument("--prosody-steps", type=int, default=3300)
    parser.add_argument("--acoustic-steps", type=int, default=30000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu", help="of the two halves: cpu, cuda")
    options = parser.parse_args()
    if options.stage == "all":
        _all()
    else:
        _stage(options)


def _all() -> None:
    """Every stage in order, each a process of its own; the two halves at the same time."""
    command = [sys.executable, "-W", "ignore", __file__]
    rest = [word for word in sys.argv[1:] if word != "all"]
    try:
        subprocess.run([*command, "data", *rest], check=True)
        halves = [subprocess.Popen([*command, half, *rest]) for half in ("prosody", "acoustic")]
        if any(half.wait() for half in halves):
            raise SystemExit("A half did not finish; the same command goes on from its last checkpoint.")
        for stage in ("assemble", "demo"):
            subprocess.run([*command, stage, *rest], check=True)
    except KeyboardInterrupt:
        raise SystemExit("Stopped; the same command goes on from the last checkpoints.") from None


def _stage(options: argparse.Namespace) -> None:
    from experiments.mini import acoustic, assemble, data, prosody

    if options.stage == "data":
        data.build(options.folder / "data", seed=options.seed, processes=os.cpu_count() or 2)
    elif options.stage == "prosody":
        prosody.train(options.folder, options.prosody_steps, options.seed, options.device)
    elif options.stage == "acoustic":
        acoustic.train(options.folder, options.acoustic_steps, options.seed, options.device)
    elif options.stage == "assemble":
        assemble.write(options.folder, ROOT / "coconut" / "synthesis" / "assets")
    else:
        assemble.demo(options.folder, ROOT / "coconut" / "assets" / "demo")


if __name__ == "__main__":
    main()
