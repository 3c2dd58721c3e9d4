"""How much a model holds: bits of information in its state, past inputs in its hidden units."""

from __future__ import annotations

import math
from statistics import NormalDist

import torch
from torch import Tensor, nn

from ramgru.sequence import SequenceModel

DELAYS = 64  # past inputs that a memory capacity counts
LENGTH = 4 * DELAYS  # steps of a noise sequence, of which the second half is measured
STREAMS = 64  # noise sequences to fit the readouts on, at least; as many again to test them on
FALSE_ALARM = 1e-3  # probability that a model without memory is credited with any delay


def information(accuracy: float, values: float) -> float:
    """Bits of information that one answer carries about the stored value.

        I = log2 M − H2(p) − (1 − p) log2(M − 1)

    is the mutual information of an M-ary symmetric channel, which is right with probability
    p = accuracy and otherwise gives each of the M − 1 other values equally often (Cover and Thomas,
    Elements of Information Theory, §7.2). By Fano's inequality (§2.10 there), no channel with that
    error rate over M = `values` equally likely values carries less. The result is 0 where the
    accuracy is at most chance, 1/M.
    """
    if not 0 <= accuracy <= 1:
        raise ValueError(f"accuracy: expected a number in [0, 1], got {accuracy}")
    if values < 1:
        raise ValueError(f"values: expected at least 1, got {values}")
    wrong = 1 - accuracy
    if accuracy * values <= 1:
        return 0.0
    if not wrong:
        return math.log2(values)
    entropy = -accuracy * math.log2(accuracy) - wrong * math.log2(wrong)
    return max(0.0, math.log2(values) - entropy - wrong * math.log2(values - 1))


def bits_held(stored: int, accuracy: float, chance: float) -> float:
    """Bits that a state must hold to answer for `stored` independent values: stored · I(p, M).

    accuracy: p, the share of right answers
    chance:   1/M, the accuracy of a guess among the M possible values
    """
    return stored * information(accuracy, 1 / chance)


@torch.no_grad()
def memory_capacity(model: SequenceModel, *, seed: int = 0, tokens: int = 32_768) -> float:
    """Short-term memory capacity of a model over DELAYS delays: see `short_term_memory`.

    White noise u, uniform in [−1/2, 1/2], replaces the model's input; the units are the hidden
    vectors that the model's head sees. With features as input, u is the first feature and the
    others are 0. With tokens, the input is the mixture (1/2 − u) e0 + (1/2 + u) e1 of the first two
    embeddings: each layer normalises its input, so a multiple of one embedding would keep only its
    sign.

    tokens: steps in memory at a time, all sequences of a batch together
    """
    weight = model.embedding.weight
    units = weight.shape[1] if model.vocab_size else weight.shape[0]
    streams = max(STREAMS, -(-10 * units // (LENGTH - 2 * DELAYS)))  # at least 10 steps a unit
    source = torch.Generator().manual_seed(seed)
    noise = torch.rand(2 * streams, LENGTH, dtype=torch.float64, generator=source) - 0.5
    hidden = []
    for u in noise.unsqueeze(-1).split(max(1, tokens // LENGTH)):
        u = u.to(weight)
        if model.vocab_size:
            x = (0.5 - u) * weight[0] + (0.5 + u) * weight[1]
        else:
            x = model.embedding(nn.functional.pad(u, (0, model.features - 1)))
        for block in model.blocks:
            x, _ = block(x, None)
        hidden.append(model.norm(x).double().cpu())
    return short_term_memory(torch.cat(hidden), noise, DELAYS)[0]


def short_term_memory(units: Tensor, noise: Tensor, delays: int) -> tuple[float, list[float]]:
    """Sum over the delays k = 1, 2, … of r²(k), and r² at the delays 0, 1, …, `delays`.

    r²(k) is the squared correlation of the noise u(t − k) with a linear readout of the units at
    step t (H. Jaeger, "Short term memory in echo state networks", GMD report 152, 2001). The sum is
    at most the number of units (proposition 2 there).

    units (B, T, U), noise (B, T), float64. The readouts are fitted on the first half of the
    sequences and tested on the other half. The first 2 · delays steps are left out: by then an
    initial state is forgotten.

    On n steps even unrelated series reach r² = 1/n on average, which many delays add up. So the sum
    leaves out every r² below the level that all delays of a model without memory stay below with
    probability 1 − FALSE_ALARM (n r² is then χ² with one degree of freedom), and corrects the
    others for their mean excess: 1 − (1 − r²)(n − 1)/(n − 2).
    """
    rows, washout = noise.shape[0] // 2, 2 * delays
    kept = noise.shape[1] - washout
    past = torch.stack([noise[:, washout - k :][:, :kept] for k in range(1 + delays)], dim=-1)
    units, n = units[:, washout:], rows * kept
    seen = [x.flatten(0, 1) for x in (units[:rows], past[:rows], units[rows:], past[rows:])]
    curve = _squared_correlation(*seen)
    level = NormalDist().inv_cdf(1 - FALSE_ALARM / (2 * delays)) ** 2 / n
    counted = [1 - (1 - r2) * (n - 1) / (n - 2) for r2 in curve[1:] if r2 > level]
    return sum(counted, 0.0), curve


def _squared_correlation(x: Tensor, y: Tensor, new_x: Tensor, new_y: Tensor) -> list[float]:
    """Fit least squares from x (n, U) to each column of y (n, K); -> r² of each with new_y (m, K).

    Directions of x as small as rounding errors are left out, as by `numpy.linalg.lstsq`.
    """
    mean = x.mean(0)
    left, sizes, right = torch.linalg.svd(x - mean, full_matrices=False)
    real = sizes > sizes.max() * max(x.shape) * torch.finfo(x.dtype).eps
    weights = right[real].mT @ ((left[:, real].mT @ (y - y.mean(0))) / sizes[real, None])
    found = (new_x - mean) @ weights
    found, wanted = found - found.mean(0), new_y - new_y.mean(0)
    spread = found.square().sum(0) * wanted.square().sum(0)
    r2 = (found * wanted).sum(0).square() / torch.where(spread > 0, spread, 1.0)
    return [float(value) for value in r2]
