import numpy as np
import pytest

from ramgru.lab import tasks
from ramgru.lab.show.example import LONGEST, draw, parse, token_labels
from ramgru.lab.tasks.programs import ProgramError

MQAR = tasks.get("mqar", vocab_size=32, pairs=4, length=32)
PROGRAMS = tasks.get("programs", registers=2, statements=6, names=4)


def asked(example):
    return [(q.step, q.expected, q.written) for q in example.questions]


def test_a_drawn_example_has_the_tasks_own_questions():
    example = draw(MQAR, seed=3)
    batch = MQAR.draw(1, 3)
    assert example.inputs.tolist() == batch.inputs[0].tolist()
    assert len(example.questions) == 4
    for step, expected, written in asked(example):
        assert expected == batch.labels[0, step] == example.inputs[written]
        assert example.inputs[written - 1] == example.inputs[step]


def test_drawn_and_typed_questions_agree():
    example = draw(MQAR, seed=5)
    typed = parse(MQAR, " ".join(token_labels(MQAR, example.inputs)))
    assert asked(typed) == asked(example)


def test_the_latest_value_of_a_key_counts():
    task = tasks.get("mqar_update", vocab_size=32, pairs=2, updates=1, length=16)
    assert asked(parse(task, "3 20, 4 21, 3 22, 0, 3, 4")) == [(7, 22, 5), (8, 21, 3)]


def test_padding_is_left_out():
    task = tasks.get("parity", length=9)
    example = draw(task, seed=0)
    assert len(example.inputs) == task.draw(1, 0).lengths[0]


@pytest.mark.parametrize("seed", range(3))
def test_a_typed_program_is_completed_and_asked(seed):
    task = PROGRAMS
    example = draw(task, seed)
    text = task.vocabulary.decode(example.inputs)
    typed = parse(task, text)
    assert typed.inputs.tolist() == example.inputs.tolist()
    assert [q[:2] for q in asked(typed)] == [q[:2] for q in asked(example)]  # step, answer


def test_answers_of_a_program_may_be_left_out():
    task = PROGRAMS
    example = parse(task, r"r1 #7$r2 #5$ADD r1 r2\t$")  # as a shell hands it on
    assert task.vocabulary.decode(example.inputs) == "r1 #7$r2 #5$ADD r1 r2\t#12$"
    names = token_labels(task, example.inputs)
    assert [names[q.step] for q in example.questions] == ["⇥", "#", "1", "2"]
    assert [task.vocabulary.token(q.expected) for q in example.questions] == [
        *("<number>", "1", "2"),
        "$",
    ]


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("r1 7", ProgramError, r"must end with \$"),
        (r"r1 #1$r2 #0$DIVIDE r1 r2\t$", ProgramError, "r2 holds 0"),
        ("r9 #7$", ValueError, "input: expected registers r0 … r3, got 'r9'"),
    ],
    ids=["syntax", "division", "register"],
)
def test_programs_that_cannot_run_say_why(text, error, message):
    with pytest.raises(error, match=message):
        parse(PROGRAMS, text)


def test_text_is_asked_for_what_follows(tmp_path):
    (tmp_path / "a.txt").write_text("to be or not to be, " * 10)
    task = tasks.get("text", path=str(tmp_path / "a.txt"), length=4)
    example = parse(task, "to be")
    assert token_labels(task, example.inputs) == ["t", "o", "␣", "b", "e"]
    assert [task.decode([q.expected]) for q in example.questions[:-1]] == ["o", " ", "b", "e"]
    assert example.questions[-1].expected is None


def test_features_are_typed_as_bits():
    task = tasks.get("copy", bits=2)
    example = parse(task, "0010 1100 0001 0000")
    assert example.inputs.dtype == np.float32
    assert example.inputs.shape == (4, 4)
    assert token_labels(task, example.inputs) == ["0010", "1100", "0001", "0000"]
    assert asked(example) == [(3, None, None)]


@pytest.mark.parametrize(
    ("task", "text", "message"),
    [
        (MQAR, " ", "input: expected at least one token of task mqar, got none"),
        (MQAR, "1 32", "input: expected token ids from 0 to 31 for task mqar, got '32' at step 1"),
        (MQAR, "1 -2", "got '-2' at step 1"),
        (MQAR, "1 x", "got 'x' at step 1"),
        (MQAR, "1 ٣", "got '٣' at step 1"),
        (MQAR, "1 " * (LONGEST + 1), f"input: expected at most {LONGEST} steps"),
        (tasks.get("copy", bits=2), "0010 11", "a word of 4 bits a step .* got '11' at step 1"),
        (tasks.get("copy", bits=2), "0012", "got '0012' at step 0"),
    ],
    ids=["empty", "too large", "negative", "a word", "other digits", "long", "short", "no bit"],
)
def test_what_cannot_be_read_is_refused(task, text, message):
    with pytest.raises(ValueError, match=message):
        parse(task, text)
