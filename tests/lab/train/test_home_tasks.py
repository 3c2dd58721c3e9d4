"""The strong peers reach what they are known for: recall of every pair, where an nn.GRU guesses."""

from __future__ import annotations

import pytest

from ramgru.lab import tasks
from ramgru.lab.train import ModelConfig, TrainConfig, train


@pytest.mark.parametrize(("layer", "steps"), [("attention", 150), ("gated_deltanet", 400)])
def test_peer_recalls(layer, steps, tmp_path) -> None:
    """Multi-query associative recall (arXiv 2312.04927), two blocks of 64 channels."""
    config = TrainConfig(
        task=tasks.get("mqar", vocab_size=64, pairs=4, length=32),
        model=ModelConfig(layer=layer, d_model=64, num_layers=2),
        lr=1e-2,
        batch_size=32,
        steps=steps,
        steps_per_epoch=50,
        target=0.98,
        curriculum=False,
        device="cpu",
        out=tmp_path / "run",
    )
    outcome = train(config, quiet=True)
    assert outcome.reason == "target", f"recall {outcome.score} after {outcome.step} steps"
