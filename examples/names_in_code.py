"""The next name in Python code, where names come again that no other file has.

Python's own library is cut into tokens, file after file. Every name of a file is one of 512
numbers, dealt anew for each reading of the file, so that a network cannot know a name by heart: it
must remember what the file did with it. The score is the share of names that are guessed right
where the name was seen earlier in the file.

    python examples/names_in_code.py                # train, then the share of right names
    python examples/names_in_code.py --layer gru    # the same with nn.GRU, or lstm
"""

from __future__ import annotations

import collections
import functools
import io
import keyword
import random
import sysconfig
import tokenize
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from training import command, fit, recurrent

from ramgru import Memory

LENGTH, NAMES = 384, 512  # tokens of a file that are read, and numbers for its names
WIDTH = 64
RATE, STEPS, BATCH, TEST = 3e-2, 250, 4, 32
FILES, HELD_OUT = 160, 32  # files, and how many of them are for the test
MEMORY = Memory(heads="key key:2 key:3 key:4", cells=4096)


@functools.cache
def corpus() -> tuple[list[list[str]], list[str]]:
    """-> the tokens of each file, names as "=name", and all other kinds of token."""
    paths = sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py"))
    random.Random(0).shuffle(paths)
    files, others = [], collections.Counter[str]()
    for path in paths:
        if len(files) == FILES:
            break
        try:
            tokens = [*tokenize.generate_tokens(io.StringIO(path.read_text("utf-8")).readline)]
        except (UnicodeDecodeError, tokenize.TokenError, SyntaxError):
            continue
        texts = [text for token in tokens if (text := plain(token))]
        if len(texts) >= LENGTH + 1:
            files.append(texts)
            others.update(text for text in texts if text[0] != "=")
    return files, [text for text, _ in others.most_common()]


def plain(token: tokenize.TokenInfo) -> str:
    """A token as text: names behind "=", strings and numbers by kind alone, no comments."""
    if token.type == tokenize.NAME and not keyword.iskeyword(token.string):
        return f"={token.string}"
    if token.type in (tokenize.COMMENT, tokenize.NL, tokenize.ENCODING, tokenize.ENDMARKER):
        return ""
    if token.type in (tokenize.OP, tokenize.NAME):
        return f" {token.string}"
    return tokenize.tok_name[token.type]


def batch_of_files(
    draw: random.Random, files: list[list[str]], batch: int
) -> tuple[Tensor, Tensor]:
    """-> token numbers (B, LENGTH + 1), and which are names seen before (B, LENGTH)."""
    others = {text: NAMES + n for n, text in enumerate(corpus()[1])}
    tokens, known = [], []
    for texts in (draw.choice(files) for _ in range(batch)):
        start = draw.randrange(len(texts) - LENGTH)
        numbers, free = dict[str, int](), draw.sample(range(NAMES), NAMES)
        row, seen = [], []
        for text in texts[start : start + LENGTH + 1]:
            seen.append(text in numbers)
            if text[0] == "=" and text not in numbers:
                numbers[text] = free.pop()
            row.append(numbers[text] if text[0] == "=" else others[text])
        tokens.append(row)
        known.append(seen[1:])
    return torch.tensor(tokens), torch.tensor(known)


def run(
    layer: str, rate: float = RATE, seed: int = 0, seconds: float | None = None
) -> dict[str, float]:
    """Train and test."""
    torch.manual_seed(seed)
    draw, (files, others) = random.Random(seed), corpus()
    size = NAMES + len(others)
    rnn = recurrent(layer, WIDTH, WIDTH, MEMORY, outputs=WIDTH)
    modules = {"embedding": nn.Embedding(size, WIDTH), "rnn": rnn}
    model: Any = nn.ModuleDict({**modules, "head": nn.Linear(rnn.hidden_size, WIDTH)})

    def logits(tokens: Tensor) -> Tensor:
        """The next token is the one whose embedding is nearest."""
        guess = model["head"](model["rnn"](model["embedding"](tokens[:, :-1]))[0])
        return guess @ model["embedding"].weight.T / WIDTH**0.5

    def cost_of(tokens: Tensor) -> Tensor:
        return nn.functional.cross_entropy(logits(tokens).flatten(0, 1), tokens[:, 1:].flatten())

    cost = fit(
        model,
        lambda: cost_of(batch_of_files(draw, files[HELD_OUT:], BATCH)[0]),
        rate,
        STEPS,
        seconds,
        draw=draw,
    )
    tokens, known = batch_of_files(random.Random(10**6 + seed), files[:HELD_OUT], TEST)
    with torch.no_grad():
        right = logits(tokens).argmax(-1) == tokens[:, 1:]
        found = {
            "names seen before": right[known].float().mean().item(),
            "other tokens": right[tokens[:, 1:] >= NAMES].float().mean().item(),
            "the name before": repeated(tokens, known),
            "loss": cost_of(tokens).item(),
        }
    return {**cost, **found}


def repeated(tokens: Tensor, known: Tensor) -> float:
    """How often the last name comes again at once: the trivial guess."""
    right = 0
    for row, seen in zip(tokens.tolist(), known.tolist()):
        last = -1
        for token, before in zip(row[1:], seen):
            right += before and token == last
            last = token if token < NAMES else last
    return right / int(known.sum())


if __name__ == "__main__":
    command(__doc__, run, RATE)
