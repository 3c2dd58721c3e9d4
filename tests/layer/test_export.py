"""Layers as programs: torch.export at any batch size and length, torch.compile in two graphs.

The whole grid is slow: `make slow` runs it.
"""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._dynamo.testing import CompileCounterWithBackend
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence
from torch.utils._pytree import tree_leaves

from ramgru import RAMGRU, Memory, RAMGRUModel
from ramgru.export import Step
from ramgru.state import RAMGRUState

pytestmark = [
    pytest.mark.filterwarnings("ignore:RAMGRU. a tensor hx:UserWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning"),
]

CONTROLLERS = ("gru", "mingru", "diagonal")
HEADS = {
    "key": "key key:2",
    "learned": "learned",
    "lag": "lag:5",
    "tape": "tape tape",
    "all": "key:2 learned lag:5 tape",
}
STACKS: dict[str, dict[str, Any]] = {
    "one": {},
    "both ways": {"num_layers": 2, "bidirectional": True},
}
CALLS = ("plain", "hx", "dense", "compact", "lengths", "reset", "ragged", "packed")
SHAPES = ((3, 5), (2, 1), (1, 2), (4, 17))  # exported at the first
AUTO = torch.export.Dim.AUTO


def make(controller: str, stack: str, heads: str, **options: Any) -> RAMGRU:
    memory = Memory(4096 if heads == "all" else 64, HEADS[heads], learned_start=heads == "key")
    options = {**STACKS[stack], **options}
    layer = RAMGRU(3, 4, batch_first=True, controller=controller, memory=memory, **options)
    return layer.eval()


def arguments(layer: RAMGRU, call: str, B: int, T: int) -> tuple[tuple[Any, ...], dict[str, Any]]:
    x, L = torch.randn(B, T, 3), layer.num_layers * layer.num_directions
    lengths = torch.randint(1, T + 1, (B,))
    lengths[0] = T
    if call == "packed":
        return (pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False),), {}
    if call == "hx":
        return (x, torch.randn(L, B, 4)), {}
    if call == "dense":
        return (x, layer.initial_state(B, dense=True).detach()), {}
    if call == "compact":
        with torch.no_grad():
            return (x, layer(torch.randn(B, 3, 3), layer.initial_state(B))[1]), {}
    ragged = {"lengths": lengths, "reset": torch.rand(B, T) < 0.3}
    if call != "ragged":
        ragged = {name: value for name, value in ragged.items() if name == call}
    return (x,), ragged


def dynamic(value: Any) -> Any:
    """Any batch size and length of an argument, as torch.export takes it: containers as lists."""
    if isinstance(value, RAMGRUState):
        memories = [
            [{0: AUTO, 2: AUTO} if t.dim() > 2 else {0: AUTO} for t in m] for m in value.memory
        ]
        return [{1: AUTO}, tuple(memories)]
    return (
        {1: AUTO}
        if value.shape[-1] == 4 and value.dim() == 3
        else dict.fromkeys(range(min(2, value.dim())), AUTO)
    )


class OfTensors(nn.Module):
    """A packed sequence as its tensors: torch.export takes no other form at more than one size."""

    def __init__(self, layer: RAMGRU) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, *parts: Tensor) -> Any:
        return self.layer(PackedSequence(*parts))


def numbers(results: Any) -> list[Tensor]:
    return [
        t
        for r in results
        for t in ([r.to_tensor()] if isinstance(r, RAMGRUState) else tree_leaves(r))
    ]


def check(run: Any, layer: RAMGRU, call: str) -> None:
    for B, T in SHAPES:
        args, options = arguments(layer, call, B, T)
        with torch.no_grad():
            ours, theirs = numbers(run(*args, **options)), numbers(layer(*args, **options))
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def export(layer: RAMGRU, call: str) -> Any:
    args, options = arguments(layer, call, *SHAPES[0])
    if call == "packed":
        shapes = {"parts": tuple({0: AUTO} for _ in args[0])}
        program = torch.export.export(OfTensors(layer), (*args[0],), dynamic_shapes=shapes)
        return lambda packed: program.module()(*packed)
    names = dict(zip(("input", "hx"), args)) | options
    shapes = {name: dynamic(value) for name, value in names.items()}
    return torch.export.export(layer, args, options, dynamic_shapes=shapes).module()


few = [
    ("gru", "both ways", "lag", "ragged"),
    ("diagonal", "one", "lag", "dense"),
    ("mingru", "one", "learned", "packed"),
]
grid = [*itertools.product(CONTROLLERS, STACKS, HEADS, CALLS)]
combinations = pytest.mark.parametrize(
    ("controller", "stack", "heads", "call"),
    [pytest.param(*c, marks=() if c in few else pytest.mark.slow) for c in grid],
)


@combinations
def test_exports(controller: str, stack: str, heads: str, call: str) -> None:
    if call == "compact" and heads not in ("all",):
        pytest.skip("a compact memory of few cells becomes dense after some steps")
    layer = make(controller, stack, heads)
    check(export(layer, call), layer, call)


@pytest.mark.parametrize(
    ("controller", "stack", "heads", "call"),
    [
        pytest.param(*c, marks=() if c == ("gru", "one", "tape", "ragged") else pytest.mark.slow)
        for c in grid
    ],
)
def test_compiles_to_two_graphs(controller: str, stack: str, heads: str, call: str) -> None:
    if call == "compact" and heads not in ("all",):
        pytest.skip("a compact memory of few cells becomes dense after some steps")
    torch.compiler.reset()
    frames = CompileCounterWithBackend("eager")
    layer = make(controller, stack, heads)
    fast = torch.compile(layer, fullgraph=True, backend=frames)
    with torch.no_grad():
        for B, T in ((3, 5), (2, 9), (4, 17), (5, 33), (2, 3), (3, 12)):
            args, options = arguments(layer, call, B, T)
            ours, theirs = numbers(fast(*args, **options)), numbers(layer(*args, **options))
            torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    assert frames.frame_count <= 2
    torch.compiler.reset()


def test_a_step_of_a_model_exports() -> None:
    """And runs as a stream at another batch size."""
    model = RAMGRUModel(11, 8, 2, 64, num_layers=1, memory=Memory(heads="key lag:5")).eval()
    step = Step(model)
    program = torch.export.export(
        step, (torch.tensor([1, 2]), *step.start(2)), dynamic_shapes=step.dynamic_shapes()
    )
    run, tokens = program.module(), torch.randint(11, (3, 6))
    state, logits = step.start(3), []
    assert len(state) == len(step.names())
    with torch.no_grad():
        for token in tokens.unbind(1):
            y, *state = run(token, *state)
            logits.append(y)
        torch.testing.assert_close(torch.stack(logits, 1), model(tokens), rtol=1e-5, atol=1e-5)


def test_what_has_no_step() -> None:
    with pytest.raises(ValueError, match="module: expected one direction"):
        Step(make("gru", "both ways", "key"))
    with pytest.raises(TypeError, match="module: expected a RAMGRU or a RAMGRUModel, got Linear"):
        Step(nn.Linear(2, 2))


def test_quantize_dynamic_names_the_way_that_works() -> None:
    layer = make("gru", "one", "all")
    with pytest.warns(UserWarning, match="torchao quantises its memories"):
        torch.ao.quantization.quantize_dynamic(layer, {nn.Linear}, dtype=torch.qint8)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("how", ["Int8WeightOnlyConfig", "Int8DynamicActivationInt8WeightConfig"])
def test_int8_by_torchao(how: str) -> None:
    quantization = pytest.importorskip("torchao.quantization")
    layer, x = make("gru", "one", "all"), torch.randn(2, 6, 3)
    with torch.no_grad():
        wanted, _ = layer(x)
        quantization.quantize_(layer, getattr(quantization, how)())
        found, _ = layer(x)
        assert not torch.equal(found, wanted)
        torch.testing.assert_close(found, wanted, rtol=0, atol=0.05)
        stream = layer.stream(2)
        steps = torch.stack([stream.step(each) for each in x.unbind(1)], 1)
    torch.testing.assert_close(steps, found, rtol=0, atol=0.01)


def test_states_are_trees() -> None:
    layer = make("mingru", "one", "all")
    state = layer(torch.randn(2, 4, 3), layer.initial_state(2))[1]
    leaves, form = torch.utils._pytree.tree_flatten(state)
    assert all(isinstance(leaf, Tensor) for leaf in leaves)
    again = torch.utils._pytree.tree_unflatten(leaves, form)
    assert torch.equal(again.to_tensor(), state.to_tensor())
    assert torch.utils._pytree.treespec_loads(torch.utils._pytree.treespec_dumps(form)) == form
