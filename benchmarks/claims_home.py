"""Each peer on the task that its own paper is known for, row by row."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from claims_rows import Bar, Page, Question, Row, training

from ramgru.lab.train import ModelConfig

SMALL_MQAR = {"vocab_size": 8192, "pairs": 16, "length": 64}
ZOOLOGY = "arXiv 2312.04927"


def home(
    layer: str,
    task: str,
    sizes: Mapping[str, int],
    least: float,
    claim: str,
    source: str,
    rates: tuple[float, ...] = (3e-3, 1e-2),
    asked: Mapping[str, int] | None = None,
    model: Mapping[str, Any] | None = None,
    **how: Any,
) -> Row:
    """A peer and the task that it is known to solve.

    least: the score that counts as the known result. asked: sizes that differ when the model is
    tested. model: options of the network.
    """
    config = training(task, sizes, ModelConfig(layer=layer, **(model or {})), **how)
    tested = config.task.resized(**asked) if asked else config.task
    question = Question(dict(asked or {}), tested, (Bar(least=least),))
    name = f"{layer.partition(',')[0]}-{task}"
    return Row(name, claim, config, (question,), rates, source=source)


SMALL_LISTS = {"model": {"num_layers": 1, "d_model": 32}, "rates": (3e-3,), "batch_size": 32}
HOME_TASKS = Page(
    "home_tasks",
    "Peers on their home tasks",
    "Each row repeats the result that a peer is known for, with the code that the RAM-GRU is "
    "compared with, at sizes that one core learns in minutes. A peer that fails where it is known "
    "to succeed was built or tuned wrongly, and its losses to the RAM-GRU would prove nothing.",
    (
        home(
            *("attention", "mqar", SMALL_MQAR, 0.99),
            "Softmax attention recalls all pairs at every size.",
            ZOOLOGY,
            steps=300,
        ),
        home(
            *("window_attention,window=64", "mqar", {**SMALL_MQAR, "pairs": 8}, 0.99),
            "Window attention equals full attention while all pairs lie within its window.",
            f"{ZOOLOGY}; arXiv 2402.18668",
            steps=300,
        ),
        home(
            *("deltanet", "mqar", SMALL_MQAR, 0.99),
            "DeltaNet recalls all pairs that its keys have dimensions for.",
            "arXiv 2406.06484",
            steps=500,
        ),
        home(
            *("gated_deltanet", "mqar", SMALL_MQAR, 0.99),
            "Gated DeltaNet recalls as much as DeltaNet, which it equals where its decay stays 1.",
            "arXiv 2412.06464",
            rates=(1e-2,),  # the better of two in shorter trials
            steps=900,
        ),
        home(
            *("mamba2", "mqar", SMALL_MQAR, 0.99),
            "Mamba-2 recalls one pair for every four steps, as attention does and Mamba does not.",
            "arXiv 2405.21060, section 9.1 and figure 8",
            steps=700,
        ),
        home(
            *("gated_slots", "mqar", SMALL_MQAR, 0.95),
            "Gated slot attention recalls nearly all pairs that it has slots for.",
            "arXiv 2409.07146, abstract",
            steps=700,
        ),
        home(
            *("sparse_delta,cells=4096", "mqar", SMALL_MQAR, 0.95),
            "With many cells, sparse delta memory recalls pairs that a dense state has no room "
            "for: nearly all of twice as many pairs as a dense state of its width has dimensions.",
            "arXiv 2607.07386, abstract",
            asked={"pairs": 128, "length": 512},
            steps=600,
            batch_size=32,
        ),
        home(
            *("lstm", "parity", {"length": 40}, 0.99),
            "An LSTM trained on strings of up to 40 symbols is right on strings of 41 to 500.",
            "arXiv 2207.02098, appendix B.1",
            asked={"min_length": 41, "length": 500},
            model={"num_layers": 1},
            steps=400,
        ),
        home(
            *("ntm,hidden_size=100", "copy", {"length": 20}, 0.99),
            "A neural Turing machine copies lists of up to 20 vectors without a wrong bit.",
            "arXiv 1410.5401, section 4.1",
            steps=1500,
            **SMALL_LISTS,
        ),
        home(
            *("dnc,hidden_size=100", "copy", {"length": 20}, 0.99),
            "A differentiable neural computer copies lists of random vectors.",
            "Nature 538 (2016), 471–476, extended data figure 1",
            steps=700,
            **SMALL_LISTS,
        ),
        home(
            *("mingru", "selective_copy", {"vocab_size": 16, "tokens": 4, "length": 64}, 0.95),
            "Two layers of minGRU copy nearly all tokens; one layer does not.",
            "arXiv 2410.01201",
            steps=1000,
        ),
    ),
    missing=" Until they are measured, their losses to the RAM-GRU prove little. Mamba-2 at least "
    "recalls over 99 % of 16 pairs, with one block and state sizes of 64 and 128, in [recall "
    "against bytes](state_bytes.md).",
)
