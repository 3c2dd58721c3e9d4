"""ONNX programs of layers and steps give the same numbers in onnxruntime, at other sizes too."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import ramgru.onnx
from ramgru import RAMGRU, Memory, RAMGRUModel
from ramgru.export import Step

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

pytestmark = pytest.mark.filterwarnings("ignore")  # of onnxscript
AUTO = torch.export.Dim.AUTO
HEADS = ("key key:2", "learned", "lag:5", "tape tape", "key:2 learned lag:5 tape")


def run(program: Any) -> Any:
    """The program as a function of tensors, in the order of its inputs."""
    session = onnxruntime.InferenceSession(program.model_proto.SerializeToString())
    names = [given.name for given in session.get_inputs()]

    def function(*tensors: Tensor) -> list[Tensor]:
        given = {name: t.numpy() for name, t in zip(names, tensors, strict=True)}
        return [torch.from_numpy(y) for y in session.run(None, given)]

    operators = {node.domain for node in program.model.graph}
    assert operators == {""}  # ONNX's own
    return function


def options(B: int, T: int, call: str) -> dict[str, Tensor]:
    lengths = torch.randint(1, T + 1, (B,))
    every = {"lengths": lengths, "reset": torch.rand(B, T) < 0.3, "hx": torch.randn(4, B, 4)}
    return {name: value for name, value in every.items() if name in call.split()}


@pytest.mark.parametrize("heads", HEADS)
@pytest.mark.parametrize("controller", ["gru", "mingru", "diagonal"])
@pytest.mark.parametrize("call", ["plain", "hx", "lengths reset"])
@pytest.mark.filterwarnings("ignore:RAMGRU. a tensor hx:UserWarning")
@pytest.mark.slow
def test_whole_sequences(controller: str, heads: str, call: str) -> None:
    check_sequences(controller, heads, call, num_layers=2, bidirectional=True)


@pytest.mark.slow
def test_a_sequence() -> None:
    check_sequences("mingru", "key tape", "lengths reset")


def check_sequences(controller: str, heads: str, call: str, **stack: Any) -> None:
    memory = Memory(64, heads)
    layer = RAMGRU(3, 4, batch_first=True, controller=controller, memory=memory, **stack).eval()
    given = options(3, 5, call)
    shapes = {"lengths": {0: AUTO}, "reset": {0: AUTO, 1: AUTO}, "hx": {1: AUTO}}
    program = torch.onnx.export(
        layer,
        (torch.randn(3, 5, 3),),
        kwargs=given,
        dynamo=True,
        verbose=False,
        dynamic_shapes={"input": {0: AUTO, 1: AUTO}, **{name: shapes[name] for name in given}},
    )
    compute = run(program)
    for B, T in ((3, 5), (2, 9), (1, 1), (4, 2)):
        x, given = torch.randn(B, T, 3), options(B, T, call)
        with torch.no_grad():
            wanted = layer(x, **given)
        in_order = [given[name] for name in ("hx", "lengths", "reset") if name in given]
        found = compute(x, *in_order)
        torch.testing.assert_close(found, [*wanted], rtol=1e-5, atol=1e-5)


def check_steps(module: Any, inputs: Tensor, wanted: Tensor) -> None:
    """inputs (B, T, …) step by step -> wanted (B, T, …)"""
    step = Step(module)
    names = step.names()
    program = torch.onnx.export(
        step,
        (inputs[:2, 0], *step.start(2)),
        dynamo=True,
        verbose=False,
        dynamic_shapes=step.dynamic_shapes(),
        input_names=["x", *names],
        output_names=["y", *(f"next_{name}" for name in names)],
    )
    compute, state, found = run(program), step.start(len(inputs)), []
    for x in inputs.unbind(1):
        y, *state = compute(x, *state)
        found.append(y)
    torch.testing.assert_close(torch.stack(found, 1), wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("heads", HEADS)
@pytest.mark.parametrize("controller", ["gru", "mingru", "diagonal"])
@pytest.mark.slow
def test_steps(controller: str, heads: str) -> None:
    memory = Memory(64, heads, learned_start=True)
    layer = RAMGRU(3, 4, 2, batch_first=True, controller=controller, memory=memory).eval()
    x = torch.randn(3, 7, 3)
    with torch.no_grad():
        check_steps(layer, x, layer(x)[0])


def test_steps_of_a_model() -> None:
    model = RAMGRUModel(11, 8, 4, 64, num_layers=1).eval()
    tokens = torch.randint(11, (3, 6))
    with torch.no_grad():
        check_steps(model, tokens, model(tokens))


def test_step_is_public() -> None:
    assert ramgru.onnx.Step is Step
