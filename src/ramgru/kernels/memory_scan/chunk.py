"""`memory_scan` over a part of a stream: what its steps wrote, and no gradient of what came before.

Neither forward nor backward costs more for a memory that holds much, as in truncated
backpropagation through time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ramgru.kernels.fused import Fused, MaybeTensor
from ramgru.kernels.memory_scan import cpu, operator
from ramgru.kernels.memory_scan.inputs import Inputs, padding
from ramgru.kernels.memory_scan.uneven import even


def memory_chunk(*args: Any) -> tuple[Tensor, Tensor, Tensor]:
    """The tensors of `Inputs`, memory_size, counts -> outputs, and the cells that the steps since
    the last reset wrote, ascending, -1 in free places, (B, H, T·K), with their rows (…, D).

    Of initial_rows, those of unused initial_cells may hold anything.
    """
    x, (memory_size, counts) = Inputs(*args[:-2]), args[-2:]
    if x.initial_rows is not None and x.initial_cells is not None:
        unused = (x.initial_cells < 0).unsqueeze(-1)
        x = x._replace(initial_rows=x.initial_rows.detach().masked_fill(unused, 0))
    outputs, held, rows = operator.memory_scan(*x, memory_size, counts, True)
    cells = written(x, memory_size, counts)
    place = cells.clamp_min(0)
    if held.shape[-1]:  # ascending, and -1 behind
        last = held.masked_fill(held < 0, memory_size)
        place = torch.searchsorted(last, place).clamp_max(held.shape[-1] - 1)
    found = rows.gather(2, place.unsqueeze(-1).expand(*place.shape, rows.shape[-1]))
    return outputs, cells, found.masked_fill((cells < 0).unsqueeze(-1), 0)


def written(x: Inputs, memory_size: int, counts: Sequence[int]) -> Tensor:
    """-> the cells that the steps since the last reset write, as `memory_chunk` gives them"""
    index, pad = even(x, counts).write_index, padding(x)
    gone = index < 0
    if pad is not None:
        gone = gone | pad[:, :, None, None]
    if x.reset is not None:
        reset = x.reset if pad is None else x.reset & ~pad
        since = reset.flip(1).cumsum(1).flip(1) - reset.long()  # resets behind each step
        gone = gone | (since > 0)[:, :, None, None]
    cells = index.masked_fill(gone, memory_size).transpose(1, 2).flatten(2).sort(-1).values
    again = torch.zeros_like(cells, dtype=torch.bool)
    again[..., 1:] = cells[..., 1:] == cells[..., :-1]
    cells = cells.masked_fill(again, memory_size).sort(-1).values
    return cells.masked_fill(cells == memory_size, -1)


def _forward(*args: Any) -> tuple[tuple[Tensor, ...], list[Tensor]]:
    x, (memory_size, counts) = Inputs(*args[:-2]), args[-2:]
    return tuple(cpu.forward(x, memory_size, True, counts, written_only=True)), []


def _backward(
    grads: Sequence[MaybeTensor], saved: Sequence[Tensor], needed: Sequence[bool], *args: Any
) -> list[MaybeTensor]:
    x, (memory_size, counts) = Inputs(*args[:-2]), args[-2:]
    grad_output = grads[0]
    if grad_output is None:
        B, T, H = x.gate.shape
        grad_output = x.gate.new_zeros(B, T, H, x.values + (x.query is not None))
    found = cpu.backward(x, grad_output, grads[2], memory_size, saved, counts, written_only=True)
    by_name = dict(zip(cpu.DIFFERENTIABLE, found, strict=True))
    given = x._asdict()
    return [None if (g := by_name.get(name)) is None else g.to(given[name].dtype) for name in given]


chunk = Fused(memory_chunk, _forward, _backward, kernel="memory_scan_forward")
