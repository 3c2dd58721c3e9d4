"""`explain`: which code runs each part of a layer, and why."""

from __future__ import annotations

import torch
from torch import Tensor

from ramgru import fast_step
from ramgru.kernels import dispatch, native
from ramgru.layer import RAMGRU

PARTS = {
    "gru": "controller: exact GRU",
    "mingru": "controller: minGRU",
    "linear_scan": "recurrence of the minGRU",
    "diagonal_gru": "controller: diagonal GRU",
    "projection": "projections of the input, and the read-out",
    "gated_sum": "output gate",
    "product_keys": "addresses of heads with keys",
    "unit": "unit keys",
    "short_convolution": "keys of several steps",
    "tag_rows": "tags",
    "tape": "addresses of tape heads",
    "memory_scan": "cells: write and read",
    "key_attention": "gradient of learned keys",
}
CODE = {dispatch.CPU: "native", dispatch.TRITON: "Triton", dispatch.TORCH: "PyTorch"}


def explain(layer: RAMGRU, input: Tensor | None = None) -> str:
    """Which code runs each part of a layer, and why: a text of one line a part.

    The layer is called once, in evaluation mode and backward too where it has gradients, and every
    choice between a native kernel, a Triton kernel and PyTorch is noted. The same layer may run
    otherwise on other tensors or under autocast: the answer is of a call like this one.

    input: a tensor as `forward` takes it; None for 8 sequences of 16 steps of zeros

    >>> print(ramgru.explain(ramgru.RAMGRU(32, 64)))  # doctest: +SKIP
    """
    if not isinstance(layer, RAMGRU):
        raise TypeError(f"layer: expected a RAMGRU, got {type(layer).__name__}")
    weight = layer.memories[0].candidate.weight
    if input is None:
        input = weight.new_zeros(8, 16, layer.input_size)
    training = layer.training
    layer.eval()  # a call in training notes the gates that `write_cost` charges
    try:
        with dispatch.noted() as choices:
            output = layer(input)[0]
            if output.requires_grad:
                weights = [p for p in layer.parameters() if p.requires_grad]
                torch.autograd.grad(output.sum(), weights, allow_unused=True)
    finally:
        layer.train(training)
    rows = [(PARTS[name], _said(choices[name])) for name in PARTS if name in choices]
    rows += [(name, _said(made)) for name, made in choices.items() if name not in PARTS]
    if "projection" not in choices:
        rows.append((PARTS["projection"], "PyTorch"))
    rows.append(("a step of `stream` and `step_`", _said_of_steps(layer, weight)))
    size = max(len(part) for part, _ in rows)
    head = f"{type(layer).__name__} on {weight.device}, {weight.dtype}".replace("torch.", "")
    return "\n".join([head, *(f"  {part:<{size}}  {text}" for part, text in rows)])


def _said(choices: list[dispatch.Choice]) -> str:
    return "; ".join(
        f"native {native.isa()}" if path == dispatch.CPU else f"{CODE[path]}: {reason}"
        for path, reason in choices
    )


def _said_of_steps(layer: RAMGRU, weight: Tensor) -> str:
    refused = dispatch.native_refusal(weight) or fast_step.refusal(layer._parts(), weight.dtype)
    if refused:
        return f"PyTorch, and the kernels above: {refused}"
    return f"native {native.isa()}, one call a layer"
