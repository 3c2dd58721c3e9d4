"""--layer module:Class: a layer of the user's own, whose module the command line asks to import."""

from __future__ import annotations

from collections.abc import Sequence

from ramgru.lab.cli.parse import UsageError
from ramgru.lab.train import layers


def take(args: Sequence[str]) -> tuple[list[str], list[str]]:
    """The layers that --layer names, and the other arguments. Raises UsageError."""
    found: list[str] = []
    rest: list[str] = []
    given = iter(args)
    for arg in given:
        flag, equals, value = arg.partition("=")
        if flag != "--layer":
            rest.append(arg)
            continue
        layer = value if equals else next(given, "")
        if not layer:
            raise UsageError("--layer: expected a layer's name or module:Class")
        try:
            layers.check(layer)
        except ValueError as error:
            raise UsageError(f"--layer: {error}") from None
        found.append(layer)
    return found, rest


def as_model(args: Sequence[str]) -> list[str]:
    """The same arguments with --layer as --model.layer, its module imported."""
    found, rest = take(args)
    for layer in found:
        layers.import_own(layer)
        rest += ["--model.layer", layer]
    return rest


def imported(args: Sequence[str]) -> list[str]:
    """The other arguments, once what --layer names is imported, so that a run of it may be read."""
    found, rest = take(args)
    for layer in found:
        layers.import_own(layer)
    return rest
