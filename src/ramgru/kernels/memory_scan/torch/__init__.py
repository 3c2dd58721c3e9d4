"""`memory_scan` in vectorised PyTorch, forward and backward: runs on any device.

`chains` computes the versions of the rows. This module adds the bases that chains begin with,
reads, padding and the final memory.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ramgru.kernels.memory_scan import tag
from ramgru.kernels.memory_scan.inputs import (
    Inputs,
    compute_dtype,
    dense_final,
    padding,
    widen,
)
from ramgru.kernels.memory_scan.torch import chains, plan
from ramgru.kernels.rows import add_rows_, fresh_table, weighted_sum

SAVED = 1 + len(chains.Chains._fields)  # tensors that forward saves for backward


def forward(x: Inputs, memory_size: int, want_final: bool) -> list[Tensor]:
    """-> outputs, final cells, final rows, and the tensors for backward: versions and chains"""
    path = chains.build(x, memory_size, want_final)
    outputs, cells, rows, versions = run(widen(x), path, memory_size, want_final)
    return [outputs.to(x.candidate.dtype), cells, rows, versions, *path]


def backward(
    x: Inputs,
    grad_output: Tensor,  # (B, T, H, D)
    grad_rows: Tensor | None,  # gradient of the final rows
    memory_size: int,
    saved: Sequence[Tensor],  # of another length if another path ran forward
) -> list[Tensor | None]:
    """-> gradients in the order of DIFFERENTIABLE; None for an input that is absent"""
    wide = widen(x)
    if len(saved) == SAVED:
        versions, path = saved[0], chains.Chains(*saved[1:])
    else:
        path = chains.build(x, memory_size, grad_rows is not None)
        versions = run(wide, path, memory_size, False)[3]
    grad_output = grad_output.to(versions.dtype).contiguous()
    if grad_rows is not None:
        grad_rows = grad_rows.to(versions.dtype).contiguous()
    return _gradients(wide, path, versions, grad_output, grad_rows, memory_size)


def empty_saved(x: Inputs, want_final: bool) -> list[Tensor]:
    """Uninitialised tensors like the ones that forward saves for backward."""
    B, T, H, K = x.write_index.shape
    J, P = x.read_index.shape[-1], x.given_cells
    size = P + T * K if want_final else 0
    events = B * H * (P + T * (K + J))
    index = x.write_index
    path = [
        index.new_empty(B, H, P),
        index.new_empty(B, T, H, K),
        index.new_empty(B, T, H, J),
        index.new_empty(B * H, size),
        index.new_empty(B * H, size),
        index.new_empty(T * K + 1),
        index.new_empty(3, events if x.has_base else 0),
    ]
    D = x.candidate.shape[-1]
    return [x.candidate.new_empty(capacity(x), D, dtype=compute_dtype(x)), *path]


def capacity(x: Inputs) -> int:
    """Rows of the table of versions: the most there can be, so that its shape needs no data."""
    writes = x.write_index.numel()
    if not x.has_base:
        return 1 + writes
    given = 0 if x.initial_cells is None else x.initial_cells.numel()
    return given + writes + x.read_index.numel() + writes


def run(
    x: Inputs,  # as `widen` returns it
    path: chains.Chains,
    memory_size: int,
    want_final: bool,
    differentiable: bool = False,  # use differentiable calls alone
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """-> outputs, final cells, final rows, versions"""
    B, _, H, D = x.candidate.shape
    base = bases(x, path)
    gate = x.write_weight * x.gate.unsqueeze(-1)
    if differentiable:
        versions = chains.forward_differentiable(gate, x.candidate, base, path)
    else:
        versions = chains.forward(gate, x.candidate, base, path, capacity(x))
    seen = tag.weigh_reads(x, tags(x, path, versions)) if x.query is not None else None
    weight = x.read_weight if seen is None else seen.weight
    if differentiable:
        outputs = (versions[path.read_slot] * weight.unsqueeze(-1)).sum(-2)
    else:
        outputs = weighted_sum(versions, path.read_slot, weight)
    if seen is not None:
        outputs = torch.cat([outputs[..., : x.values], seen.share.unsqueeze(-1)], -1)
    if want_final:
        cells, rows = final_memory(x, path, versions, memory_size)
    else:
        cells = x.write_index.new_zeros(B, H, 0)
        rows = x.candidate.new_zeros(B, H, 0, D)
    return outputs, cells, rows, versions


def tags(x: Inputs, path: chains.Chains, versions: Tensor) -> Tensor:
    """(B, T, H, J, A) the tags of the rows that reads find"""
    return versions[:, x.values :][path.read_slot]


def bases(x: Inputs, path: chains.Chains) -> Tensor:
    """(bases, D) the row that each chain begins with; one row of zeros if all are zero."""
    D = x.candidate.shape[-1]
    number = int(path.block[0])
    if path.base.shape[1] == 0:
        return x.candidate.new_zeros(1, D)
    cell, row, _ = path.base[:, :number]
    some = cell >= 0
    if x.fresh_left is not None and x.fresh_right is not None:
        left, right = fresh_places(x, cell.clamp_min(0), row)
        base = x.fresh_left.flatten(0, 1)[left] + x.fresh_right.flatten(0, 1)[right]
        base = base.masked_fill(~some.unsqueeze(-1), 0)
    else:
        base = x.candidate.new_zeros(number, D)
    if x.initial_rows is not None:
        where, source = initial_places(x, path)
        base = base.index_copy(0, where, x.initial_rows.flatten(0, 2)[source])
    return base


def fresh_places(x: Inputs, cell: Tensor, row: Tensor) -> tuple[Tensor, Tensor]:
    """The rows of the flattened fresh factors that belong to a cell of a (sequence, head)."""
    assert x.fresh_left is not None
    assert x.fresh_right is not None
    G, R = x.fresh_left.shape[:2]  # G = H factors for all sequences, or B·H, one for each
    C = x.fresh_right.shape[1]
    head = row % G
    return head * R + torch.div(cell, C, rounding_mode="floor"), head * C + cell % C


def initial_places(x: Inputs, path: chains.Chains) -> tuple[Tensor, Tensor]:
    """The bases that come from the initial memory, and its rows (flattened) for them."""
    assert x.initial_rows is not None
    if x.initial_cells is not None:
        given = (x.initial_cells.flatten() >= 0).nonzero().squeeze(-1)
        return path.initial_slot.flatten()[given], given
    cell, row, segment = path.base[:, : int(path.block[0])]
    where = ((cell >= 0) & (segment == 0)).nonzero().squeeze(-1)
    return where, (row * x.initial_rows.shape[2] + cell)[where]


def final_memory(
    x: Inputs, path: chains.Chains, versions: Tensor, memory_size: int
) -> tuple[Tensor, Tensor]:
    """-> cells (B, H, P') and rows (B, H, P', D); or cells (B, H, 0) and rows (B, H, N, D)"""
    B, _, H, D = x.candidate.shape
    held = path.final_slot >= 0
    if not dense_final(x, memory_size):
        size = held.shape[1]
        # masked_fill, not a product with 0: row 0 may hold another sequence's NaN.
        rows = versions[path.final_slot.clamp_min(0)].masked_fill_(~held.unsqueeze(-1), 0)
        return path.final_cell.view(B, H, size).clone(), rows.view(B, H, size, D)
    rows = untouched(x, memory_size)
    row, column = held.nonzero(as_tuple=True)
    where = row * memory_size + path.final_cell[row, column]
    rows = rows.flatten(0, 2).index_copy(0, where, versions[path.final_slot[row, column]])
    return path.final_cell.new_zeros(B, H, 0), rows.view(B, H, memory_size, D)


def untouched(x: Inputs, memory_size: int) -> Tensor:
    """(B, H, N, D) the final rows of all cells if no step had written."""
    B, _, H, D = x.candidate.shape
    if x.fresh_left is not None and x.fresh_right is not None:
        fresh = fresh_table(x.fresh_left, x.fresh_right, memory_size)
        rows = fresh.unflatten(0, (-1, H)).expand(B, H, memory_size, D)
    else:
        rows = x.candidate.new_zeros(1).expand(B, H, memory_size, D)
    if x.initial_rows is not None and x.initial_cells is None:
        same = never_reset(x)
        if same is None:
            return x.initial_rows
        return torch.where(same.view(B, 1, 1, 1), x.initial_rows, rows)
    return rows


def never_reset(x: Inputs) -> Tensor | None:
    """(B,) whether a sequence's initial memory survives to its end; None if all do."""
    last = plan.last_segment(x.reset, x.lengths, x.gate.shape[0])
    return None if last is None else last == 0


def _gradients(
    x: Inputs,
    path: chains.Chains,
    versions: Tensor,
    grad_output: Tensor,
    grad_rows: Tensor | None,
    memory_size: int,
) -> list[Tensor | None]:
    B, T, H, D = x.candidate.shape
    pad = padding(x)
    if pad is not None:
        grad_output = grad_output.masked_fill(pad.view(B, T, 1, 1), 0)
    grad_share = None
    if x.query is not None:
        grad_share = grad_output[..., -1]
        grad_output = torch.nn.functional.pad(grad_output[..., :-1], (0, x.tag_width))
    flat = grad_output.reshape(-1, 1, D)
    J = path.read_slot.shape[-1]
    read = path.read_slot.flatten()
    grad_read = (versions[read].view(-1, J, D) @ flat.transpose(1, 2)).view(B, T, H, J)
    weight, of_tags = x.read_weight, None
    if grad_share is not None:
        held = tags(x, path, versions)
        seen = tag.weigh_reads(x, held)
        of_tags = tag.backward(seen, x, held, grad_read, grad_share)
        weight, grad_read = seen.weight, of_tags.read_weight
    grad_rows_read = weight.reshape(-1, J, 1) * flat
    if of_tags is not None:
        grad_rows_read[..., x.values :] = of_tags.tags.flatten(0, 2)
    grad = torch.zeros_like(versions)
    add_rows_(grad, read, grad_rows_read.view(-1, D))

    grad_untouched = None
    if grad_rows is not None:
        row, column = (path.final_slot >= 0).nonzero(as_tuple=True)
        slot = path.final_slot[row, column]
        if dense_final(x, memory_size):
            where = row * memory_size + path.final_cell[row, column]
            flat_rows = grad_rows.reshape(-1, D)
            add_rows_(grad, slot, flat_rows[where])
            if x.initial_rows is not None or x.fresh_left is not None:
                zero = flat_rows.new_zeros(1, D).expand(len(where), D)
                grad_untouched = flat_rows.index_copy(0, where, zero).view(B, H, memory_size, D)
        else:
            add_rows_(grad, slot, grad_rows.flatten(0, 1)[row, column])

    g = x.write_weight * x.gate.unsqueeze(-1)
    grad_g, grad_candidate = chains.backward(grad, g, x.candidate, versions, path)
    grad_weight = grad_g * x.gate.unsqueeze(-1)
    grad_gate = (grad_g * x.write_weight).sum(-1)
    first = [grad_weight, grad_gate, grad_candidate, grad_read]
    if pad is not None:
        first = [g.masked_fill(pad.view(B, T, *[1] * (g.dim() - 2)), 0) for g in first]
    rest = (None, None, None) if of_tags is None else of_tags[2:]  # of query, match, null
    return [*first, *_base_gradients(x, path, grad, grad_untouched), *rest]


def _base_gradients(
    x: Inputs, path: chains.Chains, grad: Tensor, grad_untouched: Tensor | None
) -> list[Tensor | None]:
    """-> gradients of initial_rows, fresh_left, fresh_right"""
    number = int(path.block[0])
    grad_base = grad[:number]
    grad_initial = grad_left = grad_right = None
    initial, left_sum, right_sum = untouched_gradients(x, grad_untouched)
    if x.initial_rows is not None:
        where, source = initial_places(x, path)
        flat = torch.zeros_like(x.initial_rows) if initial is None else initial.clone()
        flat = flat.flatten(0, 2)
        flat.index_add_(0, source, grad_base[where])  # each source occurs once: any order will do
        grad_initial = flat.view_as(x.initial_rows)
        grad_base = grad_base.index_fill(0, where, 0)
    if x.fresh_left is not None and x.fresh_right is not None:
        cell, row, _ = path.base[:, :number]
        grad_base = grad_base * (cell >= 0).unsqueeze(-1)
        left, right = fresh_places(x, cell.clamp_min(0), row)
        grad_left = torch.zeros_like(x.fresh_left)
        grad_right = torch.zeros_like(x.fresh_right)
        add_rows_(grad_left.flatten(0, 1), left, grad_base)
        add_rows_(grad_right.flatten(0, 1), right, grad_base)
        if left_sum is not None and right_sum is not None:
            grad_left += left_sum
            grad_right += right_sum
    return [grad_initial, grad_left, grad_right]


def untouched_gradients(
    x: Inputs,
    grad: Tensor | None,  # (B, H, N, D) of the final rows in which no chain ends; or None
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """-> their part of the gradients of a dense initial_rows, fresh_left and fresh_right"""
    initial = left = right = None
    if grad is not None and x.initial_rows is not None and x.initial_cells is None:
        same = never_reset(x)
        initial = grad if same is None else grad * same.view(-1, 1, 1, 1)
        grad = None if same is None else grad * ~same.view(-1, 1, 1, 1)
    if grad is not None and x.fresh_left is not None and x.fresh_right is not None:
        G, R, D = x.fresh_left.shape
        C = x.fresh_right.shape[1]
        full = grad.flatten(0, 1).unflatten(0, (-1, G)).sum(0)  # (G, N, D)
        full = torch.nn.functional.pad(full, (0, 0, 0, R * C - full.shape[1]))
        full = full.view(G, R, C, D)
        left, right = full.sum(2), full.sum(1)
    return initial, left, right
