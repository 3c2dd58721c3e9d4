"""Sequence models: embedding, pre-norm residual blocks around any recurrent layer, tied head.

B sequences, T steps, C channels (d_model), V tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ramgru.kernels.dispatch import is_eager
from ramgru.kernels.projection import Projection, projection

State = list[Any]  # one entry a block, of the kind that its layer carries


class GatedMLP(nn.Module):
    """SwiGLU (arXiv 2002.05202): (SiLU(x W_gate) * x W_up) W_down."""

    def __init__(self, d_model: int, hidden: int) -> None:
        super().__init__()
        self.up = Projection(d_model, 2 * hidden, bias=False)
        self.down = Projection(hidden, d_model, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        gate, value = self.up(x).chunk(2, dim=-1)
        return self.down(nn.functional.silu(gate) * value)


class Block(nn.Module):
    """x + layer(norm(x)), then x + mlp(norm(x)) if there is an MLP."""

    layer: Any

    def __init__(self, layer: nn.Module, d_model: int, mlp_ratio: float, dropout: float) -> None:
        super().__init__()
        self.norm = nn.RMSNorm(d_model)
        self.layer = layer
        hidden = int(mlp_ratio * d_model)
        self.mlp_norm = nn.RMSNorm(d_model) if hidden else None
        self.mlp = GatedMLP(d_model, hidden) if hidden else None
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, state: Any, **ragged: Any) -> tuple[Tensor, Any]:
        y, state = self.layer(self.norm(x), state, **ragged)
        return self._mix(x, y), state

    def step(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        """x (B, C) -> (B, C); see `SequenceModel.step`."""
        if hasattr(self.layer, "step_"):
            y, state = self.layer.step_(self.norm(x), state)
        else:
            y, state = self.layer(self.norm(x).unsqueeze(1), state)
            y = y.squeeze(1)
        return self._mix(x, y), state

    def _mix(self, x: Tensor, y: Tensor) -> Tensor:
        """The residual sums around a layer's output y."""
        x = x + self.dropout(y)
        if self.mlp is not None and self.mlp_norm is not None:
            x = x + self.dropout(self.mlp(self.mlp_norm(x)))
        return x


class SequenceModel(nn.Module):
    """A stack of residual blocks over tokens (`vocab_size`) or over features (`features`).

    layer(d_model) builds one recurrent layer with `forward(x, state, *, lengths, reset)
    -> (y, state)`, x and y (B, T, C), where a state of None is a fresh one; `initial_state(
    batch_size)` and `state_size`; where the state grows, `state_growth`; and, where one step can be
    cheaper than a sequence of one, `step_(x, state)`, x and y (B, C), which uses the state up.
    """

    blocks: Any  # an nn.ModuleList of `Block`

    def __init__(
        self,
        layer: Callable[[int], nn.Module],
        d_model: int,
        num_layers: int,
        *,
        vocab_size: int = 0,
        features: int = 0,
        outputs: int = 0,
        mlp_ratio: float = 0.0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if (vocab_size > 0) == (features > 0):
            raise ValueError(
                "give exactly one of vocab_size and features, "
                f"got vocab_size={vocab_size}, features={features}"
            )
        if num_layers < 1:
            raise ValueError(f"num_layers: expected at least 1, got {num_layers}")
        if features and outputs < 1:
            raise ValueError(f"outputs: expected at least 1 with features, got {outputs}")
        if mlp_ratio < 0:
            raise ValueError(f"mlp_ratio: expected 0 or more, got {mlp_ratio}")
        self.vocab_size, self.features = vocab_size, features
        self.embedding = (
            nn.Embedding(vocab_size, d_model) if vocab_size else Projection(features, d_model)
        )
        self.blocks = nn.ModuleList(
            Block(layer(d_model), d_model, mlp_ratio, dropout) for _ in range(num_layers)
        )
        self.norm = nn.RMSNorm(d_model)
        self.readout = None if vocab_size else Projection(d_model, outputs)
        if vocab_size:
            nn.init.normal_(self.embedding.weight, std=d_model**-0.5)

    @property
    def layers(self) -> list[Any]:
        """The recurrent layer of each block."""
        return [block.layer for block in self.blocks]

    @property
    def state_size(self) -> int:
        """Numbers that one sequence carries from step to step, summed over the blocks.

        If the state grows (a cache of keys and values), its size before the first step: after T
        steps it is state_size + T * state_growth.
        """
        return sum(layer.state_size for layer in self.layers)

    @property
    def state_growth(self) -> int:
        """Numbers that each step adds to the state of one sequence; 0 for recurrent layers."""
        return sum(getattr(layer, "state_growth", 0) for layer in self.layers)

    def initial_state(self, batch_size: int) -> State:
        return [layer.initial_state(batch_size) for layer in self.layers]

    def hidden(
        self,
        src: Tensor,
        state: State | None = None,
        *,
        lengths: Tensor | None = None,
        reset: Tensor | None = None,
        carry: bool = True,
    ) -> tuple[Tensor, State]:
        """src (B, T) or (B, T, F) -> the last hidden layer (B, T, C), and the state after it.

        `head` turns hidden vectors into logits, of all positions or of some.
        carry: whether the stream goes on; if not, no final memory is assembled, and the state that
        comes back must not be used.
        """
        self._check_input(src)
        if state is None:
            state = self.initial_state(src.shape[0]) if carry else [None] * len(self.blocks)
        x = self.embedding(src)
        after: State = []
        for block, before in zip(self.blocks, state, strict=True):
            x, new = block(x, before, lengths=lengths, reset=reset)
            after.append(new)
        return self.norm(x), after

    def _check_input(self, src: Tensor) -> None:
        expected = "tokens (B, T)" if self.vocab_size else f"features (B, T, {self.features})"
        shape = tuple(src.shape)
        if len(shape) != 2 + bool(self.features) or (self.features and shape[2] != self.features):
            raise ValueError(f"src, tgt: expected {expected}, got shape {shape}")
        if self.vocab_size and (src.is_floating_point() or src.dtype == torch.bool):
            raise TypeError(f"src, tgt: expected {expected} of int64, got {src.dtype}")
        self._check_vocabulary("src, tgt", src)

    def _check_vocabulary(self, name: str, tokens: Tensor) -> None:
        """Whether all tokens are in the vocabulary, where their values can be read at no cost."""
        V = self.vocab_size
        if not (V and tokens.numel() and tokens.device.type == "cpu" and is_eager()):
            return
        low, high = map(int, tokens.aminmax())
        if low < 0 or high >= V:
            raise ValueError(
                f"{name}: expected tokens in [0, vocab_size = {V}), got {low if low < 0 else high}"
            )

    def step(self, token: Tensor, state: State) -> tuple[Tensor, State]:
        """One step of a stream: tokens (B,) or features (B, F) -> hidden (B, C), the next state.

        The state given must not be used again: layers may overwrite it in place.
        """
        self._check_vocabulary("token", token)
        x = self.embedding(token)
        after: State = []
        for block, before in zip(self.blocks, state, strict=True):
            x, new = block.step(x, before)
            after.append(new)
        return self.norm(x), after

    def head(self, hidden: Tensor) -> Tensor:
        """(..., C) -> logits (..., V), with the embedding's own weights; or (..., outputs)."""
        if self.readout is not None:
            return self.readout(hidden)
        return projection(hidden, self.embedding.weight)

    def forward(self, src: Tensor, tgt: Tensor | None = None, **ragged: Any) -> Tensor:
        """Logits of every position: (B, T, V); with tgt (B, S), of src and tgt together.

        tgt is the teacher-forced continuation of src: it starts from the state after src, as in an
        encoder-decoder that shares one recurrent state. -> (B, T + S, V)
        """
        hidden, state = self.hidden(src, carry=tgt is not None, **ragged)
        if tgt is not None:
            after, _ = self.hidden(tgt, state, carry=False)
            hidden = torch.cat([hidden, after], dim=1)
        return self.head(hidden)


def detach(state: Sequence[Any]) -> State:
    """The same state, cut from the graph that made it (for truncated backpropagation)."""
    return [entry.detach() for entry in state]
