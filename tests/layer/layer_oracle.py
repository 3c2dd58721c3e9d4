"""The layer as its equations are written: loops over sequences, steps, heads and cells.

No codebooks are merged (all N cells are scored), nothing is packed, scanned or sorted; the written
cells are a dictionary. Sources: torch.nn.GRU's documentation; minGRU, arXiv 2410.01201; diagonal
GRU, arXiv 2510.21450; product keys, arXiv 1907.05242; random Fourier features, Rahimi and Recht
2007; NTM, arXiv 1410.5401.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ramgru import RAMGRU, Learned, RAMGRUState
from ramgru.config import ContentHead
from ramgru.memory import RandomAccessMemory

Written = dict[tuple[int, int], Tensor]  # (head, cell) -> (D,)


def scores(unit: RandomAccessMemory, query: Tensor, head: int) -> Tensor:
    """(N,) the similarity of every cell's code to a query (U·F,)."""
    keys = unit.heads["key"]
    digit = torch.arange(math.prod(keys.sizes))
    total = torch.zeros(len(digit), dtype=query.dtype)
    queries = query.view(len(keys.sizes), -1)
    for u in reversed(range(len(keys.sizes))):  # mixed radix, the last codebook is the fastest
        book = keys.codes[head].split(keys.sizes)[u]
        code = book[digit % keys.sizes[u]]  # (N, F)
        digit = digit // keys.sizes[u]
        cosine = torch.nn.functional.cosine_similarity(code, queries[u].expand_as(code), dim=1)
        total = total + cosine
    return total * queries.shape[1] ** 0.5 * keys.sharpness[head].exp()


def address(unit: RandomAccessMemory, window: list[Tensor], head: int, write: bool) -> Tensor:
    """(N,) the score of each cell, for a window of inputs, the newest first."""
    keys = unit.heads["key"]
    window = window[keys.heads[head].write_after if write else 0 :]
    taps = [1.0] if keys.taps is None else keys.taps[head]
    learned = sum(isinstance(other, Learned) for other in keys.heads)
    place = head - (len(keys.heads) - learned)  # among the heads of its kind
    weight, place = (keys.frozen, head) if place < 0 else (keys.projection, place)
    inputs = [weight.view(-1, 16, len(x))[place] @ x.detach() for x in window]
    key = sum((tap * part for tap, part in zip(taps, inputs)), torch.zeros_like(inputs[0]))
    length = key.square().mean().sqrt()
    key = (key / length if length else key).detach()  # the hash has no gradient
    scale = (keys.log_bandwidths[head].detach().exp() / 16).sqrt()
    return scores(unit, (scale * keys.features[head] @ key + keys.phases[head]).cos(), head)


def move(unit: RandomAccessMemory, x: Tensor, position: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """position (2, tape heads) -> the positions after one more step, the stretches (tape heads, 2)
    that it writes, and the lower ends of those that it reads; odd heads are stacks."""
    wide = 1.2 * (5 * unit.heads["tape"].moves(x)).sigmoid() - 0.1
    gates = wide + (wide.clamp(0, 1) - wide).detach()  # a gradient as if they were not clamped
    after, stretches, low = [], [], []
    for h, (push, jump, pop) in enumerate(gates.view(3, -1).T):
        stack = h % 2 == 1
        writes_at = (1 - jump if stack else 1) * position[0, h]
        reads_at = (1 - jump) * position[1, h]
        moves = [push - pop, push - pop] if stack else [push, pop]
        after.append(torch.stack([writes_at + moves[0], reads_at + moves[1]]))
        stretches.append(torch.stack([writes_at, writes_at + push]))
        low.append(reads_at + moves[1].clamp(max=0) if stack else reads_at)
    return torch.stack(after, dim=1), torch.stack(stretches), torch.stack(low)


def covered(begin: Tensor, end: Tensor, cells: int) -> list[tuple[int, Tensor]]:
    """The two cells from `begin` on, and how much of each lies before `end`."""
    i = int(begin.floor())
    first = torch.minimum(end, end.new_tensor(i + 1)) - begin
    return [(i % cells, first), ((i + 1) % cells, end - begin - first)]


def read_lags(
    unit: RandomAccessMemory, head: int, place: int, held: list[Tensor], fresh: Tensor, taught: bool
) -> Tensor:
    """The read of one lag head, whose logits have the gradient of a read of all its lags.

    held: the cells of the ring; fresh: (N, D) what they held before they were written;
    taught: whether the head wrote them
    """
    lags = unit.heads["lag"]
    share = (30 * lags.logits[head, : lags.reach[head]]).softmax(0)
    values = [held[(place - lag) % lags.ring] for lag in range(len(share))]
    changes = [v - fresh[(place - lag) % lags.ring] for lag, v in enumerate(values)]
    best, chosen = share.detach().topk(min(2, len(share)))
    read = sum((w * values[int(lag)] for w, lag in zip(best / best.sum(), chosen)), 0 * values[0])
    every = sum((p * v.detach() for p, v in zip(share, changes)), torch.zeros_like(read))
    return read + every - every.detach() if taught else read


def controller_step(layer: RAMGRU, suffix: str, x: Tensor, h: Tensor) -> Tensor:
    def affine(kind: str, v: Tensor) -> Tensor:
        weight = getattr(layer, f"weight_{kind}_{suffix}")
        out = weight @ v if weight.dim() == 2 else weight * v.repeat(3)
        return out + getattr(layer, f"bias_{kind}_{suffix}") if layer.bias else out

    if layer.controller == "mingru":
        z, n = affine("ih", x).chunk(2)
        z = z.sigmoid()
        return (1 - z) * h + z * n
    (xr, xz, xn), (hr, hz, hn) = affine("ih", x).chunk(3), affine("hh", h).chunk(3)
    r, z = (xr + hr).sigmoid(), (xz + hz).sigmoid()
    return (1 - z) * (xn + r * hn).tanh() + z * h


def fresh_table(unit: RandomAccessMemory) -> Tensor:
    """(H, N, D) the cells before they are written."""
    cells = torch.arange(unit.memory.cells)
    if unit.fresh_left is None or unit.fresh_right is None:
        return unit.candidate.weight.new_zeros(unit.num_heads, len(cells), unit.width)
    columns = unit.fresh_right.shape[1]
    return unit.fresh_left[:, cells // columns] + unit.fresh_right[:, cells % columns]


def memory_step(
    unit: RandomAccessMemory,
    window: list[Tensor],
    table: Tensor,  # (H, N, D) the cells that are not in `written`
    written: Written,
    write_at: Tensor,  # (tape heads, 2) the stretches of tape that are written
    read_at: Tensor,  # (tape heads,) the lower ends of those that are read
    place: int,  # the cell that lag heads write
    write_to: Tensor | None,  # (H, K) cells that the caller names
    read_from: Tensor | None,
) -> Tensor:
    """Write, then read -> the memory's part of the output (C,); `written` is updated."""
    x, options = window[0], unit.memory
    candidates = unit.candidate(x).view(unit.num_heads, unit.width)
    gates, reads = unit.update_gate(x).sigmoid(), []
    for head in range(unit.num_heads):

        def at(cell: int, head: int = head) -> Tensor:
            return written.get((head, cell), table[head, cell])

        tape = head - unit.num_heads + len(read_at)  # the last heads are tape heads
        lag = head - len(options.of_kind(ContentHead)) if tape < 0 else -1
        if write_to is not None:
            write = [(int(i), (i >= 0).to(x.dtype)) for i in write_to[head]]
        elif lag >= 0:
            write = [(place, x.new_ones(()))]
        elif tape >= 0:
            write = covered(*write_at[tape], options.cells)
        else:
            value, cells = address(unit, window, head, write=True).topk(options.writes)
            write = list(zip(cells.tolist(), (value - value[0]).exp()))
        c, z = candidates[head], gates[head] if lag < 0 else x.new_ones(())
        for i, a in write:
            if i >= 0:
                written[head, i] = (1 - z * a) * at(i) + z * a * c
        if read_from is not None:
            named = [int(i) for i in read_from[head] if i >= 0]
            read = [(i, x.new_ones(()) / len(named)) for i in named]
        elif lag >= 0:
            ring = [at(i) for i in range(unit.heads["lag"].ring)]
            taught = write_to is None
            reads.append(read_lags(unit, lag, place, ring, fresh_table(unit)[head], taught))
            continue
        elif tape >= 0:
            read = covered(read_at[tape], read_at[tape] + 1, options.cells)
        else:
            value, cells = address(unit, window, head, write=False).topk(options.reads)
            read = list(zip(cells.tolist(), value.softmax(0)))
        reads.append(sum((r * at(i) for i, r in read), torch.zeros_like(c)))
    return unit.output_gate(x).sigmoid() * (unit.read_out.weight @ torch.cat(reads))


def per_head(index: Tensor | None, heads: int) -> Tensor | None:
    """The addresses of one step, (), (H,) or (H, K) -> (H, K)"""
    if index is None:
        return None
    index = index.expand(heads) if index.dim() == 0 else index
    return index.unsqueeze(-1) if index.dim() == 1 else index


def run(
    layer: RAMGRU,
    x: Tensor,  # (B, T, I)
    state: RAMGRUState,
    *,
    lengths: Tensor | None = None,
    reset: Tensor | None = None,
    write_index: Tensor | None = None,
    read_index: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """-> outputs (B, T, D·C), the final state as `to_tensor` lays it out (L, B, S)"""
    outputs, finals = [], []
    for b in range(x.shape[0]):
        T = x.shape[1] if lengths is None else int(lengths[b])
        anew = [reset is not None and bool(reset[b, t]) for t in range(T)]
        inputs, halves, flat = list(x[b, :T]), [], []
        for n, (_, suffix) in enumerate(layer.directions()):
            backward, unit, before = suffix.endswith("reverse"), layer.memories[n], state.memory[n]
            h, table, written = state.hidden[n, b], before.dense().rows[b], Written()
            past, position, place = [], x.new_zeros(2, 0), x.new_zeros(0)
            if "key" in before.carried:
                past = list(before.carried["key"][b].flip(0))  # newest first
            if "lag" in before.carried:
                place = before.carried["lag"][b]
            if "tape" in before.carried:
                position = before.carried["tape"][b].view(2, -1)
            kept, ys = len(past), [h] * T
            for t in reversed(range(T)) if backward else range(T):
                if anew[t + 1] if backward and t + 1 < T else not backward and anew[t]:
                    h, table, written = torch.zeros_like(h), fresh_table(unit), Written()
                    past = [torch.zeros_like(v) for v in past]
                    position, place = torch.zeros_like(position), torch.zeros_like(place)
                window = [inputs[t], *past]
                past = window[:kept]
                w, r = (
                    per_head(None if v is None else v[b, t], unit.num_heads)
                    for v in (write_index, read_index)
                )
                h = controller_step(layer, suffix, inputs[t], h)
                write_at = read_at = x.new_zeros(0)
                if position.numel():
                    position, write_at, read_at = move(unit, inputs[t], position)
                cell = int(place[0]) % unit.heads["lag"].ring if len(place) else 0
                ys[t] = h + memory_step(unit, window, table, written, write_at, read_at, cell, w, r)
                place = (place + 1) % unit.heads["lag"].ring if len(place) else place
            if written:
                places = tuple(torch.tensor(each) for each in zip(*written))
                table = table.index_put(places, torch.stack(list(written.values())))
            flat.append(torch.cat([h, *past[::-1], place, position.flatten(), table.flatten()]))
            halves.append(ys)
            if backward or not layer.bidirectional:
                inputs = [torch.cat(each) for each in zip(*halves)]
                halves = []
        padding = x.new_zeros(x.shape[1] - T, layer.output_size * layer.num_directions)
        outputs.append(torch.cat([*(y.unsqueeze(0) for y in inputs), padding]))
        size = max(map(len, flat))
        finals.append(
            torch.stack([torch.nn.functional.pad(each, (0, size - len(each))) for each in flat])
        )
    return torch.stack(outputs), torch.stack(finals, dim=1)
