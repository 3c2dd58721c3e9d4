"""A module with the layer and huggingface_hub's `PyTorchModelHubMixin`: no adapter is needed."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

pytest.importorskip("huggingface_hub")
pytestmark = [pytest.mark.integrations, pytest.mark.filterwarnings("ignore")]

from huggingface_hub import PyTorchModelHubMixin  # noqa: E402

from ramgru import RAMGRU, Memory  # noqa: E402


class Tagger(nn.Module, PyTorchModelHubMixin):
    def __init__(self, width: int = 8, **memory: Any) -> None:
        super().__init__()
        self.rnn = RAMGRU(3, width, batch_first=True, memory=Memory(**memory))
        self.head = nn.Linear(width, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.rnn(x)[0])


def test_saved_and_loaded_with_its_memory(tmp_path):
    model = Tagger(width=12, cells=64, heads="key:2 lag")
    model.save_pretrained(tmp_path)
    loaded = Tagger.from_pretrained(str(tmp_path))
    assert loaded.rnn.memory == model.rnn.memory
    x = torch.randn(2, 5, 3)
    assert torch.equal(loaded(x), model(x))
