"""The linear recurrence and the minGRU on a GPU, in chunks of time that run side by side.

    1. `summarise`: each chunk alone, from zero -> the product of its decays, the state at its end
    2. the summaries are a linear recurrence of T / CHUNK steps: the same again, until it is short
    3. `walk`: each chunk once more, from the state after the chunk before it

A program walks one chunk of a few channels step by step, in registers. Inside a chunk the order of
operations is that of the equation, so the bits depend on the shape alone. Chunks and channels of
all sequences fill the GPU. A scan reads its inputs twice and allocates 2 (B, T / CHUNK, H) more.

Products of the decays of many steps are formed in float32: decays should be at most about 1.
Source: the scan of partial sums and carries, Blelloch 1990, of the pairs (decay, update).

The minGRU has its gates, resets and lengths inside the kernels. It keeps the projected input and
the states for backward. Backward is the same recurrence from the end: the gradient before a step is
keep times (the gradient after the step + the gradient of the step's output).
"""

# A kernel's arguments are Triton's to type.
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from ramgru.kernels import gpu

MaybeTensor = Tensor | None

CHUNK = 64  # steps of a program
TILE = 128  # channels of a program: 4 a lane
SMALLEST = tl.constexpr(2.0**-126)  # float32's smallest normal number


def linear_scan(decay: Tensor, update: Tensor, initial: Tensor, reverse: bool) -> Tensor:
    """-> states in the dtype of update; with `reverse`, from the last step to the first."""
    B, T, H = update.shape
    states = torch.empty_like(update, memory_format=torch.contiguous_format)
    if states.numel():
        with gpu.on_device_of(update):
            _scan(decay, update, initial, states, reverse)
    return states


def _scan(decay: Tensor, update: Tensor, initial: Tensor, states: Tensor, reverse: bool) -> None:
    B, T, H = update.shape
    chunk, chunks, tile = cut(T, H)
    grid = (B * chunks * triton.cdiv(H, tile),)
    options = {"REVERSE": reverse, "CHUNK": chunk, "TILE": tile, "num_warps": 1}
    strides, sizes, carry = (*decay.stride(), *update.stride()), (T, H, chunks), initial
    if chunks > 1:
        product, end, carry = (_chunks(update, chunks, H) for _ in range(3))
        summarise[grid](decay, update, product, end, *strides, *sizes, **options)
        _scan(product, end, initial, carry, False)
    strides = (*strides, *initial.stride())
    walk[grid](decay, update, initial, carry, states, *strides, *sizes, **options)


def forward(
    projected: Tensor, initial: Tensor, reset: MaybeTensor, lengths: MaybeTensor
) -> tuple[tuple[Tensor, Tensor], list[Tensor]]:
    """minGRU; it keeps the states for backward."""
    (B, T, _), H = projected.shape, initial.shape[1]
    x, h = projected.contiguous(), initial.contiguous()
    states, last = initial.new_empty(B, T, H), torch.empty_like(h)
    grid, shared, sizes, options = _launch(x, reset, lengths, H)
    chunks = sizes[2]
    with gpu.on_device_of(x):
        carry = h
        if chunks > 1:
            product, end = (_chunks(x, chunks, H) for _ in range(2))
            summarise_forward[grid](*shared, product, end, *sizes, **options)
            carry = linear_scan(product, end, h, False)
        walk_forward[grid](*shared, h, carry, states, last, *sizes, **options)
    return (states, last), [states]


def backward(
    grads: Sequence[MaybeTensor], kept: Sequence[Tensor], needed: Sequence[bool], *given: Any
) -> list[MaybeTensor]:
    projected, initial, reset, lengths = given
    (B, T, _), H = projected.shape, initial.shape[1]
    x, h, (states,) = projected.contiguous(), initial.contiguous(), kept
    above, last = grads
    if above is None:
        above = h.new_zeros(()).expand(B, T, H)
    last = torch.zeros_like(h) if last is None else last.contiguous()
    grad_x, grad_h = torch.empty_like(x), torch.empty_like(h)
    grid, shared, sizes, options = _launch(x, reset, lengths, H)
    read = (*shared, above, *above.stride())
    chunks = sizes[2]
    with gpu.on_device_of(x):
        carry = last
        if chunks > 1:
            product, end = (_chunks(x, chunks, H) for _ in range(2))
            summarise_backward[grid](*read, product, end, *sizes, **options)
            carry = linear_scan(product, end, last, False)
        results = (grad_x, grad_h)
        walk_backward[grid](*read, h, states, last, carry, *results, *sizes, **options)
    return [grad_x, grad_h, None, None]


def _chunks(x: Tensor, chunks: int, H: int) -> Tensor:
    return torch.empty(x.shape[0], chunks, H, dtype=torch.float32, device=x.device)


def _launch(
    x: Tensor, reset: MaybeTensor, lengths: MaybeTensor, H: int
) -> tuple[tuple[int], tuple[Tensor, Tensor, Tensor], tuple[int, int, int], dict[str, int]]:
    """-> the grid, the tensors that all kernels read, their sizes, and the kernels' options."""
    B, T, _ = x.shape
    chunk, chunks, tile = cut(T, H)
    options = {"CHUNK": chunk, "TILE": tile, "num_warps": 1}
    options |= {"HAS_RESET": reset is not None, "HAS_LENGTHS": lengths is not None}
    shared = (
        x,
        x if reset is None else reset.contiguous(),  # not read if there is none
        x if lengths is None else lengths.contiguous(),
    )
    return (B * chunks * triton.cdiv(H, tile),), shared, (T, H, chunks), options


def cut(T: int, H: int) -> tuple[int, int, int]:
    """-> steps of a chunk, how many chunks, and channels of a program."""
    chunk = triton.next_power_of_2(T) if T <= 2 * CHUNK else CHUNK
    return chunk, triton.cdiv(T, chunk), min(TILE, triton.next_power_of_2(H))


@triton.jit
def place(H, chunks, TILE: tl.constexpr):
    """The sequence, chunk and channels of a program, and which of the channels exist."""
    program = tl.program_id(0).to(tl.int64)
    tiles = tl.cdiv(H, TILE)
    channel = program % tiles * TILE + tl.arange(0, TILE)
    return program // tiles // chunks, program // tiles % chunks, channel, channel < H


@triton.jit
def advance(h, a, u):
    """a h + u; a decay of 0 also drops a state that is not finite."""
    return tl.where(a == 0, u, a * h + u)


@triton.jit
def summarise(
    decay, update,
    product,  # (B, chunks, H) of the decays of a chunk; 0 only where one of the decays is
    end,  # (B, chunks, H) the state after a chunk that began at 0; that of the last is not used
    decay_b, decay_t, decay_h, update_b, update_t, update_h, T, H, chunks,
    REVERSE: tl.constexpr, CHUNK: tl.constexpr, TILE: tl.constexpr,
):  # fmt: skip
    b, c, channel, there = place(H, chunks, TILE)
    steps = T - c * CHUNK  # from here to the end: fewer than CHUNK in the last chunk
    first = steps - 1 if REVERSE else c * CHUNK
    one_on = -1 if REVERSE else 1
    decay += b * decay_b + first * decay_t + channel * decay_h
    update += b * update_b + first * update_t + channel * update_h
    h = tl.zeros((TILE,), tl.float32)
    every = tl.full((TILE,), 1.0, tl.float32)
    cut = tl.zeros((TILE,), tl.int1)
    for i in tl.range(CHUNK, loop_unroll_factor=8):  # loads of 8 steps overlap
        real = there & (i < steps)
        a = tl.load(decay, mask=real, other=0.0).to(tl.float32)
        u = tl.load(update, mask=real, other=0.0).to(tl.float32)
        h = advance(h, a, u)
        every *= a
        cut |= a == 0
        decay += one_on * decay_t
        update += one_on * update_t
    # A product too small for float32 is stored as SMALLEST: a 0 would drop infinities and NaN.
    every = tl.where(tl.abs(every) < SMALLEST, SMALLEST, every)
    at = (b * chunks + c) * H + channel
    tl.store(product + at, tl.where(cut, 0.0, every), mask=there)
    tl.store(end + at, h, mask=there)


@triton.jit
def walk(
    decay, update, initial,
    after,  # (B, chunks, H) the state after each chunk; not read if there is one chunk
    states,  # (B, T, H) contiguous
    decay_b, decay_t, decay_h, update_b, update_t, update_h, initial_b, initial_h, T, H, chunks,
    REVERSE: tl.constexpr, CHUNK: tl.constexpr, TILE: tl.constexpr,
):  # fmt: skip
    b, c, channel, there = place(H, chunks, TILE)
    steps = T - c * CHUNK  # from here to the end: fewer than CHUNK in the last chunk
    first = steps - 1 if REVERSE else c * CHUNK
    one_on = -1 if REVERSE else 1
    decay += b * decay_b + first * decay_t + channel * decay_h
    update += b * update_b + first * update_t + channel * update_h
    states += (b * T + first) * H + channel
    if c == 0:
        at = b * initial_b + channel * initial_h
        h = tl.load(initial + at, mask=there, other=0.0).to(tl.float32)
    else:
        at = (b * chunks + c - 1) * H + channel
        h = tl.load(after + at, mask=there, other=0.0).to(tl.float32)
    a = tl.load(decay, mask=there, other=0.0)
    u = tl.load(update, mask=there, other=0.0)
    for i in range(CHUNK):
        decay += one_on * decay_t
        update += one_on * update_t
        more = there & (i + 1 < steps)  # the next step loads while this one is computed
        next_a = tl.load(decay, mask=more, other=0.0)
        next_u = tl.load(update, mask=more, other=0.0)
        h = advance(h, a.to(tl.float32), u.to(tl.float32))
        tl.store(states, h.to(states.dtype.element_ty), mask=there & (i < steps))
        states += one_on * H
        a, u = next_a, next_u


@triton.jit
def load(projected, reset, at, T, H, channel, there, more, HAS_RESET: tl.constexpr):
    """The projected input at row `at` of (B · T), and whether it has a reset; zeros if not more."""
    x = projected + at * 2 * H + channel
    z = tl.load(x, mask=there & more, other=0.0)
    n = tl.load(x + H, mask=there & more, other=0.0)
    anew = tl.load(reset + at, mask=more, other=0) != 0 if HAS_RESET else at < 0
    return z, n, anew


@triton.jit
def gates(z, n, anew, pad):
    """-> update gate, candidate, and the decay and the update of the linear recurrence."""
    z = tl.sigmoid(z.to(tl.float32))
    n = n.to(tl.float32)
    keep = tl.where(pad, 1.0, tl.where(anew, 0.0, 1 - z))
    return z, n, keep, tl.where(pad, 0.0, z * n)


@triton.jit
def length(lengths, b, T, HAS_LENGTHS: tl.constexpr):
    """The number of steps of sequence b."""
    return tl.load(lengths + b) if HAS_LENGTHS else T


@triton.jit
def store_summary(product, end, b, c, chunks, channel, there, H, every, cut, state):
    # A product too small for float32 is stored as SMALLEST: a 0 would drop infinities and NaN.
    every = tl.where(tl.abs(every) < SMALLEST, SMALLEST, every)
    at = (b * chunks + c) * H + channel
    tl.store(product + at, tl.where(cut, 0.0, every), mask=there)
    tl.store(end + at, state, mask=there)


@triton.jit
def begin(initial, after, b, c, chunks, channel, there, H):
    """The state before chunk c: `initial` (B, H), or the state after the chunk before."""
    if c == 0:
        h = tl.load(initial + b * H + channel, mask=there, other=0.0).to(tl.float32)
    else:
        at = (b * chunks + c - 1) * H + channel
        h = tl.load(after + at, mask=there, other=0.0).to(tl.float32)
    return h


@triton.jit
def summarise_forward(
    projected, reset, lengths, product, end, T, H, chunks,
    CHUNK: tl.constexpr, TILE: tl.constexpr, HAS_RESET: tl.constexpr, HAS_LENGTHS: tl.constexpr,
):  # fmt: skip
    b, c, channel, there = place(H, chunks, TILE)
    stop = length(lengths, b, T, HAS_LENGTHS)
    h = tl.zeros((TILE,), tl.float32)
    every = tl.full((TILE,), 1.0, tl.float32)
    cut = tl.zeros((TILE,), tl.int1)
    for i in tl.range(CHUNK, loop_unroll_factor=4):
        t = c * CHUNK + i
        z, n, anew = load(projected, reset, b * T + t, T, H, channel, there, t < T, HAS_RESET)
        gate, candidate, keep, update = gates(z, n, anew, t >= stop)
        h = advance(h, keep, update)
        every *= keep
        cut |= keep == 0
    store_summary(product, end, b, c, chunks, channel, there, H, every, cut, h)


@triton.jit
def walk_forward(
    projected, reset, lengths, initial,
    after,  # (B, chunks, H) the state after each chunk
    states, last, T, H, chunks,
    CHUNK: tl.constexpr, TILE: tl.constexpr, HAS_RESET: tl.constexpr, HAS_LENGTHS: tl.constexpr,
):  # fmt: skip
    b, c, channel, there = place(H, chunks, TILE)
    stop = length(lengths, b, T, HAS_LENGTHS)
    h = begin(initial, after, b, c, chunks, channel, there, H)
    t = c * CHUNK
    z, n, anew = load(projected, reset, b * T + t, T, H, channel, there, t < T, HAS_RESET)
    for i in range(CHUNK):
        # The next step loads while this one is computed.
        following = load(
            projected, reset, b * T + t + 1, T, H, channel, there,
            (i + 1 < CHUNK) & (t + 1 < T), HAS_RESET,
        )  # fmt: skip
        gate, candidate, keep, update = gates(z, n, anew, t >= stop)
        h = tl.where(t < T, advance(h, keep, update), h)
        shown = tl.where(t < stop, h, 0.0).to(states.dtype.element_ty)
        tl.store(states + (b * T + t) * H + channel, shown, mask=there & (t < T))
        z, n, anew = following
        t += 1
    if c == tl.maximum(stop - 1, 0) // CHUNK:  # padding keeps these bits
        tl.store(last + b * H + channel, h.to(last.dtype.element_ty), mask=there)


@triton.jit
def summarise_backward(
    projected, reset, lengths,
    above, above_b, above_t, above_h,  # (B, T, H) the gradient of the states, and its strides
    product, end, T, H, chunks,  # chunks from the last to the first
    CHUNK: tl.constexpr, TILE: tl.constexpr, HAS_RESET: tl.constexpr, HAS_LENGTHS: tl.constexpr,
):  # fmt: skip
    b, c, channel, there = place(H, chunks, TILE)
    stop = length(lengths, b, T, HAS_LENGTHS)
    above += b * above_b + channel * above_h
    g = tl.zeros((TILE,), tl.float32)
    every = tl.full((TILE,), 1.0, tl.float32)
    cut = tl.zeros((TILE,), tl.int1)
    for i in tl.range(CHUNK, loop_unroll_factor=4):
        t = T - 1 - c * CHUNK - i
        z, n, anew = load(projected, reset, b * T + t, T, H, channel, there, t >= 0, HAS_RESET)
        gate, candidate, keep, update = gates(z, n, anew, t >= stop)
        counts = there & (t >= 0) & (t < stop)
        g += tl.load(above + t * above_t, mask=counts, other=0.0).to(tl.float32)
        g = tl.where(keep == 0, 0.0, keep * g)
        every *= keep
        cut |= keep == 0
    store_summary(product, end, b, c, chunks, channel, there, H, every, cut, g)


@triton.jit
def walk_backward(
    projected, reset, lengths, above, above_b, above_t, above_h, initial, states, grad_last,
    after,  # (B, chunks, H) the gradient before each chunk, from the last to the first
    grad_projected, grad_initial, T, H, chunks,
    CHUNK: tl.constexpr, TILE: tl.constexpr, HAS_RESET: tl.constexpr, HAS_LENGTHS: tl.constexpr,
):  # fmt: skip
    b, c, channel, there = place(H, chunks, TILE)
    stop = length(lengths, b, T, HAS_LENGTHS)
    above += b * above_b + channel * above_h
    g = begin(grad_last, after, b, c, chunks, channel, there, H)
    first = tl.load(initial + b * H + channel, mask=there, other=0.0).to(tl.float32)
    element = grad_projected.dtype.element_ty
    for i in tl.range(CHUNK):
        t = T - 1 - c * CHUNK - i
        at, real = b * T + t, there & (t >= 0)
        z, n, anew = load(projected, reset, at, T, H, channel, there, t >= 0, HAS_RESET)
        gate, candidate, keep, update = gates(z, n, anew, t >= stop)
        earlier = tl.load(states + (at - 1) * H + channel, mask=there & (t > 0), other=0.0)
        before = tl.where(t == 0, first, earlier.to(tl.float32))
        before = tl.where(keep == 0, 0.0, before)  # dropped, also if it is not finite
        got = tl.load(above + t * above_t, mask=real & (t < stop), other=0.0)
        g += tl.where(t >= 0, got.to(tl.float32), 0.0)
        counts = t < stop
        grad_z = tl.where(counts, g * (candidate - before) * gate * (1 - gate), 0.0)
        grad_n = tl.where(counts, g * gate, 0.0)
        out = grad_projected + at * 2 * H + channel
        tl.store(out, grad_z.to(element), mask=real)
        tl.store(out + H, grad_n.to(element), mask=real)
        g = tl.where(t >= 0, tl.where(keep == 0, 0.0, keep * g), g)
    if c == chunks - 1:
        out = grad_initial + b * H + channel
        tl.store(out, g.to(grad_initial.dtype.element_ty), mask=there)
