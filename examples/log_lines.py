"""The next word of a package manager's log, where names and versions come again line after line.

The logs are invented as they are needed, in the form of Debian's /var/log/dpkg.log: packages are
installed or upgraded in an interleaved order, and every line tells a name and its version. Both are
numbers that are dealt anew for every log, so a version can only be known from an earlier line about
the same package. Trained on logs of 8 packages, asked about 8 and 96, and about the computer's
own log if it has one.

    python examples/log_lines.py                # train, then the share of right words by kind
    python examples/log_lines.py --layer gru    # the same with nn.GRU, or lstm
"""

from __future__ import annotations

import random
from pathlib import Path

import torch
from torch import Tensor, nn
from training import command, fit, recurrent

from ramgru import Memory

COMMANDS = ("install", "upgrade", "configure", "trigproc", "status")
STATES = ("half-installed", "unpacked", "half-configured", "installed")
TRIGGERS = ("triggers-pending", "triggers-awaited")
WORDS = ("end", "<none>", *COMMANDS, *STATES, *TRIGGERS)
NAMES, VERSIONS = 200, 400  # in the vocabulary; a log draws some of them
VOCABULARY = len(WORDS) + NAMES + VERSIONS
FIRST_VERSION = len(WORDS) + NAMES
RATE, STEPS, BATCH, TEST = 3e-2, 300, 4, 8
SMALL, LARGE = 8, 96  # packages of a log
REAL, PIECE = Path("/var/log/dpkg.log"), 2000  # words of it that are read at once
MEMORY = Memory(heads="key key:2 key:3", cells=4096)
CHANCE = {"version": 1 / VERSIONS, "version, 96 packages": 1 / VERSIONS, "other words": 1 / NAMES}


def package(draw: random.Random) -> list[str]:
    """The lines about one package in their order; name, old and new stand for what is dealt."""
    lines = ["install name <none> new", "status half-installed name new"]
    if draw.random() < 0.2:
        lines = ["upgrade name old new"]
        lines += [f"status {state} name old" for state in ("half-configured", *STATES[1::-1])]
    lines += ["status unpacked name new", "configure name new <none>"]
    lines += [f"status {state} name new" for state in STATES[1:]]
    if draw.random() < 0.2:
        lines += ["status triggers-pending name new", "trigproc name new <none>"]
        lines += [f"status {state} name new" for state in STATES[2:]]
    return lines


def invented(draw: random.Random, packages: int) -> list[list[str]]:
    """The lines of a log, word by word; those of several packages are interleaved."""
    waiting = [
        [
            line.replace("name", f"name{n}")
            .replace("new", f"{n}.1")
            .replace("old", f"{n}.0")
            .split()
            for line in package(draw)
        ][::-1]
        for n in range(packages)
    ]
    active, lines = list[list[list[str]]](), list[list[str]]()
    while waiting or active:
        if waiting and (not active or draw.random() < 0.25):
            active.append(waiting.pop())
        lines.append(draw.choice(active).pop())
        active = [each for each in active if each]
    return lines


def numbered(draw: random.Random, lines: list[list[str]]) -> tuple[list[int], list[bool]]:
    """-> the words of a log, by number, and which of them are versions that were told before."""
    dealt = {word: number for number, word in enumerate(WORDS)}
    names = draw.sample(range(len(WORDS), FIRST_VERSION), NAMES)
    versions = draw.sample(range(FIRST_VERSION, VOCABULARY), VERSIONS)
    words, known, told = [dealt["end"]], [False], set[tuple[str, str]]()
    for line in lines:
        name = 2 if line[0] == "status" else 1
        for place, word in enumerate((*line, "end")):
            known.append((line[name], word) in told)
            if word not in dealt:
                dealt[word] = (names if place == name else versions).pop()
            words.append(dealt[word])
        told |= {(line[name], word) for word in line[name + 1 :] if word not in WORDS}
    return words, known


def log(draw: random.Random, packages: int) -> tuple[list[int], list[bool]]:
    """-> the words of an invented log, and which of them are versions that were told before."""
    return numbered(draw, invented(draw, packages))


def real_log(draw: random.Random) -> list[tuple[list[int], list[bool]]]:
    """The same of the computer's own log, in pieces that each deal their names and versions."""
    if not REAL.exists():
        return []
    lines = [line.split()[2:] for line in REAL.read_text(encoding="utf-8").splitlines()]
    pieces, piece = list[list[list[str]]](), list[list[str]]()
    for line in lines:
        if line and line[0] in COMMANDS:
            piece.append(line)
        if sum(len(each) + 1 for each in piece) >= PIECE:
            pieces.append(piece)
            piece = []
    return [numbered(draw, piece) for piece in pieces]


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
    right_of_real = [
        (next_words(model, torch.tensor([words])).argmax(-1) == torch.tensor([words[1:]]))[
            torch.tensor([known[1:]])
        ]
        for words, known in real_log(draw)
    ]
    if right_of_real:
        found["version, a real log"] = torch.cat(right_of_real).float().mean().item()
    return found


def learn(
    model: nn.ModuleDict,
    draw: random.Random,
    rate: float,
    steps: int,
    seconds: float | None = None,
) -> dict[str, float]:
    """Train on invented logs of few packages -> what it cost."""

    def loss() -> Tensor:
        return loss_of(model, batch_of_logs(draw, BATCH, SMALL)[0])

    return fit(model, loss, rate, steps, seconds, draw=draw)


def run(
    layer: str, rate: float = RATE, seed: int = 0, seconds: float | None = None
) -> dict[str, float]:
    """Train and test."""
    torch.manual_seed(seed)
    draw, model = random.Random(seed), network(layer)
    return {**learn(model, draw, rate, STEPS, seconds), **scores(model, seed)}


if __name__ == "__main__":
    command(__doc__, run, RATE)
