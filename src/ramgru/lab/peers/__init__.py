"""The peers to beat, one file each, all with the interface that `SequenceModel` asks of a layer."""

from __future__ import annotations

from typing import Any

from ramgru.lab.peers.attention import Attention
from ramgru.lab.peers.deltanet import DeltaNet
from ramgru.lab.peers.dnc import DNC
from ramgru.lab.peers.gated_deltanet import GatedDeltaNet
from ramgru.lab.peers.gated_slots import GatedSlots
from ramgru.lab.peers.gru import GRU
from ramgru.lab.peers.lstm import LSTM
from ramgru.lab.peers.mamba2 import Mamba2
from ramgru.lab.peers.mingru import MinGRU
from ramgru.lab.peers.ntm import NTM
from ramgru.lab.peers.sparse_delta import SparseDelta
from ramgru.lab.peers.window_attention import WindowAttention

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
