"""The delta rule by its Triton kernels, where its chunks of 16 steps meet.

What both write rules share is in `test_triton_memory`.
"""

from __future__ import annotations

import pytest
import torch
from memory_cases import Case, Tensors, assert_near, everything, fast, floating
from memory_cases import slow as by_equations
from torch import Tensor

from ramgru.kernels import gpu, native
from ramgru.kernels.memory_scan import memory_scan

pytestmark = pytest.mark.gpu


def tensors(case: Case, device: str) -> Tensors:
    return {name: value.to(device) for name, value in case.tensors(torch.float32).items()}


def found(x: Tensors, case: Case) -> Tensors:
    return {name: value.cpu() for name, value in everything(fast, x, case).items()}


def check(x: Tensors, case: Case) -> None:
    """Results and gradients against the equations in float64."""
    x["write_weight"] *= 2 / (1 + case.K)  # so that steps which write one cell K times stay stable
    wide = {name: value.cpu() for name, value in x.items()}
    wide |= {name: wide[name].double() for name in floating(x)}
    want = everything(by_equations, wide, case)
    assert_near(found(x, case), want, absolute=1e-6, relative=1e-5)


@pytest.mark.parametrize("T", [15, 16, 17, 33])
def test_at_the_edges_of_chunks(gpu_device, T):
    case = Case(B=1, T=T, H=1, K=2, J=1, D=2, N=3, rule="delta", initial="dense", fresh=True)
    check(tensors(case, gpu_device), case)


def test_with_everything_over_two_chunks(gpu_device):
    case = Case(
        B=2, T=19, H=2, K=2, J=1, D=2, N=9, rule="delta", initial="cells",
        fresh=True, reset=True, lengths=True, holes=True, strided=True,
    )  # fmt: skip
    x = tensors(case, gpu_device)
    x["reset"] = (torch.arange(19) == torch.tensor([[7], [16]])).to(gpu_device)
    x["lengths"] = torch.tensor([19, 18], device=gpu_device)
    check(x, case)


@pytest.mark.parametrize("initial", ["none", "dense"])
def test_one_cell_is_reset_inside_a_chunk(gpu_device, initial):
    """Without an initial memory, all three chains begin with the same row of zeros."""
    case = Case(B=1, T=8, H=1, K=1, J=1, D=2, N=1, rule="delta", initial=initial, reset=True)
    x = tensors(case, gpu_device)
    x["reset"] = ((torch.arange(8) % 3) == 2)[None].to(gpu_device)
    check(x, case)


def test_more_writes_a_step_and_columns_than_a_program_takes_at_once(gpu_device):
    """With 4 cells every step has duplicates; holes leave some steps with few writes or none."""
    case = Case(B=1, T=18, H=1, K=5, J=1, D=17, N=4, rule="delta", initial="dense", holes=True)
    x = tensors(case, gpu_device)
    x["write_index"][:, 3] = -1
    check(x, case)


def test_more_writes_a_step_than_are_compared_at_once(gpu_device):
    case = Case(B=1, T=3, H=1, K=18, J=1, D=2, N=9, rule="delta", fresh=True)
    check(tensors(case, gpu_device), case)


def test_cells_that_nothing_changes_keep_every_bit(gpu_device):
    case = Case(B=1, T=20, H=1, K=3, J=1, D=2, N=6, rule="delta", initial="dense")
    x = tensors(case, gpu_device)
    x["initial_rows"][..., ::2] = -0.0  # equal to 0.0, but not its bits
    x["write_index"] %= 3
    x["gate"][:, 5:18] = 0
    x["write_index"][:, 5:18, :, 0] = 3  # written with the gate closed
    x["write_index"][..., 1] = 4  # written with weight 0
    x["write_weight"][..., 1] = 0
    rows = memory_scan(**x, memory_size=6, rule="delta")[2]
    same = bits(rows) == bits(x["initial_rows"])
    assert same[..., 3:, :].all()
    assert not same[..., :3, :].all(-1).any()


@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")  # numpy's
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_is_not_finite_goes_where_the_equations_take_it(gpu_device, bad):
    """Even steps write cell 0, and what one writes the next one replaces; odd steps write cell 1.

    So what step 10 writes to cell 2 has nothing of step 4 in it, but a spoilt row was on its way.
    """
    case = Case(B=1, T=18, H=1, K=2, J=1, D=2, N=3, rule="delta", initial="dense")
    x = tensors(case, gpu_device)
    x["gate"].fill_(1)
    x["write_weight"].fill_(1)
    x["read_index"] = (torch.arange(18) % 2).view(1, 18, 1, 1).to(gpu_device)
    x["write_index"] = x["read_index"].repeat(1, 1, 1, 2)
    x["write_index"][..., 1] = -1
    x["write_index"][:, 10, :, 1] = 2
    clean = found(x, case)
    x["candidate"][0, 4, 0, 0] = bad
    got = found(x, case)
    with gpu.use(gpu.OFF), native.use(native.PORTABLE):
        want = found(x, case)
    for name, value in got.items():
        if name != "grad of write_weight":  # which torch code also spoils where no access is
            assert torch.equal(value.isfinite(), want[name].isfinite()), name
        if value.shape[1] == 18:  # a value for each step
            assert torch.equal(value[:, 1::2], clean[name][:, 1::2]), name
    assert not got["outputs"][0, 4::2, 0, 0].isfinite().any()
    assert not got["final memory"][0, 0, 2, 0].isfinite()
    assert torch.equal(got["outputs"][..., 1], clean["outputs"][..., 1])


def bits(value: Tensor) -> Tensor:
    return value.contiguous().view(torch.int32)
