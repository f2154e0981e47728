"""Several processes that speak on one device at once: what they make together, against one alone."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import torch

from coconut.audio import SAMPLE_RATE
from coconut.synthesis import Synthesizer
from coconut.synthesis.memory import keep_within
from tests.kmodels import kokoro_config, random_model, random_phonemes, random_styles


@dataclass(frozen=True)
class Share:
    """What each of `processes` processes does for `seconds`."""

    model: str
    device: str
    precision: str
    popsize: int
    window: tuple[int, ...]
    processes: int
    seconds: float
    threads: int


def together(share: Share, patience: float) -> list[float]:
    """Seconds of audio per second, of each process. Raises RuntimeError where one fails, or takes over `patience` s."""
    spawn = torch.multiprocessing.get_context("spawn")  # CUDA cannot be forked
    barrier, results = spawn.Barrier(share.processes), spawn.Queue()
    workers = [spawn.Process(target=_speak, args=(share, barrier, results)) for _ in range(share.processes)]
    for worker in workers:
        worker.start()
    try:
        found = [results.get(timeout=patience) for _ in workers]
    finally:
        for worker in workers:
            worker.join(5)
            if worker.is_alive():
                worker.terminate()
    failed = [said for said in found if isinstance(said, str)]
    if failed:
        raise RuntimeError(failed[0])
    return found


def _speak(share: Share, barrier: Any, results: Any) -> None:
    try:
        results.put(_rate(share, barrier))
    except Exception as error:
        barrier.abort()
        results.put(f"{type(error).__name__}: {error}".splitlines()[0])


@torch.no_grad()
def _rate(share: Share, barrier: Any) -> float:
    device = torch.device(share.device)
    torch.set_num_threads(share.threads)
    if device.type == "cuda" and share.processes > 1:
        keep_within(1 / share.processes)
    model = random_model(kokoro_config() if share.model == "kokoro" else None).to(device)
    synth = Synthesizer(model, precision=share.precision)
    script = synth.prepare([random_phonemes(count, 1000 + i, model.vocab) for i, count in enumerate(share.window)])
    centre = random_styles(1, len(script), seed=77, std=0.2)

    def population(seed: int) -> torch.Tensor:
        return (centre + 0.15 * random_styles(share.popsize, len(script), seed=seed, std=0.2)).to(device)

    for seed in range(2):  # programs, plans of convolutions, clocks
        synth(script, population(seed))
    barrier.wait()
    begun, samples, seed = time.perf_counter(), 0.0, 2
    while time.perf_counter() - begun < share.seconds:
        samples += float(synth(script, population(seed)).lens.sum())  # waits for the device
        seed += 1
    return samples / SAMPLE_RATE / (time.perf_counter() - begun)
