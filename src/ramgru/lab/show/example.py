"""One input to inspect: drawn from the task, or typed.

Tasks over tokens read ids (or text, if the task has a vocabulary); tasks over features read bits,
or numbers with commas between the channels of a step; a table reads rows of its file, or another.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ramgru.errors import DataError
from ramgru.lab.show import rows
from ramgru.lab.show.data import Example, Question
from ramgru.lab.spec import listed
from ramgru.lab.tasks.base import IGNORE, Task
from ramgru.lab.tasks.mqar import MQAR, MQARUpdate
from ramgru.lab.tasks.programs import Interpreter, Programs
from ramgru.lab.tasks.programs.language import split
from ramgru.lab.tasks.table import Table
from ramgru.lab.tasks.text import Text

LONGEST = 4096  # provenance is a matrix of T × T
FROM_FILE = 512  # steps that are read of a file


def draw(task: Task, seed: int) -> Example:
    """One example of the task, without padding."""
    if isinstance(task, Table):
        return rows.draw(task, seed)
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

    Some tasks have a rule for questions in a typed input: a key that comes again, the tokens after
    a tab. Other tasks are asked at the last step, and the right answer is not known.
    Raises ValueError: empty, unreadable, outside the vocabulary, or too long.
    """
    if not text.strip():
        raise ValueError(f"input: expected at least one token of task {task.name}, got none")
    if isinstance(task, Table):
        raise ValueError(
            f"input: the run reads {listed(task.fitted.columns)} of a file: expected "
            f"--file FILE instead of {text!r}"
        )
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
        inputs = _reals(task, text) if task.classes else _bits(task, text)
        example = Example(inputs, [Question(len(inputs) - 1)])
    check_length(len(example.inputs))
    return example


def read(task: Task, path: Path) -> Example:
    """The example in a file: the first steps of its text, in the form of `parse`; of a table, its
    first rows.

    Raises DataError if the file cannot be read or is not UTF-8, ValueError as `parse` does.
    """
    if isinstance(task, Table):
        example = rows.read(task, path, FROM_FILE)
        check_length(len(example.inputs))
        return example
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read {path}: {error}") from error
    if isinstance(task, Text):
        return parse(task, text[:FROM_FILE])
    if isinstance(task, Programs):
        return parse(task, text)
    return parse(task, " ".join(text.split()[:FROM_FILE]))


def token_labels(task: Task, inputs: np.ndarray) -> list[str]:
    """A label for each step of inputs (T,) or (T, F); for real numbers, the number of the step, and
    for the rows of a table, their cells."""
    if isinstance(task, Table):
        return rows.labels(task, inputs)
    if inputs.ndim == 2 and not np.isin(inputs, (0, 1)).all():
        return [str(step) for step in range(len(inputs))]
    if inputs.ndim == 2:
        return ["".join(str(int(bit)) for bit in step) for step in inputs]
    return [token_label(task, int(token)) for token in inputs]


def token_label(task: Task, token: int) -> str:
    """A token's label; a sign stands for white space."""
    if isinstance(task, Programs):
        known = task.vocabulary.token(token)
        return {"<space>": "␣", "<tab>": "⇥", "<number>": "#"}.get(known, known)
    if isinstance(task, Text):
        character = task.decode([token])
        return {" ": "␣", "\n": "⏎", "\t": "⇥"}.get(character, character)
    return str(token)


def _program(task: Programs, text: str) -> Example:
    # A shell passes \t as two characters, and programs contain no other backslash.
    program = Interpreter().complete(text.replace("\\t", "\t"))
    unknown = [token for token in split(program) if token not in task.vocabulary]
    if unknown:
        raise ValueError(f"input: expected registers r0 … r{task.names - 1}, got {unknown[0]!r}")
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
                f"input: expected token ids from 0 to {task.vocab_size - 1} for task {task.name}, "
                f"got {word!r} at step {place}"
            )
    return np.array([int(word) for word in words], dtype=np.int64)


def _bits(task: Task, text: str) -> np.ndarray:
    words = text.split()
    for place, word in enumerate(words):
        if len(word) != task.features or set(word) - {"0", "1"}:
            raise ValueError(
                f"input: expected a word of {task.features} bits a step for task {task.name}, "
                f"got {word!r} at step {place}"
            )
    return np.array([[float(bit) for bit in word] for word in words], dtype=np.float32)


def _reals(task: Task, text: str) -> np.ndarray:
    steps = []
    for place, word in enumerate(text.split()):
        try:
            steps.append([float(number) for number in word.split(",")])
        except ValueError:
            steps.append([])
        if len(steps[-1]) != task.features or not np.isfinite(steps[-1]).all():
            raise ValueError(
                f"input: expected {task.features} numbers a step with commas between them for task "
                f"{task.name}, got {word!r} at step {place}"
            )
    return np.array(steps, dtype=np.float32)


def _recall(inputs: np.ndarray, half: int) -> list[Question]:
    """A question at each key in [1, half) that had a value before and has none here."""
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
    """Raises ValueError if the provenance of an input of this length is too large."""
    if length > LONGEST:
        raise ValueError(f"input: expected at most {LONGEST} steps, got {length}")
