"""The programs that in_practice.py measures, what is asked of them, and their words."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

EXAMPLES = Path(__file__).parents[1] / "examples"
LAYERS = ("ramgru", "gru", "lstm")
NAMES = {"ramgru": "RAMGRU", "gru": "nn.GRU", "lstm": "nn.LSTM"}


@dataclass(frozen=True)
class Value:
    """One number that a program reports.

    bar:    what ours should reach
    factor: of a peer's mean, which ours should reach, too; 1: ours should be better
    equal:  whether being as good is enough for a factor of 1
    """

    name: str
    bar: float | None = None
    factor: float | None = None
    peers: tuple[str, ...] = ("gru",)
    equal: bool = False
    low: bool = False  # whether less is better
    share: bool = False  # shown in percent
    least: float = 0.0  # the smallest and the largest possible value
    most: float = 1.0
    chance: float | None = None  # of guessing, or of the trivial method named in the text


@dataclass(frozen=True)
class Program:
    """A function of a program, `run(layer, rate, seed, seconds)`, and how it is judged."""

    name: str
    module: str
    claim: str
    values: tuple[Value, ...]
    note: str = ""  # what the numbers mean, written after they were seen
    function: str = "run"
    rates: tuple[float, ...] = (3e-3, 1e-2, 3e-2)
    equal_seconds: bool = True
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def command(self) -> str:
        flags = [f" --{k} {v}" for k, v in self.options.items() if isinstance(v, str)]
        return f"python examples/{self.module}.py{''.join(flags)}"

    def run(self) -> Callable[..., dict[str, Any]]:
        if str(EXAMPLES) not in sys.path:
            sys.path.insert(0, str(EXAMPLES))
        function = getattr(importlib.import_module(self.module), self.function)
        return lambda *given, **more: function(*given, **more, **self.options)


PROGRAMS = {
    program.name: program
    for program in (
        Program(
            "compress_100k",
            "compress",
            "One pass over the first 100 kB of the sources of Python's own library: coded bytes, "
            "the cost of learning included. Sizes of the peers are chosen for a like number of "
            "seconds; `chance` is xz -9e, which is faster by far. bzip2 needs 1.948 bits a byte.",
            (
                Value("bits a byte", factor=0.9, low=True, most=8.0, chance=1.947),
                Value("kB/s", most=1e9),
            ),
            "The memory holds what followed the last 1 to 14 bytes after it was seen once; peers "
            "learn every phrase by gradient, in the same 576 steps. xz and bzip2 still need less.",
            rates=(2e-3, 5e-3),
            equal_seconds=False,
        ),
        *(
            Program(
                name,
                "compress",
                f"{claim} bzip2 needs {bzip2} bits a byte.",
                (
                    Value("bits a byte", min(xz, bzip2), 0.9, low=True, most=8.0, chance=xz),
                    Value("kB/s", 10.0, most=1e9),
                ),
                note,
                function=function,
                rates=(5e-3,),
                equal_seconds=False,
                options={"size": size},
            )
            for name, function, size, xz, bzip2, claim, note in (
                (
                    "compress_1m",
                    "run",
                    1_000_000,
                    1.471,
                    1.457,
                    "The same on the first megabyte, at the rate that suits RAMGRU and nn.LSTM at "
                    "100 kB; one seed.",
                    "Half of nn.GRU's bytes, and fewer than those of xz and bzip2. RAMGRU's heads, "
                    "chunks and rate were chosen on the first 400 kB of these sources; nn.GRU had "
                    "few trials, and prefers 0.002 at 100 kB. Seconds are of one core that other "
                    "programs shared, less so when RAMGRU was measured.",
                ),
                (
                    "compress_3m",
                    "run",
                    3_000_000,
                    1.457,
                    1.513,
                    "The same on the first three megabytes.",
                    "Seven per cent fewer bits than xz, and little more than half of nn.GRU's, in "
                    "fewer seconds.",
                ),
                (
                    "compress_10m",
                    "run",
                    10_000_000,
                    1.272,
                    1.399,
                    "The same on the first ten megabytes.",
                    "Six per cent fewer bits than xz. nn.GRU needs almost two thirds more; its "
                    "seconds are of a core that other programs shared.",
                ),
                (
                    "compress_english",
                    "english",
                    1_000_000,
                    2.127,
                    1.978,
                    "The same on the first megabyte of the English dictionary in Debian's package "
                    "dict-gcide.",
                    "Two thirds of nn.GRU's bytes in about as many seconds, both at this one rate. "
                    "Nothing was chosen on this text.",
                ),
                (
                    "compress_english_3m",
                    "english",
                    3_000_000,
                    2.045,
                    1.986,
                    "The same on the first three megabytes.",
                    "A quarter fewer bits than nn.GRU; the lead over xz and bzip2 grows with the "
                    "length.",
                ),
                (
                    "compress_english_10m",
                    "english",
                    10_000_000,
                    1.951,
                    1.968,
                    "The same on the first ten megabytes.",
                    "A sixth fewer bits than xz, and than bzip2, and a fifth fewer than nn.GRU, "
                    "whose seconds are of a core that other programs shared.",
                ),
            )
        ),
        Program(
            "language_model",
            "language_model",
            "Bytes of 128 kB of Python's own library after one pass over 4 MB of its other files: "
            "from a fresh state, and with the state carried over from that pass. Peers read for as "
            "many seconds.",
            (
                Value("bits a byte", factor=0.85, peers=LAYERS[1:], low=True, most=8.0),
                Value("the state carried", low=True, most=8.0),
            ),
            "A quarter fewer bits: what was read once can be told again. In these seconds ours "
            "reads twice as far as nn.GRU, and not as far as nn.LSTM. Only a memory gains from the "
            "state that the pass leaves: it still holds what the other files said.",
            rates=(1e-3, 3e-3, 1e-2, 3e-2),
        ),
        Program(
            "language_model_bible",
            "language_model",
            "The same on the King James Bible, shuffled by chapters: 128 kB of it after one pass "
            "over the other 4 MB. Heads and widths are those chosen on Python's library.",
            (
                Value("bits a byte", factor=0.85, peers=LAYERS[1:], low=True, most=8.0),
                Value("the state carried", low=True, most=8.0),
            ),
            "The bars are missed. Prose repeats less than code does: nn.LSTM, which reads twice as "
            "far in these seconds, is ahead from a fresh state. With the state of the pass RAMGRU "
            "is ahead of both; theirs adds nothing.",
            rates=(3e-3, 1e-2, 3e-2),
            options={"text": "bible"},
        ),
        Program(
            "chorales",
            "chorales",
            "The next eighth note of Bach's four-part chorales from music21's corpus: negative "
            "log-likelihood of a step over 88 keys, in nats, of 70 chorales that were held out. "
            "All layers have a linear skip from the input to the output, the same dropout, and "
            "transposed chorales for training.",
            (Value("NLL", 6.7, factor=1.0, peers=("gru", "lstm"), low=True, most=61.0),),
            "The bar of 6.7 comes from another encoding, which is not known: here every layer is "
            "below it. RAMGRU is ahead of nn.GRU, and nn.LSTM of both, at the highest rate, which "
            "suits it alone. Heads, width and dropout were chosen for RAMGRU, on validation "
            "chorales.",
            rates=(1e-2, 2e-2, 4e-2),
        ),
        Program(
            "air_passengers",
            "air_passengers",
            "Monthly airline passengers, each of the last three years forecast from all before it: "
            "mean absolute percentage error. `chance` is last year's months, raised by a year's "
            "growth.",
            (Value("error, %", factor=1.0, low=True, most=100.0, chance=6.564),),
            "The layers are alike within their intervals, and so no better than each other; those "
            "of RAMGRU and nn.GRU also hold the error of the trivial method.",
            rates=(3e-3, 1e-2),
        ),
        *(
            Program(
                f"{module}_{way}",
                module,
                f"The same months inside {library}, with its own scaler, decoder and loop of "
                f"training: {claim}. The layer takes the place of the library's GRU; two lag heads "
                "learn how many months to look back. Trained on the years before 1959; that year "
                "chooses the rate, and 1960 counts, in percent and in thousand passengers.",
                (
                    Value("error, %", factor=1.0, low=True, most=100.0, chance=2.953),
                    Value("mean absolute error", factor=1.0, low=True, most=1000.0, chance=13.432),
                ),
                note,
                rates=(2e-3, 5e-3, 1e-2),
                options={"way": way},
            )
            for module, library, way, claim, note in (
                (
                    "darts_air",
                    "darts",
                    "direct",
                    "`BlockRNNModel`, a year at once",
                    "A quarter less error than darts' own GRU, and less than that of last year's "
                    "months.",
                ),
                (
                    "darts_air",
                    "darts",
                    "recurrent",
                    "`RNNModel`, month by month",
                    "A GRU loses the season while its own forecasts are its inputs; RAMGRU looks "
                    "it up, and has little more than a third of the error.",
                ),
                (
                    "neuralforecast_air",
                    "neuralforecast",
                    "direct",
                    "a year at once",
                    "No gain: for each month of the forecast, the decoder gets the layer's output "
                    "at the same month of the year before, so nothing has to be looked up.",
                ),
                (
                    "neuralforecast_air",
                    "neuralforecast",
                    "recurrent",
                    "`recurrent=True`",
                    "Two seeds of RAMGRU's five have twice the error of the others; as it stands, "
                    "it is no better than nn.GRU. The LSTM projects its output to one number here.",
                ),
            )
        ),
        Program(
            "duplicates",
            "duplicates",
            "Which lines of a stream of 2,048 came before, unchanged or with one character edited; "
            "trained on streams of 128.",
            (
                Value("unchanged, AUC", 0.99, chance=0.5),
                Value("one character edited, AUC", 0.95, chance=0.5),
            ),
            "Of edited lines, two seeds of three are above the bar; after 250 steps the mean was "
            ".945, and the steps were chosen after it. nn.GRU and nn.LSTM hardly find them.",
        ),
        Program(
            "log_lines",
            "log_lines",
            "The next word of a package manager's log: versions that an earlier line named of the "
            "same package. Trained on invented logs of 8 packages, asked about such logs, about 96 "
            "packages, and about the 5,000 lines of a real /var/log/dpkg.log, of which the layers "
            "have seen nothing before.",
            (
                Value("version", 0.8, share=True, chance=1 / 400),
                Value("version, 96 packages", 0.8, share=True, chance=1 / 400),
                Value("version, a real log", 0.8, share=True, chance=1 / 400),
                Value("other words", share=True),
            ),
            "Names and versions are dealt anew for every log, so they can be looked up and not be "
            "known by heart; in these seconds, peers learn how lines are made and no more.",
        ),
        Program(
            "upgrade",
            "upgrade",
            "A GRU that was trained on the logs of log_lines trains on, as it is or with a memory "
            "by `from_gru`, which leaves its outputs as they were, bit for bit; in the column of "
            "nn.LSTM, an LSTM trains on. The memory adds parameters, and is not weighed up by a "
            "wider GRU.",
            (
                Value("version before", share=True, chance=1 / 400),
                Value("version", 0.8, share=True, chance=1 / 400),
                Value("version, 96 packages", share=True, chance=1 / 400),
                Value("other words before", share=True),
                Value("other words", share=True),
            ),
            "The upgraded GRU loses nothing of other words, and learns to look versions up as well "
            "as the RAMGRU of log_lines that began with a memory; a GRU or an LSTM that trains on "
            "learns no look-up in these seconds.",
        ),
        Program(
            "repeat_previous_medium",
            "repeat_previous",
            "RepeatPreviousMedium of POPGym, by examples: the suit of the card 32 draws ago. "
            "POPGym's score is twice the share of right answers, less one: .95 is 97.5 %.",
            (Value("right", 0.975, share=True, chance=0.25),),
            "A lag head reads the candidate of k steps ago, and learns k. In these seconds, peers "
            "stay near chance.",
            function="medium",
        ),
        Program(
            "repeat_previous_hard",
            "repeat_previous",
            "RepeatPreviousHard of POPGym, by examples: the suit of the card 64 draws ago; .9 in "
            "POPGym's score is 95 %.",
            (Value("right", 0.95, share=True, chance=0.25),),
            "At the lowest rate, 200 steps are too few for ours as well.",
        ),
        Program(
            "ppo_repeat_medium",
            "torchrl_repeat_previous",
            "RepeatPreviousMedium of POPGym, from rewards: torchrl's PPO plays 32 games, then "
            "makes 4 updates from them. At every step the right action is the suit of the 32nd "
            "last card; the score of new games is POPGym's, from -1 to 1. Steps are updates.",
            (Value("score", 0.5, chance=-0.5, least=-1.0),),
            "Four lag heads learn how far to look back within 40 rollouts, 132 thousand actions; "
            "with two, some seeds learned nothing. In these seconds, nn.GRU and nn.LSTM play four "
            "to five times as many games, and stay little above guessing.",
            rates=(1e-2, 3e-2),
        ),
        *(
            Program(
                game,
                "card_games",
                f"{claim} POPGym's score is twice the share of right answers, less one.",
                (Value("right", factor=1.0, share=True, chance=chance),),
                note,
                rates=(3e-3, 1e-2),
                options={"game": game},
            )
            for game, claim, chance, note in (
                (
                    "repeat_first",
                    "RepeatFirstMedium of POPGym, by examples: the suit of the first of 416 cards, "
                    "at every step.",
                    1 / 4,
                    "These seconds are 64 steps of nn.GRU over 416 cards, too few to learn to hold "
                    "a suit.",
                ),
                (
                    "count_recall",
                    "CountRecallMedium of POPGym, by examples: how many cards of a suit came so "
                    "far, at each of 104 cards.",
                    None,
                    "RAMGRU is no better than nn.GRU: gated cells keep averages and do not add up. "
                    "nn.LSTM is ahead, whose cell can add, and which takes three times the steps.",
                ),
                (
                    "autoencode",
                    "AutoencodeMedium of POPGym, by examples: 104 suits, then the same in reverse "
                    "order.",
                    1 / 4,
                    "One seed of RAMGRU's three learned to read its tape backwards and gives 78 %; "
                    "the other two are below nn.GRU. As it stands, RAMGRU is no surer.",
                ),
                (
                    "concentration",
                    "The look-up of POPGym's ConcentrationHard, by examples: cards of 52 are "
                    "turned at random, 104 times; where was another of this rank seen last?",
                    1 / 52,
                    "A learned head finds the place that was kept with the same rank; in these "
                    "seconds, peers learn little of it.",
                ),
            )
        ),
        Program(
            "names_in_code",
            "names_in_code",
            "The next token of a file of Python's library, with its names numbered anew in every "
            "file: names seen earlier in the file. The trivial guess, the last name again, is "
            "right in the share that the row names.",
            (
                Value("names seen before", factor=1.5, share=True),
                Value("the name before", share=True),
                Value("other tokens", share=True),
            ),
            "A name's number means nothing outside its file, so a right guess must come from what "
            "followed the same few tokens earlier; in these seconds, peers learn the grammar and "
            "almost never guess a name.",
        ),
        Program(
            "japanese_vowels",
            "japanese_vowels",
            "Which of nine men speaks, from 7 to 29 steps of 12 numbers: JapaneseVowels of the UCI "
            "archive, trained by skorch, the class told from `h_n[-1]`. The rate is chosen on a "
            "fifth of the training data.",
            (Value("right", factor=1.0, equal=True, share=True, chance=1 / 9),),
            "Series of at most 29 steps hold nothing that must be looked up, and nn.GRU takes "
            "twice as many steps in these seconds: it tells 3 more of the 370 speakers. The rate "
            "of 0.01, which the held-out loss did not choose, gave RAMGRU 96.8 %.",
        ),
    )
}
