"""lines: a JSONL file, each line a text or a list of tokens of its own."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np

from ramgru.errors import DataError
from ramgru.lab.tasks import sampling
from ramgru.lab.tasks.base import IGNORE, Batch, Slice
from ramgru.lab.tasks.registry import register
from ramgru.lab.tasks.text import LARGEST, Loaded, Text, encode, read, stamp

KEYS = ("text", "tokens", "input_ids")  # of objects, where `field` names none


@register
@dataclass(frozen=True)
class Lines(Text):
    """Lines: predict the next token within each line of a JSONL file.

    A line is a text, a list of tokens, or an object that holds one of the two:

        "to be"                      [17, 4, 902]             {"text": "to be", "id": 3}

    field: the key of objects; "" takes text, tokens or input_ids

    Lines are sequences of their own: nothing is carried from one to the next. The last lines are
    held out. Lines that are longer than `length` are read in windows. Chance is the share of the
    most frequent token of the split. Raises DataError, with file and line, for a line that is not
    understood.
    """

    name: ClassVar[str] = "lines"

    field: str = ""

    stream = None  # type: ignore[assignment]  # lines do not go on in the next batch

    def _check_length(self) -> None:
        """A line may be of any length: shorter ones are filled up."""
        self._load()

    def _load(self) -> Loaded:
        return _load_lines(self.path, self.field, self.unit, self.alphabet, stamp(self.path))[0]

    def _ends(self, split: str) -> np.ndarray:
        """(n + 1,) the first token of each line of a split, and the number of its tokens."""
        given = (self.path, self.field, self.unit, self.alphabet, stamp(self.path))
        ends = _load_lines(*given)[1]
        border = len(ends) - 1 - int((len(ends) - 1) * self.validation)
        return ends[: border + 1] if split == "train" else ends[border:] - ends[border]

    @property
    def tokens(self) -> np.ndarray:
        """(n,) the tokens of the split, line after line: the first lines to train."""
        tokens, count = self._load().tokens, self._ends(self.split)[-1]
        return tokens[:count] if self.split == "train" else tokens[len(tokens) - count :]

    def _draw(self, rows: int, rng: np.random.Generator) -> Batch:
        """Lines in any order; of a long one, a window that begins anywhere."""
        ends, tokens = self._ends(self.split), self.tokens
        sizes = np.diff(ends)
        line = sampling.each_once(rng, rows, len(sizes))
        spare = np.maximum(sizes[line] - 1 - self.length, 0)
        begin = ends[line] + (rng.random(rows) * (spare + 1)).astype(np.int64)
        lengths = np.minimum(sizes[line] - 1, self.length)
        step = np.arange(int(lengths.max()) + 1)
        window = tokens[np.minimum(begin[:, None] + step, len(tokens) - 1)].astype(np.int64)
        shown = step[:-1] < lengths[:, None]
        inputs = np.where(shown, window[:, :-1], 0)
        return Batch(inputs, np.where(shown, window[:, 1:], IGNORE), lengths)

    def grid(self) -> Sequence[Slice]:
        """The held-out lines."""
        held = len(self._ends("validation")) > 1
        return (Slice({"length": self.length}, self.resized(split="validation") if held else self),)


@lru_cache(maxsize=4)
def _load_lines(
    path: str, field: str, unit: str, alphabet: str, stamp: tuple[int, int]
) -> tuple[Loaded, np.ndarray]:
    content = read(path)
    found: list[Any] = []
    for number, line in enumerate(content.split(b"\n"), 1):
        if line.strip():
            where = f"{path}, line {number}"
            found.append(_value(where, line, field))
            if isinstance(found[-1], str) != isinstance(found[0], str):
                kinds = ("tokens", "a text")[:: 1 if isinstance(found[-1], str) else -1]
                raise DataError(f"{where}: expected {kinds[0]} as before, got {kinds[1]}")
    if not found:
        raise DataError(f"{path} is empty")
    digest = hashlib.sha256(content).hexdigest()
    characters, size = None, 256
    if isinstance(found[0], str):
        if unit == "character":
            characters = "".join(sorted(set(alphabet or "".join(found))))
            size = len(characters)
        try:
            lines = [encode(text, characters) for text in found]
        except DataError as error:
            raise DataError(f"{path}: {error}") from error
    else:
        lines = [np.array(tokens, dtype=np.int64) for tokens in found]
        size = max(int(tokens.max(initial=0)) for tokens in lines) + 1
    lines = [tokens for tokens in lines if len(tokens) > 1]
    if not lines:
        raise DataError(f"{path}: expected a line with at least two tokens, got none")
    ends = np.concatenate([[0], np.cumsum([len(tokens) for tokens in lines])])
    return Loaded(np.concatenate(lines).astype(np.int32), size, characters, digest), ends


def _value(where: str, line: bytes, field: str) -> Any:
    """The text or the tokens of a line. Raises DataError."""
    try:
        value: Any = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: expected JSON, {error}") from error
    if isinstance(value, dict):
        key = field or next((key for key in KEYS if key in value), "")
        if key not in value:
            wanted = repr(field) if field else " or ".join(map(repr, KEYS))
            raise DataError(
                f"{where}: expected the key {wanted}, got {', '.join(map(repr, value)) or 'none'}; "
                "--task.field names another"
            )
        value = value[key]
    if isinstance(value, str):
        return value
    strange = (
        [token for token in value if type(token) is not int] if isinstance(value, list) else [value]
    )
    if strange:
        got = json.dumps(strange[0])[:40]
        raise DataError(f"{where}: expected a text or a list of integers, got {got}")
    if value and not 0 <= min(value) <= max(value) <= LARGEST:
        wrong = min(value) if min(value) < 0 else max(value)
        raise DataError(f"{where}: expected tokens from 0 to {LARGEST}, got {wrong}")
    return value
