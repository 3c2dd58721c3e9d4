"""The peers to beat, one file each, all with the interface that `SequenceModel` asks of a layer."""

from ramgru.baselines.attention import Attention
from ramgru.baselines.gated_deltanet import GatedDeltaNet
from ramgru.baselines.gru import GRU
from ramgru.baselines.mingru import MinGRU

__all__ = ["GRU", "Attention", "GatedDeltaNet", "MinGRU"]
