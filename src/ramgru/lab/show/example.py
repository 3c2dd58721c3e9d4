"""One input to look at: drawn from the task, or typed by the user in the task's own terms.

Tasks over tokens take ids (or text, where the task has a vocabulary), tasks over features bits.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ramgru.lab.tasks.base import IGNORE, Task
from ramgru.lab.tasks.mqar import MQAR, MQARUpdate
from ramgru.lab.tasks.programs import Interpreter, Programs
from ramgru.lab.tasks.programs.language import split
from ramgru.lab.tasks.text import Text

LONGEST = 4096  # provenance is a matrix of T × T


@dataclass(frozen=True)
class Question:
    """A step at which an answer is looked at.

    expected: the right answer, token or class (an int) or bits (F,); None where nobody knows it.
    written: the step that holds it; None where not known.
    """

    step: int
    expected: int | np.ndarray | None = None
    written: int | None = None


@dataclass(frozen=True)
class Example:
    """inputs: (T,) int64 tokens or (T, F) float32 features; questions in the order of steps."""

    inputs: np.ndarray
    questions: list[Question]


def draw(task: Task, seed: int) -> Example:
    """One example as the task draws it, without its padding."""
    batch = task.draw(1, seed)
    length = int(batch.lengths[0])
    labels = batch.labels[0, :length]
    asked = labels != IGNORE
    questions = []
    for step in np.flatnonzero(asked if labels.ndim == 1 else asked.any(-1)).tolist():
        away = -1 if batch.distance is None else int(batch.distance[0, step])
        label = int(labels[step]) if labels.ndim == 1 else labels[step]
        questions.append(Question(step, label, step - away if away >= 0 else None))
    return Example(batch.inputs[0, :length], questions)


def parse(task: Task, text: str) -> Example:
    """The example that a user typed.

    Questions are those that the task's own rule gives (a key that is met again; what follows a
    tab); a task without one is asked at the last step, and nobody knows the right answer.
    Raises ValueError: empty, unreadable, out of the vocabulary, or too long.
    """
    if not text.strip():
        raise ValueError(f"input must hold at least one token of task {task.name}, got nothing")
    if isinstance(task, Programs):
        return _program(task, text)
    if isinstance(task, Text):
        inputs = task.encode(text)
        following = [Question(t, int(inputs[t + 1])) for t in range(len(inputs) - 1)]
        example = Example(inputs, [*following, Question(len(inputs) - 1)])
    elif task.vocab_size:
        inputs = _ids(task, text)
        recall = isinstance(task, MQAR | MQARUpdate)
        questions = _recall(inputs, task.vocab_size // 2) if recall else []
        example = Example(inputs, questions or [Question(len(inputs) - 1)])
    else:
        inputs = _bits(task, text)
        example = Example(inputs, [Question(len(inputs) - 1)])
    check_length(len(example.inputs))
    return example


def token_labels(task: Task, inputs: np.ndarray) -> list[str]:
    """How each step of inputs (T,) or (T, F) is written: real numbers by the step alone."""
    if inputs.ndim == 2 and not np.isin(inputs, (0, 1)).all():
        return [str(step) for step in range(len(inputs))]
    if inputs.ndim == 2:
        return ["".join(str(int(bit)) for bit in step) for step in inputs]
    return [token_label(task, int(token)) for token in inputs]


def token_label(task: Task, token: int) -> str:
    """How one token is written; what cannot be seen gets a sign."""
    if isinstance(task, Programs):
        known = task.vocabulary.token(token)
        return {"<space>": "␣", "<tab>": "⇥", "<number>": "#"}.get(known, known)
    if isinstance(task, Text):
        character = task.decode([token])
        return {" ": "␣", "\n": "⏎", "\t": "⇥"}.get(character, character)
    return str(token)


def _program(task: Programs, text: str) -> Example:
    # A shell hands on \t as two characters; no program holds a backslash otherwise.
    program = Interpreter().complete(text.replace("\\t", "\t"))
    unknown = [token for token in split(program) if token not in task.vocabulary]
    if unknown:
        raise ValueError(f"input must use the registers r0 … r{task.names - 1}, got {unknown[0]!r}")
    inputs = np.array(task.vocabulary.encode(program, marks=True), dtype=np.int64)
    names = [task.vocabulary.token(int(token)) for token in inputs]
    questions, answering = [], False
    for step, name in enumerate(names):
        answering = (answering or name == "<tab>") and name != "$"
        if answering:
            questions.append(Question(step, int(inputs[step + 1])))
    check_length(len(inputs))
    return Example(inputs, questions or [Question(len(inputs) - 1)])


def _ids(task: Task, text: str) -> np.ndarray:
    words = text.replace(",", " ").split()
    for place, word in enumerate(words):
        if not (word.isascii() and word.isdigit() and int(word) < task.vocab_size):
            raise ValueError(
                f"input must be token ids from 0 to {task.vocab_size - 1} for task {task.name}, "
                f"got {word!r} at step {place}"
            )
    return np.array([int(word) for word in words], dtype=np.int64)


def _bits(task: Task, text: str) -> np.ndarray:
    if task.classes:
        raise ValueError(
            f"input must be left out for task {task.name}, whose steps are real numbers: then one "
            "of its examples is drawn"
        )
    words = text.split()
    for place, word in enumerate(words):
        if len(word) != task.features or set(word) - {"0", "1"}:
            raise ValueError(
                f"input must be a word of {task.features} bits a step for task {task.name}, "
                f"got {word!r} at step {place}"
            )
    return np.array([[float(bit) for bit in word] for word in words], dtype=np.float32)


def _recall(inputs: np.ndarray, half: int) -> list[Question]:
    """Keys in [1, half) that were followed by a value before, and are not followed by one now."""
    values: dict[int, int] = {}  # key -> step of its latest value
    questions = []
    for step, token in enumerate(inputs.tolist()):
        if not 0 < token < half:
            continue
        if step + 1 < len(inputs) and inputs[step + 1] >= half:
            values[token] = step + 1
        elif token in values:
            written = values[token]
            questions.append(Question(step, int(inputs[written]), written))
    return questions


def check_length(length: int) -> None:
    """Raises ValueError where an input is too long for its provenance to be drawn."""
    if length > LONGEST:
        raise ValueError(f"input must have at most {LONGEST} steps to be drawn, got {length}")
