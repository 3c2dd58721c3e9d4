"""`Memory` and its heads: text forms that round-trip, and messages that name the option."""

from __future__ import annotations

import itertools
import json
import math
import pickle
import warnings
from dataclasses import fields, replace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from layer_cases import heads

from ramgru import RAMGRU, Key, Learned, Memory, Tape
from ramgru.config import CODES, Head, codebook_sizes, heads_text

memories = st.builds(
    Memory,
    cells=st.sampled_from([4, 64, 1024, 65536]),
    heads=heads.map(tuple),
    width=st.none() | st.integers(1, 99),
    tag=st.integers(0, 16),
    writes=st.integers(1, 4),
    reads=st.integers(1, 4),
    gate_bias=st.integers(-9, 9) | st.floats(-9, 9),
    learned_start=st.booleans(),
)


@given(some=heads)
def test_heads_come_back_from_their_text(some: list[Head]) -> None:
    memory = Memory(heads=heads_text(some))
    assert sorted(map(str, memory.heads)) == sorted(map(str, some))
    assert Memory(heads=heads_text(memory.heads)) == memory == Memory(heads=tuple(some))


@given(memory=memories)
def test_a_memory_comes_back_from_all_its_forms(memory: Memory) -> None:
    assert Memory(**json.loads(json.dumps(memory.to_dict()))) == memory
    assert eval(repr(memory), {"Memory": Memory}) == memory
    assert pickle.loads(pickle.dumps(memory)) == memory
    assert replace(memory) == memory
    assert hash(replace(memory)) == hash(memory)


@given(memory=memories, change=st.sampled_from([option.name for option in fields(Memory)]))
def test_equality_is_of_every_option(memory: Memory, change: str) -> None:
    other = {
        "cells": 4096,
        "heads": memory.heads * 2,
        "width": 100,
        "tag": 5,
        "writes": 1,
        "reads": 1,
    }
    other |= {"gate_bias": 10, "learned_start": not memory.learned_start}
    changed = replace(memory, **{change: other[change]})
    same = getattr(memory, change) == other[change]
    assert (changed == memory) == (repr(changed) == repr(memory)) == same


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("key", (Key(),)),
        ("learned learned:2:write_after=1", (Learned(), Learned(2, write_after=1))),
        ("tape learned key", (Key(), Learned(), Tape())),
        ("key:2", (Key(steps=2),)),
        ("key:3:1:0", (Key(3, 1, 0),)),
        ("key:steps=2:skip=1:write_after=0", (Key(2, 1, 0),)),
        ("key:2:write_after=2  key", (Key(2, write_after=2), Key())),
        ("tape key tape key:2", (Key(), Key(2), Tape(), Tape())),  # grouped by kind
    ],
)
def test_text(text: str, expected: tuple[Head, ...]) -> None:
    assert Memory(heads=text).heads == expected


def test_a_number_of_heads_is_so_many_of_the_default() -> None:
    assert Memory(heads=3) == Memory(heads="key key key")
    assert Memory(heads=[Tape(), Key()]).heads == (Key(), Tape())
    assert repr(Memory()) == "Memory()"


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"cells": 0}, ValueError, "cells: expected at least 1, got 0"),
        ({"cells": 1e6}, TypeError, "cells: expected an int, got float: 1000000.0"),
        ({"cells": "4096"}, TypeError, "cells: expected an int, got str: '4096'"),
        ({"cells": True}, TypeError, "cells: expected an int, got bool: True"),
        ({"cells": 2**62}, ValueError, f"cells: expected at most {2**40}, got {2**62}"),
        ({"width": 0}, ValueError, "width: expected at least 1, got 0"),
        ({"width": "8"}, TypeError, "width: expected an int, got str: '8'"),
        ({"tag": -1}, ValueError, "tag: expected at least 0, got -1"),
        ({"tag": 17}, ValueError, "tag: expected at most 16, got 17"),
        ({"tag": True}, TypeError, "tag: expected an int, got bool: True"),
        ({"writes": 0}, ValueError, "writes: expected at least 1, got 0"),
        ({"cells": 16, "writes": 17}, ValueError, "writes: expected at most .*cells = 16, got 17"),
        ({"reads": 0}, ValueError, "reads: expected at least 1, got 0"),
        ({"reads": 2.0}, TypeError, "reads: expected an int, got float: 2.0"),
        ({"cells": 16, "reads": 17}, ValueError, "reads: expected at most .*cells = 16, got 17"),
        ({"gate_bias": "1"}, TypeError, "gate_bias: expected a number, got str"),
        ({"gate_bias": math.nan}, ValueError, "gate_bias: expected a finite number, got nan"),
        ({"learned_start": 1}, TypeError, "learned_start: expected a bool, got int"),
        ({"heads": 0}, ValueError, "heads: expected at least 1, got 0"),
        ({"heads": ()}, ValueError, "heads: expected at least one head, got none"),
        ({"heads": " "}, ValueError, "heads: expected at least one head, got none"),
        ({"heads": (Key,)}, TypeError, "heads: expected heads as in .*, got .*Key"),
        ({"heads": 2.0}, TypeError, "heads: expected heads as in .*, got 2.0"),
        ({"heads": "key stack"}, ValueError, "heads: expected heads of key, .*, got 'stack'"),
        ({"heads": "key:x"}, ValueError, "heads: expected an integer for steps, got 'key:x'"),
        ({"heads": "key:span=2"}, ValueError, "heads: key takes steps, skip, .* got 'key:span=2'"),
        ({"heads": "key:2:steps=2"}, ValueError, "heads: key takes .* got 'key:2:steps=2'"),
        ({"heads": "key:1:0:1:1"}, ValueError, "heads: key takes .* got 'key:1:0:1:1'"),
        ({"heads": "tape:2"}, ValueError, "heads: tape takes no options, got 'tape:2'"),
        ({"heads": "tape", "cells": 1}, ValueError, "cells: expected at least 2 with a tape head"),
    ],
    ids=str,
)
def test_messages(options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=f"Memory.{message}"):
        Memory(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "Key.steps: expected at least 1, got 0"),
        ({"skip": -1}, "Key.skip: expected at least 0, got -1"),
        ({"write_after": -1}, "Key.write_after: expected at least 0, got -1"),
    ],
    ids=str,
)
def test_messages_of_a_key(options: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Key(**options)
    with pytest.raises(TypeError, match=r"Key.steps: expected an int, got str: '2'"):
        Key(steps="2")  # type: ignore[arg-type]


@pytest.mark.parametrize(("cells", "expected"), [(67, 72), (134, 144), (1495, 1600), (4097, 4352)])
def test_cells_without_factors_are_rounded_up_with_a_warning(cells: int, expected: int) -> None:
    with pytest.warns(UserWarning, match=rf"Memory.cells={cells} is rounded up to ") as said:
        memory = Memory(cells=cells, heads=1)
    assert said[0].filename == __file__
    sizes = codebook_sizes(cells)
    assert memory.cells == math.prod(sizes) <= 1.25 * cells
    assert f"{memory.cells} = {' x '.join(map(str, sizes))}" in str(said[0].message)
    assert max(sizes) <= CODES
    layer = RAMGRU(3, 4, batch_first=True, memory=memory)
    last = torch.full((1, 2), memory.cells - 1)  # also the last cell can be named
    layer(torch.zeros(1, 2, 3), layer.initial_state(1), write_index=last, read_index=last)
    assert memory.cells == expected


@given(cells=st.integers(1, 10_000) | st.integers(1, 2**22))
def test_codebooks_address_the_cells_that_a_memory_has(cells: int) -> None:
    sizes = codebook_sizes(cells)
    assert max(sizes) <= CODES
    assert codebook_sizes(math.prod(sizes)) == sizes
    assert cells <= math.prod(sizes) <= 1.5 * cells


@pytest.mark.parametrize("cells", [2, 3])
def test_the_default_writes_and_reads_fit_few_cells(cells: int) -> None:
    memory = Memory(cells=cells)
    layer = RAMGRU(3, 4, memory=memory)
    keys = layer.memories[0].heads["key"]
    exact, learned = min(cells, Memory().writes), min(cells, Memory().reads)
    assert keys.writes == [exact] * 4 + [1] * 4
    assert keys.reads == [exact] * 4 + [learned] * 4
    assert layer(torch.randn(5, 2, 3))[0].isfinite().all()
    assert replace(memory, cells=Memory().cells) == Memory()


def test_dealt_takes_the_kinds_in_turn_and_begins_again() -> None:
    memory = Memory(cells=64, heads="key key:2 tape learned", reads=2)
    turns = ["key", "learned", "tape", "key:2"]
    for count in range(1, 10):
        dealt = memory.dealt(count)
        expected = itertools.islice(itertools.cycle(turns), count)
        assert sorted(map(str, dealt.heads)) == sorted(expected)
        assert replace(dealt, heads=memory.heads) == memory
    assert memory.dealt(4) == memory
    assert heads_text(Memory().dealt(4).heads) == "key learned lag tape"
    assert Memory().dealt(len(Memory().heads)) == Memory()
    with pytest.raises(ValueError, match="nhead: expected at least 1, got 0"):
        memory.dealt(0)


@pytest.mark.parametrize(
    ("heads", "hidden_size", "expected"),
    [
        (11, 128, 16),
        (11, 512, 48),
        (4, 128, 32),
        (1, 100, 100),
        (3, 200, 72),
        (11, 5, 5),
        (1, 1, 1),
    ],
    ids=str,
)
def test_width_shares_the_hidden_size(heads: int, hidden_size: int, expected: int) -> None:
    assert Memory(heads=heads).width_for(hidden_size) == expected
    assert Memory(heads=heads, width=7).width_for(hidden_size) == 7


def test_a_default_memory_is_one_object_without_warnings() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert RAMGRU(3, 4).memory == Memory()
