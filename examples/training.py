"""What the programs in this folder share: layers to compare, a training loop, a command line."""

from __future__ import annotations

import argparse
import itertools
import sys
import sysconfig
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from resume import place, resumable
from torch import Tensor, nn

from ramgru import RAMGRU, Memory

LAYERS = ("ramgru", "gru", "lstm")
TORCH = {"gru": nn.GRU, "lstm": nn.LSTM}

Run = Callable[..., dict[str, float]]


def recurrent(
    layer: str, inputs: int, width: int, memory: Memory, *, outputs: int, **options: Any
) -> Any:
    """A RAMGRU of this width, or nn.GRU or nn.LSTM with about as many trained parameters, a linear
    layer behind it to so many outputs included."""
    ours = RAMGRU(inputs, width, batch_first=True, memory=memory, **options)
    if layer == "ramgru":
        return ours
    return as_large(
        parameters(ours) + width * outputs,
        lambda size: TORCH[layer](inputs, size, ours.num_layers, batch_first=True),
        lambda peer: parameters(peer) + peer.hidden_size * outputs,
    )


def as_large(
    wanted: int, make: Callable[[int], Any], count: Callable[[Any], int], least: int = 1
) -> Any:
    """The narrowest network with at least so many trained numbers, by its width."""
    return next(made for size in itertools.count(least) if count(made := make(size)) >= wanted)


def parameters(model: nn.Module) -> int:
    """Trained numbers."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def detached(state: Any) -> Any:
    """A state without its graph: of RAMGRU, nn.GRU or nn.LSTM."""
    return tuple(map(detached, state)) if isinstance(state, tuple) else state.detach()


def library() -> list[Path]:
    """The sources of Python's own library, in sorted order."""
    paths = sorted(Path(sysconfig.get_paths()["stdlib"]).rglob("*.py"))
    return [path for path in paths if "site-packages" not in path.parts]


def fit(
    model: nn.Module,
    loss: Callable[[], Tensor],
    rate: float,
    steps: int,
    seconds: float | None = None,
    make: Callable[..., torch.optim.Optimizer] = torch.optim.AdamW,
    warm_up: int = 20,
    draw: Any = None,
) -> dict[str, float]:
    """Train with a short warm-up and a rate that falls to zero -> what it cost.

    loss: draws a batch and returns its loss; seconds: of processor time, in place of `steps`;
    make: the optimizer of parameters and a rate; warm_up: steps; draw: what `loss` draws its
    batches from, without which a stopped training cannot go on
    """
    optimizer = make(model.parameters(), rate)
    model.train()
    with place(model=model, optimizer=optimizer, draw=draw) as now:
        started = time.process_time() - now.seconds
        while (done := now.seconds / seconds if seconds else now.step / steps) < 1:
            for group in optimizer.param_groups:
                group["lr"] = rate * min(1.0, (now.step + 1) / warm_up) * (1 - done)
            value = loss()
            optimizer.zero_grad()
            value.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            now.reached(now.step + 1, time.process_time() - started)
    model.eval()
    return {"parameters": parameters(model), "steps": now.step, "seconds": round(now.seconds, 2)}


def command(text: str | None, run: Run, rate: float, /, **choices: Iterable[str]) -> None:
    """The command line of a program: one training of one layer, and its results. After Ctrl-C,
    SIGTERM or a kill, the same command goes on.

    choices: of further options of `run`, the default first
    """
    parser = argparse.ArgumentParser(
        description=text, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--layer", choices=LAYERS, default="ramgru", help="(default ramgru)")
    parser.add_argument("--rate", type=float, default=rate, help=f"(default {rate:g})")
    parser.add_argument("--seed", type=int, default=0, help="(default 0)")
    parser.add_argument("--seconds", type=float, help="train so long, in place of so many steps")
    for name, each in choices.items():
        known = tuple(each)
        parser.add_argument(f"--{name}", choices=known, default=known[0], help="(default: first)")
    options = parser.parse_args()
    more = {name: getattr(options, name) for name in choices}
    given = "-".join(str(value) for value in vars(options).values() if value is not None)
    with resumable(f"{Path(sys.argv[0]).stem}-{given}"):
        found = run(options.layer, options.rate, options.seed, options.seconds, **more)
    for name, value in found.items():
        print(f"{name}: {value:,.4g}")
