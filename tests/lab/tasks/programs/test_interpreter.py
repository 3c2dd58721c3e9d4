"""The language, statement by statement, and every way in which a program can be wrong."""

import contextlib
import operator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ramgru.lab.tasks.programs import Answer, Interpreter, ProgramError


def answers(program: str) -> list[int | str]:
    return [answer.value for answer in Interpreter().run(program.replace("|", "\t"))]


@pytest.mark.parametrize(
    ("program", "expected"),
    [
        ("r1 #12$r1|$", [12]),
        ("r1 abC$r1|$", ["abC"]),
        ("r1 #1$r1 #2$r1|$", [2]),
        ("r1 #1$r1 a$r1|$", ["a"]),
        ("r1 #-7$r1|$", [-7]),
        ("r1 #12$r2 #5$ADD r1 r2|$", [17]),
        ("r1 #12$r2 #5$SUBTRACT r2 r1|$", [-7]),
        ("r1 #12$r2 #5$MULTIPLY r1 r2|$", [60]),
        ("r1 #12$r2 #5$DIVIDE r1 r2|$", [2]),
        ("r1 #-12$r2 #5$DIVIDE r1 r2|$", [-2]),
        ("r1 #12$r2 #-5$DIVIDE r1 r2|$", [-2]),
        ("r1 #-12$r2 #-5$DIVIDE r1 r2|$", [2]),
        ("r1 #0$r2 #-5$DIVIDE r1 r2|$", [0]),
        ("r1 #12$r2 #5$MAX r1 r2|$", [12]),
        ("r1 #12$r2 #5$MIN r1 r2|$", [5]),
        ("r1 #12$ADD r1 r1|$", [24]),
        ("r1 aB$UPPERCASE r1|$", ["AB"]),
        ("r1 aB$LOWERCASE r1|$", ["ab"]),
        ("r1 aB$r2 Cd$CONCATENATE r2 r1|$", ["CdaB"]),
        ("r1 #4$r2 MULTIPLY r1 r1|$r1|$r2|$", [16, 4, 16]),
        ("r1 #4$r1 MULTIPLY r1 r1|$r1 MULTIPLY r1 r1|#256$r1|#256$", [16, 256, 256]),
        ("r1 ADD$r1|$", ["ADD"]),
        ("r1 ADD$r2 LOWERCASE r1|add$r2|$", ["add", "add"]),
        ("r1 r$r1|$", ["r"]),
        ("<start>r1 #12$\nr1|$\n<end><pad>", [12]),
        ("<start>r1<space><number>12$r1<tab>$", [12]),
        ("", []),
    ],
)
def test_answers(program: str, expected: list[int | str]) -> None:
    assert answers(program) == expected


@pytest.mark.parametrize(
    ("program", "message"),
    [
        ("r1|$", "statement 1, `r1<tab>`: nothing was written into r1"),
        ("r1 #1$ADD r1 r2|$", "statement 2, .* written into r2 before"),
        ("r1 #1$r2 #0$DIVIDE r1 r2|$", "statement 3, .*: r2 holds 0"),
        ("r1 #1$UPPERCASE r1|$", "UPPERCASE is over words, but r1 holds #1"),
        ("r1 #1$r2 b$ADD r1 r2|$", "ADD is over numbers, but r2 holds b"),
        ("r1 #1$r2 b$CONCATENATE r1 r2|$", "over words, but r1 holds #1"),
        ("r1 #1$r1|#2$", "the answer is #1, the program states #2"),
        ("r1 #1$r1|a$", "the answer is #1, the program states a"),
        ("r1 #1$ADD r1|$", "ADD takes 2 registers, got 1"),
        ("r1 a$UPPERCASE r1 r1|$", "UPPERCASE takes 1 register, got 2"),
        ("r1 #1", r"the last statement, `r1 #1`, must end with \$"),
        ("$", "statement 1, ``: expected a write"),
        ("r1$", "expected a write"),
        ("r1 $", "expected a write"),
        ("|$", "expected a write"),
        ("hello$", "expected a write"),
        ("r1 #1$ADD r1 r1$", "expected a write"),
        ("r1 #1$POWER r1 r1|$", "expected a write"),
        ("r1 #1$ADD r1  r1|$", "expected a write"),
        ("r1 #$", "without leading zeros, got #"),
        ("r1 #-$", "without leading zeros, got #-"),
        ("r1 #-0$", "without leading zeros, got #-0"),
        ("r1 #01$", "without leading zeros, got #01"),
        ("r1 #1a$", "without leading zeros, got #1a"),
        ("r1 #٣$", "without leading zeros"),
        ("r1 a1$", "a word is spelled with letters, got a1"),
        ("r1 é$", "a word is spelled with letters, got é"),
        ("r1 <unknown>$", "spelled with letters, got <unknown>"),
        ("r1 a b$", "spelled with letters, got a b"),
        ("r1 #1$r1||$", "spelled with letters"),
        ("r1 " + "a" * 1001 + "$", "may have 1000 characters, got 1001"),
        ("r1 #" + "9" * 5000 + "$", "may have 1000 characters, got 5000"),
    ],
)
def test_errors(program: str, message: str) -> None:
    with pytest.raises(ProgramError, match=message):
        answers(program)


def test_doubling_ends() -> None:
    with pytest.raises(ProgramError, match="statement 11"):
        answers("r1 a$" + "r1 CONCATENATE r1 r1|$" * 64)
    with pytest.raises(ProgramError):
        answers("r1 #99$" + "r1 MULTIPLY r1 r1|$" * 64)


def test_a_long_statement_is_cut_in_the_message() -> None:
    with pytest.raises(ProgramError) as caught:
        answers("r1 " + "a" * 5000 + "$")
    assert len(str(caught.value)) < 200


def test_a_failed_statement_changes_nothing() -> None:
    interpreter = Interpreter()
    interpreter.run("r1 #1$r2 #0$")
    for wrong in ("r1 DIVIDE r1 r2\t$", "r1 ADD r1 r1\t#3$", "r1 #0x$"):
        with pytest.raises(ProgramError):
            interpreter.run(wrong)
        assert dict(interpreter.registers) == {"r1": 1, "r2": 0}


def test_answers_have_a_kind_and_sources() -> None:
    found = Interpreter().run("r1 #2$r2 b$r1\t$r3 ADD r1 r1\t$UPPERCASE r2\t$")
    assert found == [
        Answer(2, "read", ("r1",)),
        Answer(4, "arithmetic", ("r1", "r1"), "r3"),
        Answer("B", "text", ("r2",)),
    ]


def test_registers_are_a_view() -> None:
    registers = Interpreter().registers
    with pytest.raises(TypeError):
        registers["r1"] = 3  # type: ignore[index]


def test_complete_fills_in_answers_and_keeps_the_rest() -> None:
    program = "r1 #7$r2 MULTIPLY r1 r1\t$r2\t#49$r3 a$UPPERCASE r3\t$"
    done = Interpreter().complete(program)
    assert done == "r1 #7$r2 MULTIPLY r1 r1\t#49$r2\t#49$r3 a$UPPERCASE r3\tA$"
    assert Interpreter().complete(done) == done


integers = st.integers(-(10**20), 10**20)


@given(integers, integers)
def test_arithmetic_is_pythons(a: int, b: int) -> None:
    names = {"ADD": operator.add, "SUBTRACT": operator.sub, "MULTIPLY": operator.mul}
    names |= {"MAX": max, "MIN": min}
    for name, function in names.items():
        assert answers(f"r1 #{a}$r2 #{b}${name} r1 r2|$") == [function(a, b)]
    if b:
        (quotient,) = answers(f"r1 #{a}$r2 #{b}$DIVIDE r1 r2|$")
        assert isinstance(quotient, int)
        rest = a - quotient * b  # toward zero: what is left is smaller than b, with a's sign
        assert abs(rest) < abs(b)
        assert rest * a >= 0


@given(st.text(max_size=40) | st.text(alphabet="r1 #-a\t$ADD", max_size=40))
def test_any_text_runs_or_is_a_program_error(text: str) -> None:
    with contextlib.suppress(ProgramError):
        Interpreter().run(text)
