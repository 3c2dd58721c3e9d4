"""The plum theme: a palette with a light and a dark value for each role, and a look for each layer.

Hues follow Okabe and Ito's rule for colour-blind readers: marker and dash differ along with hue.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import matplotlib.style
import numpy as np

STYLE = Path(__file__).with_name("ramgru.mplstyle")

# role: (on a light page, on a dark page); all but rule and edge are text, with contrast 4.5 : 1
PALETTE: dict[str, tuple[str, str]] = {
    "ink": ("#2b1f2e", "#efe6f0"),
    "edge": ("#85788a", "#8f8295"),
    "rule": ("#e2d9e4", "#43374a"),
    "plum": ("#7d2a73", "#dda0dd"),
    "amber": ("#b05a00", "#f2a541"),
    "teal": ("#007a78", "#4fd0c4"),
    "blue": ("#2f5fc4", "#8fb4ff"),
    "olive": ("#6a7a00", "#c3d15a"),
    "rose": ("#b8324f", "#ff8fa3"),
    "muted": ("#6b5f70", "#b3a6b8"),
}
PAGE = ("#fdfbfd", "#1d1620")  # the background of a page, light and dark

# An image cannot use CSS variables, so its plum fits both backgrounds and only opacity varies.
IMAGE_PLUM = (0.66, 0.30, 0.62)


@dataclass(frozen=True)
class Look:
    """Label, colour, marker and dash of a layer."""

    label: str
    color: str
    marker: str
    dash: str | tuple[float, tuple[float, ...]]


LOOKS: dict[str, Look] = {
    "ramgru": Look("RAM-GRU", PALETTE["plum"][0], "o", "-"),
    "gru": Look("nn.GRU", PALETTE["amber"][0], "s", (0, (5.0, 2.0))),
    "mingru": Look("minGRU", PALETTE["teal"][0], "^", (0, (1.5, 1.5))),
    "attention": Look("Attention", PALETTE["blue"][0], "D", (0, (6.0, 2.0, 1.5, 2.0))),
    "gated_deltanet": Look("Gated DeltaNet", PALETTE["olive"][0], "v", (0, (3.0, 1.5))),
    "lstm": Look("nn.LSTM", PALETTE["amber"][0], "X", (0, (8.0, 2.0))),
    "window_attention": Look("Window attention", PALETTE["blue"][0], "d", (0, (2.0, 1.0))),
    "deltanet": Look("DeltaNet", PALETTE["olive"][0], "<", (0, (1.0, 1.0))),
    "gated_slots": Look("Gated slot attention", PALETTE["rose"][0], "P", (0, (4.0, 1.0))),
    "mamba2": Look("Mamba-2", PALETTE["teal"][0], "h", (0, (10.0, 2.0))),
    "ntm": Look("NTM", PALETTE["muted"][0], ">", (0, (1.0, 3.0))),
    "dnc": Look("DNC", PALETTE["muted"][0], "p", (0, (5.0, 1.0, 1.0, 1.0))),
    "sparse_delta": Look("Sparse delta", PALETTE["rose"][0], "*", (0, (4.0, 1.0, 1.0, 1.0))),
}
_SPARE = [
    ("rose", "P", (0, (8.0, 2.0))),
    ("muted", "X", (0, (4.0, 1.0))),
    ("teal", "<", (0, (2.0, 1.0))),
    ("plum", ">", (0, (1.0, 1.0))),
    ("amber", "*", (0, (5.0, 1.0, 1.0, 1.0))),
    ("blue", "p", (0, (10.0, 2.0))),
    ("olive", "h", (0, (1.0, 3.0))),
    ("rose", "d", (0, (4.0, 1.0, 1.0, 1.0, 1.0, 1.0))),
]


def look(layer: str, order: int = 0) -> Look:
    """The look of a layer's specification; an unknown one, or one with options, takes the order-th
    spare look, so that variants of one layer can be told apart."""
    if layer in LOOKS:
        return LOOKS[layer]
    name, comma, options = layer.partition(",")
    role, marker, dash = _SPARE[order % len(_SPARE)]
    label = LOOKS[name].label if name in LOOKS else name
    return Look(f"{label}, {options}" if comma else label, PALETTE[role][0], marker, dash)


def color(role: str) -> str:
    """The light value of a role; a page replaces it by the role's CSS variable."""
    return PALETTE[role][0]


@contextmanager
def style() -> Iterator[None]:
    """Draw and save in this theme; matplotlib's global settings are restored afterwards."""
    with matplotlib.style.context(STYLE, after_reset=True):
        yield


def shade(values: np.ndarray) -> np.ndarray:
    """values (...) in [0, 1] -> RGBA (..., 4): plum with the value as its opacity."""
    opacity = np.clip(np.asarray(values, dtype=np.float64), 0.0, 1.0)
    rgb = np.broadcast_to(np.array(IMAGE_PLUM), (*opacity.shape, 3))
    return np.concatenate([rgb, opacity[..., None]], axis=-1)


def css_variables() -> str:
    """The palette as CSS: light, dark on a screen that prefers dark, light on paper."""

    def block(index: int) -> str:
        rules = [f"--page:{PAGE[index]}"]
        rules += [f"--{role}:{pair[index]}" for role, pair in PALETTE.items()]
        return ":root{" + ";".join(rules) + "}"

    return f"{block(0)}\n@media screen and (prefers-color-scheme: dark){{{block(1)}}}\n"
