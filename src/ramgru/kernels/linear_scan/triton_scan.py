"""The linear recurrence on a GPU, in chunks of time that run side by side.

    1. `summarise`: each chunk alone, from zero -> the product of its decays, the state at its end
    2. those are a linear recurrence of T / CHUNK steps: the same again, until it is short
    3. `walk`: each chunk once more, from the state that came out of the chunk before it

A program walks one chunk of a few channels step by step, in registers: inside a chunk the order of
operations is that of the equation, so the bits depend on nothing but the shape. Chunks and channels
of all sequences fill the GPU. It reads its inputs twice and holds 2 (B, T / CHUNK, H) more.

Products of the decays of many steps are formed, in float32: decays are meant to be at most about 1.
Source: the scan of partial sums and carries, Blelloch 1990, of the pairs (decay, update).
"""

# A kernel's arguments are Triton's to type.
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from ramgru.kernels import gpu

CHUNK = 64  # steps of a program
TILE = 128  # channels of a program: 4 a lane
SMALLEST = tl.constexpr(2.0**-126)  # float32's smallest normal number


def scan(decay: Tensor, update: Tensor, initial: Tensor, reverse: bool) -> Tensor:
    """decay, update (B, T, H), initial (B, H) -> states (B, T, H) in the dtype of update.

    With `reverse`, from the last step to the first.
    """
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
    sizes = (T, H, chunks)
    carry = initial
    if chunks > 1:
        product, end, after = (
            torch.empty(B, chunks, H, dtype=torch.float32, device=update.device) for _ in range(3)
        )
        summarise[grid](
            *(decay, update, product, end),
            *(*decay.stride(), *update.stride(), *sizes),
            REVERSE=reverse,
            CHUNK=chunk,
            TILE=tile,
            num_warps=1,
        )
        _scan(product, end, initial, after, False)
        carry = after
    walk[grid](
        *(decay, update, initial, carry, states),
        *(*decay.stride(), *update.stride(), *initial.stride(), *sizes),
        REVERSE=reverse,
        CHUNK=chunk,
        TILE=tile,
        num_warps=1,
    )


def cut(T: int, H: int) -> tuple[int, int, int]:
    """-> steps of a chunk, how many chunks, and channels of a program."""
    chunk = triton.next_power_of_2(T) if T <= 2 * CHUNK else CHUNK
    return chunk, triton.cdiv(T, chunk), min(TILE, triton.next_power_of_2(H))


@triton.jit
def place(H, chunks, TILE: tl.constexpr):
    """Which sequence, chunk and channels a program has, and which of those there are."""
    program = tl.program_id(0).to(tl.int64)
    tiles = tl.cdiv(H, TILE)
    channel = program % tiles * TILE + tl.arange(0, TILE)
    return program // tiles // chunks, program // tiles % chunks, channel, channel < H


@triton.jit
def advance(h, a, u):
    """a h + u; where a is 0 nothing of h is left, also if it is not finite."""
    return tl.where(a == 0, u, a * h + u)


@triton.jit
def summarise(
    decay,
    update,
    product,  # (B, chunks, H) of the decays of a chunk; 0 only where one of them is
    end,  # (B, chunks, H) the state after a chunk that began at 0; of the last nobody asks
    decay_b,
    decay_t,
    decay_h,
    update_b,
    update_t,
    update_h,
    T,
    H,
    chunks,
    REVERSE: tl.constexpr,
    CHUNK: tl.constexpr,
    TILE: tl.constexpr,
):
    b, c, channel, there = place(H, chunks, TILE)
    steps = T - c * CHUNK  # that are left; in the last chunk they may be fewer than CHUNK
    first = steps - 1 if REVERSE else c * CHUNK
    one_on = -1 if REVERSE else 1
    decay += b * decay_b + first * decay_t + channel * decay_h
    update += b * update_b + first * update_t + channel * update_h
    h = tl.zeros((TILE,), tl.float32)
    every = tl.full((TILE,), 1.0, tl.float32)
    cut = tl.zeros((TILE,), tl.int1)
    for i in tl.range(CHUNK, loop_unroll_factor=8):  # so that loads of 8 steps are under way
        real = there & (i < steps)
        a = tl.load(decay, mask=real, other=0.0).to(tl.float32)
        u = tl.load(update, mask=real, other=0.0).to(tl.float32)
        h = advance(h, a, u)
        every *= a
        cut |= a == 0
        decay += one_on * decay_t
        update += one_on * update_t
    # A product too small for float32 is not 0: that would cut off what is not finite.
    every = tl.where(tl.abs(every) < SMALLEST, SMALLEST, every)
    at = (b * chunks + c) * H + channel
    tl.store(product + at, tl.where(cut, 0.0, every), mask=there)
    tl.store(end + at, h, mask=there)


@triton.jit
def walk(
    decay,
    update,
    initial,  # (B, H)
    after,  # (B, chunks, H) the state after each chunk; with one chunk it is not read
    states,  # (B, T, H) contiguous
    decay_b,
    decay_t,
    decay_h,
    update_b,
    update_t,
    update_h,
    initial_b,
    initial_h,
    T,
    H,
    chunks,
    REVERSE: tl.constexpr,
    CHUNK: tl.constexpr,
    TILE: tl.constexpr,
):
    b, c, channel, there = place(H, chunks, TILE)
    steps = T - c * CHUNK  # that are left; in the last chunk they may be fewer than CHUNK
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
        more = there & (i + 1 < steps)  # the next step is on its way while this one is computed
        next_a = tl.load(decay, mask=more, other=0.0)
        next_u = tl.load(update, mask=more, other=0.0)
        h = advance(h, a.to(tl.float32), u.to(tl.float32))
        tl.store(states, h.to(states.dtype.element_ty), mask=there & (i < steps))
        states += one_on * H
        a, u = next_a, next_u
