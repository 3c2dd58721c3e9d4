"""The residual stack around any layer, and the token model: the same numbers in any pieces."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.func import functional_call, grad, vmap

from ramgru import RAMGRU, Memory, RAMGRUModel, RAMGRUState
from ramgru.lab.peers import GRU, Attention
from ramgru.lab.train.checkpoint import flatten
from ramgru.sequence import SequenceModel, detach

V, C = 11, 8


def ramgru(**options) -> RAMGRUModel:
    torch.manual_seed(0)
    memory = Memory(heads="key:2 tape", reads=3, learned_start=True)
    return RAMGRUModel(V, C, 2, 64, **{"memory": memory, **options}).double()


def peer(layer: type) -> SequenceModel:
    torch.manual_seed(0)
    return SequenceModel(layer, C, 2, vocab_size=V, mlp_ratio=2.0).double()


MODELS = {
    "ramgru": lambda: ramgru(controller="gru"),
    "ramgru_mingru": lambda: ramgru(controller="mingru", mlp_ratio=1.5),
    "gru": lambda: peer(GRU),  # its state is a tensor
    "attention": lambda: peer(Attention),  # its state grows
}


@pytest.fixture(params=MODELS)
def model(request: pytest.FixtureRequest) -> SequenceModel:
    return MODELS[request.param]()


def floats(entry: Any) -> Tensor:
    """The numbers in the state of one block; of a `RAMGRUState` with all of its cells."""
    if isinstance(entry, RAMGRUState):
        return entry.to_tensor().flatten()
    held = [x.flatten() for x in flatten(entry).values() if x.is_floating_point()]
    return torch.cat(held)


def tokens(*shape: int) -> Tensor:
    return torch.randint(V, shape)


def close(a: Tensor, b: Tensor) -> None:
    torch.testing.assert_close(a, b, rtol=0, atol=1e-11)


def test_logits_of_every_position(model: SequenceModel) -> None:
    logits = model(tokens(3, 7))
    assert logits.shape == (3, 7, V)
    logits.sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_tgt_continues_src(model: SequenceModel, batch: int) -> None:
    src, tgt = tokens(batch, 7), tokens(batch, 4)
    logits = model(src, tgt)
    assert logits.shape == (batch, 11, V)
    close(logits, model(torch.cat([src, tgt], dim=1)))
    grads = [
        torch.autograd.grad(y.sin().sum(), list(model.parameters()))
        for y in (logits, model(torch.cat([src, tgt], dim=1)))
    ]
    for one, other in zip(*grads):
        close(one, other)


def test_tgt_after_ragged_src(model: SequenceModel) -> None:
    """Each continuation starts from the end of its own source, not from the padding."""
    src, tgt, lengths = tokens(3, 6), tokens(3, 4), torch.tensor([6, 2, 4])
    logits = model(src, tgt, lengths=lengths)
    for b, n in enumerate(lengths.tolist()):
        alone = model(torch.cat([src[b : b + 1, :n], tgt[b : b + 1]], dim=1))
        close(logits[b, :n], alone[0, :n])
        close(logits[b, 6:], alone[0, n:])


def test_a_sequence_does_not_see_its_batch(model: SequenceModel) -> None:
    src = tokens(5, 6)
    logits = model(src)
    for b in range(5):
        close(logits[b : b + 1], model(src[b : b + 1]))


def test_no_position_sees_the_future(model: SequenceModel) -> None:
    src = tokens(2, 8)
    logits = model(src)
    src[:, 5] = (src[:, 5] + 1) % V
    changed = (model(src) != logits).any(-1)
    assert not changed[:, :5].any()
    assert changed[:, 5].all()


@pytest.mark.parametrize("cuts", [[3], [1, 2, 6]], ids=str)
def test_state_carries_a_stream(model: SequenceModel, cuts: list[int]) -> None:
    src = tokens(2, 8)
    expected, expected_state = model.hidden(src)
    state, pieces = None, []
    for piece in src.tensor_split(cuts, dim=1):
        hidden, state = model.hidden(piece, state)
        pieces.append(hidden)
    close(torch.cat(pieces, dim=1), expected)
    for one, other in zip(state, expected_state):
        close(floats(one), floats(other))


def test_steps_give_the_same(model: SequenceModel) -> None:
    src = tokens(2, 6)
    expected, _ = model.hidden(src)
    state = model.initial_state(2)
    with torch.no_grad():
        for t in range(6):
            hidden, state = model.step(src[:, t], state)
            close(hidden, expected[:, t])


def test_resets_begin_anew(model: SequenceModel) -> None:
    src, reset = tokens(2, 8), torch.zeros(2, 8, dtype=torch.bool)
    reset[:, 3] = True
    hidden, _ = model.hidden(src, reset=reset)
    close(hidden[:, :3], model.hidden(src[:, :3])[0])
    close(hidden[:, 3:], model.hidden(src[:, 3:])[0])


def test_detach_cuts_the_graph(model: SequenceModel) -> None:
    src = tokens(2, 5)
    hidden, state = model.hidden(src)
    cut = detach(state)
    after, _ = model.hidden(src, cut)
    whole, _ = model.hidden(src, state)
    close(after, whole)
    for entry in cut:
        assert not floats(entry).requires_grad
    after.sum().backward()  # without reaching into the first piece, whose graph is still whole
    hidden.sum().backward()


def test_state_size_is_what_the_state_holds(model: SequenceModel) -> None:
    state = model.initial_state(3)
    assert model.state_size == sum(floats(entry).numel() for entry in state) // 3


def test_head_is_tied_to_the_embedding(model: SequenceModel) -> None:
    hidden = torch.randn(2, 3, C, dtype=torch.float64)
    assert torch.equal(model.head(hidden), hidden @ model.embedding.weight.T)
    assert model.readout is None


def test_features_in_and_outputs() -> None:
    model = SequenceModel(GRU, C, 1, features=3, outputs=2)
    assert model(torch.randn(4, 6, 3)).shape == (4, 6, 2)
    model = RAMGRUModel(0, C, 2, 64, features=3, outputs=2)
    assert model(torch.randn(4, 6, 3)).shape == (4, 6, 2)


@pytest.mark.parametrize("sizes", [{}, {"vocab_size": 3, "features": 2}], ids=str)
def test_tokens_or_features(sizes: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="give exactly one of vocab_size and features, got"):
        SequenceModel(GRU, C, 1, **sizes)


def test_options_reach_every_block() -> None:
    memory = Memory(cells=4, heads="key:2 tape", width=5, writes=2, reads=3, gate_bias=0.5)
    model = RAMGRUModel(
        *(V, C, 5, 64, 3), memory=memory, controller="mingru", checkpoint_every=4, mlp_ratio=2
    )
    assert len(model.layers) == 3
    for layer in model.layers:
        assert isinstance(layer, RAMGRU)
        assert layer.memory == replace(memory.dealt(5), cells=64)
        assert (layer.controller, layer.checkpoint_every) == ("mingru", 4)
    assert all(block.mlp is not None for block in model.blocks)
    again = RAMGRUModel(**{**model.config, "memory": Memory(**model.config["memory"])})
    assert repr(again) == repr(model)
    with pytest.raises(TypeError, match="unexpected keyword argument 'colour'"):
        ramgru(colour="plum")


def test_dropout_in_training_only() -> None:
    model, src = ramgru(dropout=0.5), tokens(2, 6)
    assert not torch.equal(model(src), model(src))
    model.eval()
    assert torch.equal(model(src), model(src))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"num_layers": 0}, ValueError, "num_layers: expected at least 1, got 0"),
        ({"mlp_ratio": -1.0}, ValueError, "mlp_ratio: expected 0 or more, got -1.0"),
        ({"bidirectional": True}, TypeError, "unexpected keyword argument 'bidirectional'"),
        ({"memory": 4096}, TypeError, "memory: expected a ramgru.Memory, .* got int: 4096"),
    ],
    ids=str,
)
def test_bad_options_are_named(options, error, message) -> None:
    with pytest.raises(error, match=message):
        ramgru(**options)


def test_features_need_outputs() -> None:
    with pytest.raises(ValueError, match="outputs: expected at least 1 with features, got 0"):
        SequenceModel(GRU, C, 1, features=3)


def test_bad_input_is_named(model: SequenceModel) -> None:
    with pytest.raises(ValueError, match=r"expected tokens \(B, T\), got shape \(7,\)"):
        model(tokens(7))
    with pytest.raises(TypeError, match=r"expected tokens \(B, T\) of int64, got torch.float32"):
        model(tokens(3, 7), torch.zeros(3, 2))


@pytest.mark.parametrize("token", [V, -1])
def test_a_token_beyond_the_vocabulary_is_named(model: SequenceModel, token: int) -> None:
    src = tokens(2, 5)
    src[1, 3] = token
    wrong = rf"expected tokens in \[0, vocab_size = {V}\), got {token}"
    with pytest.raises(ValueError, match=f"src, tgt: {wrong}"):
        model(src)
    with pytest.raises(ValueError, match=f"src, tgt: {wrong}"):
        model(tokens(2, 5), src)
    with pytest.raises(ValueError, match=f"token: {wrong}"):
        model.step(src[:, 3], model.initial_state(2))


def test_vmap_over_the_model_gives_the_gradients_of_each_sample() -> None:
    model, src = ramgru(controller="mingru"), tokens(3, 7)
    parameters = dict(model.named_parameters())

    def loss(parameters: dict[str, Tensor], src: Tensor) -> Tensor:
        inputs = (src[None, :4], src[None, 4:])
        return functional_call(model, parameters, inputs).logsumexp(-1).sum()

    found = vmap(grad(loss), in_dims=(None, 0))(parameters, src)
    for b in range(3):
        alone = grad(loss)(parameters, src[b])
        for name in parameters:
            close(found[name][b], alone[name])


def test_a_stream_that_ends_here_gives_the_same_bits(model):
    src, lengths = tokens(3, 9), torch.tensor([9, 4, 0])
    ended, left = model.hidden(src, lengths=lengths, carry=False)
    carried, _ = model.hidden(src, lengths=lengths)
    assert torch.equal(ended, carried)
    assert not any(isinstance(entry, RAMGRUState) for entry in left)


def test_a_model_exports_with_dynamic_batch_and_time():
    model = ramgru(controller="mingru").eval()
    batch, time = torch.export.Dim("batch", max=64), torch.export.Dim("time", min=2, max=4096)
    program = torch.export.export(
        model, (tokens(3, 5),), dynamic_shapes=({0: batch, 1: time},), strict=False
    )
    for shape in ((3, 5), (2, 40), (1, 100)):
        src = tokens(*shape)
        torch.testing.assert_close(program.module()(src), model(src), rtol=0, atol=1e-12)
