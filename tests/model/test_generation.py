"""Generation: single steps give the tokens that running over the whole sequence again gives."""

import pytest
import torch

from ramgru import Memory, RAMGRUModel
from ramgru.generation import generate, sample
from ramgru.lab.peers import GRU
from ramgru.sequence import SequenceModel


def small(**options) -> RAMGRUModel:
    torch.manual_seed(0)
    return RAMGRUModel(23, 16, 2, 64, **{"controller": "mingru", **options}).eval()


@pytest.mark.parametrize("controller", ["gru", "mingru", "diagonal"])
@pytest.mark.parametrize("heads", ["key", "key:2 tape"])
@pytest.mark.parametrize("mlp_ratio", [0.0, 2.0])
def test_greedy_equals_running_over_the_whole_sequence_again(controller, heads, mlp_ratio):
    model = small(controller=controller, memory=Memory(heads=heads), mlp_ratio=mlp_ratio)
    src = torch.randint(23, (3, 5))
    every = src
    for _ in range(7):
        every = torch.cat([every, model(every)[:, -1:].argmax(-1)], dim=1)
    assert torch.equal(model.generate(src, 7), every[:, 5:])


def test_a_peer_generates_through_the_same_function():
    torch.manual_seed(1)
    model = SequenceModel(GRU, 16, 2, vocab_size=11).eval()
    src = torch.randint(11, (2, 4))
    every = src
    for _ in range(5):
        every = torch.cat([every, model(every)[:, -1:].argmax(-1)], dim=1)
    assert torch.equal(generate(model, src, 5), every[:, 4:])


def test_state_does_not_grow_with_generated_tokens():
    model = small()
    _, state = model.hidden(torch.randint(23, (1, 3)))
    _, state = model.step(torch.tensor([1]), state)
    sizes = [entry.to_tensor().shape for entry in state]
    for token in range(20):
        _, state = model.step(torch.tensor([token]), state)
    assert [entry.to_tensor().shape for entry in state] == sizes


def test_stop_token_is_repeated_and_ends_early():
    model = small()
    src = torch.randint(23, (4, 5))
    free = model.generate(src, 30)
    stop = int(free[0, 3])
    made = model.generate(src, 30, stop=stop)
    for row, plain in zip(made.tolist(), free.tolist(), strict=True):
        end = plain.index(stop) if stop in plain else len(plain)
        assert row[:end] == plain[:end][: len(row)]
        assert set(row[end:]) <= {stop}


def test_equal_generators_draw_equal_tokens():
    model = small()
    src = torch.randint(23, (2, 5))
    draws = [
        model.generate(src, 8, temperature=1.0, generator=torch.Generator().manual_seed(seed))
        for seed in (7, 7, 8)
    ]
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])


def test_model_keeps_its_mode_and_its_gradients():
    model = small().train()
    model.generate(torch.randint(23, (1, 2)), 2)
    assert model.training
    assert all(parameter.grad is None for parameter in model.parameters())


def frequencies(logits: torch.Tensor, **options) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    options = {"temperature": 1.0, "top_k": None, "top_p": None, **options}
    drawn = sample(logits.expand(20_000, -1), generator=generator, **options)
    return torch.bincount(drawn, minlength=logits.shape[-1]) / 20_000


def test_temperature_draws_from_the_softmax_of_divided_logits():
    logits = torch.tensor([2.0, 0.5, -1.0, 1.0])
    expected = (logits / 0.7).softmax(-1)
    assert (frequencies(logits, temperature=0.7) - expected).abs().max() < 0.015


def test_top_k_draws_only_from_the_likeliest():
    logits = torch.tensor([2.0, 0.5, -1.0, 1.0])
    expected = torch.tensor([2.0, -torch.inf, -torch.inf, 1.0]).softmax(-1)
    assert (frequencies(logits, top_k=2) - expected).abs().max() < 0.015


@pytest.mark.parametrize(("top_p", "kept"), [(0.01, 1), (0.45, 1), (0.6, 2), (0.85, 3), (1.0, 4)])
def test_top_p_keeps_the_fewest_that_reach_it(top_p, kept):
    logits = torch.tensor([0.1, 0.5, 0.3, 0.1001]).log()
    order = logits.argsort(descending=True)
    expected = logits.clone()
    expected[order[kept:]] = -torch.inf
    assert (frequencies(logits, top_p=top_p) - expected.softmax(-1)).abs().max() < 0.015


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": -1.0}, r"temperature: expected a number of 0 or more, got -1"),
        ({"temperature": float("nan")}, r"temperature: expected a number of 0 or more, got nan"),
        ({"stop": 23}, r"stop: expected a token in \[0, 23\), got 23"),
        ({"top_k": 0}, r"top_k: expected 1 or more, got 0"),
        ({"top_p": 1.5}, r"top_p: expected a probability in \(0, 1\], got 1.5"),
        ({"max_new_tokens": -2}, r"max_new_tokens: expected 0 or more, got -2"),
        ({"src": torch.tensor([[3, 23]])}, r"src: expected tokens in \[0, 23\), got 23"),
        ({"src": torch.zeros(2, 0, dtype=torch.int64)}, r"src: expected tokens \(B, T\)"),
    ],
)
def test_bad_arguments_are_named(options, message):
    given = {"src": torch.tensor([[1, 2]]), "max_new_tokens": 2, **options}
    with pytest.raises(ValueError, match=message):
        small().generate(**given)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"top_k": 1.5}, r"top_k: expected an int, got float"),
        ({"max_new_tokens": 2.0}, r"max_new_tokens: expected an int, got float"),
        ({"stop": "."}, r"stop: expected an int, got str"),
        ({"src": torch.zeros(1, 2)}, r"src: expected tokens of int64, got torch.float32"),
    ],
)
def test_bad_types_are_named(options, message):
    given = {"src": torch.tensor([[1, 2]]), "max_new_tokens": 2, **options}
    with pytest.raises(TypeError, match=message):
        small().generate(**given)


def test_a_model_of_features_generates_nothing():
    model = RAMGRUModel(0, 16, 2, 64, features=3, outputs=2)
    with pytest.raises(ValueError, match=r"generate: expected a model of tokens"):
        model.generate(torch.randn(1, 2, 3), 2)
