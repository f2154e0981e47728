"""The training of mini: who speaks, what a style is, what the losses hear."""

import numpy as np
import pytest
import torch

from coconut.synthesis import mini
from experiments.mini import coordinates, spectra, texts
from experiments.mini.data import profile, shortness
from experiments.mini.speakers import bundled, draw, spread
from experiments.mini.train import RESTART, Styles, expand, schedule

RATE = 24000


def noise(seed: int, seconds: float = 1.2) -> torch.Tensor:
    return 0.05 * torch.randn(2, int(seconds * RATE), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("hertz", "heard_by"), [(3200, {"hop", "comb"}), (560, {"comb"}), (3177, set())])
def test_a_faint_steady_tone_is_heard_where_mini_would_make_one(hertz, heard_by):
    real, other = noise(0), noise(1)
    voiced = torch.zeros_like(real)
    tone = 0.004 * torch.sin(2 * torch.pi * hertz * torch.arange(real.shape[1]) / RATE)
    plain = spectra.losses(other, real, voiced)
    toned = spectra.losses(other + tone, real, voiced)
    assert {name for name in ("comb", "hop") if toned[name] > plain[name] + 0.005} == heard_by


def test_a_comb_too_faint_for_a_distance_is_heard_by_its_excess():
    real, other = noise(0), noise(1)
    voiced = torch.zeros_like(real)
    time = torch.arange(real.shape[1]) / RATE
    comb = sum(0.001 * torch.sin(2 * torch.pi * 80 * k * time + k) for k in range(2, 41))
    plain, combed = (spectra.losses(x, real, voiced)["comb"] for x in (other, other + comb))
    assert abs(combed - plain) < 0.05 * plain
    plain, combed = (spectra.excess(x, spectra.COMB[:39]) for x in (other, other + comb))
    assert abs(plain) < 0.1 < 0.3 < combed


def test_the_gradient_of_an_excess_follows_its_running_mean():
    term = spectra.Excess()
    time = torch.arange(28800) / RATE
    tone = torch.sin(2 * torch.pi * 3200 * time)[None]
    real, loud = noise(0), torch.tensor(0.05, requires_grad=True)
    pushes = []
    for k in range(30):
        value = term(noise(k + 1)[:, :28800] + loud * tone, real[:, :28800])
        pushes.append(float(torch.autograd.grad(value, loud)[0]))
    assert min(pushes[-10:]) > max(pushes[0], 0)  # towards less, the more so the longer it lasts
    assert term.mean[1] > 1 > abs(term.mean[0])


@pytest.mark.parametrize(
    ("step", "share"),
    [(0, 0.01), (99, 1.0), (400, 0.505), (799, 0.01), (800, RESTART), (900, 0.505 * RESTART), (999, 0.01 * RESTART)],
)
def test_the_rate_falls_and_rises_once_to_polish(step, share):
    optimizer = torch.optim.SGD([{"params": [torch.zeros(1)], "peak": 2.0}], lr=1.0)
    schedule(optimizer, step, 1000, 200)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(2.0 * share, rel=0.05)


def test_losses_of_equal_waveforms_vanish():
    wav = noise(0)
    for name, value in spectra.losses(wav, wav.clone(), torch.ones_like(wav)).items():
        assert abs(value) < 5e-3, name


def test_the_noise_of_styles_stays_where_voices_lie():
    styles = Styles(5, torch.Generator().manual_seed(0), 1.0)
    made = styles(torch.zeros(400, dtype=torch.long), torch.full((400,), 20)).detach()
    inside = (styles.base - styles.base.mean(0)).detach()
    axes = torch.linalg.qr(inside.T).Q[:, :4]
    noise = made - made.mean(0)
    outside = noise - noise @ axes @ axes.T
    assert outside.norm() < 1e-4 * noise.norm()
    assert noise.norm() > 1.0


@pytest.mark.parametrize("half", ["acoustic", "prosody"])
def test_levelled_coordinates_read_every_voice_as_before_and_no_direction_is_dead(half):
    generator = torch.Generator().manual_seed(0)
    base, slope = torch.randn(2, 12, 128, generator=generator) * torch.tensor([[[0.2]], [[0.05]]])
    span = torch.linalg.pinv(base) @ base
    weights = {name: w.clone() for name, w in mini.architecture().state_dict().items()}
    for name in filter(lambda name: coordinates._reads(name, half), weights):  # as if trained along the voices
        columns = coordinates._style_columns(name, weights[name])
        columns.add_(columns @ span, alpha=3)
    made, slopes, gain = coordinates.level(weights, half, base, slope)
    changed = {name for name in weights if not torch.equal(weights[name], made[name])}
    assert len(changed) == {"acoustic": 32, "prosody": 22}[half]
    assert 3 < gain < 5
    off = torch.randn(200, 128, generator=generator) * base.std(0)
    off -= off @ span
    along = across = 0.0
    for name in changed:
        before, after = (w[name][:, -128:] for w in (weights, made))
        torch.testing.assert_close(after @ (base + slopes).T, before @ (base + slope).T, rtol=1e-4, atol=1e-4)
        along += float((after @ base.T).var(1).sum())
        across += float((after @ off.T).var(1).sum())
    assert across == pytest.approx(along, rel=0.1)


def test_the_slope_is_scaled_by_the_profile_and_its_reach():
    styles = Styles(2, torch.Generator().manual_seed(0), 2.0)
    with torch.no_grad():
        styles.slope[1] = 1.0
    speakers = torch.tensor([1] * 300)
    long, short = (styles(speakers, torch.full((300,), n)).mean(0).detach() for n in (400, 1))
    rise = 2.0 * float(profile(np.array(0.0)) - profile(np.array(399.0)))
    torch.testing.assert_close((short - long).mean(), torch.tensor(rise, dtype=torch.float32), rtol=0.01, atol=0.05)


def test_shortness_falls_from_one_to_nothing():
    values = [shortness(n) for n in (1, 5, 20, 80, 500)]
    assert values[0] == pytest.approx(1.0)
    assert values == sorted(values, reverse=True)
    assert values[-1] < 0.01


def test_expand_repeats_tokens_and_holds_the_last():
    features = torch.tensor([[[1.0], [2.0], [3.0]], [[5.0], [6.0], [0.0]]])
    found = expand(features, torch.tensor([[1, 1, 2], [2, 1, 0]]), 5)
    assert found[..., 0].tolist() == [[1, 2, 3, 3, 3], [5, 5, 6, 6, 6]]


def test_spread_takes_the_farthest_and_keeps_the_chosen():
    points = np.array([[0.0], [1.0], [10.0], [4.0]])
    assert spread(points, 3) == [0, 2, 3]
    assert spread(points, 3, [3, 1]) == [3, 1, 2]


def test_bundled_variants_are_people_without_echo(tmp_path):
    files = {
        "anna": "language variant\nname anna\ngender female\npitch 180 260\necho 100 10\nformant 1 105 100 100\n",
        "kid": "name kid\npitch 240 300\n",
        "hoarse": "name hoarse\npitch 90 120\nbreath 0 20 20\n",
        "robosoft": "name robosoft\npitch 90 120\n",
        "nameless": "formant 1 100 100 100\n",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    found = {s.bundled: s for s in bundled(tmp_path, np.random.default_rng(0))}
    assert {name: s.kind for name, s in found.items()} == {"anna": "female", "kid": "child", "hoarse": "breathy"}
    assert found["anna"].variant == "gender female\nformant 1 105 100 100\n"
    assert found["anna"].variant_at(12).startswith("pitch 360 520\n")


def test_a_seed_draws_the_same_speaker_and_texts():
    a, b = (draw(np.random.default_rng(3), "x") for _ in range(2))
    assert a == b
    said = [texts.texts(np.random.default_rng(4)) for _ in range(2)]
    assert said[0] == said[1]
    assert not {w for slot in texts.GRAMMAR for w in slot} & {w.lower() for t in said[0] for w in t.split()}
