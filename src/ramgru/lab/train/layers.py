"""The layers that a network can be built around, by name: ours, the peers, and anyone's own.

A specification names one, with its options behind commas: attention,positions=rope. An own layer is
module:Class, found where Python finds modules or in the current directory.
"""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_type_hints

from torch import nn

from ramgru.errors import RamgruError
from ramgru.lab.peers import PEERS
from ramgru.lab.peers.adapted import Adapted
from ramgru.lab.spec import nearest, parse, split

LAYERS = ("ramgru", *PEERS)


def check(text: str) -> tuple[str, dict[str, str]]:
    """The name and the options of a specification. Raises ValueError where there is no such layer.

    Of an own layer, nothing is imported yet.
    """
    name, options = split(text)
    if name not in LAYERS and not is_own(name):
        raise ValueError(
            f"layer must be one of {', '.join(LAYERS)}, or module:Class of your own, got {name!r}"
            f"{nearest(name, LAYERS).partition(' Known')[0].rstrip(';')}"
        )
    return name, options


def is_own(name: str) -> bool:
    """Whether a layer's name means a class of somebody's own."""
    module, colon, kind = name.partition(":")
    return bool(colon) and all(part.isidentifier() for part in (*module.split("."), kind))


def imported(name: str) -> bool:
    """Whether the module of an own layer is there already; what a file names is not imported."""
    return name.partition(":")[0] in sys.modules


def import_own(text: str) -> None:
    """Import the module of a specification that names an own layer: only where a person, or a job
    that a person gave, names it, never a file."""
    name = check(text)[0]
    if is_own(name):
        own(name)


def own(name: str) -> type[nn.Module]:
    """The class that module:Class means, which executes the module.

    Raises RamgruError where there is none.
    """
    module, _, kind = name.partition(":")
    here = str(Path.cwd())
    if here not in sys.path and Path(here, *module.split(".")[:1]).with_suffix(".py").exists():
        sys.path.insert(0, here)
    try:
        found = getattr(importlib.import_module(module), kind)
    except (ImportError, AttributeError) as error:
        raise RamgruError(f"layer {name}: cannot import it: {error}") from error
    if not (isinstance(found, type) and issubclass(found, nn.Module)):
        raise RamgruError(f"layer {name}: expected a class of torch.nn.Module, got {found!r}")
    return found


@dataclass(frozen=True)
class Peer:
    """A layer that is not ours: how it is made, and what it takes.

    width: whether its hidden_size can be chosen
    """

    name: str
    kind: Any
    options: dict[str, Any]
    width: bool

    def builder(self, hidden_size: int) -> Callable[[int], nn.Module]:
        """d_model -> the layer; hidden_size 0: its own choice."""
        given = {"hidden_size": hidden_size or None} if self.width else {}

        def build(d_model: int) -> nn.Module:
            layer: nn.Module = self.kind(d_model, **given, **self.options)
            return layer if hasattr(layer, "initial_state") else Adapted(layer, d_model)

        return build


def peer(name: str, options: dict[str, str]) -> Peer:
    """The peer of this name with options in text. Raises ValueError where one does not fit."""
    kind = PEERS[name] if name in PEERS else own(name)
    taken = inspect.signature(kind).parameters
    hints = get_type_hints(kind.__init__)
    known = [
        key
        for key, parameter in taken.items()
        if parameter.kind in (parameter.KEYWORD_ONLY, parameter.POSITIONAL_OR_KEYWORD)
        and key not in ("d_model", "hidden_size")
    ]
    parsed: dict[str, Any] = {}
    for option, value in options.items():
        if option not in known:
            raise ValueError(f"layer {name} has no option {option!r}{nearest(option, known)}")
        hint = hints.get(option, type(taken[option].default))
        parsed[option] = parse(f"option {option} of layer {name}", value, hint)
    return Peer(name, kind, parsed, "hidden_size" in taken)
