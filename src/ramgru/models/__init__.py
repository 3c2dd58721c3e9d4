"""Networks around the layer: a residual stack for any recurrent layer, and the token model."""

from ramgru.models.ramgru import RAMGRUModel
from ramgru.models.sequence import Block, GatedMLP, SequenceModel, State, detach

__all__ = ["Block", "GatedMLP", "RAMGRUModel", "SequenceModel", "State", "detach"]
