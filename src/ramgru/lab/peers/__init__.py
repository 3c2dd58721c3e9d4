"""The peers: the layers that RAMGRU is compared with, all with one interface.

y, state = PEERS["deltanet"](64)(x)          x, y (B, T, 64); a fresh state
y, state = peer(x, state, lengths=lengths, reset=reset)
"""

from __future__ import annotations

from typing import Any

from ramgru.lab.peers.attention import Attention, WindowAttention
from ramgru.lab.peers.deltanet import DeltaNet, GatedDeltaNet
from ramgru.lab.peers.dnc import DNC
from ramgru.lab.peers.gated_slots import GatedSlots
from ramgru.lab.peers.mamba2 import Mamba2
from ramgru.lab.peers.ntm import NTM
from ramgru.lab.peers.recurrent import GRU, LSTM, MinGRU
from ramgru.lab.peers.sparse_delta import SparseDelta

# Every command knows a peer by its name here. peer(d_model, hidden_size, **options) builds one; its
# keyword-only arguments are its options, of types that text can give.
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
