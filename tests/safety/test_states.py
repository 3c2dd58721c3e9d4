"""A state is checked whole where it comes from outside, and a step is all or nothing."""

from __future__ import annotations

import gc
import io
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_odd_weights import back_to_front, expanded, negative, of_conjugate, strided
from torch import Tensor

from ramgru import RAMGRU, Memory, RAMGRUState, arguments
from ramgru.state import MemoryState

HEADS = "key key:2 lag:4 tape"


def layer(**options: Any) -> RAMGRU:
    torch.manual_seed(3)
    memory = Memory(cells=40, heads=HEADS, learned_start=True)
    return RAMGRU(5, 8, **{"num_layers": 2, "batch_first": True, "memory": memory, **options})


def states(of: RAMGRU) -> dict[str, RAMGRUState]:
    """Of two sequences after four steps, in each form."""
    x = torch.randn(2, 4, 5, generator=torch.Generator().manual_seed(1))
    state = of(x, of.initial_state(2))[1].detach()
    return {"compact": state, "dense": state.dense()}


def changed(state: RAMGRUState, **parts: Any) -> RAMGRUState:
    return replace(state, memory=(state.memory[0], replace(state.memory[1], **parts)))


def with_cell(value: int) -> Callable[[RAMGRUState], RAMGRUState]:
    def change(state: RAMGRUState) -> RAMGRUState:
        cells = state.memory[1].cells.clone()
        cells[1, 0, 0] = value
        return changed(state, cells=cells)

    return change


def twice(state: RAMGRUState) -> RAMGRUState:
    cells = state.memory[1].cells.clone()
    cells[0, 0, 1] = cells[0, 0, 0]
    return changed(state, cells=cells)


def carried(state: RAMGRUState, kind: str, change: Callable[[Tensor], Tensor]) -> RAMGRUState:
    given = state.memory[1].carried
    return changed(state, carried={**given, kind: change(given[kind])})


def part(name: str, change: Callable[[Tensor], Tensor]) -> Callable[[RAMGRUState], RAMGRUState]:
    return lambda s: changed(s, **{name: change(getattr(s.memory[1], name))})


# What is wrong -> the change, and what the error says; changes of cells are for compact states.
WRONG: dict[str, tuple[Callable[[RAMGRUState], RAMGRUState], str]] = {
    "cell too high": (with_cell(10**6), r"state.memory\[1\].cells: .* got 1000000"),
    "cell too low": (with_cell(-2), r"state.memory\[1\].cells: .* got -2"),
    "cell twice": (twice, r"state.memory\[1\].cells: expected each cell once"),
    "cells of int32": (part("cells", Tensor.int), r"state.memory\[1\].cells: expected torch.int64"),
    "cells of another device": (part("cells", lambda t: t.to("meta")), r"cells: expected cpu"),
    "cells of one sequence": (part("cells", lambda t: t[:1]), r"cells: expected shape"),
    "flat cells": (part("cells", Tensor.flatten), r"cells: expected shape"),
    "rows of one sequence": (part("rows", lambda t: t[:1]), r"rows: expected shape"),
    "rows of 10 cells": (part("rows", lambda t: t[:, :, :3]), r"rows: expected shape"),
    "rows of one head": (part("rows", lambda t: t[:, :1]), "state: expected one of this layer"),
    "narrow rows": (part("rows", lambda t: t[..., :3]), "state: expected one of this layer"),
    "flat rows": (part("rows", Tensor.flatten), "state: expected one of this layer"),
    "rows of integers": (part("rows", Tensor.long), r"rows: expected torch.float32"),
    "rows of another device": (part("rows", lambda t: t.to("meta")), r"rows: expected cpu"),
    "rows of text": (lambda s: changed(s, rows="rows"), r"state.memory\[1\]: expected tensors"),
    "another size": (lambda s: changed(s, memory_size=64), "state: expected one of this layer"),
    "key of one sequence": (lambda s: carried(s, "key", lambda t: t[:1]), r"carried\['key'\]"),
    "place of float": (lambda s: carried(s, "lag", Tensor.float), r"carried\['lag'\]: expected"),
    "position of integers": (lambda s: carried(s, "tape", Tensor.long), r"carried\['tape'\]"),
    "no position": (lambda s: changed(s, carried={}), "state: expected one of this layer"),
    "start of one factor": (lambda s: changed(s, fresh_left=None), "expected fresh_left and"),
    "short start": (part("fresh_left", lambda t: t[:, :2]), "fresh_left, fresh_right: expected"),
    "a memory less": (lambda s: replace(s, memory=s.memory[:1]), "state: expected one of"),
    "hidden of one sequence": (lambda s: replace(s, hidden=s.hidden[:, :1]), "hidden size"),
    "hidden elsewhere": (lambda s: replace(s, hidden=s.hidden.to("meta")), "state.hidden"),
    "hidden of double": (lambda s: replace(s, hidden=s.hidden.double()), "hidden dtype"),
}


CALLS: dict[str, Callable[[RAMGRU, RAMGRUState], Any]] = {
    "forward": lambda m, s: m(torch.zeros(2, 3, 5), s),
    "step": lambda m, s: m.step(torch.zeros(2, 5), s),
    "step_": lambda m, s: m.step_(torch.zeros(2, 5), s),
    "reset": lambda m, s: m.step_(torch.zeros(2, 5), s, reset=torch.ones(2, dtype=torch.bool)),
}


@pytest.mark.parametrize("form", ["compact", "dense"])
@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_wrong_in_a_state_is_named(wrong: str, form: str) -> None:
    change, message = WRONG[wrong]
    if form == "dense" and wrong.startswith("cell"):
        pytest.skip("a dense state lists no cells")
    made = layer()
    bad = change(states(made)[form])
    kept = [t.clone() for m in bad.memory for t in m if isinstance(t, Tensor)]
    for call in CALLS.values():
        with pytest.raises((ValueError, TypeError, RuntimeError), match=message):
            call(made, bad)
    if "hidden of" not in wrong:
        with pytest.raises((ValueError, TypeError), match=message):
            made.stream(state=bad)
        stream = made.stream(1)
        with pytest.raises((ValueError, TypeError), match=message):
            stream.join(bad)
        stream.step(torch.zeros(1, 5))
    left = [t for m in bad.memory for t in m if isinstance(t, Tensor)]
    assert all(a.is_meta or torch.equal(a, b) for a, b in zip(left, kept, strict=True))


def test_a_change_after_the_check_is_found() -> None:
    made, x = layer(), torch.zeros(2, 3, 5)
    state = states(made)["compact"]
    made(x, state)
    state.memory[0].cells[0, 0, 0] = 10**6
    with pytest.raises(ValueError, match=r"state.memory\[0\].cells: .* got 1000000"):
        made(x, state)


def by_data(cells: Tensor) -> None:
    cells.data[0, 0, 0] = 10**9


def by_numpy(cells: Tensor) -> None:
    cells.numpy()[0, 0, 0] = 10**9


def by_swap(cells: Tensor) -> None:
    cells.data = torch.full_like(cells, 10**9)


@pytest.mark.parametrize("graph", [True, False])
@pytest.mark.parametrize("change", [by_data, by_numpy, by_swap])
def test_a_change_that_torch_does_not_count_is_found(
    change: Callable[[Tensor], None], graph: bool
) -> None:
    made = layer()
    for call in CALLS.values():
        state = made(torch.zeros(2, 3, 5), made.initial_state(2))[1].detach()
        call(made, state.clone())
        change(state.memory[0].cells)
        with (
            torch.set_grad_enabled(graph),
            pytest.raises(ValueError, match=r"expected .* in \[0, "),
        ):
            call(made, state)


def test_a_change_between_forward_and_backward_is_found() -> None:
    made = layer()
    state = made(torch.zeros(2, 3, 5), made.initial_state(2))[1].detach()
    output, _ = made(torch.zeros(2, 3, 5), state)
    by_data(state.memory[0].cells)
    with pytest.raises(ValueError, match=r"expected .* in \[0, "):
        output.sum().backward()


def test_a_changed_file_is_refused() -> None:
    """`torch.load` reads a state as it reads weights; the layer checks it."""
    made = layer()
    buffer = io.BytesIO()
    torch.save(with_cell(10**6)(states(made)["compact"]), buffer)
    buffer.seek(0)
    found = torch.load(buffer, weights_only=True)
    for call in CALLS.values():
        with pytest.raises(ValueError, match="got 1000000"):
            call(made, found)


def test_cells_are_checked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not at all where the layer made them, also after `detach`."""
    made, x, sorted_ = layer(), torch.zeros(2, 3, 5), []
    gc.collect()
    known = len(arguments._checked)
    sort = Tensor.sort
    monkeypatch.setattr(Tensor, "sort", lambda t, **k: sorted_.append(t) or sort(t, **k))
    _, state = made(x, made.initial_state(2))
    for _ in range(3):
        _, state = made(x, state.detach())
    assert not sorted_
    other = state.clone().detach()
    for _ in range(3):
        made(x, other)
    assert len(sorted_) == 2  # once in each layer
    assert len(arguments._checked) < known + 50  # forgotten with their tensors


FORMS = {f.__name__: f for f in (negative, of_conjugate, strided, back_to_front, expanded)}


@settings(max_examples=15)
@given(
    form=st.sampled_from([*FORMS]),
    kind=st.sampled_from(["compact", "dense"]),
    call=st.sampled_from([*CALLS]),
    names=st.sets(st.sampled_from(["hidden", "rows", "carried", "fresh"]), min_size=1),
)
def test_states_of_any_form(form: str, kind: str, call: str, names: set[str]) -> None:
    made = layer()
    state = states(made)[kind]

    def of_form(change: Callable[[Tensor], Tensor]) -> RAMGRUState:
        def odd(name: str, t: Tensor) -> Tensor:
            return change(t) if name in names and t.is_floating_point() else t

        def of_memory(m: MemoryState) -> MemoryState:
            left, right = (odd("fresh", t) for t in m.fresh or ())
            given = {kind: odd("carried", t) for kind, t in m.carried.items()}
            return MemoryState(m.cells, odd("rows", m.rows), m.memory_size, given, left, right)

        return RAMGRUState(odd("hidden", state.hidden), tuple(map(of_memory, state.memory)))

    plain = of_form(lambda t: torch.zeros(t.shape).copy_(FORMS[form](t)))
    given = of_form(FORMS[form])
    expected, then = CALLS[call](made, plain.clone())  # first: step_ writes into what is given
    y, after = CALLS[call](made, given)
    torch.testing.assert_close(y, expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(after.to_tensor(), then.to_tensor(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("reset", [False, True], ids=["", "reset"])
@pytest.mark.parametrize("why", ["a weight", "a hook", "interrupted", "another dtype"])
def test_a_step_that_fails_in_the_second_layer_changes_no_cell(why: str, reset: bool) -> None:
    made = layer()
    state = states(made)["dense"]
    kept = [t.clone() for t in (state.hidden, *(t for m in state.memory for t in m))]
    second = made.memories[1]
    if why == "a weight":
        second.read_out.weight.data = second.read_out.weight.data[:, :3]
    elif why == "another dtype":
        second.candidate.double()
    else:

        def fail(*_: Any) -> None:
            raise KeyboardInterrupt if why == "interrupted" else ValueError

        second.output_gate.register_forward_hook(fail)
    stream = made.stream(state=state)
    with pytest.raises((RuntimeError, ValueError, KeyboardInterrupt)):
        made.step_(torch.ones(2, 5), state, reset=torch.tensor([True, False]) if reset else None)
    with pytest.raises((RuntimeError, ValueError, KeyboardInterrupt)):
        stream.step(torch.ones(2, 5))
    for now in (state, stream.state):
        left = (now.hidden, *(t for m in now.memory for t in m))
        assert all(map(torch.equal, left, kept))
