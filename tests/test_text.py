"""Text to phonemes: figures as words, signs that are not spoken, letters of another script."""

import importlib.metadata
import sys
import types
import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coconut import text, words, writing
from coconut.config import InputError


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    """Without the dictionary's model, and with nothing remembered."""

    original = importlib.metadata.distribution

    def missing(name):
        if name == text.SPACY_MODEL:
            raise importlib.metadata.PackageNotFoundError(name)
        return original(name)

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

    import misaki.espeak  # noqa: F401  (it asks for versions of its own)

    monkeypatch.setattr(text.importlib.metadata, "distribution", lambda name: name)
    monkeypatch.setitem(sys.modules, "misaki.en", types.SimpleNamespace(G2P=G2P))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert text.phonemize("Hello.") == "dˈɪkʃənˌɛɹi 6"
    assert calls == [(False, "EspeakFallback", "")]
    assert text.prepare("en-us") is None


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("42 and 105", "forty two and one hundred five"),
        ("1,234,567", "one million two hundred thirty four thousand five hundred sixty seven"),
        ("3.14, 0.5 and .5", "three point one four, zero point five and point five"),
        ("-5 to 1.2.3", "minus five to one two three"),
        ("In 1999, 1905 and 2024.", "In nineteen ninety nine, nineteen oh five and twenty twenty four."),
        ("the 1990s and '90s", "the nineteen nineties and 'nineties"),
        ("1st, 22nd, 3rd, 12th", "first, twenty second, third, twelfth"),
        ("May 3rd, 2021", "May third, twenty twenty one"),
        ("2024-05-06", "twenty twenty four zero five zero six"),
        ("555-1234, 3/4", "five hundred fifty five twelve thirty four, three four"),
        ("0123", "zero one two three"),
        ("7-105, 7-110, 7-100", "seven one oh five, seven one ten, seven one hundred"),
        ("$5.50", "five dollars and fifty cents"),
        ("$1, $0.50, $1,000.", "one dollar, fifty cents, one thousand dollars."),
        ("£1.01 or 20 €", "one pound and one penny or twenty euros"),
        ("$3.5 million", "three point five million dollars"),
        ("50%, #1, No. 5", "fifty percent, number one, number five"),
        ("10:30 a.m.", "ten thirty AM."),
        ("7:05 or 10:00", "seven oh five or ten o'clock"),
        ("20°C, 5° off", "twenty degrees Celsius, five degrees off"),
        ("J. R. R. Tolkien", "J R R Tolkien"),
        ("the U.S.A. and e.g. this", "the USA and e g this"),
        ("It was I. He left.", "It was I. He left."),
        ("Mr. Smith, Dr. No, St. John", "Mister Smith, Doctor No, Saint John"),
        ("MP3, R2D2, 5ft", "MP three, R two D two, five ft"),
        ("A plain sentence, isn't it?", "A plain sentence, isn't it?"),
    ],
)
def test_figures_and_abbreviations_are_words_as_misaki_reads_them(written, said):
    assert words.spoken(written) == said


@pytest.fixture(scope="module")
def lexicon():
    """misaki's own dictionary of English, which it reads figures by; only to tag words does it need spaCy's model."""
    from misaki.en import Lexicon

    return Lexicon(british=False)


FIGURES = (
    "42 105 1,234,567 1999 1905 2000 2005 2024 3.14 0.5 .5 10.25 1st 22nd 3rd 12th 1990s 90s 0 100 1001 10000 1.2.3 -5 "
    "-05 -105 -110 -12345 -1234 -100 $5.50 $1 $0.50 $1,000 $5.00 $1500 €20 £2.02"
)


@pytest.mark.parametrize("figure", FIGURES.split())
def test_figures_are_read_as_misaki_reads_them(figure, lexicon):
    """Those with a minus stand behind another figure, as those of a telephone number do, but for -5."""
    sign, rest = (figure[0], figure[1:]) if figure[0] in words.MONEY else (None, figure)
    behind = figure[0] == "-" and figure != "-5"
    theirs, _ = lexicon.get_number(rest.removeprefix("-") if behind else rest, sign, not behind, "")
    ours = words.spoken(f"7{figure}" if behind else figure).split()[behind:]

    def sound(word):
        plural = lexicon.stem_s(word, None, None, None) if word.endswith("s") else (None, None)
        return plural[0] or lexicon.lookup(word, None, None, None)[0]

    assert bare("".join(map(sound, ours))) == bare(theirs)


def bare(phonemes):
    """Without stress, which depends on the words beside, and without spaces."""
    return "".join(sign for sign in phonemes if sign not in "ˈˌ ")


@given(st.text("0123456789.,:-/$€%°# aAsth'", max_size=30))
def test_no_figure_is_left_over_or_raises(written):
    assert not any(sign.isdecimal() for sign in words.spoken(written))


@pytest.mark.filterwarnings("ignore:spaCy")
def test_espeak_reads_numbers_without_stops_in_them():
    assert text.phonemize("It was $5.50.") == text.phonemize("It was five dollars and fifty cents.")
    assert "." not in text.phonemize("Mr. J. R. Smith, 3.14")


@pytest.mark.filterwarnings("ignore:spaCy")
@pytest.mark.parametrize(
    ("written", "read", "gone"),
    [
        ("*Hello*, world!", "Hello, world!", "*"),
        ("Hello,😀 world👍🏽!", "Hello, world!", "😀👍🏽"),
        ("Hello,\u200b world!", "Hello, world!", ""),
        ("𝐇𝐞𝐥𝐥𝐨, Ｗｏｒｌｄ!", "Hello, World!", ""),
        ("5️⃣ • ten™ | [two] 🇩🇪", "5 ten two", "•™|[]🇩🇪"),
        ("naïve: 5% & 3°", "naïve: 5% & 3°", ""),
        ("[laughter] <b>Hello</b>, Tom &amp; you (sigh).", "Hello, Tom & you.", "[(<"),
        ("<color=#FFD780FF>Hello</color><br/>world", "Hello world", "<"),
        ("One [two] (three) &c; 2 < 3", "One two (three) &c; 2 3", "[]<"),
    ],
)
def test_signs_that_nobody_reads_aloud_are_not_spoken(written, read, gone):
    assert writing.cleaned(written) == (read, gone)
    assert text.phonemize(written) == text.phonemize(read)
    assert "ˈæstəɹ" not in text.phonemize(written)


@pytest.mark.filterwarnings("ignore:spaCy")
@pytest.mark.parametrize(
    ("lang", "written", "strange"),
    [
        ("en-us", "漢字 and 漢", "漢字"),
        ("en-us", "مرحبا", "مرحبا"),
        ("en-gb", "Hello, Привет", "Привет"),
        ("en-us", "naïve café, 5 µm, 1ª", ""),
        ("fr-fr", "L'été, un œuvre", ""),
        ("vi", "Tiếng Việt", ""),
        ("ru", "Привет, iPhone", ""),
        ("ru", "Hello you", "Heloyu"),
        ("sr", "Zdravo", ""),
        ("el", "Привет", "Привет"),
        ("hi", "नमस्ते", ""),
        ("ja", "こんにちは、漢字カタカナ", ""),
        ("ja", "안녕", "안녕"),
        ("cmn", "你好", ""),
        ("cmn-latn-pinyin", "ni3 hao3", ""),
        ("en-us", "?!", ""),
    ],
)
def test_letters_of_another_script_are_not_read_as_their_names(lang, written, strange):
    assert writing.foreign(written, lang) == strange
    if strange:
        with pytest.raises(InputError, match=f"has letters that {lang} is not written in .{strange}.; give its lang"):
            text.phonemize(written, lang)


def test_languages_with_a_script_are_those_of_espeak():
    import misaki.espeak  # noqa: F401  (it says where the library is)
    from phonemizer.backend import EspeakBackend

    known = {name.partition("-")[0] for name in EspeakBackend.supported_languages()} | {"en-shaw"}
    assert {lang for langs in writing._OTHERS.values() for lang in langs.split()} <= known
    assert known >= writing.EITHER
