"""How white noise gets into a layer or a model, and what readouts see of it."""

from __future__ import annotations

import copy

from torch import Tensor, nn

from ramgru.lab.evaluate.meters.delays import Drive
from ramgru.sequence import SequenceModel


def through_layer(layer: nn.Module, projection: Tensor) -> Drive:
    """Drive one layer with noise times `projection` (C,); the units are its outputs.

    layer: forward(x, state) -> (y, state), x and y (B, T, C), where a state of None is a fresh one;
        time first where it has a `batch_first` that is False, as `torch.nn.GRU`. A copy of it
        computes in float64.
    """
    if projection.ndim != 1:
        raise ValueError(f"projection must have shape (C,), got {tuple(projection.shape)}")
    twin, into = copy.deepcopy(layer).double().eval(), projection.detach().double().cpu()
    turned = not getattr(layer, "batch_first", True)

    def drive(noise: Tensor) -> Tensor:
        x = noise.unsqueeze(-1) * into
        y: Tensor = twin.cpu()(x.transpose(0, 1) if turned else x, None)[0]
        return y.transpose(0, 1) if turned else y

    return drive


def through_model(model: SequenceModel) -> Drive:
    """Drive a model through its embedding; the units are what its head sees.

    Over features the noise is the first of them, and the others are 0. Over tokens it is a mixture
    of the first two: (1/2 − u) of the one and (1/2 + u) of the other. (Noise times one direction
    would not do: the norm in front of each layer leaves only its sign.)
    """
    twin = copy.deepcopy(model).double().eval().cpu()

    def drive(noise: Tensor) -> Tensor:
        if twin.vocab_size:
            first, second = twin.embedding.weight[:2]
            u = noise.unsqueeze(-1)
            x = (0.5 - u) * first + (0.5 + u) * second
        else:
            x = twin.embedding(nn.functional.pad(noise.unsqueeze(-1), (0, twin.features - 1)))
        for block in twin.blocks:
            x, _ = block(x, None)
        units: Tensor = twin.norm(x)
        return units

    return drive
