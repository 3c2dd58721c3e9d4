"""The next word of a package manager's log, where names and versions come again line after line.

The logs are invented as they are needed: packages are installed or upgraded in an interleaved
order, and every line tells a name and its version, which is drawn anew for every log. A version can
only be known from an earlier line about the same package. Trained on logs of 12 packages, asked
about 12 and 96.

    python examples/log_lines.py                # train, then the share of right words by kind
    python examples/log_lines.py --layer gru    # the same with nn.GRU, or lstm
"""

from __future__ import annotations

import random

import torch
from torch import Tensor, nn
from training import command, fit, recurrent

from ramgru import Memory

STATES = ("half-installed", "unpacked", "half-configured", "installed")
WORDS = ("end", "install", "upgrade", "configure", "trigproc", "status", *STATES)
NAMES, VERSIONS = 200, 400  # in the vocabulary; a log draws some of them
VOCABULARY = len(WORDS) + NAMES + VERSIONS
FIRST_VERSION = len(WORDS) + NAMES
RATE, STEPS, BATCH, TEST = 1e-2, 400, 8, 16
SMALL, LARGE = 12, 96  # packages of a log
MEMORY = Memory(heads="key key:2 key:3", cells=4096)
CHANCE = {"version": 1 / VERSIONS, "version, 96 packages": 1 / VERSIONS, "other words": 1 / NAMES}


def log(draw: random.Random, packages: int) -> tuple[list[int], list[bool]]:
    """-> the words of a log, by number, and which of them are versions that were told before."""
    word = {name: n for n, name in enumerate(WORDS)}
    names = draw.sample(range(len(WORDS), FIRST_VERSION), packages)
    versions = draw.sample(range(FIRST_VERSION, VOCABULARY), 2 * packages)
    words, known, told = [word["end"]], [False], set[int]()

    def line(*parts: int) -> None:
        for part in (*parts, word["end"]):
            words.append(part)
            known.append(part in told)
        told.update(part for part in parts if part >= FIRST_VERSION)

    # The steps that each package goes through; those of several packages are interleaved.
    running: list[list[tuple[int, ...]]] = []
    for name, new, old in zip(names, versions[:packages], versions[packages:]):
        upgraded = draw.random() < 0.4
        first = (word["upgrade"], name, old, new) if upgraded else (word["install"], name, new)
        steps = [first, *((word["status"], word[state], name, new) for state in STATES)]
        steps.insert(3, (word["configure"], name, new))
        if draw.random() < 0.3:
            steps.append((word["trigproc"], name, new))
        running.append(steps[::-1])
    waiting, active = running[::-1], list[list[tuple[int, ...]]]()
    while waiting or active:
        if waiting and (not active or draw.random() < 0.25):
            active.append(waiting.pop())
        steps = draw.choice(active)
        line(*steps.pop())
        active = [each for each in active if each]
    return words, known


def batch_of_logs(draw: random.Random, batch: int, packages: int) -> tuple[Tensor, Tensor]:
    """-> words (B, T), cut to the shortest log, and which are versions told before (B, T)."""
    logs = [log(draw, packages) for _ in range(batch)]
    length = min(len(words) for words, _ in logs)
    words, known = zip(*((words[:length], known[:length]) for words, known in logs))
    return torch.tensor(words), torch.tensor(known)


def network(layer: str, width: int = 64) -> nn.ModuleDict:
    """Embedding, one recurrent layer, and a linear layer onto the vocabulary."""
    rnn = recurrent(layer, width, width, MEMORY, outputs=VOCABULARY)
    return with_embedding(rnn, width)


def with_embedding(rnn: nn.Module, width: int) -> nn.ModuleDict:
    """rnn: takes vectors of this width"""
    hidden: int = rnn.hidden_size  # type: ignore[assignment]
    modules = {"embedding": nn.Embedding(VOCABULARY, width), "rnn": rnn}
    return nn.ModuleDict({**modules, "head": nn.Linear(hidden, VOCABULARY)})


def next_words(model: nn.ModuleDict, words: Tensor) -> Tensor:
    """(B, T) -> logits (B, T - 1, V) of the words from the second on"""
    return model["head"](model["rnn"](model["embedding"](words[:, :-1]))[0])


def loss_of(model: nn.ModuleDict, words: Tensor) -> Tensor:
    return nn.functional.cross_entropy(
        next_words(model, words).flatten(0, 1), words[:, 1:].flatten()
    )


@torch.no_grad()
def scores(model: nn.ModuleDict, seed: int) -> dict[str, float]:
    """Shares of right words in logs that training never drew."""
    draw, found = random.Random(10**6 + seed), {}
    for packages, name in ((SMALL, "version"), (LARGE, "version, 96 packages")):
        words, known = batch_of_logs(draw, TEST, packages)
        right = next_words(model, words).argmax(-1) == words[:, 1:]
        known = known[:, 1:]
        found[name] = right[known].float().mean().item()
        if packages == SMALL:
            found["loss"] = loss_of(model, words).item()
            found["other words"] = right[words[:, 1:] < FIRST_VERSION].float().mean().item()
    return found


def run(
    layer: str, rate: float = RATE, seed: int = 0, seconds: float | None = None
) -> dict[str, float]:
    """Train and test."""
    torch.manual_seed(seed)
    draw, model = random.Random(seed), network(layer)
    cost = fit(
        model,
        lambda: loss_of(model, batch_of_logs(draw, BATCH, SMALL)[0]),
        rate,
        STEPS,
        seconds,
    )
    return {**cost, **scores(model, seed)}


if __name__ == "__main__":
    command(__doc__, run, RATE)
