"""What is computed in which arithmetic: settings of TF32 that are restored, and how far from exact each one is."""

from __future__ import annotations

import warnings
from types import SimpleNamespace

import pytest
import torch

from coconut.audio import LogMel
from coconut.data import Utterance
from coconut.losses import Synthesis
from coconut.objective import Objective
from coconut.score import Score
from coconut.synthesis import Synthesizer, load_model, precision, stock_voices
from coconut.synthesis.precision import settle, tensor_cores
from tests import pretend, tf32

CUDA = torch.device("cuda")
matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
newer = pytest.mark.skipif(not hasattr(cudnn, "conv"), reason="this torch has no fp32_precision")


def said():
    """All settings of TF32, old and new; a refusal to answer is an answer."""
    found = [torch.backends.fp32_precision, matmul.fp32_precision, cudnn.conv.fp32_precision, cudnn.rnn.fp32_precision]
    for read in (lambda: matmul.allow_tf32, lambda: cudnn.allow_tf32, torch.get_float32_matmul_precision):
        try:
            found.append(read())
        except RuntimeError:
            found.append("refused")
    return [*found, cudnn.deterministic, cudnn.benchmark]


@pytest.fixture
def settings():
    before = precision._Tf32.read()
    before.write()
    yield
    torch.backends.fp32_precision = "none"
    before.write()
    matmul.allow_tf32, cudnn.allow_tf32 = False, True  # torch's own; the older interface can be read again


def set_matmul():
    matmul.fp32_precision = "tf32"


def set_convolutions():
    cudnn.conv.fp32_precision = "ieee"


def set_all():
    torch.backends.fp32_precision = "tf32"


@newer
@pytest.mark.usefixtures("settings")
@pytest.mark.parametrize("allowed", [False, True])
@pytest.mark.parametrize("host", [set_matmul, set_convolutions, set_all, lambda: None])
def test_a_program_that_uses_the_newer_settings_keeps_them(host, allowed):
    host()
    before, expected = said(), "tf32" if allowed else "ieee"
    with tensor_cores(CUDA, allowed):
        assert {cudnn.conv.fp32_precision, cudnn.rnn.fp32_precision, matmul.fp32_precision} == {expected}
        assert (matmul.allow_tf32, cudnn.allow_tf32) == (allowed, allowed)
        with tensor_cores(CUDA, not allowed):
            assert matmul.allow_tf32 is not allowed
        assert cudnn.conv.fp32_precision == expected
    assert said() == before


@newer
@pytest.mark.usefixtures("settings")
@pytest.mark.parametrize("name", ["highest", "high", "medium"])
def test_the_older_setting_keeps_its_three_values(name):
    torch.set_float32_matmul_precision(name)
    before = said()
    with tensor_cores(CUDA, False):
        assert not matmul.allow_tf32
    assert said() == before
    assert torch.get_float32_matmul_precision() == name


# What is compared is computed exactly


@pytest.mark.usefixtures("settings")
def test_losses_gradients_references_and_scores_are_exact_though_the_program_allows_tf32(monkeypatch):
    allowed = {}

    def noted(name, result):
        def work(*_, **__):
            allowed[name] = (matmul.allow_tf32, cudnn.allow_tf32)
            return result

        return work

    matmul.allow_tf32 = cudnn.allow_tf32 = True
    styles = torch.zeros(1, 1, 256)
    monkeypatch.setattr(Objective, "_heard", noted("losses", ({"term": torch.zeros(1)}, torch.zeros(1) > 0, 0.0)))
    monkeypatch.setattr(Objective, "_slopes", noted("gradient", None))
    monkeypatch.setattr(Synthesis, "of", noted("speech of a score", None))
    monkeypatch.setattr(Score, "_judge", noted("score", ([None], 0.0)))
    with pretend.device():
        script = SimpleNamespace(rows=torch.zeros(1, dtype=torch.long))
        synth = SimpleNamespace(device=CUDA, prepare=lambda _: script)
        objective = Objective(None, synth, {"term": SimpleNamespace(differentiable=True)}, {"term": 1.0})
        objective(styles[0], ["text"])
        objective.gradient(styles[0], ["text"])
        spoken = Utterance("0", "", "", torch.ones(4800))
        space = SimpleNamespace(styles=noted("voice of a score", styles))
        Score(space, synth, [spoken], noted("reference", torch.ones(1, 4)))(styles[0, 0])
    assert len(allowed) == 6
    assert set(allowed.values()) == {(False, False)}


# Which one is used


@pytest.mark.parametrize(
    ("capability", "expected"),
    [((9, 0), {"auto": "tf32", "tf32": "tf32", "fast": "fast", "exact": "exact"}),
     ((7, 5), {"auto": "exact", "tf32": "exact", "fast": "exact", "exact": "exact"})],
)  # fmt: skip
def test_a_gpu_uses_what_it_has(monkeypatch, capability, expected):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    for name, used in expected.items():
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            assert settle(name, CUDA, torch.float32).name == used
        assert bool(said) == (used != name != "auto")
    assert settle("auto", CUDA, torch.float64).name == "exact"


def test_a_cpu_is_exact_by_itself():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert settle("auto", torch.device("cpu"), torch.float32).name == "exact"
    with pytest.warns(UserWarning, match="tf32 gains nothing on cpu"):
        assert settle("tf32", torch.device("cpu"), torch.float32).name == "exact"


# How far from exact it is, by imitation on a CPU


def test_a_number_keeps_ten_bits():
    x = torch.tensor([1 + 2.0**-10, 1 + 2.0**-11, 1 + 2.0**-12, -(1 + 2.0**-11), 3.0e38, 0.0, -0.0])
    nearest = torch.tensor([1 + 2.0**-10, 1 + 2.0**-10, 1.0, -(1 + 2.0**-10), 3.0e38, 0.0, -0.0])
    assert torch.allclose(tf32.rounded(x), nearest, rtol=2.0**-11, atol=0)
    assert tf32.rounded(x)[:4].tolist() == nearest[:4].tolist()
    assert tf32.rounded(x, truncated=True)[:4].tolist() == [1 + 2.0**-10, 1.0, 1.0, -1.0]


SENTENCE = "ðə bˈɜɹʧ kənˈu slˈɪd."


@pytest.fixture(scope="module")
def spoken():
    """What one stock voice of the embedded model says, by precision; on a pretend GPU, but for `cpu`."""
    pack = min(stock_voices(load_model("mini")).items())[1]

    def ready(device, precision, seed=0):
        synth = Synthesizer(load_model("mini", device), seed, precision)
        script = synth.prepare([SENTENCE])
        styles = pack[script.rows, 0][None].to(device)
        return synth, script, styles

    def speak(synth, script, styles, imitation):
        synth.prosody(script, styles)  # the first warms up
        rounded = imitation.count
        prosody = synth.prosody(script, styles)
        before, rounded, imitation.plain = imitation.count - rounded, imitation.count, 0
        wav = synth.decode(script, prosody, styles).wav[0, 0].cpu()
        counts = {"before": before, "rounded": imitation.count - rounded, "kept": imitation.plain}
        return SimpleNamespace(wav=wav, durations=prosody.durations.cpu(), F0=prosody.F0.cpu(), **counts)

    found = {}
    for name in ("exact", "tf32", "fast"):
        with pretend.device(), tf32.imitated() as imitation:
            found[name] = speak(*ready("cuda", name), imitation)
    for name, seed in (("cpu", 0), ("noise", 1)):
        synth, script, styles = ready("cpu", "exact", seed)
        found[name] = SimpleNamespace(wav=synth(script, styles).wav[0, 0])
    return found


def apart(a, b):
    """Nepers: mean absolute difference of log-mels."""
    size = torch.tensor([len(a), len(a)])
    one, two = LogMel()(torch.stack([a, b]), size)[0]
    return float((one - two).abs().mean())


@pytest.mark.slow
def test_each_precision_is_as_near_to_exact_as_is_said(spoken):
    exact = spoken["exact"].wav
    found = {name: apart(exact, spoken[name].wav) for name in ("cpu", "tf32", "fast", "noise")}
    print(found)
    assert found["cpu"] < found["tf32"] < found["fast"] < found["noise"]
    assert 0 < found["tf32"] < 0.1 * found["noise"]


@pytest.mark.slow
def test_only_the_decoder_is_rounded(spoken):
    for name in ("tf32", "fast"):
        assert torch.equal(spoken[name].durations, spoken["exact"].durations)
        assert torch.equal(spoken[name].F0, spoken["exact"].F0)
        assert spoken[name].rounded > 0
        assert spoken[name].before == 0
    assert spoken["exact"].rounded == 0
    assert spoken["tf32"].kept > 0  # the transform and its inverse
