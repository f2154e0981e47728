"""What one fit leaves in its folder: voice, audio, curves, settings, steps.

    voice.pt       the voicepack at the best held-out score, all 510 rows
    target_*.wav   held-out recordings
    start_*.wav    the same texts in the voice the search began with
    nearest_*.wav  the same texts in the nearest stock voice
    voice_*.wav    the same texts in the fitted voice
    heldout.json   held-out scores of fitted and nearest voice with each utterance left out, for their errors
    train.png      score, loss and sigma against syntheses; best and stop marked
    config.json    the settled settings
    steps.jsonl    one line per generation
    state.pt       what resumes the fit
    result.json    score and test score of the voice and of the nearest stock voice

Every file is written to a temporary name and renamed.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from coconut import audio, voicepack
from coconut.build import Fitting, hear_test
from coconut.config import FitConfig, InputError, to_dict
from coconut.files import replacing, write_text
from coconut.fit import Best
from coconut.synthesis import kernels

LEFT_OUT = "heldout.json"

Row = dict[str, Any]


def write(folder: Path, fitting: Fitting, rows: Sequence[Row], best: Best, stop: str) -> dict[str, Path]:
    """Write all artifacts of a fit into `folder`; returns {file name: path}.

    Raises InputError when the voice's rows are rougher than any stock voice's.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    paths = [write_config(folder, fitting.config), write_rows(folder, rows), plot(folder, rows, stop)]
    pack = fitting.voicepack(best.genome)
    paths.append(export(pack, folder / "voice.pt", limit=roughness_limit(fitting.voices)))
    voices = {"voice": pack}
    if fitting.job.nearest:
        voices["nearest"] = fitting.voices[fitting.job.nearest.name]
    paths.append(write_left_out(folder, fitting, voices))
    paths += speak_heldout(folder, fitting, {**voices, "start": fitting.voicepack(fitting.space.init())})
    for index, utterance in enumerate(fitting.job.heldout):
        paths.append(audio.save(folder / f"target_{index}.wav", utterance.audio))
    return {path.name: path for path in paths}


def export(pack: Tensor, path: Path, limit: float = voicepack.ROUGHNESS_LIMIT) -> Path:
    """Save a voicepack unless its rows are rougher than those of stock voices."""
    rough = voicepack.roughness(pack)
    if rough > limit:
        raise InputError(
            f"The rows of the voice for {Path(path).name} are rougher ({rough:.4f}) than stock voices' ({limit:.4f}): "
            "texts of other lengths would be noise, so it is not written."
        )
    return voicepack.save(pack, path)


def roughness_limit(voices: dict[str, Tensor]) -> float:
    """The roughest row-to-row change among the stock voices, or Kokoro's where that is more."""
    return max(voicepack.ROUGHNESS_LIMIT, *(voicepack.roughness(pack) for pack in voices.values()))


def speak_heldout(folder: Path, fitting: Fitting, packs: dict[str, Tensor]) -> list[Path]:
    """Held-out texts spoken by each named voicepack, as NAME_0.wav, NAME_1.wav, ..."""
    utterances = fitting.job.heldout
    script = fitting.synth.prepare([utterance.phonemes for utterance in utterances])
    stacked = torch.stack([pack.reshape(voicepack.ROWS, voicepack.STYLE) for pack in packs.values()])
    styles = stacked[:, script.rows]
    spoken = fitting.synth(script, styles)
    paths = []
    for p, name in enumerate(packs):
        for u in range(len(utterances)):
            wav = spoken.wav[p, u, : int(spoken.lens[p, u])].float().cpu()
            paths.append(audio.save(folder / f"{name}_{u}.wav", wav))
    return paths


def write_left_out(folder: Path, fitting: Fitting, packs: dict[str, Tensor]) -> Path:
    """heldout.json: per voice, its held-out scores with each utterance in turn left out."""
    scores = {name: fitting.score.left_out(pack) for name, pack in packs.items()}
    return write_text(folder / LEFT_OUT, json.dumps(scores) + "\n")


def read_left_out(folder: Path) -> dict[str, list[float]]:
    """What `write_left_out` wrote; empty where nothing was written, as by a trial that is not over."""
    path = folder / LEFT_OUT
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def write_config(folder: Path, config: FitConfig) -> Path:
    """config.json: the nested settings, readable by `from_dict` and `coconut fit --config`."""
    return write_text(folder / "config.json", json.dumps(to_dict(config), indent=2) + "\n")


def write_result(folder: Path, fitting: Fitting, best: Best, stop: str) -> tuple[Path, dict[str, Any]]:
    """result.json, for a fit that is over: its voice and the nearest stock voice on the test utterances.

    This is the one time the test is heard; `test_score` is null where there are too few recordings for one. `kernels`
    says how a GPU computed what has a kernel of our own, "" on a CPU.
    """
    nearest = fitting.job.nearest
    voices = {"voice": (fitting.voicepack(best.genome), best.score)}
    if nearest:
        voices["nearest"] = (fitting.voices[nearest.name], nearest.score)
    result: dict[str, Any] = {"stop": stop, "generation": best.generation, "job": fitting.job.hash}
    synth = fitting.synth
    result |= {"device": str(synth.device), "precision": synth.precision, "kernels": kernels.used(synth.device)}
    for name, (pack, score) in voices.items():
        heard = hear_test(fitting.job, pack, fitting.config)
        result[name] = {"score": score, "test_score": heard.score if heard else None}
        result[name] |= {"test_parts": heard.parts if heard else {}}
    if nearest:
        result["nearest"]["name"] = nearest.name
    return write_text(folder / "result.json", json.dumps(result, indent=2) + "\n"), result


def write_rows(folder: Path, rows: Sequence[Row]) -> Path:
    """steps.jsonl, anew."""
    return write_text(folder / "steps.jsonl", "".join(json.dumps(row) + "\n" for row in rows))


def read_rows(folder: Path, until: int | None = None) -> list[Row]:
    """The rows of steps.jsonl, up to generation `until` where it is given."""
    path = folder / "steps.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    rows = json.loads(f"[{','.join(lines)}]")  # at once, so that rows share their names: a sweep holds those of all
    return [row for row in rows if until is None or row["generation"] <= until]


def save_state(folder: Path, state: dict[str, Any]) -> Path:
    """state.pt, what `step.state()` gave, replaced in one move."""
    with replacing(folder / "state.pt") as temporary:
        torch.save(state, temporary)
    return folder / "state.pt"


def load_state(folder: Path) -> dict[str, Any] | None:
    """What `save_state` wrote, or None. Raises InputError when the file cannot be read."""
    path = folder / "state.pt"
    if not path.is_file():
        return None
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise InputError(f"{path} cannot be read; remove the folder and start the fit again.") from error
    return state


def plot(folder: Path, rows: Sequence[Row], stop: str) -> Path:
    """train.png: held-out score, losses, and sigma where it changes, against syntheses."""
    moves = len({row["sigma"] for row in rows}) > 1
    with matplotlib.rc_context({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False}):
        figure = Figure(figsize=(8, 8 if moves else 6.8), layout="constrained")
        heights = [3, 2, 1.2][: 3 if moves else 2]
        panels = figure.subplots(len(heights), 1, sharex=True, height_ratios=heights)
        bottom = panels[-1]
        _plot_score(panels[0], rows, stop)
        _plot_losses(panels[1], rows)
        if moves:
            _line(bottom, rows, "sigma", "sigma", color="tab:purple")
            bottom.set(ylabel="sigma", ylim=(0, None))
        bottom.set(xlabel="syntheses (candidates x utterances)")
        bottom.xaxis.set_major_locator(MaxNLocator(integer=True))
        with replacing(folder / "train.png") as temporary:
            figure.savefig(temporary, dpi=110, format="png")
    return folder / "train.png"


def _plot_score(axes: Axes, rows: Sequence[Row], stop: str) -> None:
    _line(axes, rows, "score", "score of the mean", color="tab:blue", marker=".")
    _line(axes, rows, "best_score", "best so far", color="tab:green", drawstyle="steps-post", alpha=0.6)
    last = rows[-1]
    axes.axhline(rows[0]["score"], color="0.6", lw=0.8, ls=":", label="start voice")
    peak = next(row["syntheses"] for row in rows if row["generation"] == last["best_generation"])
    axes.plot(peak, last["best_score"], "*", ms=13, color="tab:green", label="kept voice")
    axes.axvline(last["syntheses"], color="tab:red", lw=1, ls="--", label=f"stopped: {stop}")
    axes.set(ylabel="held-out score (0-100)", title=_title(rows))
    axes.legend(loc="best", frameon=False, ncols=2)


def _title(rows: Sequence[Row]) -> str:
    gain = rows[-1]["best_score"] - rows[0]["score"]
    return f"{rows[0]['score']:.1f} at the start, {rows[-1]['best_score']:.1f} at the peak ({gain:+.1f})"


def _plot_losses(axes: Axes, rows: Sequence[Row]) -> None:
    _line(axes, rows, "loss", "population mean", color="0.2", lw=2)
    terms = sorted({name for row in rows for name in row if name.startswith("loss.") and not name.endswith(".best")})
    for term in terms:
        _line(axes, rows, term, term.removeprefix("loss."), lw=0.9)
    axes.set(ylabel="loss (terms unweighted)")
    if axes.lines:
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, 1.16), frameon=False, ncols=8, fontsize=7)


def _line(axes: Axes, rows: Sequence[Row], name: str, label: str, **style: Any) -> None:
    points = [(row["syntheses"], row[name]) for row in rows if name in row]
    if points:
        axes.plot(*zip(*points, strict=True), label=label, **style)
