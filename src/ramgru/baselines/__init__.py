"""The peers to beat, one file each, all with the interface that `SequenceModel` asks of a layer."""

from __future__ import annotations

from typing import Any

from ramgru.baselines.attention import Attention
from ramgru.baselines.deltanet import DeltaNet
from ramgru.baselines.dnc import DNC
from ramgru.baselines.gated_deltanet import GatedDeltaNet
from ramgru.baselines.gated_slots import GatedSlots
from ramgru.baselines.gru import GRU
from ramgru.baselines.lstm import LSTM
from ramgru.baselines.mamba2 import Mamba2
from ramgru.baselines.mingru import MinGRU
from ramgru.baselines.ntm import NTM
from ramgru.baselines.sparse_delta import SparseDelta
from ramgru.baselines.window_attention import WindowAttention

# By the name under which every command knows them. Each is made as peer(d_model, hidden_size,
# **options), where its keyword-only arguments are its options, of a type that text can give.
PEERS: dict[str, Any] = {
    "gru": GRU,
    "lstm": LSTM,
    "mingru": MinGRU,
    "attention": Attention,
    "window_attention": WindowAttention,
    "deltanet": DeltaNet,
    "gated_deltanet": GatedDeltaNet,
    "gated_slots": GatedSlots,
    "mamba2": Mamba2,
    "sparse_delta": SparseDelta,
    "ntm": NTM,
    "dnc": DNC,
}

__all__ = [
    "DNC",
    "GRU",
    "LSTM",
    "NTM",
    "PEERS",
    "Attention",
    "DeltaNet",
    "GatedDeltaNet",
    "GatedSlots",
    "Mamba2",
    "MinGRU",
    "SparseDelta",
    "WindowAttention",
]
