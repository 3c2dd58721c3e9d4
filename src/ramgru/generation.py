"""Generating tokens from any `SequenceModel`: the prompt in one pass, then step by step.

B sequences, T tokens of prompt, S new tokens, V tokens of the vocabulary.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ramgru.sequence import SequenceModel


@torch.no_grad()
def generate(
    model: SequenceModel,
    src: Tensor,  # (B, T)
    max_new_tokens: int,
    temperature: float = 0.0,
    top_k: int | None = None,
    top_p: float | None = None,
    stop: int | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """-> (B, S) new tokens, S <= max_new_tokens; see `RAMGRUModel.generate`."""
    _check(model, src, max_new_tokens, temperature, top_k, top_p, stop)
    was_training = model.training
    model.eval()
    try:
        hidden, state = model.hidden(src)
        last, made = hidden[:, -1], []
        ended = torch.zeros(src.shape[0], dtype=torch.bool, device=src.device)
        for n in range(max_new_tokens):
            token = sample(model.head(last), temperature, top_k, top_p, generator)
            if stop is not None:
                token = torch.where(ended, stop, token)
                ended = ended | (token == stop)
            made.append(token)
            if n + 1 == max_new_tokens or (stop is not None and bool(ended.all())):
                break
            last, state = model.step(token, state)
    finally:
        model.train(was_training)
    return torch.stack(made, dim=1) if made else src[:, :0]


def sample(
    logits: Tensor,  # (B, V)
    temperature: float,
    top_k: int | None,
    top_p: float | None,
    generator: torch.Generator | None,
) -> Tensor:
    """(B,) one token for each sequence."""
    if temperature == 0:
        return logits.argmax(dim=-1)
    logits, tokens = (logits.float() / temperature).sort(dim=-1, descending=True)
    outside = torch.zeros_like(logits, dtype=torch.bool)
    if top_k is not None:
        outside[:, top_k:] = True
    if top_p is not None:
        # A token stays if the likelier ones sum to less than top_p; the likeliest always stays.
        probability = logits.masked_fill(outside, -torch.inf).softmax(dim=-1)
        outside |= probability.cumsum(dim=-1) - probability >= top_p
    probability = logits.masked_fill(outside, -torch.inf).softmax(dim=-1)
    place = torch.multinomial(probability, 1, generator=generator)
    return tokens.gather(1, place).squeeze(1)


def _check(
    model: SequenceModel,
    src: Tensor,
    max_new_tokens: int,
    temperature: float,
    top_k: int | None,
    top_p: float | None,
    stop: int | None,
) -> None:
    if not model.vocab_size:
        raise ValueError("generate: expected a model of tokens, got one of features")
    for name, value in (("max_new_tokens", max_new_tokens), ("top_k", top_k), ("stop", stop)):
        if value is not None and (not isinstance(value, int) or isinstance(value, bool)):
            raise TypeError(f"{name}: expected an int, got {type(value).__name__}")
    if src.is_floating_point():
        raise TypeError(f"src: expected tokens of int64, got {src.dtype}")
    if src.dim() != 2 or src.shape[1] == 0:
        raise ValueError(f"src: expected tokens (B, T) with T of 1 or more, got {tuple(src.shape)}")
    if src.numel() and not 0 <= int(src.min()) <= int(src.max()) < model.vocab_size:
        wrong = int(src.min()) if int(src.min()) < 0 else int(src.max())
        raise ValueError(f"src: expected tokens in [0, {model.vocab_size}), got {wrong}")
    if max_new_tokens < 0:
        raise ValueError(f"max_new_tokens: expected 0 or more, got {max_new_tokens}")
    if not 0 <= temperature < math.inf:
        raise ValueError(f"temperature: expected a number of 0 or more, got {temperature}")
    if stop is not None and not 0 <= stop < model.vocab_size:
        raise ValueError(f"stop: expected a token in [0, {model.vocab_size}), got {stop}")
    if top_k is not None and top_k < 1:
        raise ValueError(f"top_k: expected 1 or more, got {top_k}")
    if top_p is not None and not 0 < top_p <= 1:
        raise ValueError(f"top_p: expected a probability in (0, 1], got {top_p}")
