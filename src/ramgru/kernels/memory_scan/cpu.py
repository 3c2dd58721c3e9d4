"""`memory_scan` by the native kernel `scan.h`, forward and backward.

Backward recomputes the versions of the rows, so that autograd saves the inputs alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate

import torch
from torch import Tensor

from ramgru.kernels import native
from ramgru.kernels.memory_scan.inputs import (
    DIFFERENTIABLE,
    Inputs,
    compute_dtype,
    dense_final,
    empty_results,
)
from ramgru.kernels.memory_scan.tag import Tag
from ramgru.kernels.memory_scan.uneven import of_each

SIZES = "B T H D K J A Q N P G R C dense_final written_only slices versions"
INPUTS = " ".join(("first_write", "first_read", *Inputs._fields))
GRADS = " ".join(f"grad_{name}" for name in DIFFERENTIABLE)
FORWARD = native.arguments("MemoryForward", SIZES, f"{INPUTS} outputs cells rows")
BACKWARD = native.arguments("MemoryBackward", SIZES, f"{INPUTS} grad_output grad_rows {GRADS}")
STEP = native.arguments(
    "MemoryStep",
    "B H N K J D A",
    "rows write_index write_weight gate candidate read_index read_weight query match null outputs",
)

VERSIONS = 4 << 20  # bytes of versions above which the backward walk is cut into segments


def forward(
    x: Inputs,
    memory_size: int,
    want_final: bool,
    counts: Sequence[int] = (),
    written_only: bool = False,
) -> list[Tensor]:
    """-> outputs, final cells, final rows; counts: as in `uneven`

    written_only: the final memory leaves out the cells that were only given, as in `chunk`
    """
    outputs, cells, rows = empty_results(x, memory_size, want_final, counts, written_only)
    x = _stored(x)
    found = torch.empty_like(outputs, dtype=x.candidate.dtype)
    native.call(
        "memory_scan_forward",
        x.candidate.dtype,
        FORWARD,
        _sizes(x, memory_size, _slices(x, x.gate.shape[0] * x.gate.shape[2]), counts, written_only),
        (*first_of_each(x, counts), *x, found, cells, rows if want_final else None),
    )
    return [found.to(outputs.dtype), cells, rows]


def backward(
    x: Inputs,
    grad_output: Tensor,  # (B, T, H, D)
    grad_rows: Tensor | None,  # gradient of the final rows
    memory_size: int,
    saved: Sequence[Tensor],  # not read
    counts: Sequence[int] = (),  # as in `uneven`
    written_only: bool = False,  # as in `forward`; then initial_rows get no gradient
) -> list[Tensor | None]:
    """-> gradients in the order of DIFFERENTIABLE; None for an input that is absent"""
    x = _stored(x)
    B, _, H, _ = x.candidate.shape
    sets = B * H if x.fresh_left is None else x.fresh_left.shape[0]
    slices = _slices(x, sets)
    parts = ("write_weight", "gate", "read_weight")  # sums over D: one tensor for each slice
    grads = {}
    for name in DIFFERENTIABLE:
        value = getattr(x, name)
        if value is not None and not (written_only and name == "initial_rows"):
            shape = (slices, *value.shape) if name in parts else value.shape
            grads[name] = torch.empty(shape, dtype=value.dtype)
    for name in ("match", "null"):
        if name in grads:  # for each sequence and head, summed below
            grads[name] = torch.empty(B * H, dtype=torch.float64)
    native.call(
        "memory_scan_backward",
        x.candidate.dtype,
        BACKWARD,
        _sizes(x, memory_size, slices, counts, written_only),
        (
            *first_of_each(x, counts),
            *x,
            grad_output.to(x.candidate.dtype).resolve_neg().contiguous(),
            None if grad_rows is None else grad_rows.to(x.gate.dtype).resolve_neg().contiguous(),
            *(grads.get(name) for name in DIFFERENTIABLE),
        ),
    )
    for name in parts:
        first, *others = grads[name].unbind(0)
        for other in others:  # in the order of the slices
            first += other
        grads[name] = first
    if x.match is not None:
        for name in ("match", "null"):
            grads[name] = grads[name].view(-1, x.match.shape[0]).sum(0)
    return [grads.get(name) for name in DIFFERENTIABLE]


def empty_saved(x: Inputs, want_final: bool) -> list[Tensor]:
    return []


def step_(
    rows: Tensor,  # (B, H, N, D) contiguous; overwritten
    write_index: Tensor,  # (B, H, K)
    write_weight: Tensor,  # (B, H, K); all floating-point tensors have the dtype of rows
    gate: Tensor,  # (B, H)
    candidate: Tensor,  # (B, H, D)
    read_index: Tensor,  # (B, H, J)
    read_weight: Tensor,  # (B, H, J)
    tag: Tag | None,  # with a query (B, H, A)
) -> Tensor:
    """-> what each head reads (B, H, D), or (B, H, D - A + 1) if reads are tagged"""
    B, H, N, D = rows.shape
    A = 0 if tag is None else tag.query.shape[-1]
    sizes = (B, H, N, write_index.shape[-1], read_index.shape[-1], D, A)
    others = (write_index, write_weight, gate, candidate, read_index, read_weight)
    outputs = rows.new_empty(B, H, D - A + (tag is not None))
    more = (None, None, None) if tag is None else (v.contiguous() for v in tag)
    given = (rows, *(v.contiguous() for v in others), *more, outputs)
    native.call("memory_step", rows.dtype, STEP, sizes, given)
    torch.autograd.graph.increment_version(rows)  # so that autograd notices the change
    return outputs


def _slices(x: Inputs, items: int) -> int:
    """The number of slices of the width, each of 16 values or more, that makes 8 items of work."""
    if x.query is not None:
        return 1  # all values of a row hang on its tag
    D = x.candidate.shape[-1]
    slices = 1
    while items * slices < 8 and 32 * slices <= D:
        slices *= 2
    return slices


def _stored(x: Inputs) -> Inputs:
    """Contiguous, in the dtype of the computation; a candidate in bfloat16 stays so."""
    wide = compute_dtype(x)
    narrow = x.candidate.dtype == torch.bfloat16 and wide == torch.float32
    stored = {}
    for name, value in x._asdict().items():
        if value is None:
            continue
        if name in DIFFERENTIABLE:
            value = value.to(torch.bfloat16 if narrow and name == "candidate" else wide)
        stored[name] = value.resolve_neg().contiguous()
    return x._replace(**stored)


def first_of_each(x: Inputs, counts: Sequence[int]) -> list[Tensor]:
    """Where the writes and the reads of each head begin among those of a step, and their number."""
    return [offsets(tuple(each)) for each in of_each(x, counts)]


@lru_cache(64)
def offsets(counts: tuple[int, ...]) -> Tensor:
    return torch.tensor([0, *accumulate(counts)])


def _sizes(
    x: Inputs, memory_size: int, slices: int, counts: Sequence[int], written_only: bool
) -> tuple[int, ...]:
    B, T, H, D = x.candidate.shape
    K, J = map(max, of_each(x, counts))
    P = x.given_cells
    A, Q = x.tag_width, 1 if x.match is None else x.match.shape[0]
    G = R = C = 1
    if x.fresh_left is not None and x.fresh_right is not None:
        (G, R, _), C = x.fresh_left.shape, x.fresh_right.shape[1]
    final = int(not written_only and dense_final(x, memory_size, counts)), int(written_only)
    return (B, T, H, D, K, J, A, Q, memory_size, P, G, R, C, *final, slices, VERSIONS)
