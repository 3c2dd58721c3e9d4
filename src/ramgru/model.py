"""`RAMGRUModel`: the token model whose every block remembers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ramgru import generation, pretrained
from ramgru.layer import RAMGRU
from ramgru.sequence import SequenceModel


class RAMGRUModel(SequenceModel):
    """A token model whose every block is a `RAMGRU`: fixed state, random access.

    vocab_size   V, number of tokens
    d_model      C, width of embeddings and blocks
    nhead        memories side by side in each block
    memory_size  N, cells of each of them
    num_layers   number of blocks
    mlp_ratio    width of a gated MLP in each block, in units of d_model; 0 for none
    layer_options  any further option of `RAMGRU`: controller, top_k, write_rule, …

    >>> model = RAMGRUModel(vocab_size=100, d_model=32, nhead=2, memory_size=1024)
    >>> model(torch.randint(100, (3, 7)), tgt=torch.randint(100, (3, 4))).shape
    torch.Size([3, 11, 100])
    """

    def __init__(
        self,
        vocab_size: int,
        d_model: int,
        nhead: int,
        memory_size: int,
        num_layers: int = 2,
        *,
        features: int = 0,
        outputs: int = 0,
        mlp_ratio: float = 0.0,
        dropout: float = 0.0,
        **layer_options: Any,
    ) -> None:
        for name in ("device", "dtype", "batch_first", "bidirectional"):
            if name in layer_options:
                raise TypeError(
                    f"RAMGRUModel has no argument {name!r}: it is causal, batch first, "
                    "and moved with .to(device, dtype)"
                )
        self.config = {
            "vocab_size": vocab_size,
            "d_model": d_model,
            "nhead": nhead,
            "memory_size": memory_size,
            "num_layers": num_layers,
            "features": features,
            "outputs": outputs,
            "mlp_ratio": mlp_ratio,
            "dropout": dropout,
            **layer_options,
        }
        super().__init__(
            lambda width: RAMGRU(
                width,
                width,
                batch_first=True,
                memory_size=memory_size,
                num_heads=nhead,
                **layer_options,
            ),
            d_model,
            num_layers,
            vocab_size=vocab_size,
            features=features,
            outputs=outputs,
            mlp_ratio=mlp_ratio,
            dropout=dropout,
        )

    def generate(
        self,
        src: Tensor,
        max_new_tokens: int,
        *,
        temperature: float = 0.0,
        top_k: int | None = None,
        top_p: float | None = None,
        stop: int | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Continue src (B, T), token by token, with a state that does not grow -> (B, S) tokens.

        temperature  0 takes the likeliest token; otherwise logits are divided by it and drawn from
        top_k        draw from the top_k likeliest tokens only
        top_p        draw from the fewest likeliest tokens that together have this probability
        stop         a token after which a sequence only repeats it; ends early once all have
        """
        return generation.generate(
            self, src, max_new_tokens, temperature, top_k, top_p, stop, generator
        )

    def save_pretrained(self, folder: str | Path) -> Path:
        """Write config.json and model.safetensors into `folder`; each is whole or not there."""
        return pretrained.save(self, folder)

    @classmethod
    def from_pretrained(cls, folder: str | Path, device: str | torch.device = "cpu") -> RAMGRUModel:
        """The model that `save_pretrained` wrote. Nothing in the folder is executed.

        Raises CheckpointError: a file is missing, broken, or of another model.
        """
        model = pretrained.build(cls, folder)
        pretrained.load_weights(model, folder)
        return model.to(device)
