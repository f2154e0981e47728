"""Imports point down: the core knows neither Ray nor MLflow."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "coconut"
PLATFORM = {
    "ray": ("sweep/ray.py",),
    "mlflow": ("sweep/tracking.py",),
    "optuna": ("sweep/search.py",),
}
# A module may import from rooms of a lower number only; of the same number only from itself.
FLOORS = {
    "config": 0, "files": 0, "importing": 0, "quiet": 0, "waiting": 0, "words": 0, "writing": 0, "audio": 1,
    "cached": 1, "forecast": 1, "text": 1, "data": 2, "voicepack": 2, "prior": 3, "transcribe": 3, "style": 4,
    "synthesis": 4, "losses": 5, "features": 6, "objective": 6, "score": 6, "resources": 6, "strategy": 6, "stop": 6,
    "encoder": 7, "fit": 7, "prosody": 7, "cutting": 8, "stage": 8, "start": 8, "job": 9, "build": 10,
    "artifacts": 11, "gauge": 11, "trial": 12, "options": 12, "speak": 12, "doctor": 12, "inspection": 13,
    "health": 14, "sweep": 14, "cli": 15,
}  # fmt: skip


def imports(path: Path) -> set[str]:
    """Every dotted module name that a file imports, wherever in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def rooms() -> list[Path]:
    return sorted(path for path in PACKAGE.rglob("*.py") if path.name != "__init__.py" or path.parent != PACKAGE)


@pytest.mark.parametrize("path", rooms(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_down(path):
    own = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    assert own in FLOORS, f"{own} has no floor in the house"
    for name in imports(path):
        top = name.split(".")
        if top[0] in PLATFORM:
            assert path.relative_to(PACKAGE).as_posix() in PLATFORM[top[0]], f"{path.name} imports {name}"
        if top[0] == "coconut" and len(top) > 1 and top[1] in FLOORS and top[1] != own:
            assert FLOORS[top[1]] < FLOORS[own], f"{own} imports {name}, which is not below it"


@pytest.mark.slow
def test_the_core_and_the_command_line_load_neither_ray_nor_mlflow():
    code = "import sys, coconut.fit, coconut.build, coconut.artifacts, coconut.cli; print(sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=PACKAGE.parent, check=True)
    assert "'coconut.fit'" in done.stdout
    assert not any(f"'{name}'" in done.stdout for name in ("ray", "mlflow", "optuna"))


def test_no_line_of_the_package_names_a_machine():
    for path in rooms():
        text = path.read_text(encoding="utf-8")
        assert "/root/" not in text, path
        assert "/home/" not in text, path
