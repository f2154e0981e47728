"""English figures, currency, abbreviations and initials as words, for espeak-ng.

espeak-ng breaks a text at every full stop and colon, and so reads $5.50 as "dollar five. fifty", and
it knows no years. The words here are those of misaki's own English, which needs spaCy: years in pairs,
money with its unit behind, decimals by digit, no "and" within a number, and no pause behind an
abbreviation.
"""

from __future__ import annotations

import re

from num2words import num2words

MONEY = {  # sign -> (one, many, its hundredth, hundredths)
    "$": ("dollar", "dollars", "cent", "cents"),
    "€": ("euro", "euros", "cent", "cents"),
    "£": ("pound", "pounds", "penny", "pence"),
    "¥": ("yen", "yen", "sen", "sen"),
    "₹": ("rupee", "rupees", "paisa", "paise"),
}
ABBREVIATIONS = {
    "Mr": "Mister", "Mrs": "Missus", "Ms": "Miz", "Dr": "Doctor", "Prof": "Professor", "St": "Saint", "Mt": "Mount",
    "Jr": "Junior", "Sr": "Senior", "Capt": "Captain", "Col": "Colonel", "Gen": "General", "Lt": "Lieutenant",
    "Sgt": "Sergeant", "Rev": "Reverend", "vs": "versus", "Vs": "versus",
}  # fmt: skip
SIGNS = {"%": "percent", "+": "plus", "=": "equals", "×": "times", "÷": "divided by"}
LONGEST = 15  # digits of a number that is read as one; longer ones are read digit by digit

_SIGN, _WHOLE = "".join(re.escape(sign) for sign in MONEY), r"(?:\d{1,3}(?:,\d{3})+|\d+)"
_FIGURE = rf"{_WHOLE}(?:\.\d+)?"
_SCALE = r"(?:\s+(hundred|thousand|million|billion|trillion))?\b"
_BEFORE = re.compile(rf"([{_SIGN}])\s?({_FIGURE}){_SCALE}")  # $5.50, $3 million
_BEHIND = re.compile(rf"({_FIGURE}){_SCALE}\s?([{_SIGN}])")  # 20 €
_ABBREVIATION = re.compile(rf"\b({'|'.join(ABBREVIATIONS)})\.")
_NUMBER_SIGN = re.compile(r"(?:\bNo\.|#|№)\s?(?=\d)")
_CLOCK = re.compile(r"\b(\d{1,2}):([0-5]\d)\b(?!:)")
_DOTTED = re.compile(r"\b(?:[A-Za-z]\.\s?){2,}")
_INITIAL = re.compile(r"\b([B-HJ-Z])\.(?=\s+[A-Z])")
_DEGREES = re.compile(r"\s?°(?:\s?([CF])\b)?")
_MINUS = re.compile(r"(?<![\w.,)])[-−](?=\.?\d)")
_NUMBER = re.compile(rf"(?P<joint>(?<=\d)[-–/:])?(?P<digits>{_WHOLE}(?:\.\d+)*|\.\d+)(?P<suffix>(?:st|nd|rd|th|s)\b)?")
_SIGNS = re.compile(rf"\s*([{''.join(SIGNS)}])(?=(\w)?)")


def spoken(text: str) -> str:
    """`text` with what is written in figures and signs as words; words themselves stay as they are."""
    text = _ABBREVIATION.sub(lambda found: ABBREVIATIONS[found[1]], text)
    text = _NUMBER_SIGN.sub("number ", text)
    text = _INITIAL.sub(r"\1", _DOTTED.sub(_letters, text))
    text = _BEFORE.sub(lambda found: _money(found[1], found[2], found[3]), text)
    text = _BEHIND.sub(lambda found: _money(found[3], found[1], found[2]), text)
    text = _CLOCK.sub(_time, text)
    text = _DEGREES.sub(lambda found: " degrees" + {"C": " Celsius", "F": " Fahrenheit"}.get(found[1] or "", ""), text)
    text = _NUMBER.sub(_figures, _MINUS.sub("minus ", text))
    text = _SIGNS.sub(lambda found: f" {SIGNS[found[1]]}{' ' if found[2] else ''}", text)
    return " ".join(text.split())


def _letters(found: re.Match[str]) -> str:
    """Initials without their stops, but for that of the text. Letters with an A stay together: it is no article."""
    letters = re.findall(r"[A-Za-z]", found[0])
    word = "".join(letters).upper() if "a" in found[0].lower() else " ".join(letters)
    return word + (" " if found[0][-1].isspace() else "." if found.end() == len(found.string) else "")


def _money(sign: str, figure: str, scale: str | None) -> str:
    """$5.50: five dollars and fifty cents; $3.5 million: three point five million dollars."""
    one, many, hundredth, hundredths = MONEY[sign]
    whole, _, rest = figure.replace(",", "").partition(".")
    if scale or len(rest) not in (0, 2):
        return f"{_number(figure)} {f'{scale} ' if scale else ''}{many}"
    parts = [(int(whole), one, many)] if int(whole) or not int(rest or 0) else []
    parts += [(int(rest), hundredth, hundredths)] if int(rest or 0) else []
    return " and ".join(f"{_cardinal(str(count))} {one if count == 1 else many}" for count, one, many in parts)


def _time(found: re.Match[str]) -> str:
    hours, minutes = _cardinal(found[1]), int(found[2])
    if not minutes:
        return f"{hours} o'clock" if int(found[1]) in range(1, 13) else f"{hours} hundred"
    return f"{hours} {'oh ' if minutes < 10 else ''}{_cardinal(str(minutes))}"


def _figures(found: re.Match[str]) -> str:
    """A number where it stands: behind a hyphen, a slash or a colon by digits or in pairs, as misaki reads it."""
    digits, suffix = found["digits"], found["suffix"] or ""
    words = _ordinal(digits) if suffix in ("st", "nd", "rd", "th") else _number(digits, head=not found["joint"])
    if suffix == "s":
        words = words[:-1] + "ies" if words.endswith("y") else words + ("es" if words.endswith("x") else "s")
    before, after = found.string[: found.start()][-1:], found.string[found.end() :][:1]
    return f"{' ' if found['joint'] or before.isalpha() else ''}{words}{' ' if after.isalpha() else ''}"


def _number(digits: str, head: bool = True) -> str:
    plain = digits.replace(",", "")
    if plain.count(".") > 1:
        return " ".join(_number(part) for part in plain.split("."))
    whole, point, decimals = plain.partition(".")
    if point:
        return " ".join(filter(None, [whole and _cardinal(whole), "point", _each(decimals)]))
    if len(digits) == 4 and digits[0] != "0":
        return _words(num2words(int(digits), to="year"))
    if not head and (plain[0] == "0" or len(plain) > 3):
        return _each(plain)
    if not head and len(plain) == 3 and plain[1:] != "00":
        return f"{_each(plain[0])} {'oh ' if plain[1] == '0' else ''}{_cardinal(str(int(plain[1:])))}"
    return _cardinal(plain)


def _cardinal(digits: str) -> str:
    if len(digits) > LONGEST or (len(digits) > 1 and digits[0] == "0"):
        return _each(digits)
    return _words(num2words(int(digits)))


def _ordinal(digits: str) -> str:
    plain = digits.replace(",", "")
    return _words(num2words(int(plain), to="ordinal")) if plain.isdecimal() and len(plain) <= LONGEST else _each(plain)


def _each(digits: str) -> str:
    return " ".join(num2words(int(digit)) for digit in digits if digit.isdecimal())


def _words(number: str) -> str:
    """What num2words says, without commas, hyphens and "and"."""
    return re.sub(r" and |, |-", " ", number)
