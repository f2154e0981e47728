"""Audio: files, level, silence, log-mel and F0, against known answers."""

import io
import math

import numpy as np
import pytest
import soundfile
import soxr
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.lib.stride_tricks import sliding_window_view
from scipy.signal import lfilter

from coconut import audio
from coconut.config import InputError
from tests.demo import DEMO
from tests.sounds import VOWELS, pulses, resonate, sentence, tone


def batched(wavs):
    return torch.nn.utils.rnn.pad_sequence(wavs, batch_first=True), torch.tensor([len(wav) for wav in wavs])


def encoded(wav, rate=24000, kind="WAV", subtype=None):
    file = io.BytesIO()
    soundfile.write(file, np.asarray(wav), rate, format=kind, subtype=subtype)
    return file.getvalue()


@pytest.mark.parametrize("rate", [8000, 16000, 22050, 24000, 44100, 48000])
def test_load_resamples_to_24_khz_and_keeps_frequency_and_amplitude(rate):
    t = np.arange(rate) / rate
    wav = audio.load(encoded(0.5 * np.sin(2 * np.pi * 1000 * t), rate, subtype="FLOAT"))
    assert wav.dtype == torch.float32
    assert abs(len(wav) - 24000) <= 1
    middle = wav[4000:20000].double()
    expected = 0.5 * torch.sin(2 * torch.pi * 1000 * torch.arange(4000, 20000) / 24000)
    assert (middle - expected).abs().max() < 2e-3


def test_load_mixes_channels_by_their_mean():
    left, right = np.full(2400, 0.5), np.full(2400, 0.1)
    assert torch.allclose(audio.load(encoded(np.stack([left, right], 1), subtype="FLOAT")), torch.tensor(0.3))


@pytest.mark.parametrize(("kind", "error"), [("WAV", 1e-4), ("FLAC", 1e-4), ("OGG", 0.05), ("MP3", 0.05)])
def test_load_reads_the_formats_that_are_promised(kind, error, tmp_path):
    wav = tone(440, 0.5, 0.4)
    path = tmp_path / f"a.{kind.lower()}"
    path.write_bytes(encoded(wav, kind=kind))
    found = audio.load(path)
    assert (found[3000:9000].square().mean().sqrt() - wav[3000:9000].square().mean().sqrt()).abs() < error


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "cannot be decoded"),
        (b"RIFF" + b"\0" * 99, "cannot be decoded"),
        (b"hello" * 99, "cannot be decoded"),
        (encoded(np.zeros(0)), "is empty"),
        (encoded(np.zeros(2400)), "is silent"),
        (encoded([0.1, np.nan, 0.2], subtype="FLOAT"), "NaN or infinite"),
        (encoded([0.1, np.inf, 0.2], subtype="FLOAT"), "NaN or infinite"),
    ],
    ids=["nothing", "zeros", "hello", "no samples", "silence", "nan", "inf"],  # files of floats hold the time of day
)
def test_load_refuses_what_holds_no_speech(content, words, tmp_path):
    path = tmp_path / "spoken.wav"
    path.write_bytes(content)
    for source, name in ((path, None), (content, "spoken.wav")):
        with pytest.raises(InputError, match=words) as error:
            audio.load(source, name)
        assert "spoken.wav" in str(error.value)
        assert str(error.value).count("\n") == 0


def test_load_names_a_missing_file(tmp_path):
    with pytest.raises(InputError, match=r"No recording at .*none\.wav"):
        audio.load(tmp_path / "none.wav")


def test_save_clips_and_never_wraps(tmp_path):
    path = audio.save(tmp_path / "new" / "a.wav", torch.tensor([0.0, 0.5, 1.0, 1.5, 40000.0, -1.0, -2.0]))
    found, rate = soundfile.read(path, dtype="int16")
    assert rate == 24000
    assert found.tolist() == [0, 16384, 32767, 32767, 32767, -32767, -32767]
    assert [p.name for p in path.parent.iterdir()] == ["a.wav"]


def test_save_refuses_what_is_not_finite_and_leaves_the_old_file(tmp_path):
    path = audio.save(tmp_path / "a.wav", tone(100, 0.1))
    before = path.read_bytes()
    with pytest.raises(ValueError, match="NaN"):
        audio.save(path, torch.tensor([0.0, math.nan]))
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["a.wav"]


@given(st.integers(0, 9000), st.integers(0, 9000), st.floats(0.01, 1.0))
def test_trim_finds_the_sound_whatever_its_level_and_surroundings(before, after, gain):
    wav = gain * torch.nn.functional.pad(sentence([0, 1, 2]), (before, after))
    found = audio.trim(wav)
    whole = audio.trim(sentence([0, 1, 2]))
    assert abs(len(found) - len(whole)) <= 1200  # frames of 300 samples fall elsewhere
    power, active = audio.activity(found[None], torch.tensor([len(found)]))
    assert (power[active].mean().sqrt() - audio.LEVEL).abs() < 1e-4


def test_trim_cuts_noise_floor_but_not_quiet_starts():
    noise = 2e-3 * torch.randn(24000, generator=torch.Generator().manual_seed(0))
    wav = torch.cat([noise[:12000], sentence([0, 3, 1, 2]), noise[12000:]])
    start, end = audio.span(wav[None], torch.tensor([len(wav)]))
    assert abs(int(start) - 12000) <= 900
    assert abs(int(end) - (len(wav) - 12000)) <= 900


STAGES = (  # ITU-R BS.1770-4, tables 1 and 2, at 48 kHz
    ([1.53512485958697, -2.69169618940638, 1.19839281085285], [1.0, -1.69065929318241, 0.73248077421585]),
    ([1.0, -2.0, 1.0], [1.0, -1.99004745483398, 0.99007225036621]),
)


def lufs(wav):
    """The loudness of samples [N] at 48 kHz, by the letter of the recommendation."""
    for b, a in STAGES:
        wav = lfilter(b, a, wav)
    power = np.square(sliding_window_view(wav, 19200)[::4800]).mean(1)
    level = -0.691 + 10 * np.log10(power + 1e-20)
    gated = power[level > -70]
    relative = -0.691 + 10 * np.log10(gated.mean()) - 10
    return -0.691 + 10 * np.log10(power[(level > -70) & (level > relative)].mean())


def test_loudness_is_that_of_the_recommendation():
    assert audio.loudness(tone(997, 3.0, 1.0)) == pytest.approx(-3.01, abs=0.1)
    for name in ("demo_05.ogg", "demo_11.ogg"):
        wav = audio.load(str(DEMO / name))
        assert audio.loudness(0.5 * wav) == pytest.approx(audio.loudness(wav) - 6.02, abs=0.01)
        wav = torch.cat([wav, torch.zeros(40000), 0.2 * wav, 0.01 * wav])  # pauses and whispers, which gates leave out
        expected = lufs(soxr.resample(wav.double().numpy(), 24000, 48000))
        assert audio.loudness(wav) == pytest.approx(expected, abs=0.1)


def test_loudness_of_what_is_silent_or_shorter_than_a_block():
    assert audio.loudness(torch.zeros(48000)) == audio.loudness(torch.zeros(0)) == -70
    assert audio.loudness(tone(997, 0.1, 1.0)) == pytest.approx(-3.01, abs=1.0)
    assert audio.loudness(torch.ones(1)) >= -70


def test_span_of_silence_is_the_whole_item():
    start, end = audio.span(torch.zeros(2, 5000), torch.tensor([5000, 700]))
    assert start.tolist() == [0, 0]
    assert end.tolist() == [5000, 700]


def test_highpass_removes_rumble_and_keeps_the_voice_in_place():
    low, high = tone(20, 2.0), tone(200, 2.0)
    found = audio.highpass(low + high + 0.3)
    assert (found - high)[4800:-4800].abs().max() < 2e-3
    assert audio.highpass(low)[4800:-4800].abs().max() < 1e-3


@pytest.mark.parametrize("n_mels", [40, 80, 160])
def test_mel_filters_are_triangles_of_unit_area_at_their_centres(n_mels):
    bank = audio.filterbank(24000, 2048, n_mels)
    width = 24000 / 2048
    area = bank.sum(1) * width
    assert bank.min() >= 0
    assert (area[2:-1] - 1).abs().max() < 0.05
    centres = bank.argmax(1) * width
    assert (torch.diff(centres) > 0).all()
    # Slaney's scale: 1 kHz is mel 15, 6.4 kHz is mel 42; check where 12 kHz puts mel 15 among the bands
    top = 15 + 27 * math.log(12) / math.log(6.4)
    band = round(15 / top * (n_mels + 1)) - 1
    assert abs(float(centres[band]) - 1000 * band / band) < 1000 * top / (n_mels + 1) * 3 / 45 + 2 * width


def test_logmel_of_a_tone_is_its_spectrum_by_hand():
    """A tone on an FFT bin: Hann gives A n_fft / 4 there and half of it beside; all else is nothing."""
    n_fft, k, amplitude = 1024, 100, 0.2
    wav = tone(k * 24000 / n_fft, 1.0, amplitude)
    mel, frames = audio.LogMel(floor=1e-5)(wav, torch.tensor(len(wav)))
    assert (mel.shape, int(frames)) == ((80, 81), 81)
    spectrum = torch.zeros(n_fft // 2 + 1, dtype=torch.float64)
    spectrum[k - 1 : k + 2] = torch.tensor([0.5, 1.0, 0.5]) * amplitude * n_fft / 4
    expected = (audio.filterbank(24000, n_fft, 80) @ spectrum).clamp_min(1e-5).log()
    assert (mel[:, 40] - expected).abs().max() < 0.02


@given(st.lists(st.integers(1, 7000), min_size=1, max_size=5), st.integers(0, 2000), st.integers(0, 99))
def test_logmel_of_an_item_in_a_batch_is_that_of_the_item_alone(sizes, extra, seed):
    generator = torch.Generator().manual_seed(seed)
    wavs = [torch.randn(size, generator=generator) * 0.1 for size in sizes]
    wav, lens = batched(wavs)
    wav = torch.nn.functional.pad(wav, (0, extra))
    wav = torch.where(audio.mask(lens, wav.shape[1]), wav, 100 * torch.randn(wav.shape, generator=generator))
    mel = audio.LogMel()
    together, frames = mel(wav, lens)
    for b, item in enumerate(wavs):
        alone, count = mel(item[None], torch.tensor([len(item)]))
        assert int(frames[b]) == int(count) == alone.shape[-1] == len(item) // 300 + 1
        assert torch.allclose(together[b, :, :count], alone[0], atol=2e-5)  # matmul rounds by shape
        assert (together[b, :, count:] == math.log(mel.floor)).all()


@given(st.lists(st.integers(900, 9000), min_size=2, max_size=4), st.integers(0, 99))
def test_speech_of_an_item_in_a_batch_is_that_of_the_item_alone(sizes, seed):
    generator = torch.Generator().manual_seed(seed)
    wavs = [torch.cat([torch.zeros(1000), torch.randn(size, generator=generator), torch.zeros(700)]) for size in sizes]
    wav, lens = audio.speech(*batched(wavs))
    for b, item in enumerate(wavs):
        alone = audio.trim(item)
        assert int(lens[b]) == len(alone)
        assert torch.allclose(wav[b, : len(alone)], alone, atol=1e-6)
        assert (wav[b, len(alone) :] == 0).all()


@pytest.mark.parametrize("hertz", [50.0, 61.7, 100.0, 123.4, 220.0, 433.0, 599.0])
@pytest.mark.parametrize("shape", ["sine", "pulses", "vowel"])
def test_f0_of_known_periods(hertz, shape):
    if shape == "sine":
        wav = tone(hertz)
    else:
        wav = pulses(torch.full((24000,), hertz))
        wav = resonate(wav, VOWELS[0]) if shape == "vowel" else wav
    found = audio.f0(wav[None], torch.tensor([len(wav)]))[0, 6:-6]
    assert (found > 0).all()
    assert (found / hertz - 1).abs().max() < 0.01


def test_f0_follows_a_glide_and_tells_voice_from_noise_and_silence():
    glide = torch.logspace(math.log10(90), math.log10(250), 36000)
    voice = resonate(pulses(glide), VOWELS[3])
    noise = 0.05 * torch.randn(12000, generator=torch.Generator().manual_seed(0))
    wav = torch.cat([voice, noise, torch.zeros(12000)])
    found = audio.f0(wav[None], torch.tensor([len(wav)]))[0]
    voiced, truth = found[4:116], glide[torch.arange(4, 116) * 300]
    assert (voiced > 0).float().mean() > 0.97
    assert ((voiced / truth - 1).abs()[voiced > 0] < 0.03).float().mean() > 0.98
    assert (found[124:156] > 0).float().mean() < 0.1
    assert (found[164:] == 0).all()


def test_f0_of_an_item_in_a_batch_is_that_of_the_item_alone():
    wavs = [sentence([0, 1, 2], f0=110), sentence([3], f0=210), tone(150, 0.3)]
    together = audio.f0(*batched(wavs), chunk=200)
    for b, item in enumerate(wavs):
        alone = audio.f0(item[None], torch.tensor([len(item)]))[0]
        assert torch.allclose(together[b, : len(alone)], alone, rtol=1e-4)
        assert (together[b, len(alone) :] == 0).all()
