"""RepeatPrevious of POPGym (Morad et al., ICLR 2023), learned from examples instead of rewards.

Cards are drawn one by one from shuffled decks; at every step the answer is the suit of the card
that was drawn k cards ago: 32 in the Medium task, with two decks, and 64 in the Hard one, with
three. A lag head learns k. The score is POPGym's: from -1, all answers wrong, to 1; guessing
reaches -.5.

    python examples/repeat_previous.py                # train and test on Hard
    python examples/repeat_previous.py --layer gru    # the same with nn.GRU, or lstm
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn
from training import command, fit, recurrent

from ramgru import Memory

MEDIUM, HARD = (2, 32), (3, 64)  # decks, k
SUITS, RATE, STEPS, BATCH, TEST = 4, 1e-2, 200, 16, 64
LAYERS = 2
MEMORY = Memory(heads="lag lag", cells=256)
CHANCE = {"right": 0.25, "score": -0.5}


def episodes(draw: torch.Generator, batch: int, task: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """-> suits (B, T) of the cards, and the answers (B, T), -1 before there is one."""
    decks, k = task
    order = torch.rand(batch, 52 * decks, generator=draw).argsort(dim=1)
    suits = order % SUITS
    return suits, nn.functional.pad(suits[:, :-k], (k, 0), value=-1)


def run(
    layer: str,
    rate: float = RATE,
    seed: int = 0,
    seconds: float | None = None,
    task: tuple[int, int] = HARD,
) -> dict[str, float]:
    """Train and test."""
    torch.manual_seed(seed)
    draw = torch.Generator().manual_seed(seed)
    rnn = recurrent(layer, 32, 32, MEMORY, outputs=SUITS, num_layers=LAYERS)
    modules = {"embedding": nn.Embedding(SUITS, 32), "rnn": rnn}
    model = nn.ModuleDict({**modules, "head": nn.Linear(rnn.hidden_size, SUITS)})

    def answers(suits: Tensor) -> Tensor:
        """(B, T) -> logits (B, T, SUITS)"""
        return model["head"](model["rnn"](model["embedding"](suits))[0])

    def loss(batch: int = BATCH) -> Tensor:
        suits, wanted = episodes(draw, batch, task)
        return nn.functional.cross_entropy(
            answers(suits).flatten(0, 1), wanted.flatten(), ignore_index=-1
        )

    cost = fit(model, loss, rate, STEPS, seconds, draw=draw)
    draw.manual_seed(10**6 + seed)  # episodes that training never drew
    suits, wanted = episodes(draw, TEST, task)
    with torch.no_grad():
        right = (answers(suits).argmax(-1) == wanted)[wanted >= 0].float().mean()
        held_out = loss(TEST)
    return {**cost, "loss": held_out.item(), "right": right.item(), "score": 2 * right.item() - 1}


medium = partial(run, task=MEDIUM)

if __name__ == "__main__":
    command(__doc__, run, RATE)
