"""Tape heads: positions that count exactly, and lists that are copied with them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import ramgru.tape
from ramgru import RAMGRU, Memory, RAMGRUModel, Tape
from ramgru.kernels.tape import covered
from ramgru.lab import tasks
from ramgru.tape import TapeHeads

OPEN, SHUT = 9.0, -9.0  # biases of gates that are exactly 1 and 0
HERE = ramgru.tape.WINDOW - 1  # the first cell of a read, behind those that its gradient sees


def tape(heads: int, cells: int, push: float, jump: float, pop: float) -> TapeHeads:
    """Heads that push, jump and pop by the same amounts at every step."""
    made = TapeHeads((Tape(),) * heads, 2, Memory(cells), dtype=torch.float64)
    with torch.no_grad():
        made.moves.weight.zero_()
        made.moves.bias.copy_(torch.tensor([push, jump, pop]).repeat_interleave(heads))
    return made


def obeying(heads: int, cells: int) -> TapeHeads:
    """Heads whose push, jump and pop are the three channels of the input, 0 or 1."""
    made = TapeHeads((Tape(),) * heads, 3, Memory(cells), dtype=torch.float64)
    with torch.no_grad():
        made.moves.weight.copy_(2 * OPEN * torch.eye(3).repeat_interleave(heads, dim=0))
        made.moves.bias.fill_(SHUT)
    return made


def commands(text: str) -> Tensor:
    """(1, T, 3): + pushes, - pops, < jumps, . rests"""
    table = {"+": [1, 0, 0], "<": [0, 1, 0], "-": [0, 0, 1], ".": [0, 0, 0]}
    return torch.tensor([[table[letter] for letter in text]], dtype=torch.float64)


def positions(made: TapeHeads, x: Tensor, reset: Tensor | None = None) -> Tensor:
    """(T, 2 H) the positions after each step of one sequence, one step at a time."""
    position, found = made.start(1), []
    for t in range(x.shape[1]):
        now = None if reset is None else reset[:, t : t + 1]
        position = made(x[:, t : t + 1], position, None, now)[2]
        found.append(position[0])
    return torch.stack(found)


def test_a_head_that_only_moves_on_counts_exactly_and_goes_round() -> None:
    made, x = tape(1, 5, OPEN, SHUT, OPEN), torch.randn(2, 3_001, 2, dtype=torch.float64)
    write, read, position = made(x, made.start(2), None, None)
    assert position.tolist() == [[3_001, 3_001]] * 2
    for address, here in ((write, 0), (read, HERE)):
        assert torch.equal(address.index[0, :, 0, here], torch.arange(3_001) % 5)
        assert (address.weight[0, :, 0, here] == 1).all()
        assert (address.weight[0, :, 0].sum(-1) == 1).all()


def test_float32_counts_as_far() -> None:
    made = tape(1, 2**20, OPEN, SHUT, OPEN).float()
    lengths = torch.tensor([6_999])
    write, _, position = made(torch.randn(1, 7_000, 2), made.start(1), lengths, None)
    assert write.index[0, -3:, 0, 0].tolist() == [6_997, 6_998, 6_999]
    assert write.weight[0, -3:, 0, 0].tolist() == [1, 1, 0]  # nothing is pushed in padding
    assert position.tolist() == [[6_999, 6_999]]
    assert position.dtype == torch.float64


def test_cells_are_weighted_by_how_much_of_each_is_covered() -> None:
    begin = torch.tensor([[[2.25, -0.5, 3.0]]], dtype=torch.float64)
    index, weight = covered(begin, torch.tensor([0.5, 1, 0.25]).double(), cells=7)
    assert index[0, 0].tolist() == [[2, 3], [6, 0], [3, 4]]
    assert weight[0, 0].tolist() == [[0.5, 0], [0.5, 0.5], [0.25, 0]]


def test_a_queue_reads_in_the_order_of_writing_from_a_jump_on() -> None:
    made = obeying(1, 9)
    x = commands("+.++--<--.-")
    write, read, position = made(x, made.start(1), None, None)
    assert write.index[0, [0, 2, 3], 0, 0].tolist() == [0, 1, 2]
    assert write.weight[0, :, 0].sum(-1).tolist() == [1, 0, 1, 1] + [0] * 7
    assert read.index[0, 4:, 0, HERE].tolist() == [0, 1, 0, 0, 1, 2, 2]
    assert position.tolist() == [[3, 3]]


def test_every_second_head_reads_backwards_from_the_last_jump() -> None:
    made = obeying(2, 9)
    x = commands("+++<---+<--")
    write, read, position = made(x, made.start(1), None, None)
    assert write.weight[0, :, 1].sum(-1).tolist() == [1, 1, 1, 0, 0, 0, 0, 1, 0, 0, 0]
    assert write.index[0, [0, 1, 2, 7], 1, 0].tolist() == [0, 1, 2, 3]
    assert read.index[0, [4, 5, 6, 9, 10], 1, HERE].tolist() == [2, 1, 0, 3, 2]
    assert position.tolist() == [[4, 4, 2, 2]]


def test_a_position_is_drawn_to_cells_that_are_steps_away() -> None:
    position = torch.tensor([[9.0, 4.25]], dtype=torch.float64, requires_grad=True)
    made, x = tape(1, 16, SHUT, SHUT, SHUT), torch.zeros(1, 1, 2, dtype=torch.float64)
    read = made(x, position, None, None)[1]
    assert read.index.tolist() == [[[[2, 3, 4, 5, 6, 7]]]]
    assert read.weight.tolist() == [[[[0, 0, 0.75, 0.25, 0, 0]]]]
    towards = read.weight[0, 0, 0] @ torch.tensor([1, 2, 4, 8, 16, 32]).double()
    assert torch.autograd.grad(towards, position)[0].tolist() == [[0, (56 - 7) / 9]]
    with torch.no_grad():
        assert made(x, position, None, None)[1].index.tolist() == [[[[4, 5]]]]


def test_a_gate_that_is_shut_learns_to_open() -> None:
    made, x = tape(1, 9, -3.5, SHUT, SHUT), torch.zeros(1, 1, 2, dtype=torch.float64)
    write, _, _ = made(x, made.start(1), None, None)
    assert write.weight.tolist() == [[[[0, 0]]]]
    write.weight[..., 0].sum().backward()
    assert made.moves.bias.grad is not None
    assert made.moves.bias.grad[0] > 0


def test_a_position_that_is_not_finite_ends_at_a_reset() -> None:
    made = TapeHeads((Tape(),) * 2, 2, Memory(7), dtype=torch.float64)
    x, reset = torch.randn(1, 6, 2).double(), torch.zeros(1, 6, dtype=torch.bool)
    x[0, 1], reset[0, 3] = torch.nan, True
    found = positions(made, x, reset)
    assert found[1:3].isnan().all()
    torch.testing.assert_close(found[3:], positions(made, x[:, 3:]))
    torch.testing.assert_close(made(x, made.start(1), None, reset)[2][0], found[-1])


def layer(heads: str = "key tape tape", **options: Any) -> RAMGRU:
    memory = Memory(cells=9, heads=heads, writes=1, reads=2)
    return RAMGRU(2, 3, batch_first=True, dtype=torch.float64, memory=memory, **options)


def normal(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def test_tape_heads_stand_after_key_heads() -> None:
    made, x = layer(), normal(2, 4, 2)
    unit = made.memories[0]
    state = unit.initial_state(2)
    s = unit.steps(x, state.carried, None, None, None, None, False)
    assert s.write.counts == (1, 2, 2)
    assert s.write.index.shape == (2, 4, 5)
    filled, reads = s.write.padded(), s.read.padded()
    assert filled.index.shape == (2, 4, 3, 2)
    assert reads.index.shape == (2, 4, 3, 6)
    assert (filled.index[:, :, 0, 1] == -1).all()
    write, read, _ = unit.heads["tape"](x, state.carried["tape"], None, None)
    assert torch.equal(filled.index[:, :, 1:], write.index)
    assert torch.equal(reads.weight[:, :, 1:], read.weight)


def test_gradcheck(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ramgru.tape, "WINDOW", 1)  # without key heads: a hash passes no gradient
    made, x = layer("tape tape"), normal(2, 4, 2).requires_grad_()
    names, values = zip(*made.named_parameters())

    def function(x: Tensor, *values: Tensor) -> Tensor:
        return torch.func.functional_call(made, dict(zip(names, values)), (x,))[0]

    assert torch.autograd.gradcheck(function, (x, *values))


def test_positions_stay_in_float64_where_a_state_is_narrowed() -> None:
    made = layer()
    state = made(normal(2, 5, 2), made.initial_state(2))[1]
    position = state.memory[0].carried["tape"]
    half = state.to(dtype=torch.bfloat16)
    assert half.memory[0].rows.dtype == torch.bfloat16
    assert torch.equal(half.memory[0].carried["tape"], position)
    back = state.from_tensor(state.to_tensor())
    assert torch.equal(back.memory[0].carried["tape"], position)
    assert torch.equal(state[1].memory[0].carried["tape"], position[1:])


def test_a_head_moves_on_while_the_caller_names_cells() -> None:
    made, x = layer(), normal(1, 4, 2)
    cells = torch.zeros(1, 4, dtype=torch.int64)
    named = made(x, made.initial_state(1), write_index=cells, read_index=cells)[1]
    free = made(x, made.initial_state(1))[1]
    assert torch.equal(named.memory[0].carried["tape"], free.memory[0].carried["tape"])


def test_a_state_without_positions_is_refused() -> None:
    with pytest.raises(ValueError, match="state: expected one of this layer"):
        layer()(normal(1, 2, 2), layer("key key key").initial_state(1))


def answers(model: nn.Module, seed: int, **sizes: int) -> tuple[Tensor, Tensor]:
    """-> logits and bits of all questions of a batch of the copy task"""
    batch = tasks.get("copy", **sizes).draw(32, seed)
    labels, lengths = torch.as_tensor(batch.labels), torch.as_tensor(batch.lengths)
    logits = model(torch.as_tensor(batch.inputs), lengths=lengths)
    return logits[labels >= 0], labels[labels >= 0].float()


def learn_to_copy(seed: int) -> nn.Module:
    """A model trained on lists of up to 5 vectors."""
    torch.manual_seed(seed)
    batch = tasks.get("copy").draw(1, 0)
    sizes = {"features": batch.inputs.shape[-1], "outputs": batch.labels.shape[-1]}
    model = RAMGRUModel(0, 64, 8, 1024, memory=Memory(heads="key tape"), **sizes)
    optimizer = torch.optim.AdamW(model.parameters(), betas=(0.9, 0.98), weight_decay=0.01)
    for step in range(200):
        optimizer.param_groups[0]["lr"] = 1e-2 * min(1, (step + 1) / 50)
        logits, bits = answers(model, seed=step, length=5)
        optimizer.zero_grad()
        nn.functional.binary_cross_entropy_with_logits(logits, bits).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    return model


def test_lists_ten_times_as_long_as_in_training_are_copied() -> None:
    right = 0.0
    for seed in range(4):  # most starts learn to count
        model = learn_to_copy(seed)
        with torch.no_grad():
            logits, bits = answers(model, 10**6, min_length=50, length=50)
        right = float(((logits > 0) == bits.bool()).float().mean())
        if right > 0.99:
            return
    pytest.fail(f"after four starts {right:.1%} of the bits are right, where 1/2 is chance")
