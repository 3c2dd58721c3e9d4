"""The memory that `memory_scan` carries: splits, untouched cells, gates 0 and 1, NaN, inputs."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from memory_cases import (
    Case,
    Tensors,
    all_rows,
    assert_near,
    cases,
    everything,
    fast,
    floating,
    slow,
)
from torch import Tensor

from ramgru.kernels.memory_scan import memory_scan

SEQUENCES = ("write_index", "write_weight", "gate", "candidate", "read_index", "read_weight")
SHARED = ("fresh_left", "fresh_right", "match", "null")


def bits(value: Tensor) -> Tensor:
    return value.contiguous().view(torch.int64)


def in_pieces(cuts: list[int]):
    """A scan that carries the final memory of one piece into the next."""

    def scan(x: Tensors, case: Case) -> tuple[Tensor, Tensor]:
        carried = {name: x[name] for name in ("initial_cells", "initial_rows") if name in x}
        shared = {name: x[name] for name in SHARED if name in x}
        outputs = []
        for start, stop in zip([0, *cuts], [*cuts, case.T], strict=True):
            names = (*SEQUENCES, "query") if case.tag else SEQUENCES
            piece = {name: x[name][:, start:stop] for name in names}
            if case.reset:
                piece["reset"] = x["reset"][:, start:stop]
            if case.lengths:
                piece["lengths"] = (x["lengths"] - start).clamp(0, stop - start)
            y, cells, rows = memory_scan(**piece, **carried, **shared, memory_size=case.N)
            carried = {"initial_cells": cells, "initial_rows": rows}
            outputs.append(y)
        return torch.cat(outputs, dim=1), all_rows(cells, rows, x, case.N)

    return scan


@settings(max_examples=60)
@given(cases(T=st.integers(1, 10), N=st.sampled_from([1, 3, 20, 60])), st.data())
def test_pieces_equal_the_whole(case: Case, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, case.T), min_size=1, max_size=3), label="cuts"))
    x = case.tensors()
    whole = everything(slow, x, case)
    assert_near(everything(in_pieces(cuts), x, case), whole, absolute=1e-10)


def test_one_step_at_a_time_equals_the_whole() -> None:
    """From no memory to a compact one to a dense one."""
    case = Case(T=12, K=2, N=20, fresh=True)
    x = case.tensors()
    whole = everything(fast, x, case)
    assert_near(everything(in_pieces(list(range(1, 12))), x, case), whole, absolute=1e-10)


def test_gate_zero_leaves_every_row_bitwise() -> None:
    x = Case(initial="dense").tensors()
    x["initial_rows"][..., ::2] = -0.0  # equal to 0.0, but not its bits
    x["gate"].zero_()
    _, _, rows = memory_scan(**x, memory_size=7)
    assert torch.equal(bits(rows), bits(x["initial_rows"]))


def test_cells_that_are_not_addressed_keep_their_bits() -> None:
    case = Case(N=90, initial="dense", fresh=True)
    x = case.tensors()
    x["initial_rows"][..., ::3] = -0.0
    _, _, rows = memory_scan(**x, memory_size=90)
    touched = torch.zeros(2, 2, 90, dtype=torch.bool)
    touched.scatter_(2, x["write_index"].transpose(1, 2).flatten(2), True)
    assert 0 < touched.sum() < touched.numel()
    assert torch.equal(bits(rows[~touched]), bits(x["initial_rows"][~touched]))


def test_gate_one_and_weight_one_replace_the_row_bitwise() -> None:
    x = Case(T=1, K=1, J=1, initial="dense").tensors()
    x["gate"].fill_(1)
    x["write_weight"].fill_(1)
    x["read_weight"].fill_(1)
    x["read_index"] = x["write_index"]
    outputs, _, rows = memory_scan(**x, memory_size=7)
    where = x["write_index"].expand(-1, -1, -1, 3)  # (B, 1, H, D)
    written = rows.unsqueeze(1).gather(3, where.unsqueeze(3)).squeeze(3)
    assert torch.equal(bits(written), bits(x["candidate"]))
    assert torch.equal(bits(outputs), bits(x["candidate"]))


@pytest.mark.parametrize("initial", ["none", "cells", "dense"])
def test_nan_stays_in_its_sequence(initial: str) -> None:
    # A read of a cell that was never written looks at no number at all, unless all rows are given.
    size = {"none": 30, "cells": 30, "dense": 9}[initial]
    case = Case(B=3, N=size, initial=initial, reset=True)
    x = case.tensors()
    clean = everything(fast, x, case)
    for name in floating(x):
        x[name][1] = float("nan")
    found = everything(fast, x, case)
    assert found["outputs"][1].isnan().any()
    for name, value in found.items():
        assert torch.equal(value[::2], clean[name][::2]), name


@pytest.mark.parametrize("initial", ["none", "cells", "dense"])
def test_unused_rows_of_a_final_memory_are_zero_beside_nan(initial: str) -> None:
    x = Case(N=900, initial=initial).tensors()
    x["write_index"][0] = 5  # one cell only, so that most places stay unused
    for name in floating(x):
        x[name][1] = float("nan")
    _, cells, rows = memory_scan(**x, memory_size=900)
    if initial == "dense":
        assert cells.shape[-1] == 0
        assert rows.shape[2] == 900
    else:
        assert (cells[0] < 0).any()
        assert not rows[cells < 0].any()


@pytest.mark.parametrize("initial", ["none", "cells", "dense"])
def test_nothing_behind_a_length_counts(initial: str) -> None:
    """NaN and invalid indices in the padding change no bit."""
    case = Case(B=3, T=7, initial=initial, fresh=True, reset=True, lengths=True)
    x = case.tensors()
    x["lengths"] = torch.tensor([0, 4, 7])
    clean = everything(fast, x, case)
    behind = torch.arange(7) >= x["lengths"][:, None]
    for name in ("write_weight", "gate", "candidate", "read_weight"):
        x[name][behind] = float("nan")
    x["reset"][behind] = True
    x["write_index"][behind] = -1
    x["read_index"][behind] = 10**9
    found = everything(fast, x, case)
    for name, value in found.items():
        assert torch.equal(value, clean[name]), name
    assert not found["outputs"][behind].any()
    for name in ("write_weight", "gate", "candidate", "read_weight"):
        assert not found[f"grad of {name}"][behind].any(), name


def test_a_reset_ends_nan() -> None:
    case = Case(initial="cells", N=40)
    x = case.tensors()
    x["reset"] = torch.zeros(2, 6, dtype=torch.bool)
    x["reset"][:, 3] = True
    x["candidate"][:, :3] = float("nan")
    x["initial_rows"].fill_(float("nan"))
    found = everything(fast, x, case)
    assert found["outputs"][:, :3].isnan().any()
    assert found["outputs"][:, 3:].isfinite().all()
    assert found["final memory"].isfinite().all()
    assert found["grad of candidate"].isfinite().all()


def test_inputs_are_never_changed() -> None:
    case = Case(initial="dense", fresh=True, reset=True, lengths=True)
    x = case.tensors()
    before = {name: value.clone() for name, value in x.items()}
    everything(fast, x, case)
    assert all(torch.equal(value, before[name]) for name, value in x.items())


@pytest.mark.parametrize("initial", ["none", "cells", "dense"])
def test_outputs_share_no_memory_with_inputs(initial: str) -> None:
    x = Case(B=1, T=1, H=1, K=1, J=1, initial=initial).tensors()
    before = {name: value.clone() for name, value in x.items()}
    for value in memory_scan(**x, memory_size=7):
        value.zero_()
    assert all(torch.equal(value, before[name]) for name, value in x.items())


@pytest.mark.parametrize("threads", [1, 2])
def test_the_same_bits_twice(threads: int) -> None:
    case = Case(B=3, T=40, K=4, J=4, D=64, N=50, initial="cells", fresh=True)
    x = case.tensors(torch.float32)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        first, second = everything(fast, x, case), everything(fast, x, case)
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(value, second[name]) for name, value in first.items())


def test_without_final_memory_the_rest_is_the_same() -> None:
    x = Case(initial="cells", fresh=True).tensors()
    outputs, cells, rows = memory_scan(**x, memory_size=7, want_final=False)
    assert torch.equal(outputs, memory_scan(**x, memory_size=7)[0])
    assert cells.shape == (2, 2, 0)
    assert rows.shape == (2, 2, 0, 3)


@pytest.mark.parametrize(("steps", "dense"), [(9, False), (10, True)], ids=["compact", "dense"])
def test_a_final_memory_is_dense_once_all_cells_may_be_touched(steps: int, dense: bool) -> None:
    x = Case(T=steps, K=2, N=20).tensors()
    _, cells, rows = memory_scan(**x, memory_size=20)
    assert cells.shape[-1] == (0 if dense else 18)
    assert rows.shape[2] == (20 if dense else 18)


def test_a_compact_memory_holds_each_written_cell_once_in_order() -> None:
    x = Case(B=1, H=1, T=5, K=2, N=400).tensors()
    x["write_index"][0, 1] = x["write_index"][0, 0]
    _, cells, _ = memory_scan(**x, memory_size=400)
    held = cells[cells >= 0]
    assert held.tolist() == sorted(set(x["write_index"].flatten().tolist()))
    assert (cells[0, 0, : len(held)] >= 0).all()
