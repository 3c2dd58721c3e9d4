"""The house of CONTRIBUTING.md: an import points to its own storey or to one below, never up."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "ramgru"

STOREYS = [
    {"errors", "files", "version", "config"},
    {"kernels"},
    {"memory", "address", "tape", "controller", "ragged"},
    {"layer", "contract", "arguments", "state", "streaming", "trace"},
    {"models", "baselines", "tasks"},
    {"train", "evaluate"},
    {"study", "report", "inspect"},
    {"cli", "__main__"},
]
STOREY = {name: height for height, names in enumerate(STOREYS) for name in names}


def parts() -> list[str]:
    names = {path.stem for path in SOURCE.glob("*.py")} | {p.parent.name for p in packages()}
    return sorted(names - {"__init__"})


def packages() -> Iterator[Path]:
    return SOURCE.glob("*/__init__.py")


def imported(path: Path) -> Iterator[str]:
    """Parts of ramgru that a file imports, also inside functions."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module == "ramgru":
            modules = [f"ramgru.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            modules = [node.module or ""]
        else:
            continue
        yield from (name.split(".")[1] for name in modules if name.startswith("ramgru."))


def test_every_part_has_a_storey():
    assert set(parts()) == set(STOREY)


@pytest.mark.parametrize("part", parts())
def test_imports_point_down(part):
    single = SOURCE / f"{part}.py"
    paths = [single] if single.exists() else sorted((SOURCE / part).rglob("*.py"))
    upward = {
        f"{path.relative_to(SOURCE)} imports {name}"
        for path in paths
        for name in imported(path)
        if name in STOREY and STOREY[name] > STOREY[part]
    }
    assert not upward
