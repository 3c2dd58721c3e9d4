"""Tokens and ids, text and back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ramgru.lab.tasks.programs import Vocabulary
from ramgru.lab.tasks.programs.language import LETTERS, OPERATORS, join, split

STANDARD = Vocabulary()


def test_standard() -> None:
    assert STANDARD.tokens[:8] == (
        "<pad>",
        "<start>",
        "<end>",
        "<unknown>",
        "<number>",
        "<space>",
        "<tab>",
        "$",
    )
    assert len(STANDARD) == 8 + 10 + 1 + 52 + 9 + 64
    assert [STANDARD.id(token) for token in STANDARD.tokens] == list(range(len(STANDARD)))
    assert "ADD" in STANDARD
    assert "r63" in STANDARD
    assert "r64" not in STANDARD
    assert STANDARD.token(STANDARD.id("ADD")) == "ADD"
    assert STANDARD.id("r64") == STANDARD.id("<unknown>") == 3


def test_more_names_keep_all_earlier_ids() -> None:
    assert Vocabulary(200).tokens[: len(STANDARD)] == STANDARD.tokens


def test_errors() -> None:
    with pytest.raises(ValueError, match="token id must be from 0 to 143, got 144"):
        STANDARD.token(144)
    with pytest.raises(TypeError, match="text must be a string, got int"):
        STANDARD.encode(3)  # type: ignore[arg-type]


def test_text_and_back() -> None:
    text = "r1 #-4$\nr12 ADD r1 r1\t#-8$\n"
    ids = STANDARD.encode(text, marks=True)
    assert STANDARD.decode(ids) == text.replace("\n", "")
    assert STANDARD.decode(ids, lines=True) == text
    assert STANDARD.decode([*ids, 0], marks=True) == f"<start>{text}<end>".replace("\n", "")
    assert ids[0] == 1
    assert ids[-1] == 2


def test_unknown_tokens() -> None:
    two = Vocabulary(2)
    assert two.decode(two.encode("r1 é$r7\t$")) == "r1 <unknown>$<unknown>\t$"


word = st.text(alphabet=LETTERS, min_size=1, max_size=12) | st.sampled_from(OPERATORS)
number = st.integers(-9999, 9999).map(lambda value: f"#{value}")
name = st.integers(0, 63).map(lambda index: f"r{index}")
question = st.one_of(
    name,
    st.builds("{} {} {}".format, st.sampled_from(OPERATORS), name, name),
    st.builds("{} {} {}".format, name, st.sampled_from(OPERATORS), name),
)
statement = st.builds("{} {}$".format, name, word | number) | st.builds(
    "{}\t{}$".format, question, word | number
)


@given(st.lists(statement, max_size=6).map("".join))
def test_any_program_survives_the_round_trip(text: str) -> None:
    tokens = split(text)
    assert join(tokens) == text
    assert split(join(tokens)) == tokens
    assert all(token in STANDARD for token in tokens)
    assert STANDARD.decode(STANDARD.encode(text)) == text
