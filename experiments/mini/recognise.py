"""Words that pocketsphinx hears, by the closed grammar of `texts.GRAMMAR`; a fresh decoder for every file."""

from __future__ import annotations

import numpy as np
import soxr

from . import texts

RATE = 24000


def words(wav: np.ndarray) -> list[str]:
    """The words recognised in wav [T] at 24 kHz, [] for none."""
    import pocketsphinx

    slots = " ".join("(" + " | ".join(slot) + ")" for slot in texts.GRAMMAR)
    decoder = pocketsphinx.Decoder(loglevel="FATAL", lm=None)
    decoder.add_jsgf_string("g", f"#JSGF V1.0; grammar g; public <s> = {slots};")
    decoder.activate_search("g")
    pcm = np.pad(soxr.resample(wav, RATE, 16000), 4000)
    pcm = pcm + np.random.default_rng(0).normal(0, 1e-3, len(pcm))  # digital silence upsets its cepstral mean
    decoder.start_utt()
    decoder.process_raw((pcm.clip(-1, 1) * 32767).astype(np.int16).tobytes(), full_utt=True)
    decoder.end_utt()
    guess = decoder.hyp()
    return guess.hypstr.split() if guess else []


def errors(said: list[str], wav: np.ndarray) -> int:
    """How many of the words said, one per slot, were not recognised in their place."""
    heard = words(wav)
    heard += [""] * (len(said) - len(heard))
    return sum(a != b for a, b in zip(said, heard, strict=False))
