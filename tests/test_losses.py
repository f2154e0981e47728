"""Loss terms: known answers, one item against a batch, and what each one must and must not hear."""

import dataclasses
import math

import numpy as np
import pytest
import soxr
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import wasserstein_distance
from transformers import MimiConfig, MimiModel

from coconut import audio, losses
from coconut.config import InputError, LossConfig
from coconut.losses.alignment import dtw, l1
from coconut.losses.f0 import VOICING, WIDEST, summary
from coconut.losses.ge2e import SHORTEST, SpeakerEncoder, repeat
from tests.sounds import sentence, synthesis, tone, utterance

WEIGHTS = dict.fromkeys(losses.TERMS, 1.0)
ORDER, OTHER = [0, 1, 2, 3], [4, 2, 1, 0]


def plain_dtw(cost, band=2.0):
    """Sakoe and Chiba's recursion, cell by cell."""
    n, m = cost.shape
    width = max(band, 1 / max(1, min(n - 1, m - 1)))
    total = [[math.inf] * m for _ in range(n)]
    for i in range(n):
        for j in range(m):
            if abs(i / max(1, n - 1) - j / max(1, m - 1)) > width + 1e-6:
                continue
            c = float(cost[i, j])
            before = [total[i - 1][j] + c] if i else []
            before += [total[i][j - 1] + c] if j else []
            before += [total[i - 1][j - 1] + 2 * c] if i and j else []
            total[i][j] = min(before) if before else 2 * c
    return total[-1][-1] / (n + m)


@pytest.fixture(scope="module")
def encoder():
    return SpeakerEncoder()


@pytest.fixture(scope="module")
def mimi():
    config = MimiConfig(
        hidden_size=32, num_filters=4, num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=2, head_dim=16,
        intermediate_size=32, codebook_size=16, codebook_dim=16, num_quantizers=2,
        vector_quantization_hidden_dimension=16, sliding_window=250, upsample_groups=32,
    )  # fmt: skip
    torch.manual_seed(0)
    return MimiModel(config)


@pytest.fixture(scope="module")
def stock():
    return torch.randn(6, 510, 256, generator=torch.Generator().manual_seed(0)) * 0.2


@pytest.fixture(scope="module")
def terms(encoder, mimi, stock):
    return losses.build(WEIGHTS, encoder=encoder, stock=stock, mimi_model=mimi)


def value(term, reference, wav, f0=None):
    syn = synthesis([[wav]], [[f0]] if f0 is not None else None)
    return float(term([term.reference(utterance(reference))], syn)[0, 0])


@given(st.data())
def test_dtw_is_the_plain_recursion(data):
    seed = data.draw(st.integers(0, 9999))
    sizes = data.draw(st.lists(st.tuples(st.integers(1, 12), st.integers(1, 12)), min_size=1, max_size=4))
    band = data.draw(st.sampled_from([0.1, 0.3, 2.0]))
    n, m = (torch.tensor(side) for side in zip(*sizes, strict=True))
    cost = torch.rand(len(sizes), int(n.max()) + 2, int(m.max()) + 1, generator=torch.Generator().manual_seed(seed))
    found, along = dtw(cost, n, m, band, carried=cost)
    for b, (rows, columns) in enumerate(sizes):
        expected = plain_dtw(cost[b, :rows, :columns], band)
        assert float(found[b]) == pytest.approx(expected, rel=1e-5)
        assert float(along[b]) == pytest.approx(expected, rel=1e-5)


def test_dtw_carries_another_matrix_along_its_own_path():
    """All but row 0 and the last column is dear; of equal paths round that corner the straightest is taken."""
    cost = torch.full((1, 3, 4), 9.0)
    cost[0, 0, :], cost[0, :, 3] = 0.0, 0.0
    carried = torch.arange(12.0).reshape(1, 3, 4)
    found, along = dtw(cost, torch.tensor([3]), torch.tensor([4]), 2.0, carried)
    assert float(found) == 0
    assert float(along) == pytest.approx((2 * 0 + 1 + 2 + 2 * 7 + 11) / 7)


def test_dtw_keeps_bad_numbers_to_their_item():
    cost = torch.rand(3, 6, 7, generator=torch.Generator().manual_seed(0))
    sizes = torch.tensor([6, 6, 6]), torch.tensor([7, 7, 7])
    clean, _ = dtw(cost, *sizes)
    cost[1] = math.nan
    found, _ = dtw(cost, *sizes)
    assert torch.equal(found[[0, 2]], clean[[0, 2]])
    assert not found[1].isfinite()


def test_l1_is_the_mean_over_bands():
    a, b = torch.randn(2, 5, 3), torch.randn(2, 5, 4)
    expected = (a[:, :, :, None] - b[:, :, None, :]).abs().mean(1)
    assert torch.allclose(l1(a, b), expected, atol=1e-6)


@pytest.mark.parametrize("name", ["logmel", "spectral", "speaker", "mimi", "duration"])
def test_a_recording_is_no_distance_from_itself(terms, name):
    wav = sentence(ORDER)
    assert value(terms[name], wav, wav) < 2e-3


@pytest.mark.parametrize("name", ["logmel", "spectral", "speaker"])
def test_level_and_silence_at_the_ends_cost_nothing(terms, name):
    wav = sentence(ORDER)
    far = value(terms[name], wav, sentence(ORDER, f0=200, scale=1.2))
    quiet = torch.nn.functional.pad(0.1 * wav, (4800, 7200))
    assert value(terms[name], wav, quiet) < 0.15 * far


@pytest.mark.parametrize("name", ["logmel", "spectral", "speaker"])
def test_another_voice_is_further_than_the_same_voice_at_another_tempo(terms, name):
    wav = sentence(ORDER)
    assert 2 * value(terms[name], wav, sentence(ORDER, tempo=1.15)) < value(terms[name], wav, sentence(ORDER, 190, 1.2))


def test_logmel_hears_the_order_of_sounds_and_spectral_does_not(terms):
    wav, turned = sentence([0, 1, 2, 3]), sentence([3, 2, 1, 0])
    other = sentence([0, 1, 2, 3], scale=1.2)
    assert value(terms["logmel"], wav, turned) > value(terms["logmel"], wav, other)
    assert value(terms["spectral"], wav, turned) < value(terms["spectral"], wav, other)


@pytest.mark.parametrize("name", ["logmel", "spectral"])
def test_what_a_narrow_recording_cannot_hold_is_not_missed(terms, name):
    """The recording ends at 8 kHz, as one sampled at 16 kHz does; the candidate goes on to 12."""
    hiss = 0.004 * torch.randn(len(sentence(ORDER)), generator=torch.Generator().manual_seed(1))
    wide = sentence(ORDER) + hiss
    narrow = torch.from_numpy(soxr.resample(soxr.resample(wide.numpy(), 24000, 16000), 16000, 24000))
    assert value(terms[name], wide, narrow) > 0.15
    assert value(terms[name], narrow, wide) < 0.3 * value(terms[name], wide, narrow)


@given(st.floats(0.4, 2.5))
def test_duration_is_the_log_ratio(tempo):
    term = losses.TERMS["duration"]()
    wav = tone(150, 1.0)
    other = torch.nn.functional.pad(tone(150, tempo), (2400, 1200))
    assert value(term, wav, other) == pytest.approx(abs(math.log(tempo)), abs=0.08)


def test_f0_distance_of_constant_pitches_is_in_octaves():
    term = losses.TERMS["f0"]()
    wav = tone(110, 1.0)
    for ratio in (1.0, 1.1, 2.0, 0.5):
        curve = torch.full((80,), 110 * ratio)
        assert value(term, wav, wav, curve) == pytest.approx(abs(math.log2(ratio)), abs=0.01)


def test_f0_without_a_voice_is_the_widest_distance():
    term = losses.TERMS["f0"]()
    assert value(term, tone(110), tone(110), torch.zeros(80)) == pytest.approx(WIDEST + VOICING, abs=0.02)


@given(st.lists(st.floats(60, 500), min_size=1, max_size=200), st.floats(0.9, 1.9))
def test_f0_distance_of_a_moved_distribution_is_the_move(hertz, ratio):
    one, two = (summary(torch.tensor(hertz, dtype=torch.float64) * r) for r in (1.0, ratio))
    assert float((one - two).abs()[:-1].mean()) == pytest.approx(abs(math.log2(ratio)), abs=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_f0_distance_is_the_trimmed_wasserstein_distance(seed):
    """Against scipy on what lies between the 10% and the 90% quantile."""
    rng = np.random.default_rng(seed)
    a, b = np.sort(rng.normal(7, 0.3, 1000)), np.sort(rng.gamma(2, 0.2, 1000) + 6.5)
    one, two = (summary(torch.tensor(2.0**x)[None])[0] for x in (a, b))
    expected = wasserstein_distance(a[100:900], b[100:900])
    assert float((one - two).abs()[:-1].mean()) == pytest.approx(expected, abs=0.01)


def test_f0_distance_forgives_a_few_octave_slips():
    curve = 110 * 2 ** torch.linspace(-0.2, 0.2, 200)
    slipped = curve.clone()
    slipped[::20] *= 2
    assert float((summary(curve) - summary(slipped)).abs()[:-1].mean()) < 0.03


def test_voicing_rate_counts_between_the_first_and_last_voiced_frame():
    curve = torch.tensor([0, 0, 100, 0, 100, 100, 0, 0, 0.0])
    assert float(summary(curve)[-1]) == pytest.approx(3 / 4)


def test_prior_is_one_among_stock_voices_and_grows_outside(stock):
    term = losses.TERMS["prior"](stock=stock)
    rows = torch.tensor([3, 100])
    syn = synthesis([[tone(100)] * 2] * len(stock))
    inside = type(syn)(syn.audio, syn.prosody, stock[:, rows], rows)
    found = term([None, None], inside)
    assert found.shape == (len(stock), 2)
    mean, spread = stock.mean(0), stock.mean(1).std(0)
    centre = type(syn)(syn.audio, syn.prosody, mean[rows].expand(len(stock), -1, -1), rows)
    assert term([None, None], centre).abs().max() < 1e-6
    beside = type(syn)(syn.audio, syn.prosody, (mean[rows] + 2 * spread).expand(len(stock), -1, -1), rows)
    assert term([None, None], beside).sub(4).abs().max() < 0.2


def crowd(popsize):
    """Two utterances spoken by `popsize` different voices, of very different lengths."""
    return [
        [sentence(ORDER, 90 + 30 * p, 0.9 + 0.1 * p, 0.8 + 0.3 * p), sentence([4], 90 + 30 * p, 0.9 + 0.1 * p)]
        for p in range(popsize)
    ]


def test_a_candidate_is_judged_alike_in_any_company(terms):
    wavs = crowd(3)
    curves = [[torch.full((len(w) // 300,), 100.0 + 30 * p) for w in row] for p, row in enumerate(wavs)]
    refs = [utterance(sentence(ORDER), "a"), utterance(sentence([4, 0]), "b")]
    for name, term in terms.items():
        kept = [term.reference(u) for u in refs]
        together = term(kept, synthesis(wavs, curves))
        assert together.shape == (3, 2)
        assert (together >= 0).all()
        for p in range(3):
            for u in range(2):
                alone = term(kept[u : u + 1], synthesis([[wavs[p][u]]], [[curves[p][u]]]))
                assert float(together[p, u]) == pytest.approx(float(alone), rel=1e-3, abs=1e-4), (name, p, u)


def test_a_bad_candidate_harms_no_neighbour(terms):
    wavs = crowd(3)
    refs = [utterance(sentence(ORDER), "a"), utterance(sentence([4, 0]), "b")]
    clean = synthesis(wavs)
    wavs[1][0] = wavs[1][0] * math.nan
    wavs[1][1] = wavs[1][1] * math.inf
    spoilt = synthesis(wavs)
    assert spoilt.ok.tolist() == [[True, True], [False, False], [True, True]]
    for name, term in terms.items():
        kept = [term.reference(u) for u in refs]
        a, b = term(kept, clean)[[0, 2]], term(kept, spoilt)[[0, 2]]
        assert torch.allclose(a, b, rtol=1e-4, atol=1e-5), name


def test_where_nobody_can_be_heard_the_terms_are_numbers(terms):
    """What all candidates run away from is a little silence, of one frame a token."""
    refs = [utterance(sentence(ORDER), "a"), utterance(sentence([4, 0]), "b")]
    made = synthesis([[torch.zeros(1800), torch.zeros(4200)]] * 3)
    silent = dataclasses.replace(made, audio=dataclasses.replace(made.audio, ok=torch.zeros(3, 2, dtype=torch.bool)))
    assert silent.samples == 0
    assert made.samples == 3 * 6000
    for name, term in terms.items():
        found = term([term.reference(u) for u in refs], silent)
        assert found.shape == (3, 2), name
        assert found.isfinite().all(), name


def test_chunks_change_nothing(terms, monkeypatch):
    wavs = crowd(4)
    refs = [utterance(sentence(ORDER), "a"), utterance(sentence([4, 0]), "b")]
    whole = {name: term([term.reference(u) for u in refs], synthesis(wavs)) for name, term in terms.items()}
    for held in ("synthesis.SPECTRA", "mimi.ENCODED", "ge2e.EMBEDDED"):
        monkeypatch.setattr(f"coconut.losses.{held}.limit", 2.0 * audio.SAMPLE_RATE)
    monkeypatch.setattr("coconut.losses.alignment.CELLS.limit", 20_000)
    for name, term in terms.items():
        parts = term([term.reference(u) for u in refs], synthesis(wavs))
        assert torch.allclose(parts, whole[name], rtol=1e-4, atol=1e-5), name


@pytest.mark.parametrize("size", [4000, SHORTEST, 60_000, 100_001])
def test_embedding_of_an_item_in_a_batch_is_that_of_the_item_alone(encoder, size):
    wavs = [sentence([0, 1, 2, 3] * 6)[:size], sentence([3, 1]), sentence([2] * 20, 200)]
    lens = torch.tensor([len(wav) for wav in wavs])
    batch = torch.nn.utils.rnn.pad_sequence(wavs, batch_first=True)
    together = encoder(torch.nn.functional.pad(batch, (0, 12_345), value=7.0), lens)
    assert torch.allclose(together.norm(dim=1), torch.ones(3), atol=1e-5)
    for b, wav in enumerate(wavs):
        alone = encoder(wav[None], torch.tensor([len(wav)]))[0]
        assert float(alone @ together[b]) > 1 - 1e-5


def test_embedding_does_not_depend_on_level(encoder):
    wav = sentence(ORDER)[None]
    lens = torch.tensor([wav.shape[1]])
    assert float((encoder(wav, lens) * encoder(0.05 * wav, lens)).sum()) > 1 - 1e-5


def test_short_items_are_repeated_to_a_window():
    wav = torch.arange(1.0, 8.0)[None].repeat(2, 1)
    found, lens = repeat(wav, torch.tensor([3, 7]), shortest=5)
    assert found.tolist() == [[1, 2, 3, 1, 2, 0, 0], [1, 2, 3, 4, 5, 6, 7]]
    assert lens.tolist() == [5, 7]


@pytest.mark.parametrize("hertz", [60.0, 440.0, 3000.0, 6500.0])
def test_downsampling_keeps_a_tone_exactly_where_it_was(encoder, hertz):
    wav = tone(hertz, 0.5)
    found = encoder.resample(wav[None])[0]
    t = torch.arange(len(found), dtype=torch.float64) / 16000
    expected = 0.1 * torch.sin(2 * torch.pi * hertz * t)
    assert len(found) == 8000
    assert (found - expected)[200:-200].abs().max() < 2e-4


@pytest.mark.parametrize("hertz", [8600.0, 9500.0, 11500.0])
def test_downsampling_lets_nothing_fold_back(encoder, hertz):
    assert encoder.resample(tone(hertz, 0.5)[None])[0, 200:-200].abs().max() < 1e-4


def test_mimi_layout_is_that_of_the_library(mimi):
    """Frames before the quantizer equal those of MimiModel.encode's own path."""
    wav = sentence(ORDER)
    wav = wav[: len(wav) // 1920 * 1920][None]
    _, latents = losses.TERMS["mimi"](model=mimi).encoder(wav)
    found = mimi.encoder(wav[:, None])
    expected = found.latents if hasattr(found, "latents") else mimi.downsample(
        mimi.encoder_transformer(found.transpose(1, 2))[0].transpose(1, 2)
    )  # fmt: skip
    assert latents.shape[-1] == wav.shape[1] // 1920
    assert torch.allclose(latents, expected, atol=1e-5)


def test_mimi_finds_the_same_sound_where_its_frames_start_elsewhere(terms, monkeypatch):
    monkeypatch.setattr("coconut.losses.mimi.TEMPORAL", 1.0)
    wav = audio.trim(sentence(ORDER * 2))
    far = value(terms["mimi"], wav, sentence(ORDER * 2, 200, 1.2))
    for shift in (120, 360, 600, 840, 960):
        assert value(terms["mimi"], wav, wav[shift:]) < 0.15 * far, shift


@pytest.mark.slow
def test_mimi_at_its_real_size():
    torch.manual_seed(0)
    term = losses.TERMS["mimi"](model=MimiModel(MimiConfig()))
    wav = sentence(ORDER)
    kept = [term.reference(utterance(wav))]
    found = term(kept, synthesis([[wav], [sentence(ORDER, 200, 1.2)], [sentence(OTHER)[:9000]]]))
    assert found[0, 0] < 1e-4
    assert (found[1:] > 100 * found[0]).all()
    alone = term(kept, synthesis([[sentence(OTHER)[:9000]]]))
    assert float(found[2, 0]) == pytest.approx(float(alone), rel=1e-3)


def test_build_makes_only_what_has_weight(monkeypatch, encoder):
    def refused(**_):
        raise AssertionError("built a term of weight 0")

    monkeypatch.setitem(losses.TERMS, "mimi", refused)
    monkeypatch.setitem(losses.TERMS, "prior", refused)
    made = losses.build({"prior": 0.0, "mimi": None, "speaker": 1.0, "logmel": 0.1}, encoder=encoder)
    assert list(made) == ["logmel", "speaker"]
    assert made["speaker"].encoder is encoder


def test_every_weight_of_the_config_has_its_term():
    assert {spec.name for spec in dataclasses.fields(LossConfig)} == set(losses.TERMS)


@pytest.mark.parametrize(
    ("weights", "resources", "words"),
    [
        ({"melody": 1.0}, {}, "Unknown loss term melody"),
        ({"prior": 1.0}, {}, "needs at least 2 stock voices"),
        ({"mimi": 1.0}, {"mimi_model": "no/such/folder"}, "no/such/folder cannot be loaded"),
        ({"mimi": 1.0}, {}, "needs a Mimi model"),
    ],
)
def test_what_cannot_be_built_is_one_sentence(weights, resources, words):
    with pytest.raises(InputError, match=words) as error:
        losses.build(weights, **resources)
    assert "\n" not in str(error.value)


def test_audio_level_of_the_terms_is_that_of_recordings():
    wav = sentence(ORDER)
    ours, lens = synthesis([[wav]]).speech
    assert torch.allclose(ours[0, : int(lens[0])], audio.trim(wav), atol=1e-6)
