"""`Memory`: every option of a layer's random-access memory, and the kinds of heads it can have.

An option is declared, documented and checked here, once: the layer, the token model, the command
line and the files of saved models all use this class.
"""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar

# Cells are sorted by their number times the number of resets before them, in 64 bits.
MOST_CELLS = 2**40
MOST_HEADS = 2**16
CODES = 64  # most codes in one codebook
CODE = 16  # A, numbers of a key


def check_int(name: str, value: Any, least: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name}: expected an int, got {type(value).__name__}: {value!r}")
    if value < least:
        raise ValueError(f"{name}: expected at least {least}, got {value}")


@dataclass(frozen=True)
class Head:
    """Base class of the kinds of heads. Its text form is `name`, then `:value` or `:field=value`.

    >>> str(Key(steps=2, skip=1))
    'key:2:skip=1'
    """

    name: ClassVar[str]

    def __str__(self) -> str:
        parts = [self.name]
        for n, option in enumerate(fields(self)):
            value = getattr(self, option.name)
            if value != option.default:
                parts.append(str(value) if n == 0 else f"{option.name}={value}")
        return ":".join(parts)

    def __post_init__(self) -> None:
        for option in fields(self):
            value, least = getattr(self, option.name), option.metadata["least"]
            check_int(f"{type(self).__name__}.{option.name}", value, least)


@dataclass(frozen=True)
class ContentHead(Head):
    """A head that finds cells by content. Its key is `steps` consecutive inputs, the last of which
    came `skip` steps ago; their scale does not count. It reads at the key of the current step, and
    writes at the key of `write_after` steps before."""

    name: ClassVar[str] = "key"  # also the name of all these heads together
    steps: int = field(default=1, metadata={"least": 1})
    skip: int = field(default=0, metadata={"least": 0})
    write_after: int = field(default=0, metadata={"least": 0})

    @property
    def reach(self) -> int:
        """Steps before the current one that the head's addresses depend on."""
        return self.skip + self.steps + self.write_after - 1


@dataclass(frozen=True)
class Key(ContentHead):
    """A head whose key is the whole input, as for tokens: every two inputs have cells of their own.
    What follows a key is found where the key comes again."""

    write_after: int = field(default=1, metadata={"least": 0})


@dataclass(frozen=True)
class Learned(ContentHead):
    """A head that learns which part of the input is the key, and how alike two keys are. A step
    writes at its own key: a key and its value come in one step."""

    name: ClassVar[str] = "learned"


@dataclass(frozen=True)
class Lag(Head):
    """A head that reads what came a number of steps ago, from 0 to `reach` - 1 steps; it learns the
    number, more surely with a second lag head or in a stack of layers."""

    name: ClassVar[str] = "lag"
    reach: int = field(default=256, metadata={"least": 1})


@dataclass(frozen=True)
class Tape(Head):
    """A head with positions that each step moves, which reads lists in the order of writing. Every
    second tape head reads them backwards."""

    name: ClassVar[str] = "tape"


# The kinds of heads by name. The heads of a layer are sorted in this order.
KINDS: dict[str, type[Head]] = {kind.name: kind for kind in (Key, Learned, Lag, Tape)}


@dataclass(frozen=True)
class Memory:
    """The random-access memory of a layer; `Memory()` is the one default of the whole library.

    >>> Memory(cells=1024, heads="tape key key:2")
    Memory(cells=1024, heads='key key:2 tape')
    """

    cells: int = 16_384
    """N, cells a head; rounded up, with a warning, to a product of nearly equal factors. The cost
    of a step hardly depends on it."""
    heads: tuple[Head, ...] = (Key(),) * 4 + (Learned(),) * 4 + (Lag(),) + (Tape(),) * 2
    """Heads side by side, each with cells of its own: as heads, as their number, or as text, "key
    key:2 learned lag tape". key finds cells by the current input, key:2 by the last two, learned by
    a part of the input that is trained; lag reads what came a learned number of steps ago; tape
    counts."""
    width: int | None = None
    """D, numbers of a cell's value; None: the layer's hidden_size / heads, rounded up to a multiple
    of 8 and to at least 16, but at most hidden_size."""
    tag: int = 8
    """Numbers of its key that a cell keeps beside its value, at most 16. A read compares them with
    its own key, and rejects cells of other keys. 0: no tags."""
    writes: int = 2
    """Cells that a step writes and reads in each key head, the nearest ones to its key; at most
    `cells`."""
    reads: int = 16
    """Cells that a step reads in each learned head, at most `cells`; it writes a quarter."""
    gate_bias: float = 0.0
    """Initial bias of the update gates: at 0, half of a cell is overwritten at first."""
    learned_start: bool = False
    """Train what cells hold before they are written; otherwise they hold zeros."""

    def __post_init__(self) -> None:
        check_int("Memory.cells", self.cells, 1)
        if self.cells > MOST_CELLS:
            raise ValueError(f"Memory.cells: expected at most {MOST_CELLS}, got {self.cells}")
        sizes = codebook_sizes(self.cells)
        if math.prod(sizes) != self.cells:
            shown = " x ".join(map(str, sizes))
            warnings.warn(
                f"Memory.cells={self.cells} is rounded up to {math.prod(sizes)} = {shown}, the "
                "number of cells that codebooks of these sizes address",
                stacklevel=3,
            )
            self._set("cells", math.prod(sizes))
        self._set("heads", _heads(self.heads))
        if self.width is not None:
            check_int("Memory.width", self.width, 1)
        check_int("Memory.tag", self.tag, 0)
        if self.tag > CODE:
            raise ValueError(f"Memory.tag: expected at most {CODE}, got {self.tag}")
        check_int("Memory.writes", self.writes, 1)
        check_int("Memory.reads", self.reads, 1)
        for name in ("writes", "reads"):
            value = getattr(self, name)
            if value > self.cells and value != getattr(Memory, name):  # the default always fits
                raise ValueError(
                    f"Memory.{name}: expected at most Memory.cells = {self.cells}, got {value}"
                )
        for head in self.of_kind(Lag):
            if head.reach > self.cells and head.reach != Lag.reach:  # the default always fits
                raise ValueError(
                    f"Lag.reach: expected at most Memory.cells = {self.cells}, got {head.reach}"
                )
        if self.cells < 2 and any(isinstance(head, Tape) for head in self.heads):
            raise ValueError(
                "Memory.cells: expected at least 2 with a tape head, which stands between two "
                f"cells, got {self.cells}"
            )
        if not isinstance(self.gate_bias, int | float) or isinstance(self.gate_bias, bool):
            raise TypeError(
                f"Memory.gate_bias: expected a number, got {type(self.gate_bias).__name__}"
            )
        if not math.isfinite(self.gate_bias):
            raise ValueError(f"Memory.gate_bias: expected a finite number, got {self.gate_bias}")
        if not isinstance(self.learned_start, bool):
            raise TypeError(
                f"Memory.learned_start: expected a bool, got {type(self.learned_start).__name__}"
            )

    def _set(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)

    def of_kind(self, kind: type[Head]) -> tuple[Any, ...]:
        """The heads of one kind."""
        return tuple(head for head in self.heads if isinstance(head, kind))

    def dealt(self, count: int) -> Memory:
        """The same memory with `count` heads: one of each kind, then the next of each kind, and so
        on, from the beginning again when all are dealt.

        >>> heads_text(Memory(heads="key key:2 tape").dealt(5).heads)
        'key key:2 key tape tape'
        """
        check_int("nhead", count, 1)
        if count > MOST_HEADS:
            raise ValueError(f"nhead: expected at most {MOST_HEADS}, got {count}")
        values = {option.name: getattr(self, option.name) for option in fields(self)}
        kinds = [list(same) for _, same in itertools.groupby(self.heads, type)]
        turns = [head for turn in itertools.zip_longest(*kinds) for head in turn if head]
        heads = [turns[n % len(turns)] for n in range(count)]
        return Memory(**{**values, "heads": tuple(heads)})

    def width_for(self, hidden_size: int) -> int:
        """D, the width of a cell in a layer of this hidden_size."""
        shared = 8 * math.ceil(hidden_size / len(self.heads) / 8)
        return self.width or min(hidden_size, max(shared, 16))

    def to_dict(self) -> dict[str, Any]:
        """JSON values that `Memory(**values)` makes the same memory of; heads are text."""
        values = {option.name: getattr(self, option.name) for option in fields(self)}
        return {**values, "heads": heads_text(self.heads)}

    def __repr__(self) -> str:
        shown = [
            f"{option.name}={heads_text(value)!r}"
            if option.name == "heads"
            else f"{option.name}={value!r}"
            for option in fields(self)
            if (value := getattr(self, option.name)) != option.default
        ]
        return f"Memory({', '.join(shown)})"


def codebook_sizes(cells: int) -> tuple[int, ...]:
    """Sizes of the fewest codebooks, of at most 64 nearly equal codes, that address `cells` cells,
    or the next number of cells that they can address.

    >>> codebook_sizes(4096), codebook_sizes(65536)
    ((64, 64), (64, 32, 32))
    """
    parts = 1
    while max(sizes := factorise(cells, parts)) > CODES:
        parts += 1
    held = math.prod(sizes)
    return sizes if held == cells else codebook_sizes(held)  # rounding twice changes nothing


def factorise(number: int, parts: int) -> tuple[int, ...]:
    """Nearly equal factors whose product is `number`, or the next number that has such factors.

    >>> factorise(2048, 2)
    (64, 32)
    """
    if parts == 1:
        return (number,)
    root = max(1, math.ceil(number ** (1 / parts) - 1e-9))
    fits = [n for n in range(root, 2 * root + 1) if number % n == 0]
    first = fits[0] if fits else root
    return (first, *factorise(math.ceil(number / first), parts - 1))


def heads_text(heads: Iterable[Head]) -> str:
    """The text form of some heads: "key key:2 tape"."""
    return " ".join(map(str, heads))


def _heads(given: Any) -> tuple[Head, ...]:
    """Heads as objects, grouped by kind, from any of the three forms."""
    if isinstance(given, str) and given.strip().isdigit():
        given = int(given)
    if isinstance(given, int) and not isinstance(given, bool):
        check_int("Memory.heads", given, 1)
        if given > MOST_HEADS:  # before a tuple of that size is made
            raise ValueError(f"Memory.heads: expected at most {MOST_HEADS}, got {given}")
        given = (Key(),) * given
    elif isinstance(given, str):
        given = tuple(_head(text) for text in given.split())
    if not isinstance(given, tuple | list) or not all(isinstance(head, Head) for head in given):
        raise TypeError(
            "Memory.heads: expected heads as in (Key(), Tape()), their number, or text as in "
            f"'key key:2 lag tape', got {given!r}"
        )
    if not given:
        raise ValueError("Memory.heads: expected at least one head, got none")
    order = list(KINDS.values())
    return tuple(sorted(given, key=lambda head: order.index(type(head))))


def _head(text: str) -> Head:
    """The head that a text as "key:2:skip=1" describes."""
    name, *parts = text.split(":")
    if name not in KINDS:
        raise ValueError(f"Memory.heads: expected heads of {', '.join(KINDS)}, got {text!r}")
    kind = KINDS[name]
    options = [option.name for option in fields(kind)]
    values: dict[str, Any] = {}
    for n, part in enumerate(parts):
        option, equals, value = part.rpartition("=")
        option = option if equals else options[n] if n < len(options) else ""
        if option not in options or option in values:
            takes = f"{name} takes {', '.join(options)}" if options else f"{name} takes no options"
            raise ValueError(f"Memory.heads: {takes}, got {text!r}")
        try:
            values[option] = int(value)
        except ValueError:
            raise ValueError(
                f"Memory.heads: expected an integer for {option}, got {text!r}"
            ) from None
    return kind(**values)
