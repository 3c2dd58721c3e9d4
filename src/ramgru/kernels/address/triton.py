"""The nearest cells on a GPU: the best codes of each codebook, merged codebook by codebook.

One launch per codebook, each program with rows of its own. A launch picks the K best codes one
after the other and merges them with the K best cells of the codebooks before. For each of these
cells only the next code is a candidate, so K picks among K sums replace a sort of K² sums. Among
equal sums the lower code comes first.

NaN counts as the largest number, as in torch.topk, so that cells are always in the memory and
differ.
"""

# A kernel's arguments are Triton's to type.
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from ramgru.kernels import gpu

NUMBERS = 2048  # numbers in the tile of a program
LARGEST = 2048  # most codes of a codebook


def takes(logits: list[Tensor]) -> bool:
    """Whether a row of codes fits into a program."""
    return all(0 < part.shape[-1] <= LARGEST for part in logits)


def best(logits: list[Tensor], K: int) -> tuple[Tensor, Tensor]:
    """As `torch.best`: a list of (..., H, n_u) -> sums and cells (..., H, K). No gradient."""
    # A batched product of each head's codes leaves the heads outermost in memory.
    value, cell = _search([part.detach().movedim(-2, 0).contiguous() for part in logits], K)
    return value.movedim(0, -2), cell.movedim(0, -2)


def _search(logits: list[Tensor], K: int) -> tuple[Tensor, Tensor]:
    value = cell = logits[0]  # not read for the first codebook
    found = 1
    for u, part in enumerate(logits):
        before, n = found, part.shape[-1]
        codes, found = min(K, n), min(K, found * min(K, n))
        more = torch.empty(*part.shape[:-1], found, dtype=part.dtype, device=part.device)
        cells = torch.empty(more.shape, dtype=torch.int64, device=part.device)
        wide, columns = (triton.next_power_of_2(x) for x in (max(before, codes, found), n))
        tile, rows = max(1, NUMBERS // max(wide, columns)), more.numel() // found
        options = {"FIRST": u == 0, "BEFORE": before, "CODES": codes, "FOUND": found, "N": n}
        options |= {"ROWS": tile, "COLUMNS": columns, "WIDE": wide}
        if rows:
            with gpu.on_device_of(part):
                extend[(triton.cdiv(rows, tile),)](part, value, cell, more, cells, rows, **options)
        value, cell = more, cells
    return value, cell


@triton.jit
def pick(x, free, column, COLUMNS: tl.constexpr):
    """The column of the largest free number in each row, the lower of equals."""
    key = tl.where(x == x, x, float("inf"))  # NaN is the largest
    most = tl.max(tl.where(free, key, float("-inf")), axis=1)
    return tl.min(tl.where(free & (key == most[:, None]), column, COLUMNS), axis=1)


@triton.jit
def entry(x, chosen):
    """The one chosen entry of each row, or 0."""
    return tl.sum(tl.where(chosen, x, tl.zeros_like(x)), axis=1)


@triton.jit
def extend(
    logits,  # (rows, N) of one codebook
    value, cell,  # (rows, BEFORE) the best of the codebooks before, the largest first
    value_out, cell_out,  # (rows, FOUND) the best with this codebook
    rows, FIRST: tl.constexpr, BEFORE: tl.constexpr,
    CODES: tl.constexpr,  # codes of this codebook that can be among the best
    FOUND: tl.constexpr, N: tl.constexpr,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)[:, None]
    column = tl.arange(0, COLUMNS)[None, :]
    place = tl.arange(0, WIDE)[None, :]
    here = (row < rows) & (column < N)
    x = tl.load(logits + row * N + column, mask=here, other=0.0).to(tl.float32)

    # The best codes, the largest first.
    code = tl.zeros((ROWS, WIDE), tl.int32)
    score = tl.zeros((ROWS, WIDE), tl.float32)
    free = tl.broadcast_to(column < N, (ROWS, COLUMNS))
    for k in range(CODES):
        at = pick(x, free, column, COLUMNS)
        chosen = column == at[:, None]
        code = tl.where(place == k, at[:, None], code)
        score = tl.where(place == k, entry(x, chosen)[:, None], score)
        free = free & (column != at[:, None])

    if FIRST:
        there = (row < rows) & (place < FOUND)
        tl.store(value_out + row * FOUND + place, score.to(value_out.dtype.element_ty), mask=there)
        tl.store(cell_out + row * FOUND + place, code.to(tl.int64), mask=there)
    else:
        there = (row < rows) & (place < BEFORE)
        old = tl.load(value + row * BEFORE + place, mask=there, other=0.0).to(tl.float32)
        old_cell = tl.load(cell + row * BEFORE + place, mask=there, other=0)
        # The best code of each old cell that it is not merged with yet.
        following = tl.zeros((ROWS, WIDE), tl.int32)
        sums = old + entry(score, place == 0)[:, None]
        open = tl.broadcast_to(place < BEFORE, (ROWS, WIDE))
        for k in range(FOUND):
            at = pick(sums, open, place, WIDE)
            chosen = place == at[:, None]
            j = entry(following, chosen)[:, None]
            number = entry(old_cell, chosen) * N + entry(code, place == j)
            out = row * FOUND + k
            total = entry(sums, chosen)[:, None].to(value_out.dtype.element_ty)
            tl.store(value_out + out, total, mask=row < rows)
            tl.store(cell_out + out, number[:, None], mask=row < rows)
            sums = tl.where(chosen, old + entry(score, place == j + 1)[:, None], sums)
            following = tl.where(chosen, j + 1, following)
            open = open & ((place != at[:, None]) | (j + 1 < CODES))
