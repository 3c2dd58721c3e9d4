"""The gradient of attention over the last steps, for keys that a hash would give no gradient.

B sequences, T steps, H heads, A numbers of a key, width D.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, is_grad_enabled  # `torch` would name the module beside this file
from torch.autograd import Function

from ramgru.kernels import dispatch
from ramgru.kernels.key_attention import cpu, reference
from ramgru.kernels.key_attention import torch as portable
from ramgru.kernels.transforms import apply

__all__ = ["key_attention", "reference"]

OPERATION = dispatch.Operation("key_attention", "key_attention_backward")


def key_attention(
    y: Tensor,  # (B, T, G, D or more): of G >= H heads, of which the attention's begin at `head`
    query: Tensor,  # (B, T, H, A)
    key: Tensor,  # (B, T, H, A)
    scale: Tensor,  # (H,)
    gate: Tensor,  # (B, T, H) in [0, 1]: the weight of a step
    candidate: Tensor,  # (B, T, H, D)
    null: Tensor,  # (H,) the score of a key with value 0, maybe -inf
    reset: Tensor | None,  # (B, T) True where a sequence starts anew
    lengths: Tensor | None,  # (B,) int64: later steps neither give nor get a gradient
    *,
    window: int = 256,
    head: int = 0,
) -> Tensor:
    """y itself, with the gradient of y + attention: forward computes nothing.

        attention[t] = sum_s p_s candidate[s]  over the steps t - window < s <= t of one sequence
        p_s = gate[s] e^(score_s) / (sum_s gate[s] e^(score_s) + e^null)
        score_s = scale / A query[t] . key[s]

    A step with gate 0 has no weight, but its gate has a gradient. Where all weights together are
    below 1e-30 (1e-300 in float64) of the largest exponential, there is no gradient. Backward takes
    O(T window) time, and O(T + window) memory beside the gradients; the same bits on any number of
    threads. A GPU runs the PyTorch code, 128 queries at a time. Not differentiable in forward mode.
    """
    if not is_grad_enabled():
        return y
    tensors = (query, key, scale, gate, candidate, null, reset, lengths)
    attached: Tensor = apply(_Attach, y, *tensors, window, head)
    return attached


class _Attach(Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(y: Tensor, *given: Any) -> Tensor:
        return y.view_as(y)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        _, *tensors, ctx.window, ctx.head = inputs
        ctx.save_for_backward(*tensors)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        tensors = ctx.saved_tensors
        heads, width = tensors[0].shape[2], tensors[4].shape[3]
        part = grad[:, :, ctx.head : ctx.head + heads, :width]
        path = OPERATION.choose(part, *tensors).path
        module = portable if path == dispatch.TORCH or is_grad_enabled() else cpu
        found = module.key_attention_backward(part, *tensors, ctx.window)
        return grad, *found, None, None, None, None
