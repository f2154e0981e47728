"""Files that are called recordings: of every format and form, cut, lying, empty, or something else altogether."""

import io
import struct
import zipfile

import numpy as np
import pytest

from tests.hostile import CODECS, MORE, check, encoded, film, good, left, wav, wave, written

pytestmark = pytest.mark.filterwarnings("ignore:spaCy")
UNUSABLE = "unusable audio"


def sound(content, name="x.wav"):
    """A fifth recording of this content, or of what a function makes of the good one's."""
    return lambda case: case.add(name, content(wav(4)) if callable(content) else content, MORE)


def patched(place, code, *values):
    """The good recording with some numbers of its header changed."""
    return lambda content: content[:place] + struct.pack(code, *values) + content[place + struct.calcsize(code) :]


def form(name="x.wav", rate=24000, times=1, **options):
    """The good recording in another form."""
    return sound(written(np.repeat(wave(4)[:, None], times, 1), rate, **options), name)


def zipped(content):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as made:
        made.writestr("x.wav", content)
    return file.getvalue()


def claiming(samples):
    """A FLAC whose header says that it has so many samples."""
    content = bytearray(written(wave(4), format="FLAC"))
    content[21:26] = bytes([content[21] & 0xF0 | samples >> 32, *struct.pack(">I", samples & 0xFFFFFFFF)])
    return bytes(content)


def mp3():
    return written(wave(4), format="MP3")


ID3 = b"ID3\x04\0\0\0\0\0\x0a" + bytes(10)
NOISE = np.random.default_rng(0).standard_normal(36000) * 0.1

FORMS = {
    "8 bit": form(subtype="PCM_U8"),
    "24 bit": form(subtype="PCM_24"),
    "32 bit": form(subtype="PCM_32"),
    "double": form(subtype="DOUBLE"),
    "16-bit numbers as floats": sound(written(wave(4) * 32768, subtype="FLOAT")),
    "a millionth as loud": sound(written(wave(4) * 1e-3, subtype="FLOAT")),
    "mu-law": form(subtype="ULAW"),
    "A-law": form(subtype="ALAW"),
    "IMA ADPCM": form(subtype="IMA_ADPCM"),
    "MS ADPCM": form(subtype="MS_ADPCM"),
    "GSM": form(subtype="GSM610"),
    "RIFX": form(endian="BIG"),
    "RF64": form(format="RF64"),
    "WAVEX": form(format="WAVEX"),
    "W64": form("x.w64", format="W64"),
    "CAF": form("x.caf", format="CAF"),
    "AIFF": form("x.aiff", format="AIFF"),
    "AU": form("x.au", format="AU"),
    "FLAC": form("x.flac", format="FLAC"),
    "Vorbis": form("x.ogg", format="OGG"),
    "MP3": form("x.mp3", format="MP3"),
    "MP3 with a tag": sound(ID3 + mp3(), "x.mp3"),
    "MP3 behind junk": sound(bytes(500) + mp3(), "x.mp3"),
    "six channels": form(times=6),
    "channels that cancel": sound(written(np.stack([wave(4), -wave(4)], 1))),
    **{suffix: sound(encoded(4, suffix), f"x.{suffix}") for suffix in CODECS},
    "a film": sound(encoded(4, "m4a", picture=True), "x.mp4"),
    "m4a that is called wav": sound(encoded(4, "m4a")),
    "wav that is called mp3": sound(wav(4), "x.mp3"),
    "FLAC that is called ogg": form("x.ogg", format="FLAC"),
    ".WAV": sound(wav(4), "x.WAV"),
    "half a sample at the end": sound(lambda content: content[:-1]),
    "a header of 4 GB": sound(lambda content: patched(4, "<I", 2**32 - 1)(patched(40, "<I", 2**32 - 1)(content))),
    "a header of a year": sound(claiming(2**36 - 1), "x.flac"),
    "a header of nothing": sound(claiming(0), "x.flac"),
    "junk behind the sound": sound(lambda content: content + b"junk" * 1000),
}

LEFT = {
    "words": (b"words", "x.wav: cannot be decoded"),
    "nothing": (b"", "x.wav: cannot be decoded"),
    "a zip": (zipped, "x.wav: cannot be decoded"),
    "a page": (b"<html><body>404</body></html>", "cannot be decoded", "x.mp3"),
    "a picture": (b"\xff\xd8\xff\xe0\0\x10JFIF" + bytes(200), "cannot be decoded", "x.m4a"),
    "a score": (b"MThd\0\0\0\6\0\1\0\1\0`MTrk\0\0\0\4\0\xff\x2f\0", "cannot be decoded"),
    "a film without sound": (film(), "cannot be decoded", "x.mp4"),
    "a tag without sound": (ID3, "cannot be decoded", "x.mp3"),
    "a list of files": (b"ffconcat version 1.0\nfile '../outside.wav'\n", "cannot be decoded", "x.m4a"),
    "a playlist": (b"#EXTM3U\n#EXTINF:1,\n../outside.wav\n#EXT-X-ENDLIST\n", "cannot be decoded", "x.aac"),
    "an announcement": (b"v=0\nm=audio 5004 RTP/AVP 0\nc=IN IP4 127.0.0.1\n", "cannot be decoded", "x.m4a"),
    "half an m4a": (encoded(4, "m4a")[:3000], "x.m4a", "x.m4a"),
    "a header alone": (lambda content: content[:44], "is empty"),
    "no channel": (patched(22, "<H", 0), "cannot be decoded"),
    "64 channels": (written(np.repeat(wave(4)[:, None], 64, 1)), "has 64 channels; give it with one or two"),
    "no rate": (patched(24, "<I", 0), "cannot be decoded|samples a second"),
    "1 Hz": (patched(24, "<I", 1), "has 1 samples a second, at which nobody records"),
    "2 GHz": (patched(24, "<I", 2_000_000_000), "has 2000000000 samples a second"),
    "not a number": (written(np.where(np.arange(36000) == 5, np.nan, NOISE), subtype="FLOAT"), "NaN or infinite"),
    "infinite": (written(np.where(np.arange(36000) == 5, np.inf, NOISE), subtype="FLOAT"), "NaN or infinite"),
    "far too large": (written(NOISE * 1e30, subtype="FLOAT"), "far too large"),
    "zeros": (written(np.zeros(36000)), "is silent"),
    "one sample": (written([0.5]), "is silent but for an offset"),
    "a constant": (written(np.full(36000, 0.5)), "is silent"),
    "noise alone": (written(NOISE), "no speech"),
}

SHORT = {
    "a click": written(np.eye(1, 36000, 18000)[0]),
    "100 samples": written(wave(4)[:100]),
    "a header of 100 bytes": patched(40, "<I", 100)(wav(4)),
}


@pytest.mark.parametrize("name", FORMS)
def test_every_form_of_a_recording_is_read(case, name):
    check(case, good(FORMS[name]))


@pytest.mark.parametrize("name", LEFT)
def test_what_is_no_recording_is_left_out_counted_and_named(case, name):
    content, words, *called = LEFT[name]
    check(case, left(sound(content, *called), UNUSABLE, words))


@pytest.mark.parametrize("name", SHORT)
def test_what_is_too_short_is_left_out_counted_and_named(case, name):
    check(case, left(sound(SHORT[name]), "too short", "x.wav: 0.[01]. s of speech"))
