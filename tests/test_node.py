"""What a node of a cluster must have before it is given trials."""

import re
from dataclasses import replace

import pytest

from coconut.config import InputError
from coconut.sweep import node

LIKE = node.versions()


@pytest.fixture
def laid(tmp_path):
    with node.sign(str(tmp_path / "store")) as found:
        yield found


def test_a_node_like_this_one_is_right_and_nothing_stays_behind(tmp_path):
    with node.sign(f"file://{tmp_path}/store") as laid:
        assert node.wrong(laid, [str(tmp_path)], LIKE) is None
    assert list((tmp_path / "store").iterdir()) == []


# what is unlike this machine on the node -> what is said of it
UNLIKE = {
    "torch": (LIKE | {"torch": "1.0"}, "has torch .* where this machine has 1.0; install the same there"),
    "a package": (LIKE | {"av": None}, "has av .* where this machine has None"),
    "the code alone": (LIKE | {"coconut": "0" * 8}, "has other code of coconut than this machine"),
    "code and a package": (LIKE | {"coconut": "0" * 8, "ray": "2.0"}, "has ray .* where this machine has 2.0"),
}


@pytest.mark.parametrize("name", UNLIKE)
def test_other_versions_are_named(name, laid):
    expected, said = UNLIKE[name]
    assert re.match(said, node.wrong(laid, [], expected))


def test_a_folder_that_is_missing_is_named(laid, tmp_path):
    assert node.wrong(laid, [str(tmp_path), str(tmp_path / "gone")], LIKE).startswith(f"has no folder {tmp_path}/gone")


def test_a_storage_of_its_own_is_not_the_storage(laid, tmp_path):
    (tmp_path / "other").mkdir()
    for elsewhere in (tmp_path / "other", tmp_path / "none"):
        assert "must be one place that all nodes share" in node.wrong(replace(laid, storage=str(elsewhere)), [], LIKE)
    (tmp_path / "other" / laid.name).write_text("of another sweep")
    assert "all nodes share" in node.wrong(replace(laid, storage=str(tmp_path / "other")), [], LIKE)


def test_a_storage_that_cannot_be_written_is_named(laid, tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError("[Errno 13] Permission denied")

    monkeypatch.setattr(node, "_write", refuse)
    assert "cannot write to" in node.wrong(laid, [], LIKE)
    with (
        pytest.raises(InputError, match=r"store cannot be written .*Permission denied.*; check --storage"),
        node.sign(str(tmp_path / "store")),
    ):
        pass


def test_a_package_that_is_not_installed_has_no_version(monkeypatch):
    monkeypatch.setattr(node, "PACKAGES", ("no-such-package-as-this",))
    assert node.versions()["no-such-package-as-this"] is None
