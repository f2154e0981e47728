"""Style spaces: start exactly at a voice, decode smooth packs, move by whitened units."""

import dataclasses

import pytest
import safetensors.torch
import torch

from coconut import style, voicepack
from coconut.config import FitConfig, InputError, SpaceConfig
from coconut.prior import Normal, Prior, base_and_slope, unseen_spread
from tests.voices import stock

STOCK = stock(8)
KINDS = ["pca", "whole", "bias", "interp", "interp+bias"]
DIMS = {"pca": 7 + 7, "whole": 256 + 7, "bias": 256, "interp": 8, "interp+bias": 264}


def space(kind, **options):
    return style.build(SpaceConfig(kind=kind, **options), stock=STOCK)


@pytest.mark.parametrize("kind", KINDS)
def test_shapes(kind):
    s = space(kind)
    genomes = s.init() + 0.1 * torch.randn(3, s.dim, generator=torch.Generator().manual_seed(0))
    packs = s.decode(genomes)
    assert s.dim == DIMS[kind] == len(s.init())
    assert packs.shape == (3, 510, 1, 256)
    rows = torch.tensor([0, 17, 509])
    torch.testing.assert_close(s.styles(genomes, rows), packs[:, rows, 0])


@pytest.mark.parametrize("kind", ["pca", "whole", "bias"])
def test_the_start_is_exactly_the_start_voice(kind):
    s = space(kind, start="v_03", components=3, slopes=1)
    torch.testing.assert_close(s.decode(s.init()[None])[0], STOCK["v_03"], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", ["interp", "interp+bias"])
def test_a_mixture_starts_mostly_at_the_start_voice(kind):
    s = space(kind, start="v_03")
    mix = s.mix if kind == "interp+bias" else s
    weights = mix.weights(s.init()[None, :8])[0]
    assert weights[3] == pytest.approx(0.7, abs=1e-5)
    assert weights.sum() == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_the_mean_is_the_mean_of_the_stock_voices(kind):
    s = space(kind, start="mean")
    mean = torch.stack(list(STOCK.values())).mean(0)
    torch.testing.assert_close(s.decode(s.init()[None])[0], mean, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_decoded_packs_are_as_smooth_as_stock(kind):
    s = space(kind, start="v_03")
    genomes = s.init() + torch.randn(16, s.dim, generator=torch.Generator().manual_seed(1))
    assert max(voicepack.roughness(pack) for pack in s.decode(genomes)) < voicepack.ROUGHNESS_LIMIT


def test_whitened_units_are_the_spread_of_the_stock_voices():
    s = space("pca", start="mean", components=7, slopes=0)
    bases = torch.stack(list(STOCK.values()))[:, :, 0].mean(1)
    coordinates = torch.stack([style._project(base - s.base, s.base_axes) for base in bases])
    torch.testing.assert_close(coordinates.std(0), torch.ones(7), atol=1e-3, rtol=1e-3)


def test_whole_reaches_a_voice_that_no_mixture_of_stock_voices_is():
    known = {name: pack for name, pack in STOCK.items() if name != "v_00"}
    away = {}
    for kind in ("pca", "whole"):
        s = style.build(SpaceConfig(kind=kind, start="mean", components=256, slopes=256), known)
        towards = STOCK["v_00"].reshape(510, 256) - s.decode(s.init()[None])[0, :, 0]
        base, slope = base_and_slope(towards[None], s.profile)
        k = len(s.base_axes)
        found = s.init() + torch.cat([project(base[0], s.base_axes), project(slope[0], s.slope_axes)])
        assert len(found) == s.dim
        assert k == {"pca": len(known) - 1, "whole": 256}[kind]
        left = STOCK["v_00"].reshape(510, 256) - s.decode(found[None])[0, :, 0]
        away[kind] = float(left.mean(0).norm() / towards.mean(0).norm())
    assert away["whole"] < 1e-3
    assert away["pca"] > 0.3


def project(vector, axes):
    return axes @ vector / axes.square().sum(1)


def test_the_spread_to_expect_outside_the_voices_is_that_of_a_voice_left_out():
    points = torch.randn(40, 256, generator=torch.Generator().manual_seed(1)) * 0.3
    assert unseen_spread(points) == pytest.approx(0.3, rel=0.1)
    flat = torch.randn(40, 5, generator=torch.Generator().manual_seed(1)) @ torch.ones(5, 256).cumsum(0)
    assert unseen_spread(flat) < 1e-4
    whole = Normal.of(points).whole(0.3)
    torch.testing.assert_close(whole.components @ whole.components.T, torch.eye(256), atol=1e-5, rtol=0)
    assert (whole.spread.diff() <= 0).all()
    torch.testing.assert_close(whole.components[:39], Normal.of(points).components)


def test_raw_units_add_the_bias_itself():
    s = space("bias", whiten=False, start="mean")
    moved = s.decode(torch.full((1, 256), 0.25)) - s.decode(torch.zeros(1, 256))
    torch.testing.assert_close(moved, torch.full_like(moved, 0.25))


def test_raw_logits_of_small_sigma_move_nothing_and_whitened_ones_do():
    nudge = torch.zeros(1, 8)
    nudge[0, 2] = 1.0
    raw = space("interp", whiten=False, start="mean").weights(nudge)[0, 2]
    whitened = space("interp", start="mean").weights(nudge)[0, 2]
    assert raw < 0.3 < whitened


def test_a_kind_names_the_options_that_only_it_uses():
    known = {spec.name for spec in dataclasses.fields(SpaceConfig)} - {"kind", "start", "whiten"}
    assert list(style.KINDS) == KINDS
    assert {name: kind.settings for name, kind in style.KINDS.items() if kind.settings} == {
        "pca": ("components", "slopes"),
        "whole": ("slopes",),
    }
    assert set().union(*(kind.settings for kind in style.KINDS.values())) == known


def test_a_new_space_is_one_entry(monkeypatch):
    class Louder(style.Space):
        dim = 1

        @classmethod
        def build(cls, stock, config):
            made = cls()
            made.start = stock.start_pack
            return made

        def styles(self, genomes, rows):
            return self.start[rows] * (1 + genomes[:, None])

    monkeypatch.setitem(style.KINDS, "louder", Louder)
    s = space("louder", start="v_02")
    torch.testing.assert_close(s.decode(torch.ones(1, 1))[0], 2 * STOCK["v_02"])


def test_build_is_deterministic_and_takes_a_fit_config():
    one, two = space("pca"), style.build(FitConfig(space=SpaceConfig("pca")), stock=dict(reversed(STOCK.items())))
    assert torch.equal(one.decode(torch.ones(1, one.dim)), two.decode(torch.ones(1, two.dim)))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [({"kind": "pcaa"}, "space.kind is pcaa"), ({"start": "nobody"}, "space.start is nobody.*v_00")],
)
def test_bad_spaces_are_refused(options, sentence):
    with pytest.raises(InputError, match=sentence):
        style.build(SpaceConfig(**options), stock=STOCK)


def test_one_stock_voice_is_too_few():
    with pytest.raises(InputError, match="1 stock voices"):
        style.build(SpaceConfig(), stock={"a": STOCK["v_00"]})


def test_a_prior_survives_storing_and_stands_for_the_voices():
    packs = torch.stack(list(STOCK.values())).reshape(8, 510, 256)
    known = Prior.of(packs)
    stored = safetensors.torch.load(safetensors.torch.save(known.tensors()))
    again = Prior.from_tensors(stored)
    assert all(torch.equal(value, again.tensors()[key]) for key, value in known.tensors().items())
    base = packs.mean(1)
    inside = known.base.mean + (base - known.base.mean) @ known.base.components.T @ known.base.components
    torch.testing.assert_close(inside, base, atol=1e-4, rtol=1e-4)
    along = (base - known.base.mean) @ known.base.components.T
    torch.testing.assert_close(along.std(0), known.base.spread, atol=1e-5, rtol=1e-3)


def test_a_given_prior_is_the_one_that_is_searched():
    packs = torch.stack(list(STOCK.values())).reshape(8, 510, 256)
    known = Prior.of(packs)
    wider = dataclasses.replace(known, base=dataclasses.replace(known.base, spread=known.base.spread * 2))
    config = SpaceConfig(kind="pca", start="mean", slopes=1)
    genome = torch.eye(1, 8)
    step = [
        style.build(config, STOCK, prior=p).decode(genome) - style.build(config, STOCK, prior=p).decode(0 * genome)
        for p in (known, wider)
    ]
    torch.testing.assert_close(step[1], 2 * step[0], atol=1e-5, rtol=1e-4)
