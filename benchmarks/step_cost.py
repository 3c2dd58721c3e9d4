"""What one streamed step of a layer costs: multiplications, and bytes of state that it touches.

Counted is what the streaming kernels multiply for one token of one sequence. Left out is what is
equal in both layers (embedding, head, the norms and sums around a layer), what depends on weights
alone (the lengths of codes), and what a gate or norm does to each channel.

C = d_model, H heads. RAM-GRU with a minGRU, U codebooks of n_u codes of width A, K cells of width
D:

    weights      C (2C + C + H D + H) + H D C     controller, output gate, candidate, gate; read-out
    addresses    H (C U A + A Σ n_u), twice where a head writes at an offset: for the key of this
                 step, and once more for the one before
    state        3 H K D                          (1 - g) M + g c of K cells, and K cells read

Gated DeltaNet, keys of width P and values of width E:

    weights      C H (2P + E) + 2 C H + 2 C H E   q, k, v; decay and rate; output gate and read-out
    convolution  4 H (2P + E)
    state        4 H P E                          decay, k^T S, k u^T, S^T q
"""

from __future__ import annotations

from ramgru import RAMGRU
from ramgru.lab.compare.levers.cost import cells_written
from ramgru.lab.peers import GatedDeltaNet
from ramgru.lab.peers.short_convolution import WIDTH
from ramgru.lab.tasks.base import Batch
from ramgru.sequence import SequenceModel

FLOAT = 4  # bytes


def multiplications(layer: RAMGRU | GatedDeltaNet) -> dict[str, int]:
    """Multiplications of one streamed step, by what they are for (see above)."""
    return _ram(layer) if isinstance(layer, RAMGRU) else _deltanet(layer)


def model_multiplications(model: SequenceModel) -> int:
    """Those of all layers of a model together."""
    return sum(sum(multiplications(layer).values()) for layer in model.layers)


def touched_bytes(model: SequenceModel) -> int:
    """Bytes of state that one step reads or changes: of a RAM-GRU 2K cells a head and the rest,
    of a Gated DeltaNet all."""
    floats = model.state_size
    for layer in model.layers:
        if isinstance(layer, RAMGRU):
            reached = min(2 * layer.top_k, layer.memory_size)
            floats -= layer.num_heads * layer.head_size * (layer.memory_size - reached)
    return FLOAT * floats


def written_bytes(model: SequenceModel, batch: Batch) -> int:
    """Bytes of state that is in use after a sequence: a RAM-GRU does not store fresh cells."""
    ours = [layer for layer in model.layers if isinstance(layer, RAMGRU)]
    if not ours:
        return FLOAT * model.state_size
    cells = sum(layer.num_heads * layer.memory_size for layer in ours)
    return FLOAT * (model.state_size - ours[0].head_size * (cells - cells_written(model, batch)))


def _ram(layer: RAMGRU) -> dict[str, int]:
    if layer.controller != "mingru" or layer.num_layers > 1 or layer.bidirectional:
        raise ValueError(f"layer: expected one direction of one minGRU layer, got {layer}")
    (memory,) = layer.memories
    address, C = memory.address, layer.hidden_size
    H, D = memory.num_heads, memory.head_size
    key = len(address.sizes) * address.width * C + address.width * sum(address.sizes)
    return {
        "weights": C * (2 * C + C + H * D + H) + H * D * C,
        "addresses": sum(key * (2 if offset else 1) for offset in address.offsets),
        "state": 3 * H * memory.top_k * D,
    }


def _deltanet(layer: GatedDeltaNet) -> dict[str, int]:
    C, H, P, E = layer.project.out_features, layer.heads, layer.key_size, layer.value_size
    return {
        "weights": C * sum(layer.widths) + 2 * C * H + 2 * C * H * E,
        "convolution": WIDTH * sum(layer.widths),
        "state": 4 * H * P * E,
    }
