"""Every figure of a trained mini, printed and written as JSON: `python experiments/mini/evaluate.py`.

    --only size speed pitch copy words identity lines fit overcook   some figures only
    --quick          every fourth voice, fewer sentences, two targets

Needs the training data's cast (`pretrain.py data` makes it: 2 minutes) and the extra `dev`. Recognition is
pocketsphinx's with a closed grammar; identification is GE2E; F0 is WORLD's.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")
ROOT = Path(__file__).resolve().parents[2]
if __name__ == "__main__":
    sys.path[0] = str(ROOT)

import torch  # noqa: E402
from rich.console import Console  # noqa: E402
from rich.table import Table  # noqa: E402

from experiments.mini import figures, fits  # noqa: E402

ASSETS = [ROOT / "coconut" / "synthesis" / "assets", ROOT / "coconut" / "assets"]

# figure: (what it is, bound, whether it must be at least that)
BOUNDS: dict[str, tuple[str, float, bool]] = {
    "size_mib": ("all assets, MiB", 9.0, False),
    "rtf": ("real-time factor, one thread, batch 1", 0.05, False),
    "f0_within": ("output F0 within 15% of the driving F0", 0.92, True),
    "comb_db": ("excess of the 80 Hz comb, dB", 1.0, False),
    "copy_logmel": ("copy-synthesis log-mel L1", 0.40, False),
    "wer_excess": ("closed-grammar word error above espeak's", 0.05, False),
    "id_voices_top1": ("speaker identification, top 1", 0.85, True),
    "id_voices_top3": ("speaker identification, top 3", 0.97, True),
    "line_both": ("straight lines between styles that are monotone", 0.9, True),
    "fit_gain": ("withheld voices: log-mel gain over the nearest stock voice", 0.08, True),
    "overcooked": ("one 1.5 s clip, 256 dims: held-out score peaks, then falls", 0.75, True),
}


def main() -> None:
    options = _options()
    torch.set_num_threads(1)
    bench = figures.Bench(options.folder / "data", step=4 if options.quick else options.step)
    parts: dict[str, Callable[[], dict[str, Any]]] = {
        "size": lambda: figures.size(ASSETS),
        "speed": lambda: figures.speed(bench),
        "pitch": lambda: figures.pitch(bench),
        "copy": lambda: figures.copy(bench),
        "words": lambda: figures.words(bench, 12 if options.quick else 60),
        "identity": lambda: figures.identity(bench),
        "lines": lambda: figures.lines(bench, 6 if options.quick else 30),
        "fit": lambda: fits.withheld(bench, 2 if options.quick else options.targets),
        "overcook": lambda: fits.overcook(bench, 2 if options.quick else options.targets),
    }
    console, found = Console(), {}
    try:
        for name in options.only or parts:
            with console.status(name):
                began = time.process_time()
                found.update(parts[name]())
                found[f"seconds_{name}"] = round(time.process_time() - began, 1)
            console.print(f"[dim]{name}: {found[f'seconds_{name}']} CPU seconds[/dim]")
    except KeyboardInterrupt:
        console.print("Stopped; what was measured so far:")
    console.print(_table(found))
    for key, value in found.items():
        if key not in BOUNDS:
            console.print(f"[dim]{key}[/dim] {value if not isinstance(value, float) else round(value, 4)}")
    _write(options.out, found)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    choices = ("size", "speed", "pitch", "copy", "words", "identity", "lines", "fit", "overcook")
    parser.add_argument("--only", nargs="+", choices=choices)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--targets", type=int, default=8, help="withheld speakers of fit and overcook")
    parser.add_argument("--step", type=int, default=2, help="pitch and copy use every so many voices")
    parser.add_argument("--folder", type=Path, default=ROOT / "runs" / "mini")
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "mini" / "figures.json")
    return parser.parse_args()


def _table(found: dict[str, Any]) -> Table:
    table = Table("figure", "found", "asked", "")
    for key, (text, bound, least) in BOUNDS.items():
        if key in found:
            good = found[key] >= bound if least else found[key] <= bound
            sign = ">=" if least else "<="
            table.add_row(text, f"{found[key]:.3f}", f"{sign} {bound:g}", "[green]yes" if good else "[red]no")
    return table


def _write(path: Path, found: dict[str, Any]) -> None:
    """Merge into what an earlier run with --only wrote."""
    earlier = json.loads(path.read_text()) if path.exists() else {}
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".tmp")
    partial.write_text(json.dumps({**earlier, **found}, indent=1))
    os.replace(partial, path)


if __name__ == "__main__":
    main()
