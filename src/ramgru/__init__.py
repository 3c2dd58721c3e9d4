"""ramgru: GRU layers with a random-access memory, a drop-in for `torch.nn.GRU`."""

from ramgru.config import Key, Lag, Learned, Memory, Tape
from ramgru.explain import explain
from ramgru.kernels.memory_scan import memory_scan
from ramgru.layer import RAMGRU
from ramgru.model import RAMGRUModel
from ramgru.open_gates import write_cost
from ramgru.quantized_state import QuantizedState
from ramgru.state import RAMGRUState
from ramgru.trace import trace
from ramgru.version import __version__

__all__ = [
    "RAMGRU",
    "Key",
    "Lag",
    "Learned",
    "Memory",
    "QuantizedState",
    "RAMGRUModel",
    "RAMGRUState",
    "Tape",
    "__version__",
    "explain",
    "memory_scan",
    "trace",
    "write_cost",
]
