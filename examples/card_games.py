"""Four card games of POPGym (Morad et al., ICLR 2023), learned from examples instead of rewards.

    repeat_first   the suit of the first of 416 cards, asked at every step
    count_recall   how many cards of a suit came so far; a suit is asked at each of 104 cards
    autoencode     104 cards are shown, then their suits are asked in reverse order
    concentration  a card of 52 face-down ones is turned up and down again, 104 times: where was
                   another card of this rank seen last?

The first three are the Medium games; the fourth is the look-up that ConcentrationHard needs, with
cards turned at random. The score is from -1, all answers wrong, to 1. Most episodes that train
autoencode have at most 23 cards; those of the test have all.

    python examples/card_games.py --game autoencode               # train and test
    python examples/card_games.py --game autoencode --layer gru   # the same with nn.GRU, or lstm
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from training import command, fit, recurrent

from ramgru import Memory

SUITS, RANKS, DECK = 4, 13, 52
RATE, STEPS, BATCH, TEST = 1e-2, 800, 16, 64
SHORT, WHOLE = 23, 0.3  # cards of a short episode, and the share of episodes that may be longer
WIDTH = 32
MEMORY = Memory(heads="learned learned tape tape", cells=256)

# What the player sees, (B, T, fields), and the right answers (B, T), -1 where none is asked.
Episodes = tuple[Tensor, Tensor]


def shuffled(draw: torch.Generator, batch: int, cards: int, kinds: int) -> Tensor:
    """-> (B, cards), the suits or ranks of shuffled cards."""
    return torch.rand(batch, cards, generator=draw).argsort(dim=1) % kinds


def repeat_first(draw: torch.Generator, batch: int, cards: int) -> Episodes:
    suits = shuffled(draw, batch, cards, SUITS)
    return suits.unsqueeze(2), suits[:, :1].expand_as(suits)


def count_recall(draw: torch.Generator, batch: int, cards: int) -> Episodes:
    suits, asked = (shuffled(draw, batch, cards, SUITS) for _ in range(2))
    counts = nn.functional.one_hot(suits, SUITS).cumsum(dim=1)
    answers = counts.gather(2, asked.unsqueeze(2)).squeeze(2)
    return torch.stack([suits, SUITS + asked], dim=2), answers


def autoencode(draw: torch.Generator, batch: int, cards: int) -> Episodes:
    suits = shuffled(draw, batch, cards, SUITS)
    shown = torch.cat([suits, torch.full_like(suits, SUITS)], dim=1)
    return shown.unsqueeze(2), torch.cat([torch.full_like(suits, -1), suits.flip(1)], dim=1)


def concentration(draw: torch.Generator, batch: int, cards: int) -> Episodes:
    ranks = shuffled(draw, batch, DECK, RANKS)
    places = torch.randint(DECK, (batch, cards), generator=draw)
    turned = ranks.gather(1, places)
    answers = torch.full_like(places, -1)
    last, everyone = torch.full((batch, RANKS), -1), torch.arange(batch)
    for step, (place, rank) in enumerate(zip(places.T, turned.T)):
        before = last[everyone, rank]
        answers[:, step] = torch.where(before == place, -1, before)
        last[everyone, rank] = place
    return torch.stack([places, DECK + turned], dim=2), answers


class Game(NamedTuple):
    """fields, answers: how many different ones there are; steps: of training."""

    episodes: Callable[[torch.Generator, int, int], Episodes]
    fields: int
    answers: int
    steps: int
    cards: int = 2 * DECK
    fewest: int = 2 * DECK  # cards of an episode that trains


GAMES = {
    "repeat_first": Game(repeat_first, SUITS, SUITS, 100, 8 * DECK, 8 * DECK),
    "count_recall": Game(count_recall, 2 * SUITS, 2 * DECK // SUITS + 1, 250),
    "autoencode": Game(autoencode, SUITS + 1, SUITS, 800, fewest=2),
    "concentration": Game(concentration, DECK + RANKS, DECK, 250),
}


def run(
    layer: str,
    rate: float = RATE,
    seed: int = 0,
    seconds: float | None = None,
    game: str = "repeat_first",
) -> dict[str, float]:
    """Train and test."""
    torch.manual_seed(seed)
    draw = torch.Generator().manual_seed(seed)
    rules = GAMES[game]
    rnn = recurrent(layer, WIDTH, WIDTH, MEMORY, outputs=rules.answers)
    modules = {"embedding": nn.EmbeddingBag(rules.fields, WIDTH, mode="sum"), "rnn": rnn}
    model = nn.ModuleDict({**modules, "head": nn.Linear(rnn.hidden_size, rules.answers)})

    def answers(shown: Tensor) -> Tensor:
        """(B, T, fields) -> logits (B, T, answers)"""
        x = model["embedding"](shown.flatten(0, 1)).unflatten(0, shown.shape[:2])
        return model["head"](model["rnn"](x)[0])

    def loss_of(shown: Tensor, right: Tensor) -> Tensor:
        return nn.functional.cross_entropy(
            answers(shown).flatten(0, 1), right.flatten(), ignore_index=-1
        )

    def loss() -> Tensor:
        may_be_long = torch.rand(1, generator=draw) < WHOLE
        most = rules.cards if may_be_long else max(rules.fewest, SHORT)
        cards = int(torch.randint(rules.fewest, most + 1, (1,), generator=draw))
        return loss_of(*rules.episodes(draw, BATCH, cards))

    cost = fit(model, loss, rate, min(rules.steps, STEPS), seconds, draw=draw)
    draw.manual_seed(10**6 + seed)  # episodes that training never drew
    shown, right = rules.episodes(draw, TEST, rules.cards)
    with torch.no_grad():
        share = (answers(shown).argmax(-1) == right)[right >= 0].float().mean().item()
        held_out = loss_of(shown, right).item()
    return {**cost, "loss": held_out, "right": share, "score": 2 * share - 1}


if __name__ == "__main__":
    command(__doc__, run, RATE, game=GAMES)
