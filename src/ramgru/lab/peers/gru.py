"""The layer that people have today: the recurrence of `torch.nn.GRU`, run by torch's own kernel."""

from ramgru.gru import torch_gru
from ramgru.lab.peers.recurrent import Recurrent


class GRU(Recurrent):
    """r, z, n = gates of (x, h);  h <- (1 - z) n + z h   (torch.nn.GRU)"""

    controller = "gru"
    control = staticmethod(torch_gru)
