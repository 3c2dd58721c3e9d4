"""The unit, visible: gate, state and activation of a cell, and the origin of each read."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ramgru import RAMGRU, Memory, RAMGRUState, trace
from ramgru.kernels.memory_scan import Tag, memory_scan
from ramgru.keys import Address
from ramgru.memory import Steps
from ramgru.trace import _layer_trace

every_controller = pytest.mark.parametrize("controller", ["gru", "mingru", "diagonal"])
every_path = pytest.mark.parametrize("path", ["forward", "step", "step_"])


def make(heads: str = "key:2 tape", cells: int = 12, tag: int = 8, **options: Any) -> RAMGRU:
    memory = Memory(cells, heads, 2, tag, learned_start=options.pop("learned_start", False))
    return RAMGRU(3, 4, dtype=torch.float64, memory=memory, **{"batch_first": True, **options})


def set_gate(layer: RAMGRU, value: float) -> None:
    """A gate independent of the input: sigmoid(±800) is 0 or 1 to the last bit."""
    for memory in layer.memories:
        nn.init.zeros_(memory.update_gate.weight)
        nn.init.constant_(memory.update_gate.bias, value)


def silence(layer: RAMGRU) -> None:
    for memory in layer.memories:
        nn.init.zeros_(memory.read_out.weight)


def normal(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def random_state(layer: RAMGRU, batch: int) -> RAMGRUState:
    flat = normal(len(layer.memories), batch, layer.flat_size)
    return layer.initial_state(1).from_tensor(flat)


@every_controller
@every_path
def test_gate_0_leaves_every_cell_as_it_is(controller: str, path: str) -> None:
    layer = make(controller=controller)
    set_gate(layer, -800.0)
    state, x = random_state(layer, 2), normal(2, 6, 3)
    before = state.memory[0].rows.clone()
    with torch.no_grad():
        if path == "forward":
            _, state = layer(x, state)
        else:
            for t in range(6):
                _, state = getattr(layer, path)(x[:, t], state)
    assert torch.equal(state.memory[0].rows, before)  # bit for bit


@every_controller
@pytest.mark.parametrize("path", ["forward", "step"])
def test_gate_1_replaces_the_cell(controller: str, path: str) -> None:
    """With one explicit address its weight is 1; other cells do not change by a bit."""
    layer = make(controller=controller)
    set_gate(layer, 800.0)
    state, x = random_state(layer, 2), normal(2, 1, 3)
    before = state.memory[0].rows.clone()
    index = torch.tensor([[[4, 7]], [[0, 11]]])  # (B, T, H)
    with torch.no_grad():
        candidate = layer.memories[0].candidate(x).view(2, 2, 2)
        if path == "forward":
            _, after = layer(x, state, write_index=index)
        else:
            _, after = layer.step(x[:, 0], state, write_index=index[:, 0])
    rows = after.memory[0].dense().rows
    for b in range(2):
        for h in range(2):
            cell = int(index[b, 0, h])
            assert torch.equal(rows[b, h, cell, :2], candidate[b, h])
            others = torch.arange(12) != cell
            assert torch.equal(rows[b, h, others], before[b, h, others])


@every_controller
def test_a_memory_of_one_cell_is_a_mingru(controller: str) -> None:
    layer = make("key", cells=1, tag=0, controller=controller)
    x, unit = normal(2, 7, 3), layer.memories[0]
    state = random_state(layer, 2)
    output, after = layer(x, state)
    z, c, cell, added = unit.update_gate(x).sigmoid(), unit.candidate(x), state.memory[0].rows, []
    cell = cell[:, 0, 0]
    for t in range(7):
        cell = (1 - z[:, t]) * cell + z[:, t] * c[:, t]
        added.append(unit.output_gate(x[:, t]).sigmoid() * unit.read_out(cell))
    torch.testing.assert_close(after.memory[0].dense().rows[:, 0, 0], cell)
    silence(layer)
    torch.testing.assert_close(output - torch.stack(added, dim=1), layer(x, state)[0])


def test_an_untrained_memory_does_no_harm() -> None:
    """Its part of the output begins below a twentieth of the controller's, with used cells too.

    A read-out of the usual scale, ten times as large, fails the bound.
    """
    found = []
    for scale in (1, 10):
        layer = RAMGRU(16, 64, batch_first=True)
        x = torch.randn(8, 200, 16)
        with torch.no_grad():
            for memory in layer.memories:
                memory.read_out.weight *= scale
            output, _ = layer(x)
            silence(layer)
            controller, _ = layer(x)
            share = (output - controller)[:, 100:].norm() / controller[:, 100:].norm()
        found.append(float(share))
    assert found[0] < 0.05 < found[1]


# Each way of a call, by the options that it gives.
WAYS = {
    "own": (),
    "resets": ("reset",),
    "lengths": ("lengths",),
    "explicit": ("index",),
    "explicit_all": ("index", "reset", "lengths"),
}
every_way = pytest.mark.parametrize("way", WAYS)


def options_of(way: str, B: int = 2, T: int = 9, H: int = 2) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    if "reset" in WAYS[way]:
        found["reset"] = torch.rand(B, T) < 0.3
    if "lengths" in WAYS[way]:
        found["lengths"] = torch.tensor([T, 5])[:B]
    if "index" in WAYS[way]:  # few cells: one step addresses a cell twice, and steps share cells
        found["write_index"] = torch.randint(-1, 3, (B, T, H, 3))
        found["read_index"] = torch.randint(-1, 3, (B, T, H, 2))
    return found


@pytest.mark.parametrize("direction", [0, 1], ids=["forward", "reverse"])
@every_way
def test_provenance_reproduces_each_read(way: str, direction: int) -> None:
    """The layer's own output, rebuilt from candidates, each weighted by its provenance."""
    layer = make(bidirectional=True)
    x, options = normal(2, 9, 3), options_of(way)
    output, state = trace(layer, x, **options)
    assert state.trace is not None
    one = state.trace[direction]
    lengths = options.get("lengths", torch.tensor([9, 9]))
    reads = torch.stack([one.provenance(h) @ one.value[:, :, h] for h in range(2)], dim=2)
    assert one.null_share is not None
    # (B, T, H, D + 1), in the direction's own order of time
    reads = torch.cat([reads, one.null_share.unsqueeze(-1)], dim=-1)
    unit, there = layer.memories[direction], x.clone()
    if direction:
        for b, n in enumerate(lengths.tolist()):
            there[b, :n] = x[b, :n].flip(0)
    added = unit.output_gate(there).sigmoid() * unit.read_out(reads.flatten(2))
    silence(layer)
    silent, _ = layer(x, **options)
    for b, n in enumerate(lengths.tolist()):
        half = (output - silent)[b, :n, 4 * direction : 4 * direction + 4]
        half = half.flip(0) if direction else half
        torch.testing.assert_close(half, added[b, :n], rtol=0, atol=1e-12)


def test_provenance_looks_back_only_and_sums_to_one_at_most() -> None:
    _, state = trace(make(), normal(2, 9, 3))
    weights = state.trace[0].provenance(0)
    assert weights.shape == (2, 9, 9)
    assert (weights >= 0).all()
    assert not weights.triu(1).any()
    assert (weights.sum(-1) <= 1 + 1e-12).all()


@every_controller
@pytest.mark.parametrize("batch_first", [True, False], ids=["batch_first", "time_first"])
def test_trace_is_of_the_layer_itself(controller: str, batch_first: bool) -> None:
    layer = make(controller=controller, num_layers=2, batch_first=batch_first)
    x, options = normal(2, 9, 3), options_of("explicit_all")
    if not batch_first:
        x = x.transpose(0, 1)
        options = {k: v if k == "lengths" else v.transpose(0, 1) for k, v in options.items()}
    output, state = trace(layer, x, **options)
    expected, expected_state = layer(x, layer.initial_state(2), **options)
    assert torch.equal(output, expected)
    assert torch.equal(state.to_tensor(), expected_state.to_tensor())
    assert len(state.trace) == 2
    assert not output.requires_grad


@pytest.mark.parametrize("learned", [False, True], ids=["", "learned_start"])
@every_way
def test_cell_shows_the_state(way: str, learned: bool) -> None:
    layer = make(learned_start=learned, num_layers=2)
    _, state = trace(layer, normal(2, 9, 3), **options_of(way))
    bare = replace(state, trace=None)
    for n in range(2):
        rows = state.memory[n].dense().rows
        for head in range(2):
            for i in range(12):
                cell = state.cell(i, layer=n, head=head, batch=1)
                torch.testing.assert_close(cell.state, rows[1, head, i], rtol=0, atol=1e-12)
                assert cell.gate.shape == (9,)
                assert cell.activation.shape == (9, 2)
                plain = bare.cell(i, layer=n, head=head, batch=1)
                assert torch.equal(plain.state, rows[1, head, i])
                assert plain.gate.shape == (0,)


@every_way
def test_activations_of_all_cells_sum_to_the_read(way: str) -> None:
    _, state = trace(make(), normal(2, 9, 3), **options_of(way))
    one = state.trace[0]
    for head in range(2):
        total = sum(one.cell(i, head=head, batch=1).activation for i in range(12))
        read = one.provenance(head)[1] @ one.value[1, :, head]
        torch.testing.assert_close(total, read, rtol=0, atol=1e-12)


def test_gate_of_a_cell_shows_the_steps_that_wrote_it() -> None:
    layer = make("key")
    set_gate(layer, 800.0)
    index = torch.tensor([[4, -1, 4, 5, 4]])
    reset = torch.tensor([[False, False, False, True, False]])
    x = normal(1, 5, 3)
    _, state = trace(layer, x, write_index=index, read_index=index, reset=reset)
    cell, candidate = state.cell(4), layer.memories[0].candidate(x)[0]
    assert cell.gate.tolist() == [1, 0, 1, 0, 1]
    assert torch.equal(cell.state[:2], candidate[4])
    assert torch.equal(cell.activation[0], candidate[0])
    assert not cell.activation[1].any()  # not read there
    assert torch.equal(cell.activation[2], candidate[2])


def test_occupancy_counts_writes() -> None:
    index = torch.tensor([[[4, 4], [-1, 2], [4, 2]], [[0, 0], [0, 0], [0, 0]]])  # (B, T, H)
    _, state = trace(make(), normal(2, 3, 3), lengths=torch.tensor([3, 2]), write_index=index)
    counts = state.trace[0].occupancy()
    assert counts.shape == (2, 12)
    assert counts.dtype == torch.int64
    assert counts[0].nonzero().flatten().tolist() == [0, 4]
    assert counts[0, [0, 4]].tolist() == [2, 2]
    assert counts[1, [0, 2, 4]].tolist() == [2, 2, 1]
    assert int(counts.sum()) == 9


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"index": 12}, r"index: expected a number in \[0, 12\), got 12"),
        ({"index": -1}, r"index: expected a number in \[0, 12\), got -1"),
        ({"index": 0, "head": 2}, r"head: expected a number in \[0, 2\), got 2"),
        ({"index": 0, "batch": 2}, r"batch: expected a number in \[0, 2\), got 2"),
        ({"index": 0, "layer": 1}, r"layer: expected a number in \[0, 1\), got 1"),
    ],
    ids=str,
)
def test_cell_outside(arguments: dict[str, int], message: str) -> None:
    _, state = trace(make(), normal(2, 4, 3))
    with pytest.raises(IndexError, match=message):
        state.cell(**arguments)


def test_bad_arguments_of_trace_are_named() -> None:
    with pytest.raises(ValueError, match=r"input: expected 3 dimensions, got shape \(4, 3\)"):
        trace(make(), normal(4, 3))
    with pytest.raises(TypeError, match="layer: expected a RAMGRU, got GRU"):
        trace(nn.GRU(3, 4), normal(2, 6, 3))


def test_a_trace_takes_lengths_as_a_list_in_both_directions() -> None:
    layer, x = make(bidirectional=True), normal(2, 6, 3)
    reset = torch.zeros(2, 6, dtype=torch.bool)
    reset[:, 2] = True
    _, state = trace(layer, x, lengths=[4, 6], reset=reset)
    _, expected = trace(layer, x, lengths=torch.tensor([4, 6]), reset=reset)
    assert torch.equal(state.trace[1].reset, expected.trace[1].reset)


HOLDERS: dict[str, Any] = {
    "to": lambda state, _: state.to(dtype=torch.float32),
    "detach": lambda state, _: state.detach(),
    "clone": lambda state, _: state.clone(),
    "dense": lambda state, _: state.dense(),
    "index": lambda state, _: state[1],
    "tensor": lambda state, _: state[torch.tensor([1, 0])],
    "file": lambda state, path: [torch.save(state, path), torch.load(path)][1],
}


@pytest.mark.parametrize("learned", [False, True], ids=["", "learned_start"])
@pytest.mark.parametrize("how", HOLDERS)
def test_a_copy_of_a_state_keeps_its_trace(how: str, learned: bool, tmp_path: Any) -> None:
    """Of exactly the sequences that it has."""
    _, state = trace(make(learned_start=learned), normal(2, 9, 3), **options_of("resets"))
    held = HOLDERS[how](state, tmp_path / "state.pt")
    b = 0 if how in ("index", "tensor") else 1
    for head in range(2):
        found, expected = (s.cell(5, head=head, batch=n) for s, n in ((held, b), (state, 1)))
        for name in ("state", "gate", "activation"):
            one, other = getattr(found, name), getattr(expected, name)
            torch.testing.assert_close(one.double(), other, rtol=1e-6, atol=1e-6)
        one, other = (s.trace[0].provenance(head)[n] for s, n in ((held, b), (state, 1)))
        torch.testing.assert_close(one.double(), other, rtol=1e-6, atol=1e-6)
    assert len(held.trace[0].gate) == held.batch_size


@pytest.mark.parametrize("null", [0.5, float("-inf")])
def test_provenance_and_activations_of_tagged_reads(null: float) -> None:
    """Weights of reads by tags: the values of past steps, so weighted, are what was read."""
    B, T, H, A, N = 2, 12, 2, 3, 4
    reset, lengths = torch.rand(B, T) < 0.15, torch.tensor([T, 7])
    write, read = torch.randint(-1, N, (B, T, H, 3)), torch.randint(-1, N, (B, T, H, 2))
    tag = Tag(normal(B, T, H, A), 3 * normal(H), torch.full((H,), null, dtype=torch.float64))
    s = Steps(
        Address(write, torch.rand(write.shape, dtype=torch.float64)),
        Address(read, torch.rand(read.shape, dtype=torch.float64)),
        torch.rand(B, T, H, dtype=torch.float64),
        normal(B, T, H, 2 + A),
        {},
        tag,
        None,
    )
    memory = SimpleNamespace(memory=SimpleNamespace(cells=N), start=lambda: (None, None))
    one = _layer_trace(memory, s, lengths, reset)
    y, _, rows = memory_scan(
        write,
        s.write.weight,
        s.gate,
        s.candidate,
        read,
        s.read.weight,
        memory_size=N,
        reset=reset,
        lengths=lengths,
        **tag._asdict(),
    )
    torch.testing.assert_close(one.null_share, y[..., 2], rtol=0, atol=1e-12)
    assert one.value.shape == (B, T, H, 2)
    for h in range(H):
        found = one.provenance(h) @ one.value[:, :, h]
        torch.testing.assert_close(found, y[:, :, h, :2], rtol=0, atol=1e-12)
        for b in range(B):
            cells = [one.cell(i, head=h, batch=b) for i in range(N)]
            added = sum(cell.activation for cell in cells)
            torch.testing.assert_close(added, y[b, :, h, :2], rtol=0, atol=1e-12)
            state = torch.stack([cell.state for cell in cells])
            torch.testing.assert_close(state, rows[b, h], rtol=0, atol=1e-12)
