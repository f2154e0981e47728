"""Features of a speaker: standardised, and honest about what a recording does not tell."""

import math

import pytest
import torch

from coconut import encoder, features
from coconut.data import Utterance
from coconut.features import FEATURES, Scale
from coconut.losses import SpeakerEncoder
from coconut.synthesis import mini


def test_what_cannot_be_measured_counts_as_the_average():
    prior = mini.prior()
    shape = (len(mini.voices()), len(prior.base.spread) + len(prior.slope.spread))
    table = encoder.Table.read(encoder.shipped(), encoder.table_key("mini", mini.voices()), shape)
    scale = Scale.of(table.features)
    assert torch.equal(scale(torch.full((1, FEATURES), math.nan)), torch.zeros(1, FEATURES).double())
    rows = scale(table.features)
    torch.testing.assert_close(rows.square().sum(1).mean(), torch.tensor(1.0).double(), atol=0.1, rtol=0)


@pytest.mark.parametrize(("count", "places"), [(1, [0]), (3, [0, 1, 2]), (4, [0, 1, 2, 3]), (13, [0, 4, 8, 12])])
def test_of_many_recordings_a_few_are_measured_spread_over_all(count, places, monkeypatch):
    monkeypatch.setattr(features, "MEASURED", 4)
    monkeypatch.setattr(features, "features", lambda ears, wav, lens, phonemes: torch.tensor([[float(phonemes[0])]]))
    recordings = [Utterance(str(k), "text", str(k), torch.ones(2400)) for k in range(count)]
    assert float(features.recorded(None, recordings)) == pytest.approx(sum(places) / len(places))


def test_a_dull_recording_says_nothing_about_the_bands_that_it_lacks():
    noise = torch.randn(36_000, generator=torch.Generator().manual_seed(0)) * torch.hann_window(36_000).sqrt()
    spectrum = torch.fft.rfft(noise)
    spectrum[spectrum.shape[0] // 3 :] = 0  # nothing above 4 kHz
    dull = Utterance("0", "text", "tˈɛkst", 0.1 * torch.fft.irfft(spectrum, 36_000))
    found = features.recorded(SpeakerEncoder(), [dull])
    embedding, _, rate, bands = found.split(list(features.GROUPS.values()))
    assert found.shape == (FEATURES,)
    assert embedding.norm() == pytest.approx(1.0, abs=1e-4)
    assert float(rate) == pytest.approx(math.log(5 / 1.5), abs=0.1)
    assert bands.view(2, 80)[0].isnan().any()
    assert bands.view(2, 80)[0, :20].isfinite().all()
