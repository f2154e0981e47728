"""How long recordings take to be read, and in how much memory: many short ones, twice, and an hour in one file.

    python -m experiments.bench.reading clips --count 300
    python -m experiments.bench.reading hour --format m4a

flite speaks sentences of word lists. Each figure is of a process of its own, on one thread; the cache begins empty.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import av
import numpy as np
import soundfile

from experiments.bench.cutting import sentence, speak

RATE = 24_000
CODECS = {"m4a": ("ipod", "aac"), "webm": ("webm", "libopus"), "aac": ("adts", "aac")}
SENTENCES = 40  # different ones in an hour
PAUSE = 0.4  # s between them
# What a process does: only the lines that are timed count.
COLLECT = "from coconut.job import collect as work"
PREPARE = "from coconut.job import prepare as work"
TREAT = "from coconut.audio import TooLongError, treat"


def clips(folder: Path, count: int) -> None:
    """So many recordings of about 3 s, each with its text."""
    rng = np.random.default_rng(0)
    for k in range(count):
        text = sentence(rng)
        soundfile.write(folder / f"{k:03d}.wav", speak("slt", text, folder / "flite.tmp"), RATE)
        (folder / f"{k:03d}.txt").write_text(text)
    (folder / "flite.tmp").unlink()


def hour(path: Path, minutes: float) -> None:
    """One recording of that length, in the format of its suffix."""
    rng = np.random.default_rng(0)
    said = [speak("slt", sentence(rng), path.with_suffix(".tmp")) for _ in range(SENTENCES)]
    path.with_suffix(".tmp").unlink()
    wav = np.concatenate([np.pad(said[k % SENTENCES], (0, round(PAUSE * RATE))) for k in range(int(minutes * 30))])
    wav = np.resize(wav, round(minutes * 60 * RATE)).astype(np.float32)
    if path.suffix[1:] not in CODECS:
        soundfile.write(path, wav, RATE)
        return
    container, codec = CODECS[path.suffix[1:]]
    with av.open(str(path), "w", format=container) as out:
        stream: Any = out.add_stream(codec, rate=48000, layout="mono")
        to_codec = av.AudioResampler(format=stream.codec_context.format, layout="mono", rate=48000)
        for start in range(0, len(wav), RATE):
            frame = av.AudioFrame.from_ndarray(wav[None, start : start + RATE], format="flt", layout="mono")
            frame.sample_rate, frame.pts = RATE, start
            for part in to_codec.resample(frame):
                out.mux(stream.encode(part))
        out.mux(stream.encode(None))


def measured(lines: str, cache: Path) -> str:
    """What a fresh process says of `lines`, which it times: seconds of its processor, and MiB beyond its imports."""
    code = "\n".join([
        "import time, warnings; warnings.simplefilter('ignore')",
        "from experiments.bench.reading import peak",
        "import coconut.job; from coconut.config import from_dict",
        lines.partition("\n")[0],
        "before = peak(anew=True)",
        "start, cpu = time.perf_counter(), time.process_time()",
        lines.partition("\n")[2],
        "used = peak() - before",
        "wall, cpu = time.perf_counter() - start, time.process_time() - cpu",
        "print(f'{cpu:.1f} s of one core ({wall:.1f} s), {used / 1024:.0f} MiB')",
    ])  # fmt: skip
    environment = {**os.environ, "XDG_CACHE_HOME": str(cache), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, check=True, capture_output=True, text=True
    ).stdout


def peak(anew: bool = False) -> int:
    """The most memory that this process held, in KiB; `anew`: from now on. Linux alone tells."""
    if anew:
        Path("/proc/self/clear_refs").write_text("5")
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("clips", "hour"))
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--format", default="wav", help="of the hour: wav, flac, ogg, m4a, aac, webm (default: wav)")
    parser.add_argument("--minutes", type=float, default=60)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        data, cache = Path(folder, "data"), Path(folder, "cache")
        data.mkdir()
        if args.what == "hour":
            path = data / f"hour.{args.format}"
            hour(path, args.minutes)
            lines = f"{TREAT}\ntry: treat({str(path)!r})\nexcept TooLongError as error: print(error.seconds, 's')"
            print(f"{args.format}: {measured(lines, cache)}", end="")
            return
        clips(data, args.count)
        config = f"from_dict({{'data': {str(data)!r}, 'limit': {args.count}, 'device': 'cpu'}})"
        for name, work in (("read", COLLECT), ("read again", COLLECT), ("prepared", PREPARE), ("again", PREPARE)):
            print(f"{args.count} clips {name}: {measured(f'{work}{chr(10)}work({config})', cache)}", end="", flush=True)


if __name__ == "__main__":
    main()
