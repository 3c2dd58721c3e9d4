"""Derivatives, functional transforms, copies, parametrizations, compilation."""

from __future__ import annotations

import copy
import io
import pickle
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.func import functional_call, grad, jacrev, jvp, stack_module_state, vmap
from torch.nn.utils import parametrizations
from torch.utils.checkpoint import checkpoint

import ramgru.tape
from ramgru import RAMGRU, Memory

pytestmark = pytest.mark.filterwarnings("ignore:RAMGRU. a tensor hx:UserWarning")
EVERY = "key:2 learned lag:5 tape"
# Compiling takes seconds: `make test` compiles the GRU alone, `make slow` the others, too.
compiled_controllers = pytest.mark.parametrize(
    "controller",
    ["gru", *(pytest.param(name, marks=pytest.mark.slow) for name in ("mingru", "diagonal"))],
)
every_controller = pytest.mark.parametrize("controller", ["gru", "mingru", "diagonal"])


def make(
    heads: str = "key:2:write_after=2 tape",
    cells: int = 9,
    learned: bool = False,
    writes: int = 2,
    reads: int = 3,
    tag: int = 8,
    **options: Any,
) -> RAMGRU:
    memory = Memory(cells, heads, tag=tag, writes=writes, reads=reads, learned_start=learned)
    return RAMGRU(2, 3, batch_first=True, dtype=torch.float64, memory=memory, **options)


# The weights of addresses are 1, and so no function of the input, which gets no gradient by them,
# nor by the tags of key heads.
ONE_CELL = {"writes": 1, "reads": 1, "tag": 0}


def normal(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def loss_of(layer: RAMGRU):
    def loss(parameters: dict[str, Tensor], x: Tensor) -> Tensor:
        output, h_n = functional_call(layer, parameters, (x,))
        return output.sin().sum() + h_n.cos().sum()

    return loss


@pytest.fixture
def exact(monkeypatch: pytest.MonkeyPatch) -> None:
    """Positions of tape heads with their exact gradient."""
    monkeypatch.setattr(ramgru.tape, "WINDOW", 1)


@every_controller
def test_gradcheck(controller: str, exact: None) -> None:
    """With the weights of addresses too, which no gradient goes through to the input."""
    layer = make(controller=controller, learned=True)
    names, parameters = zip(*layer.named_parameters())

    def function(x: Tensor, hx: Tensor, *values: Tensor) -> tuple[Tensor, Tensor]:
        return functional_call(layer, dict(zip(names, values)), (x, hx))

    x, hx = normal(2, 2, 2), normal(1, 2, 3).requires_grad_()
    assert torch.autograd.gradcheck(function, (x, hx, *parameters))
    layer = make(controller=controller, learned=True, **ONE_CELL)
    assert torch.autograd.gradcheck(layer, (x.requires_grad_(), hx))


@every_controller
def test_gradcheck_of_a_stream(controller: str, exact: None) -> None:
    layer = make("key tape", cells=4, controller=controller, **ONE_CELL)
    start = normal(1, 2, layer.flat_size).requires_grad_()
    x = normal(2, 3, 2).requires_grad_()

    def function(x: Tensor, flat: Tensor) -> tuple[Tensor, Tensor]:
        output, state = layer(x, layer.initial_state(1).from_tensor(flat))
        return output, state.to_tensor()

    assert torch.autograd.gradcheck(function, (x, start))
    layer = make("key:write_after=0 tape", cells=4, controller=controller)  # cells with tags
    start = normal(1, 2, layer.flat_size).requires_grad_()
    assert torch.autograd.gradcheck(lambda start: function(x.detach(), start), (start,))


@every_controller
def test_second_derivatives(controller: str, exact: None) -> None:
    layer = make("key tape", cells=4, controller=controller, **ONE_CELL)
    x = normal(1, 2, 2).requires_grad_()
    assert torch.autograd.gradgradcheck(lambda x: layer(x)[0], (x,))


@every_controller
def test_functional_call_with_other_weights(controller: str) -> None:
    layer, other, x = make(controller=controller), make(controller=controller), normal(2, 4, 2)
    output, _ = functional_call(layer, other.state_dict(keep_vars=True), (x,))
    assert torch.equal(output, other(x)[0])


@every_controller
def test_func_grad_is_backward(controller: str) -> None:
    layer, x = make(controller=controller), normal(2, 4, 2)
    parameters = dict(layer.named_parameters())
    found = grad(loss_of(layer))(parameters, x)
    loss_of(layer)(parameters, x).backward()
    for name, parameter in parameters.items():
        torch.testing.assert_close(found[name], parameter.grad, rtol=0, atol=1e-12)


@every_controller
def test_jacrev(controller: str) -> None:
    layer, x = make(controller=controller), normal(1, 3, 2)
    found = jacrev(lambda x: layer(x)[0].sum((0, 1)))(x)
    for c in range(3):
        leaf = x.clone().requires_grad_()
        layer(leaf)[0].sum((0, 1))[c].backward()
        torch.testing.assert_close(found[c], leaf.grad, rtol=0, atol=1e-12)


@every_controller
@pytest.mark.parametrize("batched", [True, False], ids=["batch_of_one", "unbatched"])
def test_gradients_of_each_sample(batched: bool, controller: str) -> None:
    layer = make(controller=controller, learned=True)
    parameters, x = dict(layer.named_parameters()), normal(3, 4, 2)
    x = x.unsqueeze(1) if batched else x
    found = vmap(grad(loss_of(layer)), in_dims=(None, 0))(parameters, x)
    for b in range(3):
        alone = grad(loss_of(layer))(parameters, x[b])
        for name in parameters:
            torch.testing.assert_close(found[name][b], alone[name], rtol=0, atol=1e-12)


@every_controller
def test_vmap_over_streams_that_carry_a_state(controller: str) -> None:
    layer = make(controller=controller)

    def stream(x: Tensor) -> Tensor:
        _, state = layer(x[:, :2], layer.initial_state(2))
        return layer(x[:, 2:], state)[0]

    x = normal(3, 2, 4, 2)
    found = vmap(stream)(x)
    for b in range(3):
        torch.testing.assert_close(found[b], stream(x[b]), rtol=0, atol=1e-12)


@every_controller
def test_vmap_over_lengths_and_addresses(controller: str) -> None:
    layer, x = make(controller=controller), normal(3, 2, 4, 2)
    lengths, index = torch.randint(5, (3, 2)), torch.randint(-1, 9, (3, 2, 4))

    def run(x: Tensor, lengths: Tensor, index: Tensor) -> Tensor:
        return layer(x, lengths=lengths, write_index=index, read_index=index)[0]

    found = vmap(run)(x, lengths, index)
    for b in range(3):
        alone = run(x[b], lengths[b], index[b])
        torch.testing.assert_close(found[b], alone, rtol=0, atol=1e-12)


@every_controller
def test_gradient_checkpointing_changes_no_gradient(controller: str) -> None:
    layer, x = make(controller=controller), normal(2, 4, 2)
    parameters = list(layer.parameters())

    def loss(x: Tensor) -> Tensor:
        output, state = layer(x, layer.initial_state(2))
        return output.sin().sum() + state.to_tensor().cos().sum()

    expected = torch.autograd.grad(loss(x), parameters)
    found = torch.autograd.grad(checkpoint(loss, x, use_reentrant=False), parameters)
    assert all(map(torch.equal, found, expected))


@every_controller
def test_ensembles(controller: str) -> None:
    layers = [make(EVERY, controller=controller, learned=True) for _ in range(3)]
    x = normal(2, 4, 2)

    def run(*weights: dict[str, Tensor]) -> Tensor:
        return functional_call(layers[0], weights, (x,))[0]

    found = vmap(run)(*stack_module_state(layers))
    for y, layer in zip(found, layers, strict=True):
        torch.testing.assert_close(y, layer(x)[0], rtol=0, atol=1e-12)


jit_is_deprecated = pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")
WAYS_OUT = r"torch\.autograd\.functional\.jvp.* torch\.func\.jacrev"


@every_controller
@pytest.mark.parametrize("heads", EVERY.split())
@jit_is_deprecated
def test_forward_mode_is_refused(heads: str, controller: str) -> None:
    layer, x = make(heads, controller=controller), normal(1, 3, 2)
    y, weight = layer(x)[0], layer.memories[0].candidate.weight
    with pytest.raises(NotImplementedError, match=WAYS_OUT):
        jvp(lambda x: layer(x)[0], (x,), (torch.ones_like(x),))
    with forward_ad.dual_level():
        dual = forward_ad.make_dual(x, torch.ones_like(x))
        with pytest.raises(NotImplementedError, match=WAYS_OUT):
            layer(dual)
        with pytest.raises(NotImplementedError, match=WAYS_OUT):
            layer.step(dual[:, 0], layer.initial_state(1))
        with pytest.raises(NotImplementedError, match=WAYS_OUT):
            torch.autograd.grad(y, weight, forward_ad.make_dual(y.detach(), y.detach()))


@jit_is_deprecated
def test_forward_mode_of_lags_alone_is_refused() -> None:
    layer, x = make("lag:5"), normal(1, 3, 2)
    name = next(name for name, _ in layer.named_parameters() if name.endswith("logits"))
    logits = layer.get_parameter(name).detach()
    with pytest.raises(NotImplementedError, match=WAYS_OUT):
        jvp(lambda p: functional_call(layer, {name: p}, (x,))[0], (logits,), (logits,))


@every_controller
def test_two_ways_to_a_product_of_forward_mode(controller: str) -> None:
    layer, x, v = make(EVERY, controller=controller), normal(1, 3, 2), normal(1, 3, 2)
    _, product = torch.autograd.functional.jvp(lambda x: layer(x)[0], x, v)
    whole = jacrev(lambda x: layer(x)[0])(x)
    assert product.abs().max() > 0
    torch.testing.assert_close(product, (whole * v).sum((-3, -2, -1)), rtol=0, atol=1e-12)


@every_controller
@pytest.mark.parametrize("how", ["deepcopy", "pickle", "save"])
def test_copies(controller: str, how: str) -> None:
    layer, x = make(controller=controller, learned=True, num_layers=2), normal(2, 4, 2)
    if how == "deepcopy":
        twin = copy.deepcopy(layer)
    elif how == "pickle":
        twin = pickle.loads(pickle.dumps(layer))
    else:
        file = io.BytesIO()
        torch.save(layer.state_dict(), file)
        file.seek(0)
        twin = make(controller=controller, learned=True, num_layers=2)
        twin.load_state_dict(torch.load(file, weights_only=True))
    assert repr(twin) == repr(layer)
    assert torch.equal(twin(x)[0], layer(x)[0])
    with torch.no_grad():  # and it is a copy
        for parameter in twin.parameters():
            parameter.zero_()
    assert not torch.equal(twin(x)[0], layer(x)[0])


@pytest.mark.parametrize(
    ("controller", "name"),
    [("gru", "weight_hh_l0"), ("mingru", "weight_ih_l0"), ("diagonal", "weight_hh_l0")],
)
def test_weight_norm(controller: str, name: str) -> None:
    layer, x = make(controller=controller), normal(2, 4, 2)
    expected, _ = layer(x)
    parametrizations.weight_norm(layer, name)
    output, _ = layer(x)
    torch.testing.assert_close(output, expected)
    output.sum().backward()
    magnitude = layer.parametrizations[name].original0
    assert magnitude.grad.abs().sum() > 0
    with torch.no_grad():
        magnitude *= 2
    assert not torch.allclose(layer(x)[0], expected)


class Doubled(nn.Module):
    def forward(self, weight: Tensor) -> Tensor:
        return 2 * weight


def test_parametrization_reaches_what_the_layer_computes() -> None:
    layer, x = make(), normal(2, 4, 2)
    twin = copy.deepcopy(layer)
    nn.utils.parametrize.register_parametrization(layer, "weight_hh_l0", Doubled())
    with torch.no_grad():
        twin.weight_hh_l0 *= 2
    assert torch.equal(layer(x)[0], twin(x)[0])


@pytest.fixture
def compiled():
    """Compile to one graph; the compiler's cache is cleared at the end."""
    yield lambda layer: torch.compile(layer, fullgraph=True, backend="aot_eager")
    torch._dynamo.reset()


@every_controller
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_compiles_to_one_graph(controller: str, compiled: Any) -> None:
    layer, x = make(controller=controller), normal(2, 4, 2)
    fast = compiled(layer)
    results = [fast(x), layer(x)]
    grads = [torch.autograd.grad(y.sum() + h.sum(), layer.parameters()) for y, h in results]
    for ours, theirs in zip([*results[0], *grads[0]], [*results[1], *grads[1]]):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)


@compiled_controllers
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_compiled_stream(controller: str, compiled: Any) -> None:
    """Ragged and with resets."""
    layer, x = make(controller=controller), normal(3, 4, 2)
    options = {
        "lengths": torch.tensor([2, 4, 0]),
        "reset": torch.tensor([[0, 1, 0, 0], [0, 0, 1, 0], [1, 0, 0, 0]]).bool(),
    }
    fast, state, expected_state = compiled(layer), layer.initial_state(3), layer.initial_state(3)
    for _ in range(2):
        output, state = fast(x, state, **options)
        expected, expected_state = layer(x, expected_state, **options)
        torch.testing.assert_close(output, expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(state.to_tensor(), expected_state.to_tensor(), rtol=0, atol=1e-12)
