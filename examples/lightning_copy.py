"""Lightning: a module with the layer, as one writes it around nn.GRU. No adapter is needed."""

from __future__ import annotations

import lightning
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from ramgru import RAMGRU, Memory, write_cost

BACK, LENGTH, SYMBOLS = 12, 48, 8


class Echo(lightning.LightningModule):
    """Says at each step which symbol came BACK steps before."""

    def __init__(self) -> None:
        super().__init__()
        memory = Memory(cells=64, heads="lag:32 lag:32")
        self.rnn = RAMGRU(SYMBOLS, 32, batch_first=True, memory=memory)
        self.head = nn.Linear(32, SYMBOLS)

    def share(self, symbols: Tensor) -> tuple[Tensor, Tensor]:
        x = nn.functional.one_hot(symbols, SYMBOLS).float()
        logits = self.head(self.rnn(x)[0])[:, BACK:].flatten(0, 1)
        answers = symbols[:, :-BACK].flatten()
        right = (logits.argmax(-1) == answers).float().mean()
        return nn.functional.cross_entropy(logits, answers), right

    def training_step(self, batch: list[Tensor], index: int) -> Tensor:
        loss, _ = self.share(batch[0])
        return loss + write_cost(self.rnn, 0.01)

    def test_step(self, batch: list[Tensor], index: int) -> None:
        self.log("right", self.share(batch[0])[1])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=1e-2)


def main(steps: int = 150) -> float:
    """Train and test; -> the share of right answers."""
    lightning.seed_everything(0, verbose=False)
    data = TensorDataset(torch.randint(SYMBOLS, (32 * steps + 512, LENGTH)))
    train, test = torch.utils.data.random_split(data, [32 * steps, 512])
    trainer = lightning.Trainer(
        max_epochs=1,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    model = Echo()
    trainer.fit(model, DataLoader(train, batch_size=32))
    (found,) = trainer.test(model, DataLoader(test, batch_size=64), verbose=False)
    print(f"{found['right']:.0%} right, {BACK} steps later (a guess: {1 / SYMBOLS:.0%})")
    return float(found["right"])


if __name__ == "__main__":
    main()
