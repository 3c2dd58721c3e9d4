"""minGRU: a GRU whose gates look at the input alone, parallel over time (arXiv 2410.01201)."""

from ramgru.gru import mingru
from ramgru.lab.peers.recurrent import Recurrent


class MinGRU(Recurrent):
    """z = sigmoid(W_z x), n = W_n x;  h <- (1 - z) h + z n"""

    controller = "mingru"
    control = staticmethod(mingru)
