"""Tagged reads: a read weighs its J cells by how well their tags match a query.

    w_j = r_j exp(match cos_j) / (exp(null) + sum_i r_i exp(match cos_i))

with cos_j the cosine of query and tag j, 0 if either is the zero vector. The null share, exp(null)
over the same sum, says how much of the read found no cell. Shapes as in `memory_scan`; G = H, or
B·H for a match and a null of each sequence.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ramgru.kernels.memory_scan.inputs import Inputs, padding

TINY = 1e-24  # a vector whose squared length is at most this counts as the zero vector


class Tag(NamedTuple):
    """The inputs of tagged reads; the tags themselves are the last A numbers of each row."""

    query: Tensor  # (B, T, H, A)
    match: Tensor  # (G,)
    null: Tensor  # (G,) may be -inf


def tag_of(x: Inputs) -> Tag:
    assert x.query is not None
    assert x.match is not None
    assert x.null is not None
    return Tag(x.query, x.match, x.null)


class Weighed(NamedTuple):
    weight: Tensor  # (B, T, H, J) w
    share: Tensor  # (B, T, H) null share
    gain: Tensor  # (B, T, H, J) w / r
    cosine: Tensor  # (B, T, H, J)
    query_scale: Tensor  # (B, T, H, 1) 1 / length, or 0
    tag_scale: Tensor  # (B, T, H, J)


def weigh(
    tags: Tensor,  # (B, T, H, J, A)
    read_weight: Tensor,  # (B, T, H, J), not negative
    tag: Tag,
    counts: Tensor,  # (B, T, H, J) whether a read has a cell
) -> Weighed:
    """All by calls that are differentiable twice."""
    query, H = tag.query, tag.query.shape[2]
    match, null = tag.match.view(-1, 1, H), tag.null.view(-1, 1, H)
    query_scale = _inverse_length(query).unsqueeze(-1)
    tag_scale = _inverse_length(tags)
    cosine = (tags * query.unsqueeze(-2)).sum(-1) * query_scale * tag_scale
    score = match.unsqueeze(-1) * cosine
    top = torch.maximum(score.masked_fill(~counts, float("-inf")).amax(-1), null).detach()
    top = top.masked_fill(top == float("-inf"), 0)
    chance = (score - top.unsqueeze(-1)).masked_fill(~counts, 0).exp().masked_fill(~counts, 0)
    none = (null - top).exp()
    total = none + (read_weight * chance).sum(-1)
    nothing = total == 0  # no cell and no null: all weights are 0
    inverse = total.masked_fill(nothing, 1).reciprocal().masked_fill(nothing, 0)
    gain = chance * inverse.unsqueeze(-1)
    return Weighed(read_weight * gain, none * inverse, gain, cosine, query_scale, tag_scale)


def _inverse_length(x: Tensor) -> Tensor:
    """1 / |x| over the last dimension; 0, without gradient, for the zero vector."""
    squared = x.square().sum(-1)
    zero = squared <= TINY  # false for NaN, which thus stays NaN
    return squared.masked_fill(zero, 1).rsqrt().masked_fill(zero, 0)


class Gradients(NamedTuple):
    tags: Tensor
    read_weight: Tensor
    query: Tensor
    match: Tensor
    null: Tensor


def backward(
    seen: Weighed,
    x: Inputs,
    tags: Tensor,  # (B, T, H, J, A)
    grad_weight: Tensor,  # (B, T, H, J) of w
    grad_share: Tensor,  # (B, T, H) of the null share
) -> Gradients:
    query, match = x.query, x.match
    assert query is not None
    assert match is not None
    H = query.shape[2]
    mean = (seen.weight * grad_weight).sum(-1) + seen.share * grad_share
    excess = grad_weight - mean.unsqueeze(-1)
    grad_score = seen.weight * excess
    grad_cosine = grad_score * match.view(-1, 1, H, 1)
    along = (grad_cosine * seen.query_scale * seen.tag_scale).unsqueeze(-1)
    off = grad_cosine * seen.cosine  # cos depends on directions alone
    off_tag = (off * seen.tag_scale.square()).unsqueeze(-1)
    off_query = off.sum(-1, keepdim=True) * seen.query_scale.square()
    return Gradients(
        along * query.unsqueeze(-2) - off_tag * tags,
        seen.gain * excess,
        (along * tags).sum(-2) - off_query * query,
        _over_sequences((grad_score * seen.cosine).sum(-1), match),
        _over_sequences(seen.share * (grad_share - mean), match),
    )


def _over_sequences(grad: Tensor, like: Tensor) -> Tensor:
    """(B, T, H) -> (G,)"""
    return grad.sum(1).view(-1, like.shape[0]).sum(0)


def weigh_reads(x: Inputs, tags: Tensor) -> Weighed:
    """`weigh` for the inputs as `widen` returns them; all 0 in the padding."""
    counts, pad = x.read_index >= 0, padding(x)
    if pad is not None:
        counts = counts & ~pad[..., None, None]
    seen = weigh(tags, x.read_weight, tag_of(x), counts)
    return seen if pad is None else seen._replace(share=seen.share.masked_fill(pad[..., None], 0))
