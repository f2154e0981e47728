"""What `coconut doctor` and `coconut bench` say, on a machine that works and on those that do not."""

from __future__ import annotations

import pytest
import torch

from coconut import build, doctor, gauge, health
from coconut.cli import main
from coconut.gauge import Reading
from tests import pretend

SHORT = ("həlˈO wˈɜɹld.", "ə wˈɛl.")


@pytest.fixture
def quick(monkeypatch):
    """Short sentences, few voices, and nothing about the rest of the machine."""
    for where, name, value in (
        (gauge, "SENTENCES", SHORT), (gauge, "REPEATS", 1), (health, "POPSIZE", 2), (doctor, "examine", lambda: []),
    ):  # fmt: skip
        monkeypatch.setattr(where, name, value)
    gauge._spoken.cache_clear()
    yield
    gauge._spoken.cache_clear()
    build.forget()


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (AssertionError("Torch not compiled with CUDA enabled"), "built without CUDA"),
        (RuntimeError("Found no NVIDIA driver on your system. Please check that you have"), "no NVIDIA driver"),
        (RuntimeError("The NVIDIA driver on your system is too old (found version 11040)."), "too old for this torch"),
        (RuntimeError("No CUDA GPUs are available"), "CUDA_VISIBLE_DEVICES"),
        (RuntimeError("CUDA error: no CUDA-capable device is detected"), "CUDA_VISIBLE_DEVICES"),
        (RuntimeError("CUDA error: invalid device ordinal\nGPU device may be out of range"), "counted from 0"),
        (RuntimeError("CUDA error: CUDA-capable device(s) is/are busy or unavailable\nCUDA"), "exclusive mode"),
        (RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be"), "its memory is full"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 MiB."), "its memory is full"),
        (RuntimeError("CUDA error: unknown error\nand more"), "CUDA error: unknown error"),
        (RuntimeError(), "RuntimeError"),
    ],
)
def test_a_device_that_cannot_be_used_is_one_sentence(error, said, quick, monkeypatch, capsys):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(doctor.torch, "zeros", fail)
    for command in ("doctor", "bench"):
        assert main([command, "--device", "cuda"]) == 2
        out, err = capsys.readouterr()
        assert said in out
        assert "Traceback" not in out + err
        assert len(out.strip().splitlines()) == 1


@pytest.mark.parametrize("name", ["cuda", "cuda:7", "gpu", "mps", ""])
def test_a_device_that_this_machine_lacks(name):
    found = doctor.device(name)
    assert not found.ok
    assert f"{name} cannot be used: " in found.finding
    assert "\n" not in found.finding


def test_a_gpu_that_is_there_and_full_does_not_end_the_other_checks(monkeypatch):
    def fail(*_):
        raise RuntimeError("CUDA error: out of memory")

    with pretend.device():
        monkeypatch.setattr(torch.cuda, "mem_get_info", fail)
        found = doctor.accelerator()
    assert (found.ok, found.needed) == (False, False)
    assert found.finding == f"cuda cannot be used: {doctor.FULL}"


@pytest.mark.slow
def test_a_cpu_is_timed_and_found_exact(quick, capsys):
    assert main(["doctor", "--device", "cpu", "--precision", "exact"]) == 0
    out = capsys.readouterr().out
    header, row = (line.split() for line in out.splitlines() if line.startswith(("precision", "exact")))
    found = dict(zip(["precision", "popsize", *health.STAGES, "rate", "apart"], row, strict=False))
    assert header[:2] == ["precision", "popsize"]
    assert found["popsize"] == "2"
    assert all(float(found[stage]) > 0 for stage in (*health.STAGES, "rate"))
    assert float(found["apart"]) < 0.01  # a voice in a batch is that voice alone
    assert "Take --precision exact" in out


@pytest.mark.slow
def test_a_gpu_is_timed_and_its_share_advised(quick, capsys):
    with pretend.device() as gpu:
        gpu.total, gpu.free, gpu.fraction = 24 << 30, 20 << 30, 0.5
        gpu.allocated = 7 << 30
        assert main(["bench", "--device", "cuda", "--popsize", "1", "--precision", "tf32"]) == 0
        build.forget()
    out = capsys.readouterr().out
    assert "kernels: " in out
    assert "20.0 of 24.0 GiB free, share of this process 0.50" in out
    assert {line.split()[0] for line in out.splitlines()} >= {"tf32", "precision"}
    assert "--gpus-per-trial 0.5:" in out  # a quarter of it holds no 7 GiB and a context


def test_a_reading_that_fails_is_one_sentence(quick, monkeypatch, capsys):
    def fail(*_):
        raise RuntimeError("CUDA error: out of memory\nmore")

    monkeypatch.setattr(gauge, "read", fail)
    assert main(["bench", "--device", "cpu", "--precision", "exact"]) == 1
    assert f"exact: cpu failed: {doctor.FULL}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["bench", "--precision", "quick"], "--precision quick is none of exact, tf32, fast"),
        (["bench", "--popsize", "0"], "--popsize is 0"),
        (["doctor", "--device", "cpu", "--precision", "quick"], "--precision quick"),
    ],
)
def test_bad_words(words, said, quick, capsys):
    assert main(words) == 2
    assert said in capsys.readouterr().err


def test_a_model_that_is_not_there_is_one_sentence(quick, tmp_path, capsys):
    assert main(["bench", "--model", str(tmp_path), "--precision", "exact"]) == 1
    assert "has no config.json" in capsys.readouterr().out


def reading(precision, seconds, apart, peak=0):
    stages = {"prosody": seconds, "decode": seconds, "losses": seconds}
    return Reading(precision, 8, 30.0, apart, 1000, 0, peak, stages)


def test_the_fastest_that_is_near_is_advised():
    exact, tf32, fast = reading("exact", 1.0, 1e-4), reading("tf32", 0.5, 4e-3), reading("fast", 0.25, 0.5)
    assert exact.rate == pytest.approx(10.0)
    assert gauge.fastest([exact, tf32, fast]) is tf32
    assert gauge.fastest([exact, fast]) is exact
    assert gauge.fastest([reading("exact", 1.0, 0.3), fast]).precision == "exact"


@pytest.mark.parametrize(
    ("gib", "peak", "expected"), [(80, 2.0, 0.25), (24, 2.0, 0.25), (8, 2.0, 0.5), (8, 5.0, 1.0), (8, 7.5, None)]
)
def test_the_least_share_that_holds_a_fit_is_advised(gib, peak, expected):
    assert gauge.share(reading("exact", 1.0, 0.0, int(peak * 2**30)), gib * 2**30) == expected
