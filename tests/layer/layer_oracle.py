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

Written = dict[tuple[int, int], Tensor]  # (head, cell) -> (D + A,)


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


def unit_key(unit: RandomAccessMemory, window: list[Tensor], head: int, write: bool) -> Tensor:
    """(16,) the key of a head, of length 4, for a window of inputs, the newest first."""
    keys = unit.heads["key"]
    window = window[keys.heads[head].write_after if write else 0 :]
    taps = [1.0] if keys.taps is None else keys.taps[head]
    learned = sum(isinstance(other, Learned) for other in keys.heads)
    place = head - (len(keys.heads) - learned)  # among the heads of its kind
    if place < 0:
        inputs = [keys.frozen.view(-1, 16, len(x))[head] @ x.detach() for x in window]
    else:
        inputs = [keys.projection.view(-1, 16, len(x))[place] @ x for x in window]
    key = sum((tap * part for tap, part in zip(taps, inputs)), torch.zeros_like(inputs[0]))
    return key / key.square().mean().sqrt() if key.any() else torch.zeros_like(key)


def address(unit: RandomAccessMemory, key: Tensor, head: int) -> Tensor:
    """(N,) the score of each cell for a key, which gets no gradient."""
    keys = unit.heads["key"]
    features, phases = keys.features[head], keys.phases[head]
    centre = (-features.square().sum(1) / 2).exp() * phases.cos()
    return scores(unit, (features @ key.detach() + phases).cos() - centre, head)


def attended(unit: RandomAccessMemory, head: int, past: list[tuple[Tensor, ...]]) -> Tensor:
    """(D,) attention over the last 256 steps; past: (query, key, gate, candidate) of each."""
    query, match = past[-1][0], unit.log_match[head].exp()
    null = (match * unit.null[head]).exp()
    shares = [gate * (match * (query @ key) / 16).exp() for _, key, gate, _ in past[-256:]]
    read = sum(w * candidate for w, (*_, candidate) in zip(shares, past[-256:]))
    return read / (sum(shares) + null)


def read_tagged(
    unit: RandomAccessMemory, head: int, query: Tensor, read: list[tuple[Tensor, Tensor]]
) -> Tensor:
    """(D + 1,) the value and the null share of a read of rows with weights, by their tags."""
    D, A = unit.width, unit.memory.tag
    match, null = query.new_zeros(()), query.new_zeros(())
    if query.numel():
        match = unit.log_match[head].exp()
        null = (match * unit.null[head]).exp()
    value, total = query.new_zeros(D), null
    for r, row in read:
        tag = row[D:]
        if query.numel() and tag.any() and query[:A].any():
            r = r * (match * (query[:A] @ tag) / (query[:A].norm() * tag.norm())).exp()
        value, total = value + r * row[:D], total + r
    total = total if total != 0 else total + 1
    return torch.cat([value, null.unsqueeze(0)]) / total


def move(unit: RandomAccessMemory, x: Tensor, position: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """position (2, tape heads) -> the positions after one more step, the stretches (tape heads, 2)
    that it writes, and the lower ends of those that it reads; odd heads read backwards."""
    wide = 1.5 * unit.heads["tape"].moves(x).sigmoid() - 0.25
    gates = wide + (wide.clamp(0, 1) - wide).detach()  # a gradient as if they were not clamped
    after, stretches, low = [], [], []
    for h, (push, jump, pop) in enumerate(gates.view(3, -1).T):
        written, seen = position[0, h] + push, (1 - jump) * position[1, h]
        low.append(seen + jump * written - pop if h % 2 else seen)
        after.append(torch.stack([written, low[-1] if h % 2 else seen + pop]))
        stretches.append(torch.stack([position[0, h], written]))
    return torch.stack(after, dim=1), torch.stack(stretches), torch.stack(low)


def covered(begin: Tensor, end: Tensor, cells: int) -> list[tuple[int, Tensor]]:
    """The two cells from `begin` on, and how much of each lies before `end`."""
    i = int(begin.floor())
    first = torch.minimum(end, end.new_tensor(i + 1)) - begin
    return [(i % cells, first), ((i + 1) % cells, end - begin - first)]


def seen(begin: Tensor, cells: int) -> list[tuple[int, Tensor]]:
    """The cells within 3 of `begin`, and how much of each the next 1 covers; with the gradient of a
    triangle of 3 cells on each side."""
    i, found = int(begin.floor()), []
    for cell in range(i - 2, i + 4):
        apart = (cell - begin).abs()
        wide = (1 - apart / 3).relu() / 3  # at its ends no gradient, where clamp has one
        found.append((cell % cells, (1 - apart).clamp_min(0).detach() + wide - wide.detach()))
    return found


def read_lags(
    unit: RandomAccessMemory, head: int, place: int, held: list[Tensor], fresh: Tensor, taught: bool
) -> Tensor:
    """The read of one lag head, whose logits have the gradient of a read of all its lags.

    held: the values of the ring; fresh: (N, D) what they held before they were written;
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
    """(H, N, D + A) the cells before they are written; their tags are zeros."""
    cells = torch.arange(unit.memory.cells)
    if unit.fresh_left is None or unit.fresh_right is None:
        return unit.candidate.weight.new_zeros(unit.num_heads, len(cells), unit.row_width)
    columns = unit.fresh_right.shape[1]
    values = unit.fresh_left[:, cells // columns] + unit.fresh_right[:, cells % columns]
    return torch.nn.functional.pad(values, (0, unit.memory.tag))


def memory_step(
    unit: RandomAccessMemory,
    window: list[Tensor],
    table: Tensor,  # (H, N, D + A) the cells that are not in `written`
    written: Written,
    past: dict[int, list[tuple[Tensor, ...]]],  # by learned head, what attention has seen
    write_at: Tensor,  # (tape heads, 2) the stretches of tape that are written
    read_at: Tensor,  # (tape heads,) the lower ends of those that are read
    place: int,  # the cell that lag heads write
    write_to: Tensor | None,  # (H, K) cells that the caller names
    read_from: Tensor | None,
) -> Tensor:
    """Write, then read -> the memory's part of the output (C,); `written` and `past` change."""
    x, options, A = window[0], unit.memory, unit.memory.tag
    candidates = unit.candidate(x).view(unit.num_heads, unit.width)
    gates, reads = unit.update_gate(x).sigmoid(), []
    own = write_to is None and read_from is None
    for head in range(unit.num_heads):

        def at(cell: int, head: int = head) -> Tensor:
            return written.get((head, cell), table[head, cell])

        tape = head - unit.num_heads + len(read_at)  # the last heads are tape heads
        lag = head - len(options.of_kind(ContentHead)) if tape < 0 else -1
        content = lag < 0 and tape < 0
        learned = content and isinstance(options.heads[head], Learned)
        if content and (write_to is None or read_from is None):
            query, key = (unit_key(unit, window, head, write) for write in (False, True))
        else:
            query, key = x.new_zeros(0), x.new_zeros(16)
        if write_to is not None:
            write = [(int(i), (i >= 0).to(x.dtype)) for i in write_to[head]]
        elif lag >= 0:
            write = [(place, x.new_ones(()))]
        elif tape >= 0:
            write = covered(*write_at[tape], options.cells)
        else:
            count = max(1, options.reads // 4) if learned else options.writes
            value, cells = address(unit, key, head).topk(min(count, options.cells))
            write = list(zip(cells.tolist(), (value - value[0]).exp()))
        c, z = candidates[head], gates[head] if lag < 0 else x.new_ones(())
        for i, a in write:
            if i >= 0:
                written[head, i] = (1 - z * a) * at(i) + z * a * torch.cat([c, key[:A]])
        if read_from is not None:
            named = [int(i) for i in read_from[head] if i >= 0]
            read, query = [(x.new_ones(()) / len(named), at(i)) for i in named], x.new_zeros(0)
        elif lag >= 0:
            ring = [at(i)[: unit.width] for i in range(unit.heads["lag"].ring)]
            before = fresh_table(unit)[head, :, : unit.width]
            found = read_lags(unit, lag, place, ring, before, write_to is None)
            read = [(x.new_ones(()), torch.cat([found, x.new_zeros(A)]))]
        elif tape >= 0:
            read = [(r, at(i)) for i, r in seen(read_at[tape], options.cells)]
        else:
            count = min(options.reads if learned else options.writes, options.cells)
            value, cells = address(unit, query, head).topk(count)
            read = [(r, at(i)) for i, r in zip(cells.tolist(), value.softmax(0))]
        if A:
            result = read_tagged(unit, head, query, read)
        else:
            result = sum((r * row for r, row in read), torch.zeros_like(c))
        if learned and own:
            past.setdefault(head, []).append((query, key, z, c))
            more = attended(unit, head, past[head])
            result = result + torch.nn.functional.pad(more - more.detach(), (0, int(A > 0)))
        reads.append(result)
    return unit.output_gate(x).sigmoid() * (unit.read_out.weight @ torch.cat(reads))


def per_head(index: Tensor | None, heads: int) -> Tensor | None:
    """The addresses of one step, (), (H,) or (H, K) -> (H, K)"""
    if index is None:
        return None
    index = index.expand(heads) if index.dim() == 0 else index
    return index.unsqueeze(-1) if index.dim() == 1 else index


def oracle(
    layer: RAMGRU, x: Tensor, state: RAMGRUState, options: dict[str, Tensor]
) -> tuple[Tensor, RAMGRUState]:
    """What the layer gives for x (B, T, I), a state and the options of `forward`."""
    output, flat = run(layer, x, state, **options)
    return output, layer.initial_state(1).from_tensor(flat)


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
            seen: dict[int, list[tuple[Tensor, ...]]] = {}
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
                    past, seen = [torch.zeros_like(v) for v in past], {}
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
                ys[t] = h + memory_step(
                    unit, window, table, written, seen, write_at, read_at, cell, w, r
                )
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
