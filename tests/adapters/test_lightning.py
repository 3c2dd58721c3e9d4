"""The layer in Lightning needs no adapter; a stream's state is kept over batches."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

pytest.importorskip("lightning")
pytestmark = [pytest.mark.integrations, pytest.mark.filterwarnings("ignore")]

import lightning  # noqa: E402
from torch.utils.data import DataLoader, TensorDataset  # noqa: E402

from ramgru import RAMGRU, Memory, write_cost  # noqa: E402

MEMORY = Memory(cells=32, heads="key learned lag")


class Copy(lightning.LightningModule):
    """Says again what came two steps ago."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = RAMGRU(4, 16, batch_first=True, memory=MEMORY)
        self.head = nn.Linear(16, 4)

    def training_step(self, batch: list[Tensor], index: int) -> Tensor:
        (x,) = batch
        y = self.head(self.rnn(x)[0][:, 2:])
        loss = nn.functional.mse_loss(y, x[:, :-2])
        self.log("loss", loss)
        return loss + write_cost(self.rnn, 0.01)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=1e-2)


def trainer(folder, **options) -> lightning.Trainer:
    return lightning.Trainer(
        accelerator="cpu",
        default_root_dir=folder,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **options,
    )


def test_fit_checkpoint_resume(tmp_path):
    data = DataLoader(TensorDataset(torch.randn(64, 10, 4)), batch_size=16)
    model = Copy()
    before = trainer(tmp_path, max_epochs=3, enable_checkpointing=False)
    before.fit(model, data)
    first = float(before.callback_metrics["loss"])
    before.save_checkpoint(tmp_path / "model.ckpt")
    loaded = Copy.load_from_checkpoint(tmp_path / "model.ckpt", weights_only=True)
    x = torch.randn(2, 10, 4)
    assert torch.equal(loaded.rnn(x)[0], model.rnn(x)[0])
    after = trainer(tmp_path, max_epochs=12, enable_checkpointing=False)
    after.fit(model, data, ckpt_path=tmp_path / "model.ckpt", weights_only=True)
    assert float(after.callback_metrics["loss"]) < 0.9 * first
