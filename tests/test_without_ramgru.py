"""Exported layers run where ramgru is not installed: in Python, and compiled in C++."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import ramgru.onnx  # noqa: F401 - what it gives the exporter must leave Inductor alone
from ramgru import RAMGRU, Memory, RAMGRUModel
from ramgru.export import Sequence, Step
from ramgru.kernels import native

ROOT = Path(__file__).parents[1]
OPERATORS = ("linear_scan", "gru", "diagonal_gru", "memory_scan", "memory_step_")
HEADS = "key:2 learned lag:5 tape"
CONTROLLERS = ("gru", "mingru", "diagonal")

needs_tools = pytest.mark.skipif(
    sys.platform != "linux"
    or native.library() is None
    or not (shutil.which("make") and shutil.which(os.environ.get("CXX", "g++")))
    or not (Path(torch.__file__).parent / "include/torch/csrc/stable/library.h").exists(),
    reason="needs make, a C++ compiler, torch's headers and the native library",
)
pytestmark = [needs_tools, pytest.mark.filterwarnings("ignore")]


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cpp")


def environment() -> dict[str, str]:
    """Where `make` finds this Python and this package."""
    return {**os.environ, "PYTHON": sys.executable, "PYTHONPATH": str(ROOT / "src")}


def make(build: Path, target: str) -> str:
    """The file that examples/cpp builds."""
    words = ["make", "-s", "-C", str(ROOT / "examples/cpp"), f"BUILD={build}", f"{build}/{target}"]
    subprocess.run(words, check=True, env=environment())
    return f"{build}/{target}"


PROGRAM = """
import sys, torch
operators, library, folder, *names = sys.argv[1:]
torch.ops.load_library(library)
schemas = [str(getattr(torch.ops.ramgru, name).default._schema) for name in operators.split()]
found = {}
with torch.no_grad():
    for name in names:
        run = torch.export.load(f"{folder}/{name}.pt2").module()
        found[name] = [run(*given) for given in torch.load(f"{folder}/{name}.in")]
torch.save((schemas, found), f"{folder}/found")
assert "ramgru" not in sys.modules
"""


def check(found: Any, wanted: Any) -> None:
    """An output, and the state after it, in which rounding adds up."""
    torch.testing.assert_close(found[0], wanted[0], rtol=1e-6, atol=1e-6)
    torch.testing.assert_close([*found[1:]], [*wanted[1:]], rtol=1e-5, atol=1e-5)


def export(module: Step, x: Tensor) -> Any:
    given = (x, *module.start(len(x)))
    with torch.no_grad():
        return torch.export.export(module, given, dynamic_shapes=module.dynamic_shapes())


def test_programs_in_a_python_without_ramgru(tmp_path: Path, build: Path) -> None:
    """Every operator, at other sizes than exported, from a state that is not fresh."""
    wanted: dict[str, Any] = {}
    for controller in CONTROLLERS:
        whole = controller == "gru"  # of the others, only what a controller changes
        memory = Memory(64, HEADS if whole else "key", learned_start=whole)
        layer = RAMGRU(3, 4, controller=controller, memory=memory, batch_first=True).eval()
        module = Sequence(layer)
        torch.export.save(export(module, torch.randn(3, 5, 3)), tmp_path / f"{controller}.pt2")
        with torch.no_grad():
            each = []
            for B, T in ((3, 5), (2, 9), (4, 2)):
                _, *state = module(torch.randn(B, 7, 3), *module.start(B))
                each.append((torch.randn(B, T, 3), *state))
            torch.save(each, tmp_path / f"{controller}.in")
            wanted[controller] = [[*module(*given)] for given in each]
            y, after = layer(each[0][0], module._states([*each[0][1:]])[0])
            torch.testing.assert_close(wanted[controller][0], [y, *module._tensors([after])])
    words = [" ".join(OPERATORS), make(build, "libramgru_operators.so"), tmp_path, *wanted]
    subprocess.run([sys.executable, "-c", PROGRAM, *words], check=True, cwd=tmp_path)
    schemas, found = torch.load(tmp_path / "found")
    ours = [str(getattr(torch.ops.ramgru, name).default._schema) for name in OPERATORS]
    # AOTInductor gives None for an empty list.
    assert [s.replace("SymInt[]? counts", "SymInt[] counts") for s in schemas] == ours
    for name, each in wanted.items():
        for ours, theirs in zip(found[name], each, strict=True):
            check(ours, theirs)


def run_compiled(build: Path, folder: Path, how: str, module: Step, x: Tensor, inputs: Any) -> Any:
    """What examples/cpp makes of inputs with the compiled module."""
    package = str(folder / "module.pt2")
    with torch.no_grad():
        torch._inductor.aoti_compile_and_package(export(module, x), package_path=package)
    torch.save([*inputs], folder / "in")
    words = [make(build, "main"), how, package, f"{folder}/in", f"{folder}/out"]
    subprocess.run(words, check=True)
    return torch.load(folder / "out")


def outputs(module: nn.Module, x: Tensor, state: list[Tensor]) -> list[Tensor]:
    """Of steps x (T, B, …) -> (T, B, …), and the state after them."""
    found = []
    with torch.no_grad():
        for each in x:
            y, *state = Step(module)(each, *state)
            found.append(y)
    return [torch.stack(found), *state]


@pytest.mark.slow
def test_compiled_steps_of_one_head(
    tmp_path: Path, build: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CI", "1")  # Inductor is stricter then
    layer = RAMGRU(3, 4, controller="mingru", memory=Memory(8, "lag:5")).eval()
    step, x = Step(layer), torch.randn(9, 3, 3)
    found = run_compiled(build, tmp_path, "steps", step, x[0, :2], [x, *step.start(3)])
    check(found, outputs(layer, x, step.start(3)))


@pytest.mark.slow
@pytest.mark.parametrize("controller", CONTROLLERS)
@pytest.mark.parametrize("in_place", [False, True])
def test_compiled_steps(controller: str, in_place: bool, tmp_path: Path, build: Path) -> None:
    layer = RAMGRU(3, 4, 2, controller=controller, memory=Memory(64, HEADS, learned_start=True))
    step, x = Step(layer.eval(), in_place), torch.randn(9, 3, 3)
    state = outputs(layer, torch.randn(5, 3, 3), step.start(3))[1:]
    wanted = outputs(layer, x, state)
    found = run_compiled(build, tmp_path, "steps", step, x[0, :2], [x, *state])
    check(found, wanted)


@pytest.mark.slow
@pytest.mark.parametrize("controller", CONTROLLERS)
def test_compiled_sequences(controller: str, tmp_path: Path, build: Path) -> None:
    layer = RAMGRU(3, 4, 2, controller=controller, memory=Memory(64, HEADS, learned_start=True))
    module, x = Sequence(layer.eval()), torch.randn(3, 9, 3)
    state = outputs(layer, torch.randn(5, 3, 3), module.start(3))[1:]
    with torch.no_grad():
        wanted = module(x, *state)
    found = run_compiled(build, tmp_path, "once", module, x[:2, :5], [x, *state])
    check(found, wanted)


@pytest.mark.slow
def test_a_compiled_model(tmp_path: Path, build: Path) -> None:
    model = RAMGRUModel(11, 8, 4, 64, num_layers=2).eval()
    step, tokens = Step(model, in_place=True), torch.randint(11, (9, 3))
    wanted = outputs(model, tokens, step.start(3))
    found = run_compiled(build, tmp_path, "steps", step, tokens[0, :2], [tokens, *step.start(3)])
    check(found, wanted)
    with torch.no_grad():
        torch.testing.assert_close(
            found[0], model(tokens.t()).transpose(0, 1), rtol=1e-5, atol=1e-5
        )


@pytest.mark.parametrize("heads", ["key key:2", HEADS])
def test_steps_in_place(heads: str) -> None:
    """In eager mode, and as an exported program."""
    layer = RAMGRU(3, 4, 2, memory=Memory(64, heads)).eval()
    step, x = Step(layer, in_place=True), torch.randn(6, 3, 3)
    wanted, run = outputs(layer, x, step.start(3)), export(step, x[0, :2]).module()
    for program in (step, run):
        state = step.start(3)
        found = torch.stack([program(each, *state) for each in x])
        check([found, *state], wanted)
