"""The drawn programs: they run, ask of every kind, and label exactly their answers."""

import re

import numpy as np

from ramgru.lab.tasks import IGNORE, Programs, exact_answers, programs
from ramgru.lab.tasks.programs import Interpreter


def test_every_answer_is_the_interpreters() -> None:
    task = Programs()
    batch = task.draw(40, 0)
    assert batch.kind is not None
    for row in range(40):
        text = task.vocabulary.decode(batch.inputs[row])
        answers = Interpreter().run(text)  # raises where a stated answer is wrong
        found = exact_answers(batch, batch.labels)
        mine = found.row == row
        assert found.kind is not None
        kinds = [task.kinds[kind] for kind in found.kind[mine]]
        assert kinds == [answer.kind for answer in answers]
        starts, counts = found.start[mine], found.count[mine]
        said = [
            task.vocabulary.decode(batch.labels[row, start : start + count])
            for start, count in zip(starts, counts, strict=True)
        ]
        values = [a.value if isinstance(a.value, str) else f"#{a.value}" for a in answers]
        assert said == [f"{value}$" for value in values]


def test_distance_leads_to_the_value_that_was_written() -> None:
    task = Programs()
    batch = task.draw(40, 1)
    assert batch.distance is not None
    assert batch.kind is not None
    row, step = np.nonzero(batch.kind == task.kinds.index("read"))
    assert len(row) > 1000
    back = step - batch.distance[row, step] + 1
    assert np.array_equal(batch.inputs[row, back], batch.labels[row, step])


def test_distance_of_a_result_leads_to_the_older_operand() -> None:
    task = Programs(keeps=0.5)
    batch = task.draw(20, 1)
    assert batch.distance is not None
    checked = 0
    for row, ids in enumerate(batch.inputs.tolist()):
        tokens = [task.vocabulary.token(index) for index in ids]
        written: dict[str, int] = {}
        start = 1  # after <start>
        for stop in [place for place, token in enumerate(tokens) if token == "$"]:
            statement = tokens[start:stop]
            if "<tab>" not in statement:
                written[statement[0]] = start + 1
            else:
                tab = start + statement.index("<tab>")
                names = [token for token in tokens[start:tab] if token in written]
                kept = names.pop(0) if tab - start > 1 and statement[0] in written else None
                oldest = min(written[name] for name in names)
                assert (batch.distance[row, tab:stop] == tab - oldest).all()
                checked += len(set(names)) > 1
                if kept:
                    written[kept] = tab
            start = stop + 1
    assert checked > 50


def test_all_operators_kinds_and_names_are_in_use() -> None:
    task = Programs()
    batch = task.draw(300, 0)
    used = set(np.unique(batch.inputs).tolist())
    unused = {task.vocabulary.token(i) for i in range(task.vocab_size) if i not in used}
    assert unused == {"<unknown>"}
    assert batch.kind is not None
    shares = np.bincount(exact_answers(batch, batch.labels).kind)  # type: ignore[arg-type]
    assert (shares / shares.sum() > 0.15).all()


def test_each_program_writes_its_registers_first_and_asks_last() -> None:
    task = Programs(registers=5, statements=12)
    batch = task.draw(30, 0)
    for tokens in batch.inputs:
        statements = task.vocabulary.decode(tokens).split("$")[:-1]
        assert len(statements) == 12
        names = [statement.split(" ")[0] for statement in statements[:5]]
        assert len(set(names)) == 5
        assert not any("\t" in statement for statement in statements[:5])
        assert "\t" in statements[-1]


def test_values_do_not_grow_without_end() -> None:
    task = Programs(registers=4, statements=300, keeps=1.0, writes=0.0, reads=0.0)
    batch = task.draw(4, 0)
    assert exact_answers(batch, batch.labels).count.max() <= 1 + 4 * 3 + 1


def test_shares() -> None:
    only_reads = Programs(writes=0.0, reads=1.0).draw(10, 0)
    assert only_reads.kind is not None
    assert only_reads.kind.max() == 0
    never_kept = Programs(keeps=0.0)
    text = never_kept.vocabulary.decode(never_kept.draw(1, 0).inputs[0], lines=True)
    assert not any(line.count(" ") > 2 for line in text.splitlines())


def test_the_docstrings_show_true_programs() -> None:
    shown = re.findall(r"^    ([a-zA-Z]\S.*?\$)(?:  |$)", programs.__doc__ or "", re.MULTILINE)
    assert len(shown) == 8
    answers = Interpreter().run("".join(shown).replace(">", "\t"))
    assert [answer.value for answer in answers] == [12, -7, "ABC", 17, 17]

    lines = [line.split() for line in (Programs.__doc__ or "").splitlines()]
    inputs, labels = (
        next(line[1:] for line in lines if line[:1] == [word]) for word in ("inputs", "labels")
    )
    assert Interpreter().run("".join(inputs).replace("_", " ").replace(">", "\t"))
    asked = False
    for token, after, label in zip(inputs, [*inputs[1:], "."], labels, strict=True):
        asked = token == ">" or (asked and token != "$")
        assert label == (after if asked else ".")


def test_chance_is_the_best_constant_guess() -> None:
    task = Programs()
    labels = task.draw(400, 9).labels
    answers = labels[labels != IGNORE]
    share = np.bincount(answers, minlength=task.vocab_size) / answers.size
    assert share.argmax() == task.vocabulary.id("$")
    assert abs(share.max() - task.chance) < 0.01
