"""Tape heads: positions that count, and what is copied with them (`ramgru.tape`)."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ramgru import RAMGRU
from ramgru.lab import tasks
from ramgru.lab.train import ModelConfig, build_model
from ramgru.tape import TapeHeads


def counting(memory_size: int, steps: float = 1.0) -> TapeHeads:
    """One head that never jumps and moves by the same way at every step."""
    tape = TapeHeads(2, 1, memory_size, 3, dtype=torch.float64)
    with torch.no_grad():
        tape.moves.weight.zero_()
        tape.moves.bias.copy_(torch.tensor([-9.0, steps * 9.0]))
    return tape


def test_a_head_that_only_moves_on_counts_exactly_and_goes_round() -> None:
    tape, x = counting(memory_size=5), torch.randn(2, 3_001, 2, dtype=torch.float64)
    address, position = tape(x, None, None, None)
    steps = torch.arange(1, 3_002)
    assert torch.equal(position, steps.double().view(1, -1, 1).expand(2, -1, 1))
    assert torch.equal(address.index[0, :, 0, 0], steps % 5)
    assert torch.equal(
        address.weight[0, :, 0], torch.tensor([[1.0, 0, 0]]).double().expand(3_001, 3)
    )


def test_float32_counts_as_far() -> None:
    tape = counting(memory_size=2**20).float()
    position = tape(torch.randn(1, 7_000, 2), None, torch.tensor([6_999]), None)[1]
    assert position[0, -3:, 0].tolist() == [6_998, 6_999, 6_999]
    assert position.dtype == torch.float64


def test_between_two_cells_both_are_meant_by_how_near_they_are() -> None:
    tape = TapeHeads(1, 2, 7, 4, dtype=torch.float64)
    index, weight = tape._cells(torch.tensor([[[2.25, -0.5]]], dtype=torch.float64))
    assert index[0, 0].tolist() == [[2, 3, -1, -1], [6, 0, -1, -1]]
    assert weight[0, 0].tolist() == [[0.75, 0.25, 0, 0], [0.5, 0.5, 0, 0]]


def test_every_other_head_moves_both_ways() -> None:
    tape = TapeHeads(1, 2, 7, 2)
    with torch.no_grad():
        tape.moves.weight.zero_()
        tape.moves.bias.copy_(torch.tensor([-9.0, -9.0, -9.0, -9.0]))
    position = tape(torch.zeros(1, 3, 1), None, None, None)[1]
    assert position[0].tolist() == [[0, -1], [0, -2], [0, -3]]


def test_what_is_not_finite_ends_at_a_reset() -> None:
    tape = TapeHeads(2, 2, 7, 2)
    x, reset = torch.randn(1, 6, 2), torch.zeros(1, 6, dtype=torch.bool)
    x[0, 1], reset[0, 3] = torch.nan, True
    position = tape(x, None, None, reset)[1]
    assert position[0, 1:3].isnan().all()
    assert torch.equal(position[:, 3:], tape(x[:, 3:], None, None, None)[1])


def layer(**options: Any) -> RAMGRU:
    made = {"memory_size": 9, "num_heads": 3, "tape_heads": 2, "top_k": 2, "batch_first": True}
    return RAMGRU(2, 3, dtype=torch.float64, **{**made, **options})


def test_tape_heads_write_where_they_read_and_others_do_not() -> None:
    unit, x = layer().memories[0], torch.randn(2, 4, 2, dtype=torch.float64)
    context = torch.zeros(2, unit.address.window - 1, 2, dtype=torch.float64)
    s = unit.steps(x, context, None, None, None, None, None)
    assert torch.equal(s.read.index[:, :, 1:], s.write.index[:, :, 1:])
    assert torch.equal(s.read.weight[:, :, 1:], s.write.weight[:, :, 1:])
    assert not torch.equal(s.read.index[:, :, 0], s.write.index[:, :, 0])


def test_gradcheck() -> None:
    made, x = layer(), torch.randn(2, 4, 2, dtype=torch.float64, requires_grad=True)
    names, values = zip(*made.named_parameters())

    def function(x: Tensor, *values: Tensor) -> Tensor:
        return torch.func.functional_call(made, dict(zip(names, values)), (x,))[0]

    assert torch.autograd.gradcheck(function, (x, *values))


def test_positions_stay_in_float64_where_a_state_is_narrowed() -> None:
    made = layer()
    state = made(torch.randn(2, 5, 2, dtype=torch.float64), made.initial_state(2))[1]
    half = state.to(dtype=torch.bfloat16)
    assert half.memory[0].rows.dtype == torch.bfloat16
    assert torch.equal(half.memory[0].position, state.memory[0].position)
    back = state.from_tensor(state.to_tensor())
    assert torch.equal(back.memory[0].position, state.memory[0].position)
    assert torch.equal(state[1].memory[0].position, state.memory[0].position[1:])


def test_a_head_moves_on_while_the_caller_names_cells() -> None:
    made, x = layer(), torch.randn(1, 4, 2, dtype=torch.float64)
    cells = torch.zeros(1, 4, dtype=torch.int64)
    named = made(x, made.initial_state(1), write_index=cells, read_index=cells)[1]
    free = made(x, made.initial_state(1))[1]
    assert torch.equal(named.memory[0].position, free.memory[0].position)


@pytest.mark.parametrize("controller", ["gru", "mingru"])
def test_compiles_whole(controller: str) -> None:
    made, x = layer(controller=controller), torch.randn(2, 5, 2, dtype=torch.float64)
    compiled = torch.compile(made, fullgraph=True, backend="aot_eager")
    expected, state = made(x, made.initial_state(2))
    output, after = compiled(x, made.initial_state(2))
    torch.testing.assert_close(output, expected)
    torch.testing.assert_close(after.to_tensor(), state.to_tensor())


def test_a_state_without_positions_is_refused() -> None:
    state = layer(tape_heads=0).initial_state(1)
    with pytest.raises(ValueError, match=r"state: expected one of this layer, with .*tape_heads"):
        layer()(torch.randn(1, 2, 2, dtype=torch.float64), state)


def answers(model: nn.Module, seed: int, **sizes: int) -> tuple[Tensor, Tensor]:
    """-> logits and bits of all questions of a batch of the copy task"""
    batch = tasks.get("copy", **sizes).draw(32, seed)
    labels, lengths = torch.as_tensor(batch.labels), torch.as_tensor(batch.lengths)
    logits = model(torch.as_tensor(batch.inputs), lengths=lengths)
    return logits[labels >= 0], labels[labels >= 0].float()


def learn_to_copy(seed: int) -> nn.Module:
    """A model trained on lists of up to 5 vectors."""
    torch.manual_seed(seed)
    layer = "ramgru,nhead=8,tape_heads=4,memory_size=1024"
    model = build_model(ModelConfig(layer=layer), tasks.get("copy"))
    optimizer = torch.optim.AdamW(model.parameters(), betas=(0.9, 0.98), weight_decay=0.01)
    for step in range(200):
        optimizer.param_groups[0]["lr"] = 1e-2 * min(1, (step + 1) / 50)
        logits, bits = answers(model, seed=step, length=5)
        optimizer.zero_grad()
        nn.functional.binary_cross_entropy_with_logits(logits, bits).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    return model


def test_lists_are_copied_that_are_ten_times_as_long_as_any_seen() -> None:
    right = 0.0
    for seed in range(4):  # not every start finds out how to count: about four in five do
        model = learn_to_copy(seed)
        with torch.no_grad():
            logits, bits = answers(model, 10**6, min_length=50, length=50)
        right = float(((logits > 0) == bits.bool()).float().mean())
        if right > 0.99:
            return
    pytest.fail(f"after four starts {right:.1%} of the bits are right, where 1/2 is chance")
