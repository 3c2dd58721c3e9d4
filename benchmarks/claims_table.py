"""The table of claims, row by row: what is trained, what the trained model is asked, and the bars.

All rows use the library's defaults unless a row says which option it changes, and why.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from claims_home import HOME_TASKS
from claims_measures import beside_last_write, kept_cells, steps_to_target
from claims_rows import Bar, Page, Question, Row, ask, at_length, training
from claims_state import STATE_BYTES

from ramgru import Memory
from ramgru.lab.evaluate import Effort
from ramgru.lab.train import ModelConfig


def ours(**memory: Any) -> ModelConfig:
    """The default model with these changes of the memory."""
    return ModelConfig(memory=Memory(**memory))


def beside(row: Row, layer: str, rates: tuple[float, ...]) -> Row:
    """The row of a peer on the same data, with its rate tuned."""
    return replace(
        row,
        name=f"{row.name}_{layer}",
        claim=f"The baseline for `{row.name}`: {layer} of the same width and depth, trained on the "
        "same data.",
        training=replace(row.training, model=ModelConfig(layer=layer)),
        questions=tuple(replace(question, bars=(Bar(),)) for question in row.questions),
        rates=rates,
        above=None,
        changes="",
        picture=None,
    )


# Changes of the memory.
MANY_CELLS = ours(cells=2**20)
PHRASES = ours(cells=2**20, heads="key key key:2 key:3 key:4 key:3:1 key:3:2 key:3:3", width=32)
WHY_PHRASES = "for keys of several steps, and values that need the width"

# Quality: recall, copying, state tracking far beyond the sizes trained on

MQAR_SIZES = ((64, 256, 0.995), (256, 1024, 0.99), (1024, 4096, 0.98), (4095, 16_384, 0.95))
MQAR = Row(
    "mqar",
    "Trained on up to 64 pairs, the layer recalls as many pairs as there are keys, with a state of "
    "constant size.",
    training("mqar", {"pairs": 64, "length": 256}, steps=800, batch_size=32),
    tuple(ask("mqar", {"pairs": p, "length": n}, Bar(least=s)) for p, n, s in MQAR_SIZES),
    above="mqar_attention",
    picture="pairs",
)

MQAR_ATTENTION = beside(MQAR, "attention", rates=(1e-3, 3e-3, 1e-2))

MQAR_LARGE = Row(
    "mqar_large",
    "With 65,536 tokens, trained on 16 pairs, the layer recalls 16,384 pairs over 65,536 steps, "
    "read in pieces.",
    training(
        "mqar",
        {"vocab_size": 65_536, "pairs": 16, "length": 64},
        MANY_CELLS,
        steps=250,
        lr=1e-2,  # training shows each of so many tokens only a few times
        curriculum=False,
    ),
    (
        ask(
            "mqar",
            {"pairs": 16_384, "length": 65_536},
            Bar(least=0.95),
            vocab_size=65_536,
            effort=Effort(examples=2, questions=1, tokens=8192),  # 65,536 logits a question
        ),
    ),
    changes="to have room for 16,384 pairs",
)

FILLERS = {"vocab_size": 256, "random_blanks": True}
MQAR_FILLERS = Row(
    "mqar_fillers",
    "Random tokens between the questions repeat keys by chance. Update gates learn to stay shut "
    "there: the layer recalls more than a memory in which the last write wins.",
    training("mqar", {**FILLERS, "pairs": 32, "length": 256}, steps=400, batch_size=32),
    tuple(
        replace(
            ask(
                "mqar",
                {"pairs": pairs, "length": 8 * pairs},
                Bar(),
                Bar("last"),
                Bar("gain", least=0.01, every=True),
                **FILLERS,
            ),
            measure=beside_last_write,
        )
        for pairs in (16, 32, 64)
    ),
)

MQAR_FILLERS_ATTENTION = beside(MQAR_FILLERS, "attention", rates=(1e-3, 3e-3))

MQAR_UPDATE = Row(
    "mqar_update",
    "For a key that was written twice, the layer recalls the later value.",
    training("mqar_update", {"pairs": 16, "updates": 16, "length": 128}, steps=300),
    (ask("mqar_update", {"pairs": 256, "updates": 256, "length": 2048}, Bar(least=0.99)),),
)

COMPOSED = training(
    "mqar_compositional",
    {"min_key": 2, "key": 4, "pairs": 16, "length": 160},
    PHRASES,
    steps=1600,
    lr=1e-3,
)
MQAR_COMPOSITIONAL = Row(
    "mqar_compositional",
    "The layer recalls by phrases of two to four tokens; no single token of a phrase identifies "
    "the pair.",
    COMPOSED,
    tuple(
        Question(point.axes, point.task, (Bar(least=0.98 if point.axes["pairs"] == 256 else None),))
        for point in COMPOSED.task.grid()
        if point.axes["pairs"] in (16, 256)
    ),
    changes=WHY_PHRASES,
)

NGRAM_LOOKUP = Row(
    "ngram_lookup",
    "Given three letters of a string, the layer continues the string: trained on strings of up to "
    "20 letters, tested on strings of 80.",
    training("ngram_lookup", {"n": 3, "min_length": 5, "length": 20}, PHRASES, steps=1000),
    (
        at_length(
            "ngram_lookup",
            80,
            Bar("exact", least=0.95),
            Bar(),
            n=3,
            effort=Effort(examples=256),
        ),
    ),
    changes=WHY_PHRASES,
)

# A small rate: while nothing is wrong any more, a large one only moves learned keys at random.
FEATURES = training(
    "feature_recall", {"pairs": 16, "noise": 0.2}, steps=2000, lr=1e-3, batch_size=32
)
FEATURE_BARS = {
    0.0: (None, 0.99, 0.98, 0.95),
    0.2: (None, 0.99, 0.97, 0.9),
    0.4: (None, 0.9, 0.75, 0.5),
}
FEATURE_RECALL = Row(
    "feature_recall",
    "A key is a part of a feature vector and comes back with noise: trained on up to 16 pairs at "
    "noise 0.2, the layer finds 1,024.",
    FEATURES,
    tuple(
        replace(
            ask("feature_recall", {"pairs": pairs}, Bar(least=least), min_pairs=pairs, noise=noise),
            axes={"noise": noise, "pairs": pairs},
        )
        for noise, bars in FEATURE_BARS.items()
        for pairs, least in zip((16, 64, 256, 1024), bars)
    ),
)


FORMS = {
    "scale_0.05": {"scale": 0.05},
    "scale_1": {},
    "scale_20": {"scale": 20.0},
    "one_hot_16": {"one_hot": 16},
    "one_hot_256": {"one_hot": 256},
    "one_hot_1024": {"one_hot": 1024},
}
# The more keys there are, the more rarely each comes, and the noisier is the gradient of one batch.
FORM_TRAINING = {"one_hot_1024": {"steps": 1500, "batch_size": 128}}
FEATURE_FORMS = tuple(
    Row(
        f"feature_{name}",
        "Neither the scale of the inputs nor the width of a key matters: "
        + ", ".join(f"{option} {value}" for option, value in (form or {"scale": 1}).items())
        + ".",
        training(
            "feature_recall",
            {"pairs": 16, "noise": 0.0, **form},
            **{"steps": 1200, "batch_size": 32, **FORM_TRAINING.get(name, {})},
        ),
        (ask("feature_recall", {"pairs": 16}, Bar(least=0.99), min_pairs=16, noise=0.0, **form),),
    )
    for name, form in FORMS.items()
)

LAG_RECALL = tuple(
    Row(
        f"lag_recall_{lag}",
        f"The layer learns to repeat the symbol of {lag} steps ago within 200 steps.",
        training("lag_recall", {"lag": lag, "length": length}, steps=200, batch_size=16),
        (ask("lag_recall", {"lag": lag}, Bar(least=0.99, every=True), length=length),),
    )
    for lag, length in ((4, 96), (32, 96), (64, 192), (200, 600))
)

COPY = Row(
    "copy",
    "Trained on lists of up to 20 vectors, the layer copies 1,000. A symbol is a bit; a whole "
    "answer is the whole list.",
    training("copy", {"length": 20}, steps=1000, batch_size=32),
    tuple(at_length("copy", n, Bar(least=0.99, every=True), Bar("exact")) for n in (200, 1000)),
)

STRING_COPY = Row(
    "string_copy",
    "Trained on strings of 5 to 20 letters, the layer copies strings of 80. The bars are on whole "
    "strings.",
    training("string_copy", {"min_length": 5, "length": 20}, steps=6000, lr=2e-3, batch_size=32),
    tuple(
        at_length("string_copy", n, Bar("exact", least=least), Bar())
        for n, least in ((20, 0.98), (40, 0.95), (80, 0.9))
    ),
)

SELECTIVE = training("selective_copy", {}, steps=2000, batch_size=32)
SELECTIVE_COPY = Row(
    "selective_copy",
    "Tokens are copied from among blanks, at the trained length and at four times as much.",
    SELECTIVE,
    tuple(
        ask("selective_copy", {"length": times * SELECTIVE.task.length}, Bar(least=least))
        for times, least in ((1, 0.95), (4, 0.8))
    ),
)

REVERSE = Row(
    "reverse",
    "Trained on strings of up to 40 symbols, the layer reverses strings of 100.",
    training("reverse", {"length": 40}, steps=600, batch_size=32),
    (at_length("reverse", 100, Bar(least=0.95)),),
)

NOISY_RECALL = Row(
    "noisy_recall",
    "In-context recall among noise.",
    training("noisy_recall", {}, steps=400, batch_size=32),
    (ask("noisy_recall", {}, Bar(least=0.99)),),
)

FUZZY_RECALL = Row(
    "fuzzy_recall",
    "In-context recall where keys and values are motifs of one to three tokens; as in the task's "
    "own paper, the bar is on keys of three.",
    training("fuzzy_recall", {}, PHRASES, steps=2000, batch_size=32),
    (
        ask("fuzzy_recall", {"min_key": 3}, Bar(least=0.97)),
        ask("fuzzy_recall", {"min_key": 1}, Bar()),
    ),
    source="arXiv 2403.17844",
    changes=WHY_PHRASES,
)

ASSOCIATIVE_RECALL = Row(
    "associative_recall",
    "Trained on up to 10 items, the layer finds the successor of one item among 1,000. The bar is "
    "on the measure of the task's own paper: the cross-entropy of the requested item, in bits per "
    "sequence.",
    training("associative_recall", {"items": 10}, PHRASES, steps=1200, crowd=64),
    tuple(
        ask(
            "associative_recall",
            {"items": items},
            Bar("cost", most=0.05),
            Bar("wrong"),
            Bar(),
            min_items=items,
            effort=Effort(examples=200),
        )
        for items in (20, 200, 1000)
    ),
    source="arXiv 1410.5401",
    changes=WHY_PHRASES,
)

FAR = {"min_distance": 1_000_000, "pairs": 16}
RECALLED = ask(
    "hold",
    {"distance": 1_000_000},
    Bar(least=0.99),
    effort=Effort(examples=1, questions=1),
    **FAR,
)
HOLD = Row(
    "hold",
    "The layer recalls sixteen pairs after a million steps of noise, and the cells addressed by "
    "single tokens keep exactly the same bits.",
    training("hold", {"pairs": 16, "distance": 100}, MANY_CELLS, steps=250, batch_size=32),
    (
        RECALLED,
        replace(
            RECALLED,
            bars=(Bar("kept", least=1.0),),
            effort=Effort(examples=1),
            measure=kept_cells,
        ),
    ),
    changes="so that noise and pairs do not share a cell by chance",
)

PROGRAMS = Row(
    "programs",
    "Trained on programs of 8 registers and 20 statements, the layer reads registers back in "
    "programs of 64 registers and 160 statements. Arithmetic and text, which also need a result "
    "to be computed, are shown without a bar.",
    training("programs", {"registers": 8, "statements": 20}, PHRASES, steps=500, batch_size=16),
    tuple(
        ask(
            "programs",
            {"registers": registers, "statements": 160},
            Bar("exact read", least=0.95),
            Bar("exact arithmetic"),
            Bar("exact text"),
            effort=Effort(questions=8192),
        )
        for registers in (64, 8)
    ),
    changes=WHY_PHRASES,
)


def state_tracking(name: str, claim: str) -> Row:
    """A task over strings of up to 40 symbols whose answer is a state."""
    return Row(
        name,
        claim,
        training(name, {"length": 40}, steps=600),
        (at_length(name, 500, Bar(least=0.99)),),
    )


SPEED = Row(
    "speed",
    "The layer learns to recall 8 pairs without a curriculum, on every seed.",
    training(
        "mqar",
        {"pairs": 8, "length": 64},
        steps=150,
        curriculum=False,
        evaluate_every=10,
        target=0.98,
    ),
    (
        replace(
            ask(
                "mqar",
                {"pairs": 8, "length": 64},
                Bar("steps", most=100, every=True),
                Bar("reached", least=1.0, every=True),
            ),
            measure=steps_to_target,
        ),
    ),
    seeds=tuple(range(10)),
    picture="curves",
)

FEATURE_SPEED = Row(
    "feature_speed",
    "The same for 8 pairs of features without noise.",
    training(
        "feature_recall",
        {"pairs": 8, "noise": 0.0},
        steps=500,
        batch_size=32,
        curriculum=False,
        evaluate_every=20,
        target=0.98,
    ),
    (
        replace(
            ask(
                "feature_recall",
                {"pairs": 8},
                Bar("steps", most=400, every=True),
                Bar("reached", least=1.0, every=True),
            ),
            measure=steps_to_target,
        ),
    ),
    seeds=tuple(range(10)),
    picture="curves",
)

QUALITY = Page(
    "quality",
    "Quality of the memory",
    "Each row is a claim: one training per seed, then questions at sizes that were not trained on.",
    (
        MQAR,
        MQAR_ATTENTION,
        MQAR_LARGE,
        MQAR_FILLERS,
        MQAR_FILLERS_ATTENTION,
        MQAR_UPDATE,
        FEATURE_RECALL,
        beside(FEATURE_RECALL, "attention", rates=(1e-3, 3e-3)),
        beside(FEATURE_RECALL, "gated_deltanet", rates=(1e-3, 3e-3)),
        *FEATURE_FORMS,
        *LAG_RECALL,
        MQAR_COMPOSITIONAL,
        NGRAM_LOOKUP,
        NOISY_RECALL,
        FUZZY_RECALL,
        COPY,
        STRING_COPY,
        SELECTIVE_COPY,
        REVERSE,
        ASSOCIATIVE_RECALL,
        HOLD,
        PROGRAMS,
        state_tracking("parity", "The GRU controller tracks a state: the parity of a string."),
        state_tracking("cycle_navigation", "The same for a walk on a cycle of five states."),
        SPEED,
        FEATURE_SPEED,
    ),
)

PAGES = {page.name: page for page in (QUALITY, HOME_TASKS, STATE_BYTES)}
