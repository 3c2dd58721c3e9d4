"""huggingface_hub: `PyTorchModelHubMixin` saves a module with the layer and the layer's memory.

Without a network: `push_to_hub` uploads the same folder.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import PyTorchModelHubMixin
from torch import Tensor, nn

from ramgru import RAMGRU, Memory


class Tagger(nn.Module, PyTorchModelHubMixin):
    """A label for each step."""

    def __init__(self, width: int = 16, **memory: Any) -> None:
        super().__init__()
        self.rnn = RAMGRU(3, width, batch_first=True, memory=Memory(**memory))
        self.head = nn.Linear(width, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.rnn(x)[0])


def main(steps: int = 0) -> float:
    """Save and load; -> 1 if both modules tell the same."""
    model = Tagger(cells=256, heads="key:2 learned")
    x = torch.randn(2, 5, 3)
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        print((Path(folder) / "config.json").read_text(encoding="utf-8"))
        loaded = Tagger.from_pretrained(folder)
    same = torch.equal(model(x), loaded(x))
    print(f"the loaded module tells the same: {same}")
    return float(same)


if __name__ == "__main__":
    main()
