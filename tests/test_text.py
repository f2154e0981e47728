"""Text to phonemes, and cutting what is too long."""

import importlib.metadata
import sys
import types
import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coconut import text
from coconut.config import InputError


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    """Without the dictionary's model, and with nothing remembered."""

    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(text.importlib.metadata, "distribution", missing)
    for cached in (text._g2p, text._installed):
        cached.cache_clear()
    yield
    for cached in (text._g2p, text._installed):
        cached.cache_clear()


@pytest.mark.filterwarnings("ignore:spaCy")
@pytest.mark.parametrize(
    ("words", "lang", "phonemes"),
    [
        ("Hello, world!", "en-us", "həlˈO, wˈɜɹld!"),
        ("Hello, world!", "en-gb", "həlˈQ, wˈɜːld!"),
        ("  Hello,\n\tworld! ", "en-us", "həlˈO, wˈɜɹld!"),
        ("The judge chose a boy.", "en-us", "ðə ʤˈʌʤ ʧˈOz ə bˈY."),
        ("42", "en-us", "fˈɔɹTi tˈu"),
        ("Hola, ¿qué tal?", "es", "ˈola, ¿kˈe tˈal?"),
    ],
)
def test_known_words(words, lang, phonemes):
    assert text.phonemize(words, lang) == phonemes


@pytest.mark.filterwarnings("ignore:spaCy")
@pytest.mark.parametrize("words", ["", "   ", "...", "?!", "—", "\n"])
def test_nothing_to_pronounce_is_an_error(words):
    with pytest.raises(InputError, match="nothing to pronounce"):
        text.phonemize(words)


def test_unknown_language_is_one_sentence():
    with pytest.raises(InputError, match="lang is 'xx', which espeak-ng does not know") as error:
        text.phonemize("Hello.", "xx")
    assert "\n" not in str(error.value)


def test_the_second_choice_is_said_once_in_a_process():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(3):
            text.phonemize("Hello.")
    assert [str(warning.message) for warning in caught] == [text.WITHOUT_DICTIONARY]
    assert text.prepare("en-us") == text.WITHOUT_DICTIONARY
    assert text.prepare("es") is None


def test_the_dictionary_is_used_where_its_model_is_installed(monkeypatch):
    """A stand-in for misaki.en, which downloads the model when it is missing."""
    calls = []

    class G2P:
        def __init__(self, british, fallback, unk):
            calls.append((british, type(fallback).__name__, unk))

        def __call__(self, words):
            return f"dˈɪkʃənˌɛɹi {len(words)}", None

    monkeypatch.setattr(text.importlib.metadata, "distribution", lambda name: name)
    monkeypatch.setitem(sys.modules, "misaki.en", types.SimpleNamespace(G2P=G2P))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert text.phonemize("Hello.") == "dˈɪkʃənˌɛɹi 6"
    assert calls == [(False, "EspeakFallback", "")]
    assert text.prepare("en-us") is None


@pytest.mark.parametrize(
    ("phonemes", "limit", "kept"),
    [
        ("abc def.", 8, "abc def."),
        ("abc def. ghi jkl", 12, "abc def."),
        ("abc. def. ghi jkl", 12, "abc. def."),
        ("abc. def, ghi jkl", 12, "abc."),
        ("abc def, ghi jkl", 12, "abc def,"),
        ("abc def ghi jkl", 12, "abc def ghi"),
        ("abcdefghijklmnop", 12, "abcdefghijkl"),
        ("a bcdefghijklmnop", 12, "a bcdefghijk"),
        ("abc def! ghi.", 12, "abc def!"),
        ("abc 3.14 defghi", 9, "abc 3.14"),
    ],
)
def test_cut_prefers_the_end_of_a_sentence_then_a_clause_then_a_word(phonemes, limit, kept):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert text.cut(phonemes, limit) == kept
    assert len(caught) == (len(phonemes) > limit)
    if caught:
        assert f"{len(phonemes)} phonemes is longer than {limit}; only the first {len(kept)}" in str(caught[0].message)


@pytest.mark.filterwarnings("ignore:A text of")
@given(st.text("abˈɪ .,!?", max_size=80), st.integers(1, 40))
def test_cut_is_a_beginning_within_the_limit(phonemes, limit):
    kept = text.cut(phonemes, limit)
    assert phonemes.startswith(kept)
    assert len(kept) <= limit or kept == phonemes
    assert text.cut(kept, limit) == kept
