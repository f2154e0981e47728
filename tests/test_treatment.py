"""Recordings with noise, hum, an offset, clipping, an echo, half their bandwidth: heard rightly, or told."""

import csv
import functools
import io

import av
import numpy as np
import pytest
import soundfile
import soxr
import torch
from scipy.signal import fftconvolve

from coconut import audio, features, resources
from coconut.audio import files, mains, treatment
from coconut.config import InputError
from tests.demo import DEMO

CLIPS = ("demo_05.ogg", "demo_11.ogg")
VOICES = ("demo_05.ogg", "mk_07", "mk_43")  # a speaker whom no model knows, a woman and a man of `mini`


@functools.cache
def clip(name):
    """A recording [N] float64, with a quarter of a second before and after it; it has its own pitch and end."""
    return np.pad(soundfile.read(str(DEMO / name))[0] if name in CLIPS else spoken(name), 6000)


def spoken(name):
    """What a voice of the embedded model says [N]."""
    synth = resources.synthesizer("mini", "cpu", 0, "exact", 60.0)
    script = synth.prepare([features.TEXTS[0]])
    found = synth(script, resources.model("mini", "cpu").voices[name][script.rows, 0][None])
    return found.wav[0, 0, : int(found.lens[0, 0])].double().numpy()


def encoded(wav, rate=24000, subtype="FLOAT"):
    file = io.BytesIO()
    soundfile.write(file, wav, rate, format="WAV", subtype=subtype)
    return file.getvalue()


def treated(wav, rate=24000, **options):
    return audio.treat(encoded(wav, rate), "a.wav", **options)


def pitch(wav):
    found = audio.f0(wav[None], torch.tensor([len(wav)]))
    return float(found[found > 0].median())


def level(wav):
    """RMS of what the demo's speaker says, without the silence."""
    return np.sqrt(np.square(wav[np.abs(wav) > 1e-3]).mean())


def noisy(wav, decibels):
    noise = np.random.default_rng(0).standard_normal(len(wav))
    return wav + level(wav) * 10 ** (-decibels / 20) * noise


def humming(wav, decibels, base=50.03, harmonics=6):
    t = np.arange(len(wav)) / 24000
    tone = sum(np.sin(2 * np.pi * k * base * t + k) / k for k in range(1, harmonics + 1))
    return wav + level(wav) * 10 ** (decibels / 20) * tone / tone.std()


def echoing(wav, seconds=1.0):
    size = round(24000 * seconds)
    tail = np.random.default_rng(0).standard_normal(size) * 10 ** (-3 * np.arange(size) / size)
    return fftconvolve(wav, np.concatenate([[1.0], tail / np.linalg.norm(tail)]))


def muffled(wav):
    return soxr.resample(soxr.resample(wav, 24000, 8000), 8000, 24000)


ROWS = {  # what is done; what a note says of it; whether length and pitch are still right
    "20 dB": (lambda wav: noisy(wav, 20), set(), True),
    "10 dB": (lambda wav: noisy(wav, 10), {"noise"}, True),
    "0 dB": (lambda wav: noisy(wav, 0), {"noise"}, False),
    "hum": (lambda wav: humming(wav, -20, 60.0, 1), {"hum"}, True),
    "loud hum": (lambda wav: humming(wav, -10), {"hum"}, True),
    "offset": (lambda wav: wav + 0.1, {"offset"}, True),
    "clipping": (lambda wav: np.clip(wav, -0.1, 0.1), {"clipping"}, True),
    "echo": (echoing, {"reverb"}, False),
    "8 kHz": (muffled, {"bandwidth"}, True),
    "clean": (lambda wav: wav, set(), True),
}


@pytest.mark.parametrize("name", VOICES)
@pytest.mark.parametrize("row", ROWS)
def test_noise_table(row, name):
    change, kinds, right = ROWS[row]
    clean, found = treated(clip(name)), treated(change(clip(name)))
    assert kinds <= set(found.quality.faults)
    if row in ("20 dB", "clean"):
        assert not found.quality.faults
    if right:
        assert len(found.wav) == pytest.approx(len(clean.wav), rel=0.1)
        assert pitch(found.wav) == pytest.approx(pitch(clean.wav), rel=0.05)


@pytest.mark.parametrize("name", VOICES)
@pytest.mark.parametrize(
    ("decibels", "seconds", "said"),
    [(None, 0.0, set()), (None, 1.0, {"reverb"}), (20, 0.0, set()), (10, 0.0, {"noise"}), (10, 1.0, {"noise"}),
     (30, 0.0, set()), (30, 1.0, {"reverb"})],
)  # fmt: skip
def test_an_echo_is_told_where_noise_does_not_hide_it(name, decibels, seconds, said):
    wav = echoing(clip(name), seconds) if seconds else clip(name)
    quality = treated(wav if decibels is None else noisy(wav, decibels)).quality
    assert set(quality.faults) == said
    assert (quality.reverb is None) == (decibels in (10, 20))


@pytest.mark.parametrize("base", [50.03, 60.2])
@pytest.mark.parametrize("orders", [(1,), (1, 2, 3, 4, 5, 6), (1, 3, 5), (2, 4, 6, 8)], ids=str)
@pytest.mark.parametrize("decibels", [-10, -25, -38])
def test_hum_is_measured_as_loud_as_it_is(base, orders, decibels):
    wav = clip(CLIPS[0])
    t = np.arange(len(wav)) / 24000
    tone = sum(np.sin(2 * np.pi * k * base * t + k) / k for k in orders)
    tone *= level(wav) * 10 ** (decibels / 20) / tone.std()
    _, hum = mains.cleaned(torch.from_numpy(wav + tone).float())
    assert 10 * np.log10(hum.power / tone.var()) == pytest.approx(0, abs=0.5)
    assert hum.hertz == pytest.approx(base, abs=0.02)


def test_clean_recordings_are_only_trimmed_and_levelled():
    """As before there was any treatment: a high-pass by the whole recording's spectrum, then `trim`."""
    with (DEMO / "metadata.csv").open(encoding="utf-8") as file:
        names = [row["file_name"] for row in csv.DictReader(file)]
    for name in names:
        wav = audio.load(str(DEMO / name))
        size = len(wav) + 2400
        f = torch.fft.rfftfreq(size, 1 / 24000)
        before = audio.trim(torch.fft.irfft(torch.fft.rfft(wav, size) * (f**6 / (f**6 + 50.0**6)), size)[: len(wav)])
        found = audio.treat(str(DEMO / name))
        assert not found.quality.faults
        assert len(found.wav) == len(before)
        assert (found.wav - before).abs().max() < 1e-4


def test_notes_count_faults_and_name_a_few_recordings():
    found = [(f"{i}.wav", treated(noisy(clip(CLIPS[0]), 0)).quality) for i in range(4)]
    found.append(("good.wav", treated(clip(CLIPS[1])).quality))
    (note,) = [note for note in audio.notes(found) if "noisy" in note]
    assert note.startswith("4 of 5 recordings are noisy: 0.wav (speech ")
    assert "2.wav" in note
    assert "3.wav" not in note
    assert audio.notes(found[4:]) == []


def test_a_voice_at_the_pitch_of_the_mains_is_no_hum():
    t = np.arange(36000) / 24000
    voice = sum(np.sin(2 * np.pi * 120 * k * t) / k for k in range(1, 20)) * 0.05
    voice[:6000] = voice[16000:20000] = voice[30000:] = 0
    wav = torch.from_numpy(voice + 1e-4 * np.random.default_rng(0).standard_normal(len(t))).float()
    found, hum = mains.cleaned(wav)
    assert hum is None
    assert torch.equal(found, audio.highpass(wav))


def test_hum_is_taken_out_and_nothing_else():
    wav = audio.highpass(torch.from_numpy(clip(CLIPS[0])).float())
    spoilt = torch.from_numpy(humming(clip(CLIPS[0]), -15)).float()
    found, hum = mains.cleaned(spoilt)
    assert hum.hertz == pytest.approx(50.03, abs=0.02)
    assert (found - wav).square().mean() < 0.1 * (spoilt - wav).square().mean()


def test_channels_that_cancel_give_the_louder_one():
    wav = clip(CLIPS[0])
    found = treated(np.stack([0.8 * wav, -wav], 1))
    assert found.quality.faults == {"channels": ""}
    assert torch.allclose(found.wav, treated(-wav).wav, atol=1e-6)
    both = treated(np.stack([wav, 0.9 * wav], 1))
    assert not both.quality.faults


@pytest.fixture
def long_ones(monkeypatch):
    monkeypatch.setattr(treatment, "LONG", 5.0)
    monkeypatch.setattr(files, "PIECE", 1)


def room(seconds, rate=24000):
    return 1e-3 * np.random.default_rng(1).standard_normal(round(seconds * rate))


def test_one_sentence_in_a_long_silence_is_all_that_counts(long_ones):
    wav = room(40)
    wav[200_000 : 200_000 + len(clip(CLIPS[0]))] += clip(CLIPS[0])
    clean = treated(clip(CLIPS[0])[6000:-6000])
    for rate, form in ((24000, wav), (44100, soxr.resample(wav, 24000, 44100))):
        found = treated(form, rate)
        assert len(found.wav) == pytest.approx(len(clean.wav), rel=0.1)
        assert found.quality.seconds == pytest.approx(40, abs=0.01)
        assert found.quality.share < 0.1


def test_what_is_said_for_too_long_is_refused_before_it_is_held(long_ones, monkeypatch):
    wav = np.pad(np.tile(clip(CLIPS[0]), 4), 48000)
    wav += room(len(wav) / 24000)
    monkeypatch.setattr(files, "take", None)  # would hold it
    with pytest.raises(audio.TooLongError, match=r"a\.wav has 1\d\.\d s of speech") as error:
        treated(wav, longest=8.0)
    assert error.value.seconds == pytest.approx(4 * len(clip(CLIPS[0])) / 24000, abs=1.0)


def test_a_long_recording_without_speech_is_refused(long_ones):
    with pytest.raises(InputError, match=r"a\.wav holds no speech"):
        treated(room(12))


def test_pieces_are_the_recording(long_ones):
    wav = soxr.resample(clip(CLIPS[1]), 24000, 44100)
    whole = audio.load(encoded(wav, 44100))
    parts = torch.cat(list(files.pieces(encoded(wav, 44100))))
    assert abs(len(parts) - len(whole)) <= 1
    size = min(len(parts), len(whole))
    assert (parts[:size] - whole[:size]).abs().max() < 1e-4


@functools.cache
def container(suffix, seconds=None):
    """A clip in a format that soundfile does not read, again and again for so many seconds."""
    wav, file = clip(CLIPS[0]), io.BytesIO()
    wav = np.resize(wav, round((seconds or len(wav) / 24000) * 24000)).astype(np.float32)
    form, codec = {"m4a": ("ipod", "aac"), "webm": ("webm", "libopus"), "aac": ("adts", "aac")}[suffix]
    with av.open(file, "w", format=form) as out:
        stream = out.add_stream(codec, rate=48000, layout="mono")
        frame = av.AudioFrame.from_ndarray(wav[None], format="flt", layout="mono")
        frame.sample_rate = 24000
        to_codec = av.AudioResampler(format=stream.codec_context.format, layout="mono", rate=48000)
        for part in [*to_codec.resample(frame), *to_codec.resample(None)]:
            out.mux(stream.encode(part))
        out.mux(stream.encode(None))
    return file.getvalue()


@pytest.mark.parametrize("suffix", ["m4a", "webm", "aac"])
def test_a_part_of_a_container_is_that_of_the_whole(suffix):
    content = container(suffix, 12.0)
    whole = audio.load(content)
    assert len(whole) == pytest.approx(12 * 24000, abs=3000)
    for start in (0.3, 4.0, 8.5):
        part = files.take(content, "x", start, 2.0).wav
        assert len(part) == 48000
        at = round(24000 * start)
        lag = np.arange(-24, 25)  # 1 ms: webm counts in such
        beside = [float((whole[at + k : at + k + 48000] - part).square().mean()) for k in lag]
        assert min(beside) < 1e-3 * float(part.square().mean())


@pytest.mark.parametrize("suffix", ["m4a", "webm", "aac"])
def test_a_long_container_is_never_held(suffix, long_ones, monkeypatch):
    """Decoded once, in blocks; and what is said for too long is refused before it is held."""
    blocks, original = [], files._gathered
    monkeypatch.setattr(files, "_gathered", lambda found: (blocks.append(b[0].shape) or b for b in original(found)))
    monkeypatch.setattr(files, "take", None)
    with pytest.raises(audio.TooLongError) as error:
        audio.treat(container(suffix, 12.0), "x", 8.0)
    assert error.value.seconds == pytest.approx(12, abs=1.5)
    assert sum(size for size, _ in blocks) == pytest.approx(12 * 48000, abs=6000)
    assert max(size for size, _ in blocks) < 1.1 * 48000  # PIECE is a second here


def test_one_sentence_in_a_long_container_is_found(long_ones):
    quiet = np.zeros(24000 * 8)
    content = encoded(np.concatenate([quiet, clip(CLIPS[0]), quiet]) + room(16 + len(clip(CLIPS[0])) / 24000))
    file = io.BytesIO()
    with av.open(io.BytesIO(content)) as source, av.open(file, "w", format="ipod") as out:
        stream = out.add_stream("aac", rate=24000, layout="mono")
        to_codec = av.AudioResampler(format="fltp", layout="mono", rate=24000)
        for frame in source.decode(audio=0):
            for part in to_codec.resample(frame):
                out.mux(stream.encode(part))
        out.mux(stream.encode(None))
    clean = treated(clip(CLIPS[0])[6000:-6000])
    found = audio.treat(file.getvalue(), "x")
    assert len(found.wav) == pytest.approx(len(clean.wav), rel=0.1)
    assert found.quality.seconds == pytest.approx(16 + len(clip(CLIPS[0])) / 24000, abs=0.1)
