"""Text to phonemes in Kokoro's symbols.

English goes through misaki's dictionary where its spaCy model is installed, and through `words` and
espeak-ng by misaki's mapping where it is not; other languages always through espeak-ng. Which
symbols a model knows is the synthesizer's business.
"""

from __future__ import annotations

import importlib.metadata
import logging
import warnings
from collections.abc import Callable
from functools import cache
from types import SimpleNamespace

from coconut import words, writing
from coconut.config import InputError

LONGEST = 510  # phonemes Kokoro reads at once: its context of 512 less two boundary tokens
ENGLISH = {"en-us": False, "en-gb": True}  # lang -> British
SPACY_MODEL = "en_core_web_sm"
WITHOUT_DICTIONARY = (
    f"spaCy's {SPACY_MODEL} is not installed, so espeak-ng phonemises English; Kokoro was trained on misaki's "
    f"dictionary: python -m spacy download {SPACY_MODEL}"
)


def phonemize(text: str, lang: str = "en-us") -> str:
    """Kokoro phonemes of `text`, punctuation and stress kept; emoji and their like are not spoken.

    Raises InputError for an unknown language, for letters that the language is not written in, and
    for a text without anything to pronounce.
    """
    read = _g2p(lang)
    strange = writing.foreign(text, lang)
    if strange:
        raise InputError(
            f"The text {_short(text)!r} has letters that {lang} is not written in ({_short(strange, 12)}); "
            "give its language by --lang."
        )
    spoken, _ = writing.cleaned(text)
    phonemes = " ".join(read(spoken).split()) if spoken else ""
    if not any(symbol.isalpha() for symbol in phonemes):
        raise InputError(f"The text {_short(text)!r} has nothing to pronounce; write words.")
    return phonemes


def prepare(lang: str) -> str | None:
    """Load what phonemises `lang`; a sentence when it is a second choice. InputError if unknown."""
    _g2p(lang)
    return WITHOUT_DICTIONARY if lang in ENGLISH and not _installed(SPACY_MODEL) else None


@cache
def _g2p(lang: str) -> Callable[[str], str]:
    logging.getLogger("phonemizer").setLevel(logging.ERROR)
    if lang in ENGLISH:
        return _english(ENGLISH[lang])
    from misaki.espeak import EspeakG2P

    try:
        g2p = EspeakG2P(lang)
    except RuntimeError as error:
        raise InputError(
            f"lang is {lang!r}, which espeak-ng does not know; use en-us, en-gb, or one of its codes."
        ) from error
    return lambda text: g2p(text)[0]


def _english(british: bool) -> Callable[[str], str]:
    from misaki.espeak import EspeakFallback

    espeak = EspeakFallback(british=british)
    if _installed(SPACY_MODEL):
        from misaki.en import G2P

        dictionary = G2P(british=british, fallback=espeak, unk="")
        return lambda text: dictionary(text)[0]
    warnings.warn(WITHOUT_DICTIONARY, stacklevel=2)
    return lambda text: espeak(SimpleNamespace(text=words.spoken(text)))[0] or ""


@cache
def _installed(package: str) -> bool:
    """misaki itself would download a missing model, so it is not asked."""
    try:
        importlib.metadata.distribution(package)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _short(text: str, size: int = 40) -> str:
    return text if len(text) <= size else text[: size - 3] + "..."
