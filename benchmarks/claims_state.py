"""The page of memory efficiency: recall against the bytes that a model holds."""

from __future__ import annotations

from dataclasses import replace

from claims_measures import resting_in_bfloat16, resting_in_int8
from claims_rows import Bar, Measure, Page, Row, ask, training

from ramgru import Memory
from ramgru.lab.evaluate import Effort
from ramgru.lab.train import ModelConfig

PAIRS = (4, 16, 64, 256, 1024)


def point(name: str, model: ModelConfig, least: tuple[float | None, ...] = ()) -> Row:
    """One model of the curve. least: bars on the recall at 64 and at 256 pairs."""
    bars = dict(zip((64, 256), least))
    return Row(
        name,
        "",
        training("mqar", {"pairs": 16, "length": 64}, model, steps=900, lr=1e-2),
        tuple(
            ask(
                "mqar",
                {"pairs": pairs, "length": 4 * pairs},
                Bar(least=bars.get(pairs)),
                effort=Effort(questions=2048),
            )
            for pairs in PAIRS
        ),
    )


def cells(count: int, least: tuple[float | None, ...] = ()) -> Row:
    """One block whose memory is as small as can be: each token writes one cell a head."""
    memory = Memory(cells=count, heads="key key key", width=16, tag=4, writes=1, gate_bias=-1.0)
    return point(f"cells_{count}", ModelConfig(num_layers=1, memory=memory), least)


def resting(count: int, name: str, measure: Measure) -> Row:
    """The same model, whose cells rest in narrow numbers between the pairs and the questions."""
    row = cells(count)
    questions = tuple(replace(question, measure=measure) for question in row.questions)
    return replace(row, name=f"{name}_{count}", questions=questions)


def peer(layer: str, option: str, size: int) -> Row:
    """A peer of one block, whose state grows with one of its options."""
    return point(f"{layer}_{size}", ModelConfig(layer=f"{layer},{option}={size}", num_layers=1))


STATE_BYTES = Page(
    "state_bytes",
    "Recall against bytes of state",
    "One block of width 64, trained on 16 pairs for 900 steps at a learning rate of 0.01, which "
    "the peers' home tasks chose too, and asked for up to 1,024. The RAM-GRU has three key heads "
    "that write one cell a step. The state of a peer is a matrix; that of attention is its window "
    "of keys and values, where 1,024 steps are all of 256 pairs. In the rows with cells in "
    "bfloat16 and in 8 bits, cells are rounded after the pairs were read. Bold: the best of a "
    "column, where few share it.",
    (
        *(cells(count) for count in (32, 64)),
        cells(128, (0.97, 0.6)),
        cells(256, (0.99, 0.85)),
        cells(512),
        *(resting(count, "bfloat16", resting_in_bfloat16) for count in (256, 512)),
        *(resting(count, "int8", resting_in_int8) for count in (128, 256, 512, 900)),
        point("gru_64", ModelConfig(layer="gru", num_layers=1)),
        *(peer("window_attention", "window", size) for size in (16, 64, 128, 1024)),
        *(peer("deltanet", "value_size", size) for size in (32, 128, 256)),
        *(peer("gated_deltanet", "heads=1,value_size", size) for size in (32, 128, 256)),
        *(peer("mamba2", "d_state", size) for size in (16, 64, 128)),
    ),
    compact=True,
)
