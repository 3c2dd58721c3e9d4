"""--layer module:Class: a layer of the user's own. The command line may import its module; a file
may not."""

from __future__ import annotations

from collections.abc import Sequence

from ramgru.lab.cli.parse import UsageError
from ramgru.lab.train import layers


def take(args: Sequence[str]) -> tuple[list[str], list[str]]:
    """The values of --layer, and the other arguments. Raises UsageError."""
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
    """The arguments with --layer replaced by --model.layer; its module is imported."""
    found, rest = take(args)
    for layer in found:
        layers.import_own(layer)
        rest += ["--model.layer", layer]
    return rest


def imported(args: Sequence[str]) -> list[str]:
    """The arguments without --layer, whose module is imported so that its runs may be read."""
    found, rest = take(args)
    for layer in found:
        layers.import_own(layer)
    return rest
