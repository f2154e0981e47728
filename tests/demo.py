"""Recordings of the demo's speaker, as a user would have them in a folder."""

import csv
from importlib import resources
from pathlib import Path

import soundfile

DEMO = resources.files("coconut") / "assets" / "demo"


def recordings(folder: Path, count: int) -> Path:
    """Make `folder` with the first `count` recordings of the demo, each with its .txt."""
    folder.mkdir()
    with (DEMO / "metadata.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))[:count]
    for row in rows:
        audio, rate = soundfile.read(str(DEMO / row["file_name"]))
        path = folder / Path(row["file_name"]).stem
        soundfile.write(path.with_suffix(".wav"), audio, rate)
        path.with_suffix(".txt").write_text(row["transcription"], encoding="utf-8")
    return folder
