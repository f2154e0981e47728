"""Artifacts: rows survive a crash, rough voices are refused, the plot is a picture."""

import pytest
import torch

from coconut import artifacts, voicepack
from coconut.config import InputError
from tests.toys import Objective, Score, Windows
from tests.voices import stock

PACK = stock(2)["v_00"]


def steps(count=6):
    from coconut.config import from_dict
    from coconut.fit import fit

    return list(
        fit(
            from_dict({"generations": count, "es.kind": "snes", "es.popsize": 4, "stop.every": 1}),
            Objective(),
            Score(),
            Windows(),
        )
    )


def test_rows_come_back_up_to_the_generation_asked_for(tmp_path):
    rows = [step.row() for step in steps(4)]
    artifacts.write_rows(tmp_path, rows)
    assert artifacts.read_rows(tmp_path) == rows
    assert artifacts.read_rows(tmp_path, until=2) == rows[:3]
    assert artifacts.read_rows(tmp_path / "nowhere") == []


def test_state_comes_back(tmp_path):
    step = steps()[3]
    artifacts.save_state(tmp_path, step.state())
    state = artifacts.load_state(tmp_path)
    assert state["generation"] == 3
    assert torch.equal(state["best"]["genome"], step.state()["best"]["genome"])
    assert artifacts.load_state(tmp_path / "nowhere") is None
    (tmp_path / "state.pt").write_bytes(b"cut")
    with pytest.raises(InputError, match="cannot be read"):
        artifacts.load_state(tmp_path)


def test_a_rough_voice_is_refused_and_nothing_is_written(tmp_path):
    noise = 0.05 * torch.randn(PACK.shape, generator=torch.Generator().manual_seed(0))
    with pytest.raises(InputError, match="rougher"):
        artifacts.export(PACK + noise, tmp_path / "voice.pt")
    assert not list(tmp_path.iterdir())
    assert voicepack.load(artifacts.export(PACK, tmp_path / "voice.pt")).shape == (510, 1, 256)


def test_the_plot_is_a_picture_of_the_rows(tmp_path):
    from matplotlib.image import imread

    rows = [step.row() for step in steps()]
    path = artifacts.plot(tmp_path, rows, "generations")
    picture = imread(path)
    assert picture.shape[0] > 400
    assert picture.std() > 0.02
    assert [p.name for p in tmp_path.iterdir()] == ["train.png"]
