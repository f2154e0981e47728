"""What of a transcript can be read aloud: the letters of its language, and no emoji.

espeak-ng names what it cannot read ("Chinese letter", "grinning face", "asterisk"), and a voice would be
fitted to those words.
"""

from __future__ import annotations

import html
import re
import unicodedata

LATIN = frozenset({"LATIN"})
_OTHERS = {  # scripts, by the first word of their letters' Unicode names, and the espeak-ng languages written in them
    "CYRILLIC": "ba be bg cv kaa kk ky mk nog ru sr tk tt uk uz",
    "ARABIC": "ar fa ku sd ug ur",
    "GREEK": "el grc",
    "HEBREW": "he",
    "DEVANAGARI": "hi kok mr ne",
    "BENGALI": "as bn bpy",
    "GURMUKHI": "pa",
    "GUJARATI": "gu",
    "ORIYA": "or",
    "TAMIL": "ta",
    "TELUGU": "te",
    "KANNADA": "kn",
    "MALAYALAM": "ml",
    "SINHALA": "si",
    "THAI": "th",
    "GEORGIAN": "ka",
    "ARMENIAN": "hy hyw",
    "ETHIOPIC": "am ti",
    "MYANMAR": "my shn",
    "CHEROKEE": "chr",
    "HANGUL": "ko",
    "HIRAGANA KATAKANA": "ja",
    "CJK": "cmn hak ja ko yue",
    "SHAVIAN": "en-shaw",
}
EITHER = {"cmn", "hak", "kaa", "kk", "ku", "sr", "tk", "tt", "uz", "yue"}  # which are written in Latin as well
STYLED = ("<font>", "<wide>", "<narrow>")  # letters that differ from plain ones by their looks alone
UNSPOKEN = "*_~^`|\\<>[]{}•†‡"
NAMED = "°№"  # symbols that are words
ENTITY = re.compile(r"&#?\w+;")  # of HTML, such as &amp;
TAG = re.compile(r"(?:</?[A-Za-z][^<>]*>)+")  # of HTML, or of a game's dialogue
NOISE = re.compile(  # what is heard beside the speech
    r"\s*[\[(<]\s*(?:laugh\w*|noise|music|applause|silence|breath\w*|cough\w*|sigh\w*|inaudible|unintelligible|pause|beep|crosstalk)"
    r"\s*[\])>]",
    re.IGNORECASE,
)
JOINERS = "\u200c\u200d"  # they shape letters, and emoji


def scripts(lang: str) -> frozenset[str]:
    """Scripts that the espeak-ng language `lang` is written in, by the first word of their letters' names."""
    names = (lang, lang.partition("-")[0])
    found = {name for scripts, langs in _OTHERS.items() if set(names) & set(langs.split()) for name in scripts.split()}
    return frozenset(found) | LATIN if found else LATIN


def foreign(text: str, lang: str) -> str:
    """Letters of `text`, each once, that `lang` is not written in; "" where it can be read.

    Latin words may stand in any language; a language of another script is none where most letters are Latin.
    """
    known = scripts(lang)
    letters = [sign for sign in plain(text) if unicodedata.category(sign) in ("Ll", "Lu", "Lt", "Lo")]
    strange = [sign for sign in letters if _script(sign) not in known]
    if known == LATIN or strange or lang.partition("-")[0] in EITHER or "-latn" in lang:
        return "".join(dict.fromkeys(strange))
    latin = [sign for sign in letters if _script(sign) == "LATIN"]
    return "".join(dict.fromkeys(latin)) if 2 * len(latin) > len(letters) else ""


def cleaned(text: str) -> tuple[str, str]:
    """(`text` without signs that nobody reads aloud, those signs, each once).

    Emoji, asterisks, brackets and their like go, and so do tags and noises such as [laughter], of which the first sign
    is told; letters in fancy fonts become plain ones.
    """
    kept: list[str] = []
    gone = [found[0].strip()[0] for pattern in (NOISE, TAG) for found in pattern.finditer(text)]
    text = TAG.sub(_apart, NOISE.sub(_apart, text))
    text = plain(ENTITY.sub(lambda found: html.unescape(found[0]), text))
    for place, sign in enumerate(text):
        if _spoken(sign) or (sign in JOINERS and text[place - 1 : place].isalpha()):
            kept.append(sign)
        else:
            gone.append(sign)
            between = sign in "|\\_" or unicodedata.category(sign) == "So"
            kept.append(" " if between and text[place + 1 : place + 2].isalnum() else "")
    shown = (sign for sign in gone if unicodedata.category(sign) not in ("Cf", "Mn", "Me", "Cc"))
    return " ".join("".join(kept).split()), "".join(dict.fromkeys(shown))


def _apart(found: re.Match[str]) -> str:
    """What keeps two words apart where the text between them goes."""
    before, after = found.string[: found.start()][-1:], found.string[found.end() :][:1]
    return " " if before.isalnum() and after.isalnum() else ""


def plain(text: str) -> str:
    """Letters and digits in bold, wide or script forms as their plain ones; white space as single spaces."""
    return "".join(
        unicodedata.normalize("NFKC", sign) if unicodedata.decomposition(sign).startswith(STYLED) else sign
        for sign in " ".join(text.split())
    )


def _spoken(sign: str) -> bool:
    kind = unicodedata.category(sign)
    if sign in NAMED:
        return True
    return sign not in UNSPOKEN and kind not in ("So", "Sk", "Cf", "Cc", "Co", "Cn", "Cs") and not _variant(sign)


def _variant(sign: str) -> bool:
    """The marks that make an emoji of a sign: variation selectors and the frame of a key."""
    return "\ufe00" <= sign <= "\ufe0f" or sign == "\u20e3"


def _script(letter: str) -> str:
    """The first word of its name; signs that stand in Latin texts, such as the micro sign, count as Latin."""
    name = unicodedata.name(letter, "UNNAMED")
    return "LATIN" if letter in "µªº" else name.partition(" ")[0]
