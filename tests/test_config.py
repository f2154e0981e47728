"""Config: strict names, types and bounds; nothing is lost between nested, dotted and JSON."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coconut.config import EsConfig, FitConfig, InputError, flatten, from_dict, to_dict


@pytest.mark.parametrize(
    ("given_", "sentence"),
    [
        ({"es.knd": "snes"}, "Unknown option es.knd; did you mean es.kind?"),
        ({"loss": {"logmell": 1.0}}, "Unknown option loss.logmell; did you mean loss.logmel?"),
        ({"es.popsize": 1, "es.kind": "snes"}, "es.popsize is 1; it must be from 2 to 65536."),
        ({"es.sigma": 0}, "es.sigma is 0; it must be from 1e-08 to 1000."),
        ({"es.sigma": float("nan")}, "es.sigma is nan; it must be from 1e-08 to 1000."),
        ({"es.popsize": 3.5}, "es.popsize must be int, not 3.5."),
        ({"es.mirrored": "yes"}, "es.mirrored must be bool, not 'yes'."),
        ({"seed": True}, "seed must be int, not True."),
        ({"loss.logmel": -1.0}, "loss.logmel is -1; it must be at least 0."),
        ({"min_seconds": 20.0}, "min_seconds is not below max_seconds; no recording could pass."),
        ({"es.sigma_min": 11.0}, "es.sigma_min is above es.sigma_max; lower the floor or raise the ceiling."),
    ],
)
def test_bad_settings_are_one_sentence(given_, sentence):
    with pytest.raises(InputError) as error:
        from_dict(given_)
    assert str(error.value) == sentence


def test_all_weights_zero_is_refused():
    zero = dict.fromkeys((name for name in flatten(FitConfig()) if name.startswith("loss.")), 0.0)
    with pytest.raises(InputError, match="every weight is 0"):
        from_dict(zero)


def test_flatten_and_nested_dicts_come_back():
    config = from_dict({"es": {"kind": "cem"}, "es.rho": 0.5, "loss.mimi": 1, "speaker": "ex01"})
    assert config.es == EsConfig(kind="cem", rho=0.5)
    assert config.loss.mimi == 1.0
    assert isinstance(config.loss.mimi, float)
    assert from_dict(flatten(config)) == config
    assert from_dict(json.loads(json.dumps(to_dict(config)))) == config


def test_base_is_kept_where_nothing_is_said():
    base = from_dict({"es.popsize": 8, "data": "folder"})
    changed = from_dict({"es.sigma": 0.5}, base)
    assert (changed.es.popsize, changed.data, changed.es.sigma) == (8, "folder", 0.5)


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "es.sigma": st.floats(1e-6, 100),
            "es.popsize": st.integers(2, 512),
            "seed": st.integers(0, 2**31),
            "loss.f0": st.floats(0, 10),
            "space.whiten": st.booleans(),
            "speaker": st.none() | st.text(max_size=5),
        },
    )
)
def test_any_valid_settings_survive_json(values):
    config = from_dict(values)
    assert from_dict(json.loads(json.dumps(to_dict(config)))) == config
    assert all(flatten(config)[name] == value for name, value in values.items())
