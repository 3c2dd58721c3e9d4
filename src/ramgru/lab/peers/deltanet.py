"""DeltaNet (arXiv 2406.06484) and Gated DeltaNet (arXiv 2412.06464): a matrix of memory a head,
written by the delta rule.

    S[t] = a[t] (I - b[t] k[t] k[t]^T) S[t-1] + b[t] k[t] v[t]^T,   y[t] = S[t]^T q[t]

B sequences, H heads, T steps, D key channels, E value channels, C steps of a chunk.

The rule is here twice: `delta_loop` is the reference, `delta_chunks` the fast path. Both take q, k
(B, H, T, D), v (B, H, T, E), log_decay = log a and beta = b (B, H, T), memory (B, H, D, E), S
before the first step, and reset (B, T), True at steps that start from an empty memory. They return
y (B, H, T, E) and the memory after the last step.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import pad, rms_norm, silu, softplus

from ramgru.kernels.projection import Projection
from ramgru.keys import without_autocast
from ramgru.lab.peers.base import MemoryState, Mixer, Ragged, ShortConvolution, at_least_one

CHUNK = 64  # steps
EPSILON = 1e-6  # added to squared lengths before the root


class DeltaMemory(Mixer):
    """S <- a (I - b k k^T) S + b k v^T;  y = RMSNorm(S^T q / √D), in each head.

    q, k, v = SiLU(convolution(W x)), q and k normalised to length 1. `rates` computes a and b,
    `output` the peer's output from y. The memory of the state is (B, H, D, E).
    """

    norm: nn.Parameter  # (E,)

    def __init__(
        self,
        d_model: int,
        hidden_size: int | None = None,
        *,
        heads: int = 1,
        value_size: int | None = None,
    ) -> None:
        super().__init__()
        at_least_one(heads=heads, value_size=1 if value_size is None else value_size)
        self.heads = heads
        self.key_size = math.ceil((hidden_size or d_model) / heads)
        self.value_size = value_size or self.key_size
        self.hidden_size = keys = heads * self.key_size
        self.widths = [keys, keys, heads * self.value_size]
        self.memory_shape = (heads, self.key_size, self.value_size)
        self.query_key_value = Projection(d_model, sum(self.widths), bias=False)
        self.convolution = ShortConvolution(sum(self.widths))
        self.add_weights(d_model)

    def add_weights(self, d_model: int) -> None:
        """Make the weights of `rates` and `output`, and the norm."""
        raise NotImplementedError

    def mix(self, x: Tensor, state: MemoryState, ragged: Ragged) -> tuple[Tensor, MemoryState]:
        padding, lengths, reset = ragged
        mixed, context = self.convolution(self.query_key_value(x), state.context, lengths, reset)
        with without_autocast(x):
            q, k, v = (
                z.unflatten(2, (self.heads, -1)).transpose(1, 2)
                for z in silu(mixed).split(self.widths, dim=2)
            )
            q, k = (z * (z.square().sum(-1, keepdim=True) + EPSILON).rsqrt() for z in (q, k))
            log_decay, beta = self.rates(x.to(mixed.dtype))
            if padding is not None:  # neither decay nor write
                log_decay, beta = (z.masked_fill(padding[:, None], 0) for z in (log_decay, beta))
            rule = delta_loop if x.shape[1] == 1 else delta_chunks
            q = q * self.key_size**-0.5
            y, memory = rule(q, k, v, log_decay, beta, state.memory.to(q.dtype), reset)
        normed = rms_norm(y, (self.value_size,), self.norm, EPSILON).transpose(1, 2).flatten(2)
        return self.output(normed.to(x.dtype), x), MemoryState(memory, context)

    def rates(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x (B, T, C) -> log a and b, each (B, H, T)."""
        raise NotImplementedError

    def output(self, y: Tensor, x: Tensor) -> Tensor:
        """y (B, T, H E), the reads of all heads, and the input x (B, T, C) -> (B, T, C)"""
        raise NotImplementedError


class DeltaNet(DeltaMemory):
    """S <- (I - b k k^T) S + b k v^T;  y = W_o RMSNorm(S^T q), in each head.

    q, k, v = SiLU(convolution(W x)), q and k normalised to length 1; b = sigmoid(W_b x)

    hidden_size: keys of all heads together; None: d_model
    value_size: values of a head; None: as many as keys
    """

    def add_weights(self, d_model: int) -> None:
        self.rate = Projection(d_model, self.heads, bias=False)
        self.norm = nn.Parameter(torch.ones(self.value_size))
        self.project = Projection(self.widths[2], d_model, bias=False)

    def rates(self, x: Tensor) -> tuple[Tensor, Tensor]:
        rate = self.rate(x).transpose(1, 2).sigmoid()
        return torch.zeros_like(rate), rate  # no decay: log 1

    def output(self, y: Tensor, x: Tensor) -> Tensor:
        return self.project(y)


class GatedDeltaNet(DeltaMemory):
    """S <- a (I - b k k^T) S + b k v^T;  y = W_o (RMSNorm(S^T q) * SiLU(W_g x)), in each head.

    q, k, v = SiLU(convolution(W x)), q and k normalised to length 1; b = sigmoid(W_b x);
    a = exp(-exp(A) softplus(W_a x + d))

    hidden_size: keys of all heads together; None: d_model
    value_size: values of a head; None: as many as keys
    """

    def add_weights(self, d_model: int) -> None:
        heads, values = self.heads, self.widths[2]
        self.decay_and_rate = Projection(d_model, 2 * heads, bias=False)
        # The authors draw exp(A) from (0, 16) for their many heads. With one or two heads, most
        # draws forget within a few steps and learn recall late or never, so all start at 1 here.
        # softplus(d) is theirs, spread evenly on a log scale.
        self.log_speed = nn.Parameter(torch.zeros(heads))
        start = torch.empty(heads).uniform_(math.log(1e-3), math.log(1e-1)).exp()
        self.decay_bias = nn.Parameter(start.expm1().log())  # the inverse of softplus
        self.gate = Projection(d_model, values, bias=False)
        self.norm = nn.Parameter(torch.ones(self.value_size))
        self.project = Projection(values, d_model, bias=False)

    def rates(self, x: Tensor) -> tuple[Tensor, Tensor]:
        decay, rate = self.decay_and_rate(x).transpose(1, 2).chunk(2, dim=1)
        speed, bias = self.log_speed.exp().unsqueeze(-1), self.decay_bias.unsqueeze(-1)
        return -speed * softplus(decay + bias), rate.sigmoid()

    def output(self, y: Tensor, x: Tensor) -> Tensor:
        return self.project(y * silu(self.gate(x)))


def delta_loop(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    log_decay: Tensor,
    beta: Tensor,
    memory: Tensor,
    reset: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """The reference: step by step."""
    outputs = [v[:, :, :0]]
    for t in range(q.shape[2]):
        if reset is not None:
            memory = memory.masked_fill(reset[:, t, None, None, None], 0)
        memory = log_decay[:, :, t].exp()[..., None, None] * memory
        found = torch.einsum("bhd,bhde->bhe", k[:, :, t], memory)
        update = beta[:, :, t].unsqueeze(-1) * (v[:, :, t] - found)
        memory = memory + torch.einsum("bhd,bhe->bhde", k[:, :, t], update)
        y = torch.einsum("bhd,bhde->bhe", q[:, :, t], memory)
        outputs.append(y.unsqueeze(2))
    return torch.cat(outputs, dim=2), memory


def delta_chunks(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    log_decay: Tensor,
    beta: Tensor,
    memory: Tensor,
    reset: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """The fast path: matrix products over CHUNK steps at a time (arXiv 2412.06464, §3.3).

    Within a chunk, each write is k[t] u[t]^T on top of the decayed memory. Its correction u[t]
    depends on the memory before the chunk and on the earlier writes u[s]:

        u[t] + sum_{s<t} b[t] A[t,s] (k[t] · k[s]) u[s] = b[t] (v[t] - A[t] S^T k[t])

    with A[t,s] the product of the decays after s up to t, A[t] that from the chunk's start, both 0
    across a reset. This triangular system is solved for all chunks at once, with two right-hand
    sides: the part independent of S, and the factor of S.
    """
    B, H, T, D = q.shape
    C = min(CHUNK, max(1, T))
    N, missing = -(-T // C), -T % C
    # Steps of the padding neither decay the memory (log a = 0) nor write to it (b = 0).
    q, k, v = (pad(x, (0, 0, 0, missing)).view(B, H, N, C, x.shape[-1]) for x in (q, k, v))
    log_decay, beta = (pad(x, (0, missing)).view(B, H, N, C) for x in (log_decay, beta))

    total = log_decay.cumsum(-1)  # (B, H, N, C) log A[t]
    between = total.unsqueeze(-1) - total.unsqueeze(-2)  # log A[t, s]
    hidden = torch.ones(C, C, dtype=torch.bool, device=q.device).triu(1)  # s > t
    from_start = total
    if reset is not None:
        segment = pad(reset, (0, missing)).view(B, 1, N, C).long().cumsum(-1)
        hidden = hidden | (segment.unsqueeze(-1) != segment.unsqueeze(-2))
        from_start = total.masked_fill(segment > 0, -torch.inf)
    between = between.masked_fill(hidden, -torch.inf).exp()
    from_start = from_start.exp().unsqueeze(-1)

    b = beta.unsqueeze(-1)
    system = (b * between * (k @ k.mT)).tril(-1)  # its diagonal is 1
    right = torch.cat([b * v, b * from_start * k], dim=-1)
    solved = torch.linalg.solve_triangular(system, right, upper=False, unitriangular=True)
    writes, of_memory = solved.split([v.shape[-1], D], dim=-1)
    scores = between * (q @ k.mT)
    q, k = from_start * q, between[..., -1, :].unsqueeze(-1) * k  # decayed from start, to end

    outputs = [v[:, :, :0].flatten(2, 3)]
    for n in range(N):
        u = writes[:, :, n] - of_memory[:, :, n] @ memory
        outputs.append(q[:, :, n] @ memory + scores[:, :, n] @ u)
        memory = from_start[:, :, n, -1:] * memory + k[:, :, n].mT @ u
    return torch.cat(outputs, dim=2)[:, :, :T], memory
