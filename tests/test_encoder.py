"""The encoder: better than the nearest voice on voices that it never saw; its table measured once and kept."""

import dataclasses
import math

import pytest
import torch

from coconut import encoder, files, resources
from coconut.encoder import Encoder, Ridge, Table
from coconut.features import FEATURES, Scale, spoken
from coconut.losses import SpeakerEncoder
from coconut.prior import Prior
from coconut.synthesis import Synthesizer, mini
from coconut.voicepack import ROUGHNESS_LIMIT, roughness
from tests.voices import stock


@pytest.fixture(scope="module")
def ears():
    return SpeakerEncoder()


@pytest.fixture(scope="module")
def shipped():
    """The table that is part of the package; the key says that it belongs to the voices and the recipe of today."""
    prior = mini.prior()
    shape = (len(mini.voices()), len(prior.base.spread) + len(prior.slope.spread))
    table = Table.read(encoder.shipped(), encoder.table_key("mini", mini.voices()), shape)
    assert table is not None, "run `python -m coconut.encoder mini`"
    return table


def spreads(prior):
    return torch.cat([prior.base.spread, prior.slope.spread])


def test_voices_left_out_are_predicted_better_than_by_the_nearest_voice(shipped):
    """In units of a style vector; `nearest` is by the same features."""
    x, y = Scale.of(shipped.features)(shipped.features), shipped.coordinates * spreads(mini.prior())
    apart = torch.cdist(x, x).fill_diagonal_(math.inf)
    nearest = float((y[apart.argmin(1)] - y).square().sum() / (y - y.mean(0)).square().sum())
    errors = encoder.left_out(shipped.features, shipped.coordinates, spreads(mini.prior()))
    assert shipped.error == pytest.approx(float(errors[encoder.STRENGTHS.index(shipped.strength)]), rel=1e-4)
    assert errors.min() <= shipped.error <= encoder.ALMOST * errors.min()
    assert shipped.error < 0.6 < 0.9 < nearest


def test_a_voice_is_found_again_in_its_own_features(shipped):
    voices, find = mini.voices(), Encoder(shipped, mini.prior())
    packs = encoder.stacked(voices)
    found = torch.stack([find(features)[:, 0] for features in shipped.features[::7]])
    apart = torch.cdist(found.mean(1), packs.mean(1))
    assert torch.equal(apart.argmin(1), torch.arange(len(packs))[::7])


def test_its_voices_are_as_smooth_as_the_export_asks(shipped):
    find = Encoder(shipped, mini.prior())
    far = shipped.features[:8] + 5 * (shipped.features[8:16] - shipped.features[16:24])
    for features in (*shipped.features[::5], *far, torch.full((FEATURES,), math.nan)):
        pack = find(features)
        assert pack.shape == (510, 1, 256)
        assert pack.isfinite().all()
        assert roughness(pack) <= ROUGHNESS_LIMIT


def test_a_slope_that_is_too_steep_is_flattened(shipped):
    prior = mini.prior()
    steep = dataclasses.replace(prior, slope=dataclasses.replace(prior.slope, spread=prior.slope.spread * 30))
    assert ROUGHNESS_LIMIT / 4 < roughness(Encoder(shipped, steep)(shipped.features[3])) <= ROUGHNESS_LIMIT


def test_coordinates_and_voices_are_inverse():
    packs = encoder.stacked(stock(8))
    prior = Prior.of(packs)
    base, slope = encoder.voices_of(encoder.coordinates(packs, prior), prior)
    torch.testing.assert_close(base[:, None] + prior.profile[:, None] * slope[:, None], packs, atol=1e-4, rtol=1e-3)


def test_ridge_is_the_textbook_formula():
    generator = torch.Generator().manual_seed(0)
    x, y, new = (torch.randn(shape, generator=generator).double() for shape in ((7, 12), (7, 3), (2, 12)))
    cx, cy = x - x.mean(0), y - y.mean(0)
    for strength, found in zip((0.1, 2.0), Ridge(x, y)(new, (0.1, 2.0)), strict=True):
        weights = torch.linalg.solve(cx.T @ cx + strength * torch.eye(12), cx.T @ cy)
        torch.testing.assert_close(found, y.mean(0) + (new - x.mean(0)) @ weights)


@pytest.fixture
def cached(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "coconut"


def find(single, ears, voices=None):
    voices = voices or stock(4)
    return encoder.find("random", single, ears, voices, Prior.of(encoder.stacked(voices)))


def equal(one, two):
    same = [torch.equal(getattr(one, name).nan_to_num(9), getattr(two, name).nan_to_num(9)) for name in ARRAYS]
    return all(same) and (one.strength, one.error) == (two.strength, two.error)


ARRAYS = ("features", "coordinates")


@pytest.mark.slow
def test_the_table_is_measured_once_and_again_where_the_file_is_bad_or_foreign(single, ears, cached, monkeypatch):
    first = find(single, ears)
    (path,) = cached.iterdir()
    assert first.table.features.shape == (4, FEATURES)
    with monkeypatch.context() as patch:
        patch.setattr(encoder, "measure", lambda *_: pytest.fail("measured twice"))
        again = find(single, ears)
    assert equal(first.table, again.table)
    assert torch.equal(first(first.table.features[0]), again(first.table.features[0]))

    other = encoder.cache_file(encoder.table_key("random", stock(4, seed=1)))
    assert other != path
    first.table.save(other, "00" * 32)
    monkeypatch.setattr(encoder, "measure", lambda *_: first.table)
    whole = path.read_bytes()
    for content in (b"", whole[:999], b"not a table", other.read_bytes()):
        path.write_bytes(content)
        assert equal(find(single, ears).table, first.table)
        assert path.read_bytes() == whole


def test_a_cache_that_cannot_be_written_costs_nothing_else(single, ears, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    table = Table(torch.zeros(4, FEATURES), torch.zeros(4, 6), 1.0, 1.0)
    monkeypatch.setattr(encoder, "measure", lambda *_: table)
    assert find(single, ears).table is table


def test_a_table_of_another_shape_is_none(shipped, tmp_path):
    key = "ab" * 32
    path = shipped.save(tmp_path / "table", key)
    count, width = shape = tuple(shipped.coordinates.shape)
    assert equal(Table.read(path.read_bytes(), key, shape), shipped)
    assert Table.read(path.read_bytes(), key, (count, width - 1)) is None
    assert Table.read(path.read_bytes(), key, (count + 1, width)) is None
    assert Table.read(path.read_bytes(), "cd" * 32, shape) is None
    dataclasses.replace(shipped, features=shipped.features[:, 1:]).save(path, key)
    assert Table.read(path.read_bytes(), key, shape) is None


def test_a_voice_that_cannot_be_heard_changes_no_other(shipped):
    prior, unheard = mini.prior(), torch.full((1, FEATURES), math.nan)
    places = torch.cat([shipped.coordinates[:9], shipped.coordinates[:1], shipped.coordinates[9:]])
    more = dataclasses.replace(
        shipped, features=torch.cat([shipped.features[:9], unheard, shipped.features[9:]]), coordinates=places
    )
    features = shipped.features[4:9].mean(0)
    torch.testing.assert_close(Encoder(more, prior)(features), Encoder(shipped, prior)(features))
    assert more.nearest(features, 3) == [place + (place >= 9) for place in shipped.nearest(features, 3)]


def test_the_cache_lies_where_the_platform_says(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert encoder.cache_file("0123456789abcdef00") == tmp_path / "coconut" / "encoder-0123456789abcdef.safetensors"
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    for ignored in ("", "relative/folder"):
        monkeypatch.setenv("XDG_CACHE_HOME", ignored)
        assert files.cache_folder() == tmp_path / "me" / ".cache" / "coconut"


@pytest.mark.slow
def test_what_is_shipped_is_what_is_measured(shipped, ears):
    """Three voices of it, to the accuracy of float32."""
    model = resources.model("mini", "cpu")
    packs = encoder.stacked(model.voices)
    found = spoken(ears, Synthesizer(model.network, max_seconds=encoder.LONGEST), packs[[3, 20, 40]])
    scale = Scale.of(shipped.features)
    torch.testing.assert_close(scale(found), scale(shipped.features[[3, 20, 40]]), atol=5e-3, rtol=0)
    torch.testing.assert_close(encoder.coordinates(packs, model.prior), shipped.coordinates, atol=1e-3, rtol=1e-3)


def test_only_mini_is_shipped():
    with pytest.raises(SystemExit, match="Only mini"):
        encoder.main("hexgrad/Kokoro-82M")
