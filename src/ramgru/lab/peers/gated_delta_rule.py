"""The gated delta rule of Gated DeltaNet (arXiv 2412.06464): as a step, as a loop, and in chunks.

    S[t] = a[t] (I - b[t] k[t] k[t]^T) S[t-1] + b[t] k[t] v[t]^T,   y[t] = S[t]^T q[t]

B sequences, H heads, T steps, D key channels, E value channels, C steps of a chunk. `loop` and
`chunks` take q, k (B, H, T, D), v (B, H, T, E), log_decay = log a and beta = b (B, H, T), memory
(B, H, D, E), S before the first step, and reset (B, T), True where a step starts from an empty
memory; they give y (B, H, T, E) and the memory after the last step.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

CHUNK = 64


def step(
    q: Tensor, k: Tensor, v: Tensor, log_decay: Tensor, beta: Tensor, memory: Tensor
) -> tuple[Tensor, Tensor]:
    """One step: q, k (B, H, D), v (B, H, E), log_decay, beta (B, H) -> y (B, H, E), memory."""
    memory = log_decay.exp()[..., None, None] * memory
    found = torch.einsum("bhd,bhde->bhe", k, memory)
    update = beta.unsqueeze(-1) * (v - found)
    memory = memory + torch.einsum("bhd,bhe->bhde", k, update)
    return torch.einsum("bhd,bhde->bhe", q, memory), memory


def loop(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    log_decay: Tensor,
    beta: Tensor,
    memory: Tensor,
    reset: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Step by step: the reference, made to be read."""
    outputs = [v[:, :, :0]]
    for t in range(q.shape[2]):
        if reset is not None:
            memory = memory.masked_fill(reset[:, t, None, None, None], 0)
        y, memory = step(
            q[:, :, t], k[:, :, t], v[:, :, t], log_decay[:, :, t], beta[:, :, t], memory
        )
        outputs.append(y.unsqueeze(2))
    return torch.cat(outputs, dim=2), memory


def chunks(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    log_decay: Tensor,
    beta: Tensor,
    memory: Tensor,
    reset: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """The same with products of matrices, CHUNK steps at a time (arXiv 2412.06464, §3.3).

    Every write of a chunk is k[t] u[t]^T on top of the decayed memory, where what u[t] corrects
    depends on the memory before the chunk and on the writes u[s] before it:

        u[t] + sum_{s<t} b[t] A[t,s] (k[t] · k[s]) u[s] = b[t] (v[t] - A[t] S^T k[t])

    with A[t,s] the decays between s and t, and A[t] those from the start of the chunk; both are 0
    across a reset. This is one triangular system, solved for all chunks at once for the part that
    does not know S and for the factor of S.
    """
    B, H, T, D = q.shape
    C = min(CHUNK, max(1, T))
    N, missing = -(-T // C), -T % C
    # Steps that are filled in neither decay the memory (log a = 0) nor write to it (b = 0).
    q, k, v = (pad(x, (0, 0, 0, missing)).view(B, H, N, C, x.shape[-1]) for x in (q, k, v))
    log_decay, beta = (pad(x, (0, missing)).view(B, H, N, C) for x in (log_decay, beta))

    total = log_decay.cumsum(-1)  # (B, H, N, C) the logarithm of A[t]
    between = total.unsqueeze(-1) - total.unsqueeze(-2)  # that of A[t, s]
    cut = torch.ones(C, C, dtype=torch.bool, device=q.device).triu(1)  # s > t
    from_start = total
    if reset is not None:
        segment = pad(reset, (0, missing)).view(B, 1, N, C).long().cumsum(-1)
        cut = cut | (segment.unsqueeze(-1) != segment.unsqueeze(-2))
        from_start = total.masked_fill(segment > 0, -torch.inf)
    between = between.masked_fill(cut, -torch.inf).exp()
    from_start = from_start.exp().unsqueeze(-1)

    b = beta.unsqueeze(-1)
    system = (b * between * (k @ k.mT)).tril(-1)  # its diagonal is 1
    right = torch.cat([b * v, b * from_start * k], dim=-1)
    solved = torch.linalg.solve_triangular(system, right, upper=False, unitriangular=True)
    writes, of_memory = solved.split([v.shape[-1], D], dim=-1)
    scores = between * (q @ k.mT)
    q, k = from_start * q, between[..., -1, :].unsqueeze(-1) * k  # as seen from start and end

    outputs = [v[:, :, :0].flatten(2, 3)]
    for n in range(N):
        u = writes[:, :, n] - of_memory[:, :, n] @ memory
        outputs.append(q[:, :, n] @ memory + scores[:, :, n] @ u)
        memory = from_start[:, :, n, -1:] * memory + k[:, :, n].mT @ u
    return torch.cat(outputs, dim=2)[:, :, :T], memory
