"""Gradients, optimizer steps and metrics against plain formulas, and peers that learn."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from ramgru import Key, Memory, write_cost
from ramgru.lab import tasks
from ramgru.lab.tasks import IGNORE, Batch, Task
from ramgru.lab.train import ModelConfig, TrainConfig, build_model, train
from ramgru.lab.train.measure import Objective, Tally, measure
from ramgru.lab.train.parallel import make_accelerator
from ramgru.lab.train.step import Stepper, make_optimizer
from ramgru.sequence import detach

TASKS: dict[str, Task] = {
    "tokens": tasks.get("mqar", vocab_size=16, pairs=2, length=12),
    "bits": tasks.get("copy", bits=3, length=5),
    "ragged": tasks.get("parity", length=9),
}


def stepper(task: Task, **changes: object) -> Stepper:
    config = TrainConfig(task=task, model=ModelConfig(layer="gru", d_model=8), device="cpu")
    config = replace(config, **changes)  # type: ignore[arg-type]
    torch.manual_seed(0)
    return Stepper(make_accelerator(config), build_model(config.model, task), config)


def mean_loss(logits: torch.Tensor, labels: np.ndarray) -> torch.Tensor:
    """The mean over everything that is asked, written as torch writes it."""
    target = torch.from_numpy(labels)
    if labels.ndim == 2:
        return F.cross_entropy(logits.transpose(1, 2), target, ignore_index=IGNORE)
    asked = target != IGNORE
    return F.binary_cross_entropy_with_logits(logits[asked], target[asked].float())


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_gradient_is_that_of_the_mean_loss(task):
    batch, made = task.draw(6, 0), stepper(task)
    made.gradient(batch)
    found = [p.grad.clone() for p in made.model.parameters()]
    loss, right, count = made.drain()
    made.model.zero_grad()
    logits = made.model(torch.from_numpy(batch.inputs), lengths=torch.from_numpy(batch.lengths))
    expected = mean_loss(logits, batch.labels)
    expected.backward()
    assert loss == pytest.approx(expected.item(), rel=1e-6)
    assert count == (batch.labels != IGNORE).sum()
    guess = logits.argmax(-1) if batch.labels.ndim == 2 else (logits > 0).long()
    assert right == (guess.numpy() == batch.labels).sum() / count
    expected = [p.grad for p in made.model.parameters()]
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_truncated_gradient_cuts_between_chunks(task):
    """Against the same sum with the state cut by hand every 4 steps."""
    batch, made = task.draw(6, 0), stepper(task, tbptt=4)
    made.gradient(batch)
    found = [p.grad.clone() for p in made.model.parameters()]
    made.model.zero_grad()
    inputs, count = torch.from_numpy(batch.inputs), (batch.labels != IGNORE).sum()
    state, total = None, torch.zeros(())
    for start in range(0, inputs.shape[1], 4):
        labels = batch.labels[:, start : start + 4]
        hidden, state = made.model.hidden(inputs[:, start : start + 4], state)
        state = detach(state)
        if (labels != IGNORE).any():
            asked = (labels != IGNORE).sum()
            total = total + mean_loss(made.model.head(hidden), labels) * asked / count
    total.backward()
    expected = [p.grad for p in made.model.parameters()]
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-7)


def test_stream_carries_the_state():
    """Consecutive batches give the state of one long sequence; a new start forgets it."""
    task = TASKS["tokens"]
    whole, made = task.draw(3, 0), stepper(task, tbptt=4)
    spans = (slice(6), slice(6, 12))
    halves = [Batch(whole.inputs[:, s], whole.labels[:, s], np.full(3, 6)) for s in spans]
    made.gradient(halves[0], continues=False)
    for batch, expected, continues in ((halves[1], whole, True), (halves[1], halves[1], False)):
        made.gradient(batch, continues=continues)
        _, state = made.model.hidden(torch.from_numpy(expected.inputs))
        torch.testing.assert_close(made.state, detach(state))
        assert not any(mine.requires_grad for mine in made.state)
    made.gradient(halves[0])
    assert made.state is None


@pytest.mark.parametrize("cells", [8, 4096], ids=["dense", "table"])
def test_crowd_leaves_the_cells_of_the_last_batch_and_nothing_else(cells):
    """Against a fresh state whose cells are written by hand, with every kind of head."""
    task = TASKS["tokens"]
    model = ModelConfig(d_model=8, memory=Memory(cells=cells, heads="key:2 learned lag tape"))
    made = stepper(task, model=model, crowd=2)
    first, second = task.draw(3, 0), task.draw(3, 1)
    made.gradient(first, continues=False)
    made.model.zero_grad()
    made.gradient(second, continues=True)
    found = [p.grad.clone() for p in made.model.parameters()]
    made.model.zero_grad()
    with torch.no_grad():
        _, left = made.model.hidden(torch.from_numpy(first.inputs))
    state = made.model.initial_state(3)
    for block, entry in enumerate(left):
        memory = [
            replace(fresh, cells=old.cells, rows=old.rows)
            for fresh, old in zip(state[block].memory, entry.memory)
        ]
        state[block] = replace(state[block], memory=tuple(memory))
    hidden, after = made.model.hidden(torch.from_numpy(second.inputs), state)
    mean_loss(made.model.head(hidden), second.labels).backward()
    expected = [p.grad for p in made.model.parameters()]
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-7)
    for mine, entry in zip(made.state, after):
        torch.testing.assert_close(mine.to_tensor(), entry.detach().to_tensor())


def test_batch_that_asks_nothing_changes_no_gradient():
    task = TASKS["tokens"]
    batch, made = task.draw(3, 0), stepper(task)
    made.gradient(replace(batch, labels=np.full_like(batch.labels, IGNORE)))
    assert all(p.grad is None or not p.grad.any() for p in made.model.parameters())


@pytest.mark.parametrize("optimizer", ["adam", "adamw"])
def test_step_is_that_of_torch(optimizer):
    """Clipping, rate and decay included, over three steps."""
    task = TASKS["tokens"]
    made = stepper(task, optimizer=optimizer, clip=0.1, weight_decay=0.2)
    torch.manual_seed(0)
    twin = build_model(made.config.model, task)
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[optimizer]
    matrices = [p for p in twin.parameters() if p.ndim >= 2]
    vectors = [p for p in twin.parameters() if p.ndim < 2]
    groups = [{"params": matrices, "weight_decay": 0.2}, {"params": vectors, "weight_decay": 0.0}]
    theirs = kind(groups, betas=(0.9, 0.98))
    for step in range(3):
        batch, lr = task.draw(4, step), 0.01 * (step + 1)
        made.step(batch, lr)
        theirs.zero_grad()
        mean_loss(twin(torch.from_numpy(batch.inputs)), batch.labels).backward()
        torch.nn.utils.clip_grad_norm_(twin.parameters(), 0.1)
        for group in theirs.param_groups:
            group["lr"] = lr
        theirs.step()
    mine, expected = list(made.model.parameters()), list(twin.parameters())
    torch.testing.assert_close(mine, expected, rtol=1e-4, atol=1e-5)


def test_every_parameter_is_optimised_once():
    model = build_model(ModelConfig(layer="ramgru", d_model=8), TASKS["tokens"])
    optimizer = make_optimizer(model, TrainConfig(model=ModelConfig(layer="ramgru")))
    given = [id(p) for group in optimizer.param_groups for p in group["params"]]
    assert sorted(given) == sorted(id(p) for p in model.parameters())


def test_lower_precision_keeps_the_weights_in_full():
    made = stepper(TASKS["tokens"], precision="bfloat16")
    made.step(TASKS["tokens"].draw(4, 0), 0.01)
    assert {p.dtype for p in made.model.parameters()} == {torch.float32}
    exact = stepper(TASKS["tokens"])
    exact.gradient(TASKS["tokens"].draw(4, 0))
    rough, fine = made.drain()[0], exact.drain()[0]
    assert rough != fine
    assert rough == pytest.approx(fine, rel=0.05)


@pytest.mark.parametrize("chunk", [0, 1, 5], ids=lambda n: f"chunk{n}")
@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_measure_counts_what_numpy_counts(task, chunk):
    torch.manual_seed(1)
    model = build_model(ModelConfig(layer="gru", d_model=8, dropout=0.5), task)
    batches = [task.draw(4, seed) for seed in (0, 1)]
    tally = measure(Objective(model), batches, device="cpu", chunk=chunk)
    assert model.training  # as it was
    model.eval()
    right = count = exact = answers = 0
    loss = 0.0
    for batch in batches:
        lengths = torch.from_numpy(batch.lengths)
        logits = model(torch.from_numpy(batch.inputs), lengths=lengths).detach()
        asked = batch.labels != IGNORE
        guess = (logits.argmax(-1) if asked.ndim == 2 else (logits > 0).long()).numpy()
        right += ((guess == batch.labels) & asked).sum()
        count += asked.sum()
        loss += mean_loss(logits, batch.labels).item() * asked.sum()
        if asked.ndim == 3:  # the copy task: all of a sequence's vectors are one answer
            wrong = ((guess != batch.labels) & asked).any(axis=(1, 2))
            exact, answers = exact + (~wrong).sum(), answers + 4
    assert (tally.right, tally.count) == (right, count)
    assert tally.loss == pytest.approx(loss, rel=1e-5)
    if answers:
        assert tally.exact == [exact, answers]


def test_tally_groups_by_distance_and_kind():
    labels = np.array([[1, IGNORE, 2], [3, 4, IGNORE]])
    distance, kind = np.array([[2, -1, 5], [5, 2, -1]]), np.array([[0, -1, 1], [0, 0, -1]])
    batch = Batch(labels, labels, np.array([3, 3]), distance, kind)
    tally = Tally()
    tally.add(batch, np.array([[1, 0, 9], [3, 9, 0]]))
    assert tally.distance == {2: [1, 2], 5: [1, 2]}
    assert tally.kind == {0: [2, 3], 1: [0, 1]}
    assert tally.exact_of == {0: [1, 2], 1: [0, 1]}  # [3, 4] is one answer, half of it right
    tally.merge(tally)
    assert (tally.right, tally.count, tally.distance) == (4, 8, {2: [2, 4], 5: [2, 4]})
    assert (tally.kind, tally.exact_of) == ({0: [4, 6], 1: [0, 2]}, {0: [2, 4], 1: [0, 2]})


MQAR = tasks.get("mqar", vocab_size=32, pairs=2, length=8)


def charged_run(model, price, lengths=None):
    inputs = torch.randint(1, MQAR.vocab_size, (3, 9), generator=torch.Generator().manual_seed(1))
    where, answers = torch.tensor([2, 11, 13, 20]), torch.tensor([1, 2, 3, 4])
    model.zero_grad()
    loss, *_ = Objective(model)(inputs, where, answers, lengths, write_price=price)
    charge = write_cost(model) if model.training else None
    loss.backward()
    return loss.detach(), {n: p.grad.clone() for n, p in model.named_parameters()}, inputs, charge


@pytest.mark.parametrize("lengths", [None, torch.tensor([9, 4, 7])], ids=["", "ragged"])
@pytest.mark.parametrize("heads", ["key key", "key tape"])
def test_gradient_of_open_gates_is_added_and_the_loss_stays(heads, lengths):
    torch.manual_seed(0)
    config = ModelConfig(d_model=16, num_layers=2, memory=Memory(cells=64, heads=heads))
    model = build_model(config, MQAR)
    plain, without, inputs, _ = charged_run(model, None, lengths)
    charged, found, _, charge = charged_run(model, torch.tensor(0.5), lengths)
    assert torch.equal(plain, charged)

    # the openings of key heads by definition, summed over steps that are not padding
    model.zero_grad()
    x, sums = model.embedding(inputs), []
    valid = torch.arange(9) < (torch.full((3,), 9) if lengths is None else lengths).unsqueeze(1)
    for block in model.blocks:
        memory = block.layer.memories[0]
        gates = memory.update_gate(block.norm(x)).sigmoid()[..., : len(memory.memory.of_kind(Key))]
        sums.append(gates[valid].mean(-1).sum())
        x, _ = block(x, None, lengths=lengths)
    torch.testing.assert_close(charge, 0.3 * sum(sums) / 2 / valid.sum())  # as in a person's loop
    (0.5 * sum(sums) / 2).backward()
    for name, parameter in model.named_parameters():
        more = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        torch.testing.assert_close(found[name], without[name] + more, rtol=1e-4, atol=1e-6)
    bias = "blocks.0.layer.memory_l0.update_gate.bias"
    keys = slice(len(memory.memory.of_kind(Key)))
    assert (found[bias] - without[bias])[keys].min() > 0  # a charged gate is closed


def test_peers_are_not_charged():
    model = build_model(ModelConfig(layer="gru", d_model=16), MQAR)
    plain, without, *_ = charged_run(model.eval(), None)
    charged, found, *_ = charged_run(model, torch.tensor(0.5))
    assert torch.equal(plain, charged)
    assert all(torch.equal(found[name], without[name]) for name in without)


@pytest.mark.parametrize(("layer", "steps"), [("attention", 150), ("gated_deltanet", 400)])
def test_peer_recalls(layer, steps, tmp_path) -> None:
    """Multi-query associative recall (arXiv 2312.04927): strong peers recall every pair."""
    config = TrainConfig(
        task=tasks.get("mqar", vocab_size=64, pairs=4, length=32),
        model=ModelConfig(layer=layer, d_model=64, num_layers=2),
        lr=1e-2,
        batch_size=32,
        steps=steps,
        steps_per_epoch=50,
        target=0.98,
        curriculum=False,
        device="cpu",
        out=tmp_path / "run",
    )
    outcome = train(config, quiet=True)
    assert outcome.reason == "target", f"recall {outcome.score} after {outcome.step} steps"
