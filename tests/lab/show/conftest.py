"""Plain data that every picture is drawn from, and a parser that says what a page holds."""

from __future__ import annotations

from html.parser import HTMLParser

import numpy as np
import pytest

from ramgru.lab.show.data import Answer, Curve, Line, Occupancy, Sample, Score

VOID = {"meta", "br", "hr", "img", "link", "input", "col"}


class Reader(HTMLParser):
    """Checks that every element is closed in order; keeps elements, their attributes and text."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(page)
        self.close()
        assert self.open == [], f"left open: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> without its start"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def words(self) -> str:
        return " ".join(" ".join(self.text).split())


@pytest.fixture
def parsed() -> type[Reader]:
    """parsed(page): reads the page, and fails where an element is not closed."""
    return Reader


@pytest.fixture
def lines() -> list[Line]:
    return [
        Line("ramgru", (4, 16, 256), (Score(1.0, 0.99, 1.0), Score(0.99, 0.98, 1.0), Score(0.9))),
        Line("gru", (4, 16, 256), (Score(0.25), Score(0.0625), Score(0.004))),
    ]


@pytest.fixture
def curves() -> list[Curve]:
    return [
        Curve(layer, seed, (10, 20, 30), (9.0, 3.0, 1.0 + seed), (20, 30), (0.5, 0.75))
        for layer in ("ramgru", "gru")
        for seed in (0, 1)
    ]


@pytest.fixture
def memory() -> Occupancy:
    counts = np.zeros((2, 16), dtype=np.int64)
    counts[0, [0, 5]] = 3, 1
    counts[1, 15] = 4
    return Occupancy.of(counts)


@pytest.fixture
def sample() -> Sample:
    tokens = ["k1", "v1", "k2", "v2", "k2", "k1"]
    return Sample(
        tokens,
        [
            Answer(4, "v2", "v2", (0.0, 0.1, 0.0, 0.9, 0.0, 0.0), 3),
            Answer(5, "v1", "v2", (0.0, 0.3, 0.0, 0.7, 0.0, 0.0), 1),
        ],
    )
