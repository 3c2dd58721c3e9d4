"""The layers that a network can be built around, by name: ramgru, the peers and your own.

A specification is a name with options after commas: attention,positions=rope. Your own layer is
module:Class, found on Python's path or, last, in the current directory.
"""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_type_hints

from torch import nn

from ramgru.errors import RamgruError
from ramgru.lab.peers import PEERS
from ramgru.lab.peers.adapted import Adapted
from ramgru.lab.spec import nearest, parse, split

LAYERS = ("ramgru", *PEERS)


def check(text: str) -> tuple[str, dict[str, str]]:
    """The name and the options of a specification. Raises ValueError if the layer is unknown.

    The module of your own layer is not imported.
    """
    name, options = split(text)
    if name not in LAYERS and not is_own(name):
        raise ValueError(
            f"layer must be one of {', '.join(LAYERS)}, or module:Class of your own, got {name!r}"
            f"{nearest(name, LAYERS).partition(' Known')[0].rstrip(';')}"
        )
    return name, options


def is_own(name: str) -> bool:
    """Whether a layer's name has the form module:Class."""
    module, colon, kind = name.partition(":")
    return bool(colon) and all(part.isidentifier() for part in (*module.split("."), kind))


_named: set[str] = set()  # of the layers that this process was told to use


def named(name: str) -> bool:
    """Whether the caller, or this command line, has named the layer module:Class: a file's own
    names run no code, whether their module is imported or not."""
    return name in _named and name.partition(":")[0] in sys.modules


def import_own(text: str) -> None:
    """Import the module of a specification module:Class; other specifications are ignored.

    Call this only for a specification that the user typed, never for one that a file contains.
    """
    name = check(text)[0]
    if is_own(name):
        own(name)


def own(name: str) -> type[nn.Module]:
    """The class that module:Class names. Executes the module.

    Raises RamgruError if the class cannot be imported.
    """
    module, _, kind = name.partition(":")
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.append(here)  # last: a file there must hide no other module
    try:
        found = getattr(importlib.import_module(module), kind)
    except (ImportError, AttributeError) as error:
        place = getattr(sys.modules.get(module), "__file__", None)
        where = f" (of {place})" if place else ""
        raise RamgruError(f"layer {name}: cannot import it: {error}{where}") from error
    if not (isinstance(found, type) and issubclass(found, nn.Module)):
        raise RamgruError(f"layer {name}: expected a class of torch.nn.Module, got {found!r}")
    _named.add(name)
    return found


def takes_width(name: str) -> bool:
    """Whether a layer other than ramgru has a hidden_size that can be chosen."""
    return "hidden_size" in inspect.signature(_kind(name)).parameters


def builder(name: str, options: dict[str, str], hidden_size: int) -> Callable[[int], nn.Module]:
    """A function from d_model to a layer other than ramgru. Raises ValueError for a bad option.

    hidden_size: 0 for the layer's own choice
    """
    kind = _kind(name)
    taken = inspect.signature(kind).parameters
    hints = get_type_hints(kind.__init__)
    known = [
        key
        for key, parameter in taken.items()
        if parameter.kind in (parameter.KEYWORD_ONLY, parameter.POSITIONAL_OR_KEYWORD)
        and key not in ("d_model", "hidden_size")
    ]
    given: dict[str, Any] = {"hidden_size": hidden_size or None} if takes_width(name) else {}
    for option, value in options.items():
        if option not in known:
            raise ValueError(f"layer {name} has no option {option!r}{nearest(option, known)}")
        hint = hints.get(option, type(taken[option].default))
        given[option] = parse(f"option {option} of layer {name}", value, hint)

    def build(d_model: int) -> nn.Module:
        layer = kind(d_model, **given)
        return layer if hasattr(layer, "initial_state") else Adapted(layer, d_model)

    return build


def _kind(name: str) -> Any:
    return PEERS[name] if name in PEERS else own(name)
