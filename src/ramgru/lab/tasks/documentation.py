"""English text that is always at hand: the language reference that Python's own `help` shows.

It is read from the standard library (`pydoc_data.topics`), copyright Python Software Foundation,
PSF License Version 2; its examples of code also under the Zero-Clause BSD License.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from ramgru.errors import DataError
from ramgru.lab.tasks import characters

SPLITS = ("train", "test")
TEST = 10  # one paragraph in so many is for testing, those at the end


@lru_cache(maxsize=len(SPLITS))
def tokens(split: str) -> np.ndarray:
    """(n,) int64 characters of the first nine tenths ("train") or the last ("test"); read-only.

    Topics quote each other: each paragraph is taken once, so that no test paragraph is trained on.
    Blanks and line ends in a row are one blank, and what is not ASCII is left out. Raises
    DataError where the standard library lacks the text.
    """
    try:
        from pydoc_data.topics import topics
    except ImportError as error:
        raise DataError("this Python's standard library lacks pydoc_data.topics") from error
    paragraphs = dict.fromkeys(
        " ".join(paragraph.encode("ascii", errors="ignore").decode().split())
        for name in sorted(topics)
        for paragraph in topics[name].split("\n\n")
    )
    known = [paragraph for paragraph in paragraphs if paragraph]
    boundary = len(known) - len(known) // TEST
    text = " ".join(known[:boundary] if split == "train" else known[boundary:])
    encoded = characters.encode("".join(c for c in text if c.isprintable()))
    encoded.setflags(write=False)
    return encoded


@lru_cache(maxsize=8)
def phrases(split: str, size: int) -> np.ndarray:
    """(n - size + 1,) int64: equal phrases of `size` characters have equal numbers; read-only.

    Phrases of double the size are pairs of phrases, so their numbers come from pairs of numbers.
    """
    number, have = tokens(split), 1
    while have < size:
        step = min(have, size - have)
        pairs = number[:-step] * (int(number.max()) + 1) + number[step:]
        number, have = np.unique(pairs, return_inverse=True)[1].astype(np.int64), have + step
    number.setflags(write=False)
    return number
