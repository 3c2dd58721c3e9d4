"""ramgru: GRU layers with a random-access memory, a drop-in for `torch.nn.GRU`."""

from ramgru.kernels.memory_scan import memory_scan
from ramgru.layer import RAMGRU
from ramgru.model import RAMGRUModel
from ramgru.state import RAMGRUState
from ramgru.trace import trace
from ramgru.version import __version__

__all__ = ["RAMGRU", "RAMGRUModel", "RAMGRUState", "__version__", "memory_scan", "trace"]
