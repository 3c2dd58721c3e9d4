from dataclasses import replace

import numpy as np
import pytest
import torch

from ramgru import RAMGRUModel
from ramgru.config import Memory
from ramgru.errors import CheckpointError, RamgruError
from ramgru.lab import tasks
from ramgru.lab.peers import GRU
from ramgru.lab.show.example import draw, parse
from ramgru.lab.show.inspect import InspectConfig, bars, inspect, text
from ramgru.lab.show.view import cells_in_use, look, trace_model
from ramgru.lab.train import ModelConfig, TrainConfig, build_model, load_run, train
from ramgru.layer import RAMGRU
from ramgru.sequence import SequenceModel

TASK = tasks.get("mqar", vocab_size=32, pairs=4, length=32)
MODEL = ModelConfig(d_model=16, memory=Memory(cells=64, heads=2, writes=2))


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """runs/: a RAM-GRU, and after it an nn.GRU, each trained for three steps."""
    root = tmp_path_factory.mktemp("work") / "runs"
    threads = torch.get_num_threads()
    for layer in ("ramgru", "gru"):
        config = TrainConfig(
            task=TASK,
            model=replace(MODEL, layer=layer),
            steps=3,
            batch_size=4,
            evaluate_examples=4,
            threads=1,
            device="cpu",
            out=root / layer,
        )
        train(config, quiet=True)
    torch.set_num_threads(threads)
    return root


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return build_model(MODEL, TASK).eval()


@pytest.mark.parametrize("controller", ["gru", "mingru", "diagonal"])
@pytest.mark.parametrize("mlp_ratio", [0.0, 2.0])
def test_traces_end_with_the_cells_of_the_models_state(controller, mlp_ratio):
    memory = Memory(cells=16, writes=2)
    sizes = {"num_layers": 3, "memory": memory, "controller": controller, "mlp_ratio": mlp_ratio}
    model = RAMGRUModel(11, 8, 2, 16, **sizes).double()
    src = torch.randint(11, (2, 6))
    traces = trace_model(model, src)
    _, state = model.hidden(src)
    assert len(traces) == 3
    for one, after in zip(traces, state):
        # Sequences, steps, and cells of a key head and of a learned one.
        assert int(one.occupancy().sum()) == 2 * 6 * (2 + 4)
        rows = after.memory[0].dense().rows
        for head in range(2):
            for i in range(16):
                cell = one.cell(i, head=head, batch=1)
                torch.testing.assert_close(cell.state, rows[1, head, i], rtol=0, atol=1e-12)


def test_blocks_without_a_memory_have_no_trace():
    model = SequenceModel(GRU, 8, 2, vocab_size=11)
    assert trace_model(model, torch.randint(11, (2, 6))) == [None, None]


def test_answers_come_with_the_traces_own_weights(model):
    example = draw(TASK, 1)
    view = look(model, TASK, example, block=1, head=1)
    trace = trace_model(model, torch.from_numpy(example.inputs)[None])[1]
    exact = trace.provenance(1)[0].numpy()
    for question, answer in zip(example.questions, view.sample.answers, strict=True):
        np.testing.assert_array_equal(answer.weight, exact[question.step])
        assert (answer.expected, answer.written) == (str(question.expected), question.written)
    logits = model(torch.from_numpy(example.inputs)[None])[0]
    said = [str(int(logits[q.step].argmax())) for q in example.questions]
    assert [answer.answered for answer in view.sample.answers] == said


def test_the_block_and_head_that_meet_most_answers_are_shown(model):
    example = draw(TASK, 1)
    view = look(model, TASK, example)
    met = {}
    for block, trace in enumerate(trace_model(model, torch.from_numpy(example.inputs)[None])):
        for head in range(2):
            weight = trace.provenance(head)[0]
            met[block, head] = float(sum(weight[q.step, q.written] for q in example.questions))
    assert met[view.block, view.head] == pytest.approx(max(met.values()))
    assert max(met.values()) > 0


def test_every_write_is_counted(model):
    example = draw(TASK, 1)
    view = look(model, TASK, example, block=0)
    assert len(view.occupancy.cells) == 2
    assert sum(map(sum, view.occupancy.writes)) == 32 * 2 * 2  # steps, heads, cells a step
    assert cells_in_use(model, example, 0) == view.occupancy
    assert view.gates.shape == (32, 2)
    assert ((view.gates > 0) & (view.gates <= 1)).all()


def test_a_unit_shows_what_its_cell_did(model):
    example = draw(TASK, 1)
    cell, writes = look(model, TASK, example, block=0, head=1).occupancy.most_written(1)[0]
    unit = look(model, TASK, example, block=0, head=1, cell=cell).unit
    assert (unit.gate > 0).sum() == writes
    trace = trace_model(model, torch.from_numpy(example.inputs)[None])[0]
    np.testing.assert_array_equal(unit.state, trace.cell(cell, head=1).state.numpy())
    assert unit.activation.shape == (32, unit.state.size - MODEL.memory.tag)


@pytest.mark.parametrize(
    ("task", "options"),
    [("copy", {"length": 4}), ("parity", {"length": 8}), ("programs", {"registers": 2})],
    ids=["copy", "parity", "programs"],
)
def test_other_tasks_can_be_looked_at(task, options):
    torch.manual_seed(0)
    made = tasks.get(task, **options)
    model = SequenceModel(
        lambda width: RAMGRU(width, width, batch_first=True, memory=Memory(cells=64, heads=2)),
        16,
        1,
        vocab_size=made.vocab_size,
        features=made.features,
        outputs=made.outputs,
    ).eval()
    example = draw(made, 0)
    view = look(model, made, example)
    assert len(view.sample.answers) == len(example.questions)
    assert all(answer.right is not None for answer in view.sample.answers)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"block": 2}, r"block: expected one with a memory \(0, 1\), got 2"),
        ({"head": 2}, "head: expected 0 … 1, got 2"),
        ({"cell": 64}, "cell: expected 0 … 63, got 64"),
    ],
    ids=["block", "head", "cell"],
)
def test_places_that_are_not_there_are_refused(model, options, message):
    with pytest.raises(ValueError, match=message):
        look(model, TASK, draw(TASK, 1), **options)


def test_a_page_is_written_into_the_run(runs, capsys):
    run = runs / "ramgru"
    path = inspect(InspectConfig(run, input="3 20 4 21 0 3", cell=5))
    assert path == run / "inspect.html"
    page = path.read_text(encoding="utf-8")
    assert page.count("<svg") == 4  # arcs, gates, cells, unit
    assert "Cell 5" in page
    assert "--input" in page
    printed = capsys.readouterr().out
    assert "step 5: 3 → " in printed
    assert "cell 5: gate |" in printed
    assert printed.endswith(f"page: {path}\n")


def test_by_default_the_newest_run_with_a_memory_is_shown(runs, monkeypatch, tmp_path):
    monkeypatch.chdir(runs.parent)
    out = inspect(InspectConfig(out=tmp_path / "a.html"), quiet=True)
    assert "Inside ramgru: one input of mqar" in out.read_text(encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RamgruError, match="no run of layer ramgru in runs/"):
        inspect(InspectConfig(), quiet=True)


def test_the_same_seed_shows_the_same_input(runs, tmp_path):
    pages = [
        inspect(
            InspectConfig(runs / "ramgru", seed=seed, out=tmp_path / f"{n}.html"), quiet=True
        ).read_text(encoding="utf-8")
        for n, seed in enumerate((0, 0, 1))
    ]
    assert pages[0] == pages[1] != pages[2]


def test_a_model_without_memory_is_refused_in_one_sentence(runs):
    with pytest.raises(RamgruError, match=r"has no memory: .* got gru") as failed:
        inspect(InspectConfig(runs / "gru"), quiet=True)
    assert not isinstance(failed.value, CheckpointError)
    assert not (runs / "gru" / "inspect.html").exists()


def test_a_refused_input_leaves_no_page(runs, tmp_path):
    out = tmp_path / "x.html"
    with pytest.raises(ValueError, match="got '99' at step 0"):
        inspect(InspectConfig(runs / "ramgru", input="99", out=out), quiet=True)
    assert not list(tmp_path.iterdir())


def test_no_run_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match=r"config\.json is missing"):
        inspect(InspectConfig(tmp_path), quiet=True)


@pytest.mark.parametrize("name", ["seed", "cell", "block", "head"])
def test_negative_numbers_are_refused(name):
    with pytest.raises(ValueError, match=f"{name}: expected at least 0, got -1"):
        InspectConfig(**{name: -1})


def test_the_text_says_what_was_asked_answered_and_from_where(runs):
    _, task, trained = load_run(runs / "ramgru")
    view = look(trained, task, parse(task, "3 20 4 21 0 3"))
    lines = text(view).splitlines()
    assert lines[0].startswith("Block ")
    assert lines[1] in ("0 of 1 answers are right.", "1 of 1 answers are right.")
    (answer,) = view.sample.answers
    best = int(np.argmax(answer.weight))
    assert f"from step {best}, {view.sample.tokens[best]}" in lines[2]
    assert any(line.startswith("Cells most written by head") for line in lines)


def test_bars_keep_the_largest_of_what_they_join():
    assert bars(np.array([0.0, 0.5, 1.0])) == " ▄█"
    assert bars(np.array([0.0, 1.0, 0.0, 0.0]), width=2) == "█ "
