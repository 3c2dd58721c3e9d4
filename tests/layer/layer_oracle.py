"""The whole layer once more, as its equations are written: a loop over sequences, steps and cells.

No codebooks are merged (all N cells are scored), nothing is packed, scanned or sorted; a memory is
a dictionary. Source: DESIGN §2; torch.nn.GRU's documentation; minGRU, arXiv 2410.01201.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ramgru import RAMGRU, RAMGRUState
from ramgru.memory import RandomAccessMemory

Memory = dict[tuple[int, int], Tensor]  # (head, cell) -> (D,), where it was ever written


def scores(unit: RandomAccessMemory, query: Tensor, head: int) -> Tensor:
    """(N,) how near every cell's code is to a query (U·A,)."""
    keys, total = unit.address, torch.zeros(unit.memory_size, dtype=query.dtype)
    digit = torch.arange(unit.memory_size)
    queries = query.view(len(keys.sizes), keys.width)
    for u in reversed(range(len(keys.sizes))):  # mixed radix, the last codebook is the fastest
        code = keys.codes[u][head][digit % keys.sizes[u]]  # (N, A)
        digit = digit // keys.sizes[u]
        cosine = torch.nn.functional.cosine_similarity(code, queries[u].expand_as(code), dim=1)
        total = total + cosine
    return total * keys.width**0.5 * keys.sharpness[head].exp()


def query(unit: RandomAccessMemory, x: Tensor, head: int) -> Tensor:
    every = unit.address.query_weight @ x + unit.address.query_bias
    return every.view(unit.address.num_heads, -1)[head]


def address(unit: RandomAccessMemory, window: list[Tensor], head: int, write: bool) -> Tensor:
    """(N,) the score of each cell, for a window of inputs, the newest first."""
    keys = unit.address
    window = window[keys.offsets[head] if write else 0 :]
    taps = [1.0] if keys.taps is None else keys.taps[head]
    phase = sum(tap * query(unit, x, head) for tap, x in zip(taps, window))
    assert isinstance(phase, Tensor)
    return scores(unit, phase.cos(), head)


def move(unit: RandomAccessMemory, x: Tensor, position: Tensor) -> Tensor:
    """(tape heads,) where they stand after one more step; odd ones move both ways."""
    assert unit.tape is not None
    jump, way = (5 * unit.tape.moves(x)).chunk(2)
    jump = (1.2 * jump.sigmoid() - 0.1).clamp(0, 1)
    way = [(1.2 * w.tanh()).clamp(-(h % 2), 1) for h, w in enumerate(way)]
    return (1 - jump) * position + torch.stack(way)


def beside(position: Tensor, cells: int) -> list[tuple[int, Tensor]]:
    """The two cells that a position lies between, and how near each is."""
    below = int(position.floor())
    return [(i % cells, 1 - (position - i).abs()) for i in (below, below + 1)]


def controller_step(layer: RAMGRU, suffix: str, x: Tensor, h: Tensor) -> Tensor:
    def affine(kind: str, v: Tensor) -> Tensor:
        out = getattr(layer, f"weight_{kind}_{suffix}") @ v
        return out + getattr(layer, f"bias_{kind}_{suffix}") if layer.bias else out

    if layer.controller == "mingru":
        z, n = affine("ih", x).chunk(2)
        z = z.sigmoid()
        return (1 - z) * h + z * n
    (xr, xz, xn), (hr, hz, hn) = affine("ih", x).chunk(3), affine("hh", h).chunk(3)
    r, z = (xr + hr).sigmoid(), (xz + hz).sigmoid()
    return (1 - z) * (xn + r * hn).tanh() + z * h


def fresh(unit: RandomAccessMemory, head: int, cell: int) -> Tensor:
    if unit.fresh_left is None or unit.fresh_right is None:
        return unit.candidate.weight.new_zeros(unit.head_size)
    columns = unit.fresh_right.shape[1]
    return unit.fresh_left[head, cell // columns] + unit.fresh_right[head, cell % columns]


def memory_step(
    unit: RandomAccessMemory,
    window: list[Tensor],
    memory: Memory,
    position: Tensor | None,  # (tape heads,)
    write_to: Tensor | None,  # (H, K) cells that the caller names
    read_from: Tensor | None,
) -> Tensor:
    """Write, then read -> what is added to the output (C,); `memory` is brought up to date."""
    x, K = window[0], unit.top_k
    candidates = unit.candidate(x).view(unit.num_heads, unit.head_size)
    if unit.candidate_activation == "tanh":
        candidates = candidates.tanh()
    low, high = unit.gate_range
    gates = (low + (high - low) * unit.update_gate(x).sigmoid()).clamp(0, 1)
    gates, reads = gates.view(unit.num_heads, -1), []  # one a head, or one a cell of it
    for head in range(unit.num_heads):

        def at(cell: int, head: int = head) -> Tensor:
            return memory.get((head, cell), fresh(unit, head, cell))

        tape = head - unit.address.num_heads
        if write_to is None and tape >= 0 and position is not None:
            write = beside(position[tape], unit.memory_size)
        elif write_to is None:
            value, cells = address(unit, window, head, write=True).topk(K)
            write = list(zip(cells.tolist(), (value - value[0]).exp()))
        else:
            write = [(int(i), (i >= 0).to(x.dtype)) for i in write_to[head]]
        c, z = candidates[head], gates[head][0]
        if unit.gate == "cell":
            write, z = [(i, a * g) for (i, a), g in zip(write, gates[head])], x.new_ones(())
        write = [(i, a) for i, a in write if i >= 0]
        if unit.write_rule == "gru":
            for i, a in write:
                memory[head, i] = (1 - z * a) * at(i) + z * a * c
        else:
            u = z * (c - sum((a * at(i) for i, a in write), torch.zeros_like(c)))
            for i, a in write:
                memory[head, i] = at(i) + a * u
        if read_from is None and tape >= 0 and position is not None:
            read = beside(position[tape], unit.memory_size)
        elif read_from is None:
            value, cells = address(unit, window, head, write=False).topk(K)
            read = list(zip(cells.tolist(), value.softmax(0)))
        else:
            named = [int(i) for i in read_from[head] if i >= 0]
            read = [(i, x.new_ones(()) / len(named)) for i in named]
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
    """-> outputs (B, T, D·C), the final state as `to_tensor` lays it out (B, state_size)"""
    outputs, finals = [], []
    for b in range(x.shape[0]):
        T = x.shape[1] if lengths is None else int(lengths[b])
        anew = [reset is not None and bool(reset[b, t]) for t in range(T)]
        inputs = list(x[b, :T])
        hiddens, contexts, rows, positions = [], [], [], []
        for n, (_, suffix) in enumerate(layer.directions()):
            backward = suffix.endswith("reverse")
            if not backward:
                halves: list[list[Tensor]] = []
            unit, N = layer.memories[n], layer.memory_size
            h = state.hidden[n, b]
            past = list(state.context[n][b].flip(0))  # newest first
            table, stood = state.memory[n].dense().rows[b], state.memory[n].position
            position = None if stood is None else stood[b]
            memory = {(i, c): table[i, c] for i in range(unit.num_heads) for c in range(N)}
            ys = [h] * T
            for t in reversed(range(T)) if backward else range(T):
                begins = anew[t + 1] if backward and t + 1 < T else not backward and anew[t]
                if begins:
                    h, memory = torch.zeros_like(h), {}
                    past = [torch.zeros_like(v) for v in past]
                    position = None if position is None else torch.zeros_like(position)
                window = [inputs[t], *past]
                past = window[: layer.window - 1]
                w, r = (
                    per_head(None if v is None else v[b, t], unit.num_heads)
                    for v in (write_index, read_index)
                )
                h = controller_step(layer, suffix, inputs[t], h)
                if position is not None:
                    position = move(unit, inputs[t], position)
                ys[t] = h + memory_step(unit, window, memory, position, w, r)
            halves.append(ys)
            hiddens.append(h)
            contexts += past[::-1]
            rows += [
                memory.get((i, c), fresh(unit, i, c))
                for i in range(unit.num_heads)
                for c in range(N)
            ]
            if position is not None:
                positions.append(position)
            if backward or not layer.bidirectional:
                inputs = [torch.cat(parts) for parts in zip(*halves)]
        width = layer.hidden_size * layer.num_directions
        padding = x.new_zeros(x.shape[1] - T, width)
        outputs.append(torch.cat([*(y.unsqueeze(0) for y in inputs), padding]))
        finals.append(torch.cat([*hiddens, *contexts, *rows, *positions]))
    return torch.stack(outputs), torch.stack(finals)
