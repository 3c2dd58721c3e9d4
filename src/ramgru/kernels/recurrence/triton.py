"""The linear recurrence and the minGRU on a GPU, in chunks of time that run side by side.

    1. `summarise`: each chunk alone, from zero -> the product of its decays, the state at its end
    2. the summaries are a linear recurrence of T / CHUNK steps: the same again, until it is short
    3. `walk`: each chunk once more, from the state after the chunk before it

A program walks one chunk of a few channels step by step, in registers. Inside a chunk the order of
operations is that of the equation, so the bits depend on the shape alone. Chunks and channels of
all sequences fill the GPU. A scan reads its inputs twice and allocates 2 (B, T / CHUNK, H) more.

Products of the decays of many steps are formed in float32: decays should be at most about 1.
Source: the scan of partial sums and carries, Blelloch 1990, of the pairs (decay, update).

The minGRU runs the same kernels, which compute the decays and updates from its gates, resets and
lengths. It keeps the projected input and the states for backward. Backward is the same recurrence
from the end: the gradient before a step is the decay times (the gradient after the step + the
gradient of the step's output).
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

# The two inputs of a scan: decays and updates; or a minGRU's gates and candidates; or, backward,
# its gates and the gradient of its states.
LINEAR, GATES, GRADIENT = tl.constexpr(0), tl.constexpr(1), tl.constexpr(2)


def linear_scan(decay: Tensor, update: Tensor, initial: Tensor, reverse: bool) -> Tensor:
    """-> states in the dtype of update; with `reverse`, from the last step to the first."""
    states = torch.empty_like(update, memory_format=torch.contiguous_format)
    if states.numel():
        with gpu.on_device_of(update):
            _Scan(LINEAR, decay, update, reverse).walk(initial, states, initial)
    return states


def forward(
    projected: Tensor, initial: Tensor, reset: MaybeTensor, lengths: MaybeTensor
) -> tuple[tuple[Tensor, Tensor], list[Tensor]]:
    """minGRU; it keeps the states for backward."""
    z, n = projected.contiguous().chunk(2, dim=-1)
    states, last = initial.new_empty(z.shape), initial.new_empty(initial.shape)
    with gpu.on_device_of(z):
        _Scan(GATES, z, n, False, reset, lengths).walk(initial, states, last)
    return (states, last), [states]


def backward(
    grads: Sequence[MaybeTensor], kept: Sequence[Tensor], needed: Sequence[bool], *given: Any
) -> list[MaybeTensor]:
    projected, initial, reset, lengths = given
    x, h, (states,) = projected.contiguous(), initial.contiguous(), kept
    above, last = grads
    if above is None:
        above = h.new_zeros(()).expand(states.shape)
    last = torch.zeros_like(h) if last is None else last.contiguous()
    grad_x, grad_h = torch.empty_like(x), torch.empty_like(h)
    scan = _Scan(GRADIENT, x.chunk(2, dim=-1)[0], above, True, reset, lengths)
    with gpu.on_device_of(x):
        after = scan.after(last)
        walk_backward[scan.grid](
            *scan.given, h, states, last, after, grad_x, grad_h, **scan.options
        )
    return [grad_x, grad_h, None, None]


class _Scan:
    """The grid of the kernels, and the arguments that they share, for two inputs (B, T, H)."""

    def __init__(
        self,
        mode: Any,
        first: Tensor,
        second: Tensor,
        reverse: bool,
        reset: MaybeTensor = None,
        lengths: MaybeTensor = None,
    ) -> None:
        B, T, H = first.shape
        chunk = triton.next_power_of_2(T) if T <= 2 * CHUNK else CHUNK
        tile = min(TILE, triton.next_power_of_2(H))
        self.chunks = triton.cdiv(T, chunk)
        self.grid = (B * self.chunks * triton.cdiv(H, tile),)
        self.given = (
            *(first, second),
            first if reset is None else reset.contiguous(),  # not read if there is none
            first if lengths is None else lengths.contiguous(),
            *(*first.stride(), *second.stride(), T, H, self.chunks),
        )
        self.options = {"MODE": mode, "REVERSE": reverse, "CHUNK": chunk, "TILE": tile}
        self.options |= {"HAS_RESET": reset is not None, "HAS_LENGTHS": lengths is not None}
        self.options["num_warps"] = 1

    def walk(self, initial: Tensor, states: Tensor, last: Tensor) -> None:
        outputs = (self.after(initial), states, last)
        walk[self.grid](*self.given, initial, *initial.stride(), *outputs, **self.options)

    def after(self, initial: Tensor) -> Tensor:
        """(B, chunks, H) the state after each chunk; not read if there is one chunk."""
        if self.chunks == 1:
            return initial
        shape = (initial.shape[0], self.chunks, initial.shape[1])
        product, end = (initial.new_empty(shape, dtype=torch.float32) for _ in range(2))
        summarise[self.grid](*self.given, product, end, **self.options)
        return linear_scan(product, end, initial, False)


@triton.jit
def place(
    T, H, chunks, lengths, REVERSE: tl.constexpr, CHUNK: tl.constexpr, TILE: tl.constexpr,
    HAS_LENGTHS: tl.constexpr,
):  # fmt: skip
    """A program's sequence, its length, chunk, first step, channels, and which channels exist."""
    program = tl.program_id(0).to(tl.int64)
    tiles = tl.cdiv(H, TILE)
    channel = program % tiles * TILE + tl.arange(0, TILE)
    b, c = program // tiles // chunks, program // tiles % chunks
    stop = tl.load(lengths + b) if HAS_LENGTHS else T
    t = T - 1 - c * CHUNK if REVERSE else c * CHUNK
    return b, stop, c, t, channel, channel < H


@triton.jit
def load(first, second, reset, b, t, T, there, more, HAS_RESET: tl.constexpr):
    """Both inputs, and whether sequence b has a reset at step t; zeros if not more."""
    more = more & (t >= 0) & (t < T)
    x = tl.load(first, mask=there & more, other=0.0)
    y = tl.load(second, mask=there & more, other=0.0)
    anew = tl.load(reset + b * T + t, mask=more, other=0) != 0 if HAS_RESET else t != t
    return x, y, anew


@triton.jit
def coefficients(x, y, anew, pad, MODE: tl.constexpr):
    """-> the decay and the update of the linear recurrence"""
    a, u = x.to(tl.float32), y.to(tl.float32)
    if MODE != LINEAR:
        z = tl.sigmoid(a)
        a = tl.where(pad, 1.0, tl.where(anew, 0.0, 1 - z))
        drop = pad if MODE == GATES else pad | (a == 0)
        u = tl.where(drop, 0.0, (z if MODE == GATES else a) * u)
    return a, u


@triton.jit
def advance(h, a, u):
    """a h + u; a decay of 0 also drops a state that is not finite."""
    return tl.where(a == 0, u, a * h + u)


@triton.jit
def begin(initial, initial_b, initial_h, after, b, c, chunks, channel, there, H):
    """The state before chunk c: `initial` (B, H), or the state after the chunk before."""
    if c == 0:
        at = b * initial_b + channel * initial_h
        h = tl.load(initial + at, mask=there, other=0.0).to(tl.float32)
    else:
        at = (b * chunks + c - 1) * H + channel
        h = tl.load(after + at, mask=there, other=0.0).to(tl.float32)
    return h


@triton.jit
def summarise(
    first, second, reset, lengths, first_b, first_t, first_h, second_b, second_t, second_h,
    T, H, chunks,
    product,  # (B, chunks, H) of the decays of a chunk; 0 only where one of the decays is
    end,  # (B, chunks, H) the state after a chunk that began at 0; that of the last is not used
    MODE: tl.constexpr, REVERSE: tl.constexpr, CHUNK: tl.constexpr, TILE: tl.constexpr,
    HAS_RESET: tl.constexpr, HAS_LENGTHS: tl.constexpr,
):  # fmt: skip
    b, stop, c, t, channel, there = place(T, H, chunks, lengths, REVERSE, CHUNK, TILE, HAS_LENGTHS)
    one_on = -1 if REVERSE else 1
    first += b * first_b + t * first_t + channel * first_h
    second += b * second_b + t * second_t + channel * second_h
    h = tl.zeros((TILE,), tl.float32)
    every = tl.full((TILE,), 1.0, tl.float32)
    cut = tl.zeros((TILE,), tl.int1)
    # The loads of unrolled steps overlap; more steps would spill registers.
    for _i in tl.range(CHUNK, loop_unroll_factor=8 if MODE == LINEAR else 4):
        x, y, anew = load(first, second, reset, b, t, T, there, True, HAS_RESET)
        a, u = coefficients(x, y, anew, t >= stop, MODE)
        h = advance(h, a, u)
        every *= a
        cut |= a == 0
        first += one_on * first_t
        second += one_on * second_t
        t += one_on
    # A product too small for float32 is stored as SMALLEST: a 0 would drop infinities and NaN.
    every = tl.where(tl.abs(every) < SMALLEST, SMALLEST, every)
    at = (b * chunks + c) * H + channel
    tl.store(product + at, tl.where(cut, 0.0, every), mask=there)
    tl.store(end + at, h, mask=there)


@triton.jit
def walk(
    first, second, reset, lengths, first_b, first_t, first_h, second_b, second_t, second_h,
    T, H, chunks, initial, initial_b, initial_h, after,
    states,  # (B, T, H) contiguous
    last,  # (B, H), written for a minGRU
    MODE: tl.constexpr, REVERSE: tl.constexpr, CHUNK: tl.constexpr, TILE: tl.constexpr,
    HAS_RESET: tl.constexpr, HAS_LENGTHS: tl.constexpr,
):  # fmt: skip
    b, stop, c, t, channel, there = place(T, H, chunks, lengths, REVERSE, CHUNK, TILE, HAS_LENGTHS)
    one_on = -1 if REVERSE else 1
    first += b * first_b + t * first_t + channel * first_h
    second += b * second_b + t * second_t + channel * second_h
    states += b * T * H + channel
    h = begin(initial, initial_b, initial_h, after, b, c, chunks, channel, there, H)
    x, y, anew = load(first, second, reset, b, t, T, there, True, HAS_RESET)
    for i in range(CHUNK):
        first += one_on * first_t
        second += one_on * second_t
        # The next step loads while this one is computed.
        following = load(first, second, reset, b, t + one_on, T, there, i + 1 < CHUNK, HAS_RESET)
        a, u = coefficients(x, y, anew, t >= stop, MODE)
        real = (t >= 0) & (t < T)
        h = tl.where(real, advance(h, a, u), h)
        shown = h if MODE == LINEAR else tl.where(t < stop, h, 0.0)
        tl.store(states + t * H, shown.to(states.dtype.element_ty), mask=there & real)
        x, y, anew = following
        t += one_on
    if MODE == GATES:  # noqa: SIM102
        if c == tl.maximum(stop - 1, 0) // CHUNK:  # padding keeps these bits
            tl.store(last + b * H + channel, h.to(last.dtype.element_ty), mask=there)


@triton.jit
def walk_backward(
    first, above, reset, lengths, first_b, first_t, first_h, above_b, above_t, above_h,
    T, H, chunks, initial, states, grad_last,
    after,  # (B, chunks, H) the gradient before each chunk, from the last to the first
    grad_projected, grad_initial,
    MODE: tl.constexpr, REVERSE: tl.constexpr, CHUNK: tl.constexpr, TILE: tl.constexpr,
    HAS_RESET: tl.constexpr, HAS_LENGTHS: tl.constexpr,
):  # fmt: skip
    b, stop, c, t, channel, there = place(T, H, chunks, lengths, REVERSE, CHUNK, TILE, HAS_LENGTHS)
    first += b * first_b + t * first_t + channel * first_h
    above += b * above_b + t * above_t + channel * above_h
    g = begin(grad_last, H, 1, after, b, c, chunks, channel, there, H)
    start = tl.load(initial + b * H + channel, mask=there, other=0.0).to(tl.float32)
    element = grad_projected.dtype.element_ty
    for _i in tl.range(CHUNK):
        at, real = b * T + t, there & (t >= 0)
        x, got, anew = load(first, above, reset, b, t, T, there, True, HAS_RESET)
        keep, _ = coefficients(x, got, anew, t >= stop, MODE)
        z = tl.sigmoid(x.to(tl.float32))
        n = tl.load(first + H, mask=real, other=0.0).to(tl.float32)
        earlier = tl.load(states + (at - 1) * H + channel, mask=there & (t > 0), other=0.0)
        before = tl.where(t == 0, start, earlier.to(tl.float32))
        before = tl.where(keep == 0, 0.0, before)  # dropped, also if it is not finite
        counts = (t >= 0) & (t < stop)
        g += tl.where(counts, got.to(tl.float32), 0.0)
        out = grad_projected + at * 2 * H + channel
        grad_z = tl.where(counts, g * (n - before) * z * (1 - z), 0.0)
        tl.store(out, grad_z.to(element), mask=real)
        tl.store(out + H, tl.where(counts, g * z, 0.0).to(element), mask=real)
        g = tl.where(t >= 0, tl.where(keep == 0, 0.0, keep * g), g)
        first -= first_t
        above -= above_t
        t -= 1
    if c == chunks - 1:
        out = grad_initial + b * H + channel
        tl.store(out, g.to(grad_initial.dtype.element_ty), mask=there)
