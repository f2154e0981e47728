"""Texts of recordings that have none, by Whisper (Radford et al., 2022), where it can be had."""

from __future__ import annotations

import itertools
import logging
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import soxr

from coconut.audio import SAMPLE_RATE, files
from coconut.config import InputError
from coconut.data import Item
from coconut.waiting import bar

RATE = 16_000  # Hz that Whisper hears
CHUNK = 30.0  # s that it hears at once; the pipeline cuts what is longer, and joins the texts
STEP = CHUNK * 2 / 3  # s from one to the next: a sixth of each is heard on either side of it too
LANGUAGES = {"cmn": "zh", "nb": "no"}  # espeak-ng's names that are not Whisper's


class Transcriber:
    """transcriber(item): what is said in a recording. `name`: a Whisper model of the hub, or its folder.

    Raises InputError where the model cannot be had.
    """

    def __init__(self, name: str, lang: str, device: str = "cpu") -> None:
        where = "" if Path(name).is_dir() else ", from the hub unless it was fetched before"
        with bar(f"loading {name}{where}"):
            self.pipeline = _load(name, device)
        self.options = {"num_beams": 1, **_language(self.pipeline.model.generation_config, lang)}

    def __call__(self, item: Item) -> str:
        """The text, "" where nothing was understood. Raises InputError as audio.load does."""
        sound = _sound(item)
        chunks = 1 + math.ceil(max(0.0, len(sound) / RATE - CHUNK) / STEP)
        with bar(f"transcribing {item.name}", chunks) as tell, self._counted(tell):
            found = self.pipeline(sound, chunk_length_s=CHUNK, ignore_warning=True, generate_kwargs=self.options)
        return " ".join(str(found["text"]).split())

    @contextmanager
    def _counted(self, tell: Callable[[int], None]) -> Iterator[None]:
        """Tell how many chunks were begun, each time that the model hears one."""
        count = itertools.count(1)
        hook = self.pipeline.model.get_encoder().register_forward_hook(lambda *_: tell(next(count)))
        try:
            yield
        finally:
            hook.remove()


def _load(name: str, device: str) -> Any:
    import transformers

    logging.getLogger("transformers").setLevel(logging.ERROR)
    transformers.utils.logging.disable_progress_bar()
    try:
        model = transformers.WhisperForConditionalGeneration.from_pretrained(name)
        processor = transformers.WhisperProcessor.from_pretrained(name)
    except (OSError, ValueError, RuntimeError, KeyError, TypeError) as error:
        raise _unavailable(name) from error
    return transformers.pipeline(
        "automatic-speech-recognition",
        model=model,
        tokenizer=processor.tokenizer,
        feature_extractor=processor.feature_extractor,
        device=device,
    )


def _language(known: Any, lang: str) -> dict[str, str]:
    """What to tell the model; nothing where it knows one language alone, or not this one: then it decides."""
    code = lang.partition("-")[0]
    language = LANGUAGES.get(code, code)
    told = f"<|{language}|>" in (getattr(known, "lang_to_id", None) or {})
    return {"language": language, "task": "transcribe"} if told else {}


def _sound(item: Item) -> npt.NDArray[np.float32]:
    """All of a recording [N] at RATE."""
    assert item.audio is not None
    resample = soxr.ResampleStream(SAMPLE_RATE, RATE, 1, dtype="float32", quality="HQ")
    parts = [resample.resample_chunk(piece.numpy()) for piece in files.pieces(item.audio, item.name)]
    return np.concatenate([*parts, resample.resample_chunk(np.zeros(0, np.float32), last=True)])


def _unavailable(name: str) -> InputError:
    if Path(name).is_dir():
        return InputError(
            f"--transcribe {name} is not the folder of a Whisper model; give one that holds all its files."
        )
    return InputError(
        f"--transcribe {name} cannot be had from the hub; where the hub is in reach, type `hf download {name} "
        "--local-dir whisper`, and give that folder, or give each recording its text."
    )
