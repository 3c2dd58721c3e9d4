"""The unit, visible: gate, state and activation of a cell, and where each read came from."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ramgru import RAMGRU, RAMGRUState, trace
from ramgru.kernels.recurrence import linear_scan

both_ways = pytest.mark.parametrize("controller", ["gru", "mingru"])


def make(**options: Any) -> RAMGRU:
    made = {"memory_size": 12, "num_heads": 2, "top_k": 2, "address_size": 4, "batch_first": True}
    return RAMGRU(3, 4, dtype=torch.float64, **{**made, **options})


def set_gate(layer: RAMGRU, value: float) -> None:
    """A gate that does not look at the input: sigmoid(±800) is 0 or 1 to the last bit."""
    for memory in layer.memories:
        nn.init.zeros_(memory.update_gate.weight)
        nn.init.constant_(memory.update_gate.bias, value)


def normal(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def random_state(layer: RAMGRU, batch: int) -> RAMGRUState:
    return layer.initial_state(1).from_tensor(normal(batch, layer.state_size))


# Gate 0 and gate 1.


@both_ways
@pytest.mark.parametrize("rule", ["gru", "delta"])
@pytest.mark.parametrize("path", ["forward", "step", "donate"])
def test_gate_0_leaves_the_state_as_it_is(controller: str, rule: str, path: str) -> None:
    layer = make(controller=controller, write_rule=rule)
    set_gate(layer, -800.0)
    state, x = random_state(layer, 2), normal(2, 6, 3)
    before = state.memory[0].rows.clone()
    with torch.no_grad():
        if path == "forward":
            _, state = layer(x, state)
        else:
            for t in range(6):
                _, state = layer.step(x[:, t], state, donate=path == "donate")
    assert torch.equal(state.memory[0].rows, before)  # bit for bit


@both_ways
@pytest.mark.parametrize("rule", ["gru", "delta"])
@pytest.mark.parametrize("path", ["forward", "step", "donate"])
def test_gate_1_replaces_the_state(controller: str, rule: str, path: str) -> None:
    """With one explicit address its weight is 1; other cells do not change by a bit."""
    layer = make(controller=controller, write_rule=rule)
    set_gate(layer, 800.0)
    state, x = random_state(layer, 2), normal(2, 1, 3)
    before = state.memory[0].rows.clone()
    index = torch.tensor([[[4, 7]], [[0, 11]]])  # (B, T, H)
    with torch.no_grad():
        candidate = layer.memories[0].candidate(x).view(2, 2, 2)
        if path == "forward":
            _, after = layer(x, state, write_index=index)
        else:
            donate = path == "donate"
            _, after = layer.step(x[:, 0], state, donate=donate, write_index=index[:, 0])
    rows = after.memory[0].dense().rows
    for b in range(2):
        for h in range(2):
            cell = int(index[b, 0, h])
            if rule == "gru":
                assert torch.equal(rows[b, h, cell], candidate[b, h])
            else:  # M + (c - M), which rounds
                torch.testing.assert_close(rows[b, h, cell], candidate[b, h])
            others = torch.arange(12) != cell
            assert torch.equal(rows[b, h, others], before[b, h, others])


@both_ways
@pytest.mark.parametrize("rule", ["gru", "delta"])
def test_a_memory_of_one_cell_is_a_mingru(controller: str, rule: str) -> None:
    layer = make(controller=controller, write_rule=rule, memory_size=1, top_k=1, num_heads=1)
    x, unit = normal(2, 7, 3), layer.memories[0]
    state = random_state(layer, 2)
    output, after = layer(x, state)
    z, c = unit.update_gate(x).sigmoid(), unit.candidate(x)  # (B, T, 1), (B, T, D)
    z = z.expand_as(c)
    h = linear_scan(1 - z, z * c, state.memory[0].rows[:, 0, 0])
    expected = unit.output_gate(x).sigmoid() * unit.read_out(h)
    torch.testing.assert_close(after.memory[0].dense().rows[:, 0, 0], h[:, -1])
    own = output - expected
    layer.zero_read_out_()
    torch.testing.assert_close(own, layer(x, state)[0])


# Provenance and the trace.

WAYS = {
    "own": {},
    "resets": {"reset": True},
    "lengths": {"lengths": True},
    "both": {"reset": True, "lengths": True},
    "explicit": {"index": True},
    "explicit_all": {"index": True, "reset": True, "lengths": True},
}


def options_of(
    way: str, B: int = 2, T: int = 9, H: int = 2, time_first: bool = False
) -> dict[str, Tensor]:
    found, ask = {}, WAYS[way]
    if "reset" in ask:
        found["reset"] = torch.rand(B, T) < 0.3
    if "lengths" in ask:
        found["lengths"] = torch.tensor([T, 5])[:B]
    if "index" in ask:  # few cells: a step names one twice, and steps meet
        found["write_index"] = torch.randint(-1, 3, (B, T, H, 3))
        found["read_index"] = torch.randint(-1, 3, (B, T, H, 2))
    return found


@pytest.mark.parametrize("direction", [0, 1], ids=["forward", "reverse"])
@pytest.mark.parametrize("way", WAYS)
def test_provenance_reproduces_what_was_read(way: str, direction: int) -> None:
    """The layer's own output, rebuilt from candidates, each weighted by its provenance."""
    layer = make(bidirectional=True)
    x, options = normal(2, 9, 3), options_of(way)
    output, state = trace(layer, x, **options)
    assert state.trace is not None
    one = state.trace[direction]
    lengths = options.get("lengths", torch.tensor([9, 9]))
    reads = torch.stack(
        [one.provenance(h) @ one.candidate[:, :, h] for h in range(2)], dim=2
    )  # (B, T, H, D), in the direction's own order of time
    unit, there = layer.memories[direction], x.clone()
    if direction:
        for b, n in enumerate(lengths.tolist()):
            there[b, :n] = x[b, :n].flip(0)
    added = unit.output_gate(there).sigmoid() * unit.read_out(reads.flatten(2))
    nn.init.zeros_(unit.read_out.weight)
    silent, _ = layer(x, **options)
    for b, n in enumerate(lengths.tolist()):
        half = (output - silent)[b, :n, 4 * direction : 4 * direction + 4]
        half = half.flip(0) if direction else half
        torch.testing.assert_close(half, added[b, :n], rtol=0, atol=1e-12)


def test_provenance_looks_back_only_and_sums_to_one_at_most() -> None:
    layer = make()
    _, state = trace(layer, normal(2, 9, 3))
    weights = state.trace[0].provenance(0)
    assert weights.shape == (2, 9, 9)
    assert (weights >= 0).all()
    assert not weights.triu(1).any()
    assert (weights.sum(-1) <= 1 + 1e-12).all()


def test_provenance_of_the_delta_rule_is_refused() -> None:
    _, state = trace(make(write_rule="delta"), normal(2, 4, 3))
    with pytest.raises(ValueError, match="write_rule: provenance is known exactly for 'gru' only"):
        state.trace[0].provenance()


@both_ways
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


@pytest.mark.parametrize("learn", [False, True], ids=["", "learn_initial"])
@pytest.mark.parametrize("rule", ["gru", "delta"])
@pytest.mark.parametrize("way", WAYS)
def test_cell_shows_what_the_state_holds(way: str, rule: str, learn: bool) -> None:
    layer = make(learn_initial=learn, num_layers=2, write_rule=rule)
    _, state = trace(layer, normal(2, 9, 3), **options_of(way))
    bare = RAMGRUState(state.hidden, state.context, state.memory)
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


@pytest.mark.parametrize("way", WAYS)
def test_activations_of_all_cells_sum_to_what_is_read(way: str) -> None:
    layer = make()
    options = options_of(way)
    _, state = trace(layer, normal(2, 9, 3), **options)
    one = state.trace[0]
    for head in range(2):
        total = sum(one.cell(i, head=head, batch=1).activation for i in range(12))
        read = one.provenance(head)[1] @ one.candidate[1, :, head]
        torch.testing.assert_close(total, read, rtol=0, atol=1e-12)


def test_gate_of_a_cell_tells_when_it_was_written() -> None:
    layer = make(num_heads=1)
    set_gate(layer, 800.0)
    index = torch.tensor([[4, -1, 4, 5, 4]])
    reset = torch.tensor([[False, False, False, True, False]])
    x = normal(1, 5, 3)
    _, state = trace(layer, x, write_index=index, read_index=index, reset=reset)
    cell, candidate = state.cell(4), layer.memories[0].candidate(x)[0]
    assert cell.gate.tolist() == [1, 0, 1, 0, 1]
    assert torch.equal(cell.state, candidate[4])
    assert torch.equal(cell.activation[0], candidate[0])
    assert not cell.activation[1].any()  # not read there
    assert torch.equal(cell.activation[2], candidate[2])


def test_occupancy_counts_writes() -> None:
    layer = make()
    index = torch.tensor([[[4, 4], [-1, 2], [4, 2]], [[0, 0], [0, 0], [0, 0]]])  # (B, T, H)
    lengths = torch.tensor([3, 2])
    _, state = trace(layer, normal(2, 3, 3), lengths=lengths, write_index=index)
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


def test_trace_wants_a_batch() -> None:
    with pytest.raises(ValueError, match=r"input: expected 3 dimensions, got shape \(4, 3\)"):
        trace(make(), normal(4, 3))


def test_a_trace_can_be_saved_and_loaded_as_weights_are(tmp_path) -> None:
    _, state = trace(make(learn_initial=True), normal(2, 6, 3))
    torch.save(state, tmp_path / "state.pt")
    again = torch.load(tmp_path / "state.pt")
    assert torch.equal(again.trace[0].provenance(), state.trace[0].provenance())


def test_a_trace_takes_lengths_as_a_list_in_both_directions() -> None:
    layer, x = make(bidirectional=True), normal(2, 6, 3)
    reset = torch.zeros(2, 6, dtype=torch.bool)
    reset[:, 2] = True
    _, state = trace(layer, x, lengths=[4, 6], reset=reset)
    _, expected = trace(layer, x, lengths=torch.tensor([4, 6]), reset=reset)
    assert torch.equal(state.trace[1].reset, expected.trace[1].reset)


def test_only_a_ramgru_is_traced() -> None:
    with pytest.raises(TypeError, match="layer: expected a RAMGRU, got GRU"):
        trace(nn.GRU(3, 4), normal(2, 6, 3))
