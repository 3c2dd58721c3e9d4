"""Lag heads: what they read, the gradient of their logits, and lags that are learned."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from layer_cases import Case
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

import ramgru
from ramgru import RAMGRU, Memory, RAMGRUModel
from ramgru.lab import tasks
from ramgru.lag import LagHeads, correlation


def normal(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def heads(layer: RAMGRU) -> LagHeads:
    found = layer.memories[0].heads["lag"]
    assert isinstance(found, LagHeads)
    return found


def prefer(layer: RAMGRU, *lags: int) -> None:
    """Let each head read one lag alone."""
    with torch.no_grad():
        heads(layer).logits.zero_()
        for head, lag in enumerate(lags):
            heads(layer).logits[head, lag] = 100


def test_reads_are_the_candidates_of_so_many_steps_ago() -> None:
    layer = Case(heads="key lag:5 lag:9", N=16).layer()
    prefer(layer, 4, 7)
    reset = torch.zeros(1, 40, dtype=torch.bool)
    reset[0, 20] = True
    _, state = ramgru.trace(layer, normal(1, 40, 3), reset=reset)
    assert state.trace is not None
    record = state.trace[0]
    assert torch.equal(record.gate[..., 1:], torch.ones_like(record.gate[..., 1:]))
    for head, lag in ((1, 4), (2, 7)):
        weight = record.provenance(head)[0]
        expected = torch.diag(torch.ones(40 - lag), -lag).double()
        expected[20:, :20] = 0
        torch.testing.assert_close(weight, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("resets", [False, True], ids=["", "resets"])
@pytest.mark.parametrize(
    ("steps", "reach"), [(1, 1), (3, 8), (8, 3), (9, 3), (6, 6), (140, 5), (140, 133)]
)
def test_correlation(steps: int, reach: int, resets: bool) -> None:
    dy, seen = normal(2, steps, 3, 4), normal(2, steps + reach - 1, 3, 4)
    reset = torch.rand(2, steps) < 0.3 if resets else None
    segment = torch.zeros(2, steps) if reset is None else reset.long().cumsum(1)
    expected = torch.zeros(3, reach, dtype=torch.float64)
    for b, t, lag in ((b, t, lag) for b in range(2) for t in range(steps) for lag in range(reach)):
        if segment[b, t] == (segment[b, t - lag] if lag <= t else 0):
            expected[:, lag] += (dy[b, t] * seen[b, reach - 1 + t - lag]).sum(-1)
    found = correlation(dy, seen, reach, reset)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)
    seen[:, : reach - 1] = 0
    fresh = correlation(dy, seen[:, reach - 1 :], reach, reset)
    torch.testing.assert_close(fresh, correlation(dy, seen, reach, reset), rtol=0, atol=1e-10)


def test_gradient_of_the_logits_where_all_lags_are_read() -> None:
    """Then it is the gradient of the outputs themselves."""
    layer = Case(heads="lag:2", controller="mingru").layer()
    unit, x, given = layer.memories[0], normal(2, 9, 3), normal(2, 9, 4)
    (layer(x)[0] * given).sum().backward()
    found = heads(layer).logits.grad
    logits = heads(layer).logits.detach().clone().requires_grad_()
    candidate = nn.functional.pad(unit.candidate(x).detach(), (0, 0, 1, 0))
    weight = (30 * logits[0]).softmax(0)
    read = weight[0] * candidate[:, 1:] + weight[1] * candidate[:, :-1]
    out = read @ unit.read_out.weight[:, : read.shape[-1]].mT
    (unit.output_gate(x).sigmoid() * out * given).sum().backward()
    torch.testing.assert_close(found, logits.grad, rtol=0, atol=1e-10)


def test_lags_beyond_a_heads_reach_are_never_read() -> None:
    layer = Case(heads="lag:1 lag:6").layer()
    assert heads(layer).logits.shape == (2, 6)
    prefer(layer, 5, 5)
    lag, weight = heads(layer).best()
    assert (lag[:, 0].tolist(), weight.tolist()) == ([0, 5], [[1, 0], [1, 0]])


def test_reach_and_cells() -> None:
    assert heads(Case(heads="lag", N=9).layer()).ring == 9
    assert heads(Case(heads="lag", N=300).layer()).ring == 256
    with pytest.raises(ValueError, match=r"Lag.reach: expected at most Memory.cells = 9, got 10"):
        Memory(cells=9, heads="lag:10")
    with pytest.raises(ValueError, match=r"Lag.reach: expected at least 1, got 0"):
        Memory(heads="lag:0")


def test_the_ring_moves_on_while_the_caller_names_cells() -> None:
    layer, x = Case(heads="key lag").layer(), normal(1, 4, 3)
    cells = torch.zeros(1, 4, dtype=torch.int64)
    y, named = layer(x, layer.initial_state(1), write_index=cells, read_index=cells)
    assert named.memory[0].carried["lag"].tolist() == [[4]]
    y.sum().backward()
    assert heads(layer).logits.grad is None or not heads(layer).logits.grad.any()


def test_places_stay_integers_where_a_state_is_narrowed() -> None:
    layer = Case(heads="lag tape").layer()
    state = layer(normal(2, 5, 3), layer.initial_state(2))[1]
    for other in (state.to(dtype=torch.bfloat16), state.from_tensor(state.to_tensor())):
        assert torch.equal(other.memory[0].carried["lag"], state.memory[0].carried["lag"])
        assert other.memory[0].carried["lag"].dtype == torch.int64


def loss_of(layer: RAMGRU, parameters: dict[str, Tensor], x: Tensor) -> Tensor:
    output, h_n = functional_call(layer, parameters, (x,))
    return output.sin().sum() + h_n.cos().sum()


def test_gradients_of_each_sample() -> None:
    layer = Case(heads="lag:4 tape", controller="mingru", learned_start=True).layer()
    parameters, x = dict(layer.named_parameters()), normal(3, 1, 6, 3)
    found = vmap(grad(partial(loss_of, layer)), in_dims=(None, 0))(parameters, x)
    for b in range(3):
        alone = grad(partial(loss_of, layer))(parameters, x[b])
        for name in parameters:
            torch.testing.assert_close(found[name][b], alone[name], rtol=0, atol=1e-12)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_compiles_to_one_graph() -> None:
    layer, x = Case(heads="lag:4 tape", controller="mingru").layer(), normal(2, 6, 3)
    reset = torch.tensor([[0, 0, 1, 0, 0, 0], [0] * 6]).bool()
    results = []
    for run in (torch.compile(layer, fullgraph=True, backend="aot_eager"), layer):
        y, h_n = run(x, reset=reset)
        grads = torch.autograd.grad(y.sin().sum() + h_n.sum(), layer.parameters())
        results.append((y, h_n, *grads))
    for ours, theirs in zip(*results):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)
    torch._dynamo.reset()


def test_a_lag_is_learned_from_far_fewer_steps_than_values() -> None:
    torch.manual_seed(0)
    task = tasks.get("lag_recall", lag=12, length=36)
    model = RAMGRUModel(4, 32, 2, 64, memory=Memory(heads="key lag"))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    right = 0.0
    for seed in range(120):
        batch = task.draw(16, seed)
        labels = torch.as_tensor(batch.labels)
        logits = model(torch.as_tensor(batch.inputs))[labels >= 0]
        labels = labels[labels >= 0]
        right = float((logits.argmax(-1) == labels).float().mean())
        if right > 0.99:
            return
        optimizer.zero_grad()
        nn.functional.cross_entropy(logits, labels).backward()
        optimizer.step()
    pytest.fail(f"after 120 steps {right:.1%} of the symbols are right, where 1/4 is chance")
