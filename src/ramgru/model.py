"""`RAMGRUModel`: the token model with a random-access memory in every block."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from ramgru import generation, pretrained
from ramgru.arguments import check_memory
from ramgru.config import Memory
from ramgru.layer import RAMGRU
from ramgru.sequence import SequenceModel


class RAMGRUModel(SequenceModel):
    """A token model with a `RAMGRU` in every block: a fixed state with random access.

    vocab_size   V, number of tokens; 0 with `features`
    d_model      C, width of embeddings and blocks
    nhead        heads of each memory; the heads of `memory` are repeated over them
    memory_size  N, cells of each head
    num_layers   number of blocks
    memory       all other options of the memories
    controller, checkpoint_every   as in `RAMGRU`
    features, outputs   width of feature vectors in place of tokens, and of the outputs then
    mlp_ratio    width of a gated MLP in each block, in units of d_model; 0 for none
    dropout      probability that a channel is zeroed after each layer while training

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
        memory: Memory = Memory(),  # noqa: B008 - frozen
        controller: str = "gru",
        checkpoint_every: int | None = None,
        features: int = 0,
        outputs: int = 0,
        mlp_ratio: float = 0.0,
        dropout: float = 0.0,
    ) -> None:
        check_memory(memory)
        memory = replace(memory.dealt(nhead), cells=memory_size)
        self.config = {
            "vocab_size": vocab_size,
            "d_model": d_model,
            "nhead": nhead,
            "memory_size": memory.cells,
            "num_layers": num_layers,
            "memory": memory.to_dict(),
            "controller": controller,
            "checkpoint_every": checkpoint_every,
            "features": features,
            "outputs": outputs,
            "mlp_ratio": mlp_ratio,
            "dropout": dropout,
        }
        super().__init__(
            lambda width: RAMGRU(
                width,
                width,
                batch_first=True,
                memory=memory,
                controller=controller,
                checkpoint_every=checkpoint_every,
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
