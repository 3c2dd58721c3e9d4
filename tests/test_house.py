"""The house of CONTRIBUTING.md: imports point down, in no circle; the layer needs no laboratory.

The graph holds every import statement, also in functions and under `if TYPE_CHECKING`.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src"

# From the ground up. A package stands for all of its modules.
STOREYS = [
    {"errors", "files", "version", "config"},
    {"kernels"},
    {"ragged", "gru", "keys", "lag", "tape", "open_gates"},
    {"versions", "memory_state", "state", "quantized_state", "carried", "memory"},
    {
        *{"layer", "arguments", "contract", "stepping", "stream", "trace"},
        *{"fast_step", "fast_stream", "explain"},
    },
    {"sequence", "generation", "pretrained", "model", "export", "onnx"},
    {"__init__"},
    {"adapters"},
    {"lab.spec", "lab.tasks", "lab.peers", "lab.__init__"},
    {"lab.train"},
    {"lab.evaluate"},
    {"lab.show"},
    {"lab.compare"},
    {"lab.cli", "__main__"},
]
STOREY = {f"ramgru.{part}": height for height, parts in enumerate(STOREYS) for part in parts}


def modules() -> dict[str, Path]:
    """Every module's file by its name; of a package, `__init__`."""
    files = sorted((SOURCE / "ramgru").rglob("*.py"))
    return {".".join(file.relative_to(SOURCE).with_suffix("").parts): file for file in files}


MODULES = modules()


def module_of(name: str) -> str | None:
    """The module that a dotted name is, or is defined in; None outside of ramgru."""
    if name in MODULES:
        return name
    if f"{name}.__init__" in MODULES:
        return f"{name}.__init__"
    parent = name.rpartition(".")[0]
    return module_of(parent) if parent else None


def imported(module: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(MODULES[module].read_text(encoding="utf-8"))):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: expected absolute imports"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            if name.split(".")[0] == "ramgru" and (found := module_of(name)):
                yield found


GRAPH = {module: set(imported(module)) - {module} for module in MODULES}


def storey(module: str) -> int:
    """The height of the part that a module belongs to."""
    parts = module.split(".")
    return next(
        STOREY[name] for n in range(len(parts), 0, -1) if (name := ".".join(parts[:n])) in STOREY
    )


def test_every_module_has_a_storey():
    found = {module: storey(module) for module in MODULES}
    empty = set(range(len(STOREYS))) - set(found.values())
    assert not empty
    unknown = {name for name in STOREY if not any(m.startswith(name) for m in MODULES)}
    assert not unknown


@pytest.mark.parametrize("height", range(len(STOREYS)), ids=lambda n: "-".join(sorted(STOREYS[n])))
def test_imports_point_down(height):
    upward = {
        f"{module} imports {name}"
        for module in MODULES
        if storey(module) == height
        for name in GRAPH[module]
        if storey(name) > height
    }
    assert not upward


def test_imports_make_no_circle():
    try:
        TopologicalSorter(GRAPH).prepare()
    except CycleError as error:
        pytest.fail(f"imported in a circle: {' <- '.join(error.args[1])}")


def test_the_layer_imports_neither_the_laboratory_nor_its_libraries():
    program = (
        "import sys, torch, numpy; before = set(sys.modules); import ramgru; "
        "print(*{name.split('.')[0] if not name.startswith('ramgru.lab') else name "
        "for name in set(sys.modules) - before})"
    )
    found = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    libraries = "tyro rich matplotlib accelerate optuna safetensors triton tensorboard pyarrow "
    libraries += "transformers torchrl skorch lightning darts neuralforecast sktime"
    names = set(found.stdout.split())
    assert "ramgru" in names
    assert not names & set(libraries.split())
    assert not {name for name in names if name.startswith("ramgru.lab")}
