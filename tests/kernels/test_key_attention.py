"""The gradient of attention over a window: every path against dense attention, with its edges."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from ramgru.kernels import native
from ramgru.kernels.key_attention import key_attention, reference

every_isa = pytest.mark.parametrize("isa", native.supported())
every_path = pytest.mark.parametrize("path", [*native.supported(), native.PORTABLE])


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(20241124)


@dataclass(frozen=True)
class Case:
    """B sequences of T steps, H heads, A numbers of a key, width D."""

    B: int = 2
    T: int = 7
    H: int = 3
    A: int = 5
    D: int = 4
    window: int = 3
    resets: float = 0.0
    lengths: tuple[int, ...] = ()
    null: float = 0.5

    def tensors(self) -> list[Tensor]:
        """y, query, key, scale, gate, candidate, null in float64; a third of the gates are shut"""
        steps = (self.B, self.T, self.H)
        query, key = torch.randn(2, *steps, self.A, dtype=torch.float64)
        gate = torch.rand(steps, dtype=torch.float64)
        gate[torch.rand(steps) < 1 / 3] = 0
        gate[torch.rand(steps) < 1 / 4] = 1
        return [
            *(torch.randn(*steps, self.D, dtype=torch.float64), query, key),
            *(torch.linspace(-1, 12, self.H).double(), gate),
            *(
                torch.randn(*steps, self.D, dtype=torch.float64),
                torch.full((self.H,), self.null).double(),
            ),
        ]

    @property
    def ragged(self) -> tuple[Tensor | None, Tensor | None]:
        """reset and lengths"""
        reset = torch.rand(self.B, self.T) < self.resets if self.resets else None
        return reset, torch.tensor(self.lengths) if self.lengths else None


NEVER = -float("inf")
CASES = {
    "one_step": Case(B=1, T=1, H=1, A=1, D=1, window=1),
    "one_step_of_a_window": Case(T=1, window=256),
    "this_step_alone": Case(window=1),
    "shorter_than_the_window": Case(window=256),
    "just_the_window": Case(window=7),
    "no_null": Case(T=20, window=8, null=NEVER),
    "one_block": Case(T=16, A=16, D=16, window=8),
    "one_more_than_a_block": Case(T=17, A=16, D=16, window=8),
    "two_blocks": Case(T=32, H=1, A=17, D=33, window=256),
    "one_less_than_two_blocks": Case(T=31, H=1, A=15, D=31, window=31),
    "window_of_a_block": Case(T=50, A=3, D=9, window=16),
    "longer_than_the_window": Case(T=150, H=2, A=16, D=64, window=37),
    "two_portable_blocks": Case(T=256, H=1, A=2, D=3, window=128),
    "three_portable_blocks": Case(B=1, T=257, H=1, A=2, D=3, window=200),
    "resets": Case(T=100, H=2, window=20, resets=0.1),
    "reset_at_each_step": Case(T=40, H=2, window=20, resets=1),
    "lengths": Case(B=5, T=40, H=2, window=9, lengths=(0, 1, 16, 39, 40)),
    "all": Case(
        B=4, T=140, H=2, A=4, D=8, window=30, resets=0.05, lengths=(140, 0, 33, 129), null=NEVER
    ),
}
every_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)
Run = Callable[..., Tensor]


def gradients(
    run: Run, tensors: list[Tensor], *ragged: Any, above: Tensor, window: int
) -> list[Tensor]:
    """Of y, query, key, scale, gate, candidate and null."""
    leaves = [t.detach().clone().requires_grad_() for t in tensors]
    y = run(*leaves, *ragged, window=window)
    assert torch.equal(y, leaves[0])
    return list(torch.autograd.grad(y, leaves, above.to(y.dtype)))


def assert_close(found: list[Tensor], exact: list[Tensor], tolerance: float) -> None:
    for ours, theirs in zip(found, exact, strict=True):
        assert (ours.double() - theirs).norm() <= tolerance * theirs.norm() + tolerance**2


@every_path
@every_case
def test_gradients_equal_those_of_dense_attention(path: str, case: Case) -> None:
    tensors, ragged = case.tensors(), case.ragged
    given = {"above": torch.randn_like(tensors[0]), "window": case.window}
    exact = gradients(reference.key_attention, tensors, *ragged, **given)
    with native.use(path):
        assert_close(gradients(key_attention, tensors, *ragged, **given), exact, 1e-10)


@every_path
def test_single_precision_and_bfloat16(path: str) -> None:
    case = Case(B=3, T=300, H=2, A=16, D=32, window=100, resets=0.01, lengths=(300, 123, 7))
    ragged = case.ragged
    for dtype, tolerance in ((torch.float32, 1e-5), (torch.bfloat16, 2**-8)):
        tensors = [t.to(dtype) for t in case.tensors()]
        given = {"above": torch.randn(tensors[0].shape).to(dtype), "window": case.window}
        exact = gradients(reference.key_attention, [t.double() for t in tensors], *ragged, **given)
        with native.use(path):
            found = gradients(key_attention, tensors, *ragged, **given)
        assert [g.dtype for g in found] == [dtype] * 7
        assert_close(found, exact, tolerance)


def test_the_reference_is_a_loop_over_steps() -> None:
    case = Case(B=2, T=12, window=4, resets=0.2, lengths=(9, 12))
    _, query, key, scale, gate, candidate, null = tensors = case.tensors()
    reset, lengths = case.ragged
    assert reset is not None
    assert lengths is not None
    found = reference.attention(*tensors[1:], reset, lengths, window=case.window)
    for b in range(case.B):
        for h in range(case.H):
            start = 0
            for t in range(case.T):
                start = t if reset[b, t] else start
                wanted, total = torch.zeros(case.D).double(), null[h].exp()
                for s in range(max(start, t - case.window + 1), t + 1):
                    similar = query[b, t, h] @ key[b, s, h] / case.A
                    weight = gate[b, s, h] * (scale[h] * similar).exp()
                    wanted, total = wanted + weight * candidate[b, s, h], total + weight
                wanted = wanted / total if t < lengths[b] else torch.zeros(case.D).double()
                torch.testing.assert_close(found[b, t, h], wanted)


@every_path
def test_a_shut_gate_learns_what_opening_it_would_do(path: str) -> None:
    case = Case(B=1, T=2, H=1, null=0.0)
    tensors = case.tensors()
    tensors[3].fill_(2)
    tensors[4].copy_(torch.tensor([0.0, 1.0]).view(1, 2, 1))
    above = torch.randn_like(tensors[0])
    above[:, 0] = 0
    with native.use(path):
        found = gradients(key_attention, tensors, None, None, above=above, window=2)[4]
    _, query, key, _, _, c, _ = tensors
    score = (2 / case.A * query[0, 1, 0] * key[0, :, 0]).sum(-1).exp()
    total = score[1] + 1
    attended = score[1] / total * c[0, 1, 0]
    wanted = score[0] / total * above[0, 1, 0] @ (c[0, 0, 0] - attended)
    torch.testing.assert_close(found[0, 0, 0], wanted)


@every_path
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_gradients_are_finite_at_large_scores_and_zero_without_any_weight(
    path: str, dtype: Any
) -> None:
    case = Case(T=40, window=40)
    tensors = [t.to(dtype) for t in case.tensors()]
    above = torch.randn_like(tensors[0])
    with native.use(path):
        for scale in (1e4, -1e4):
            tensors[3].fill_(scale)
            found = gradients(key_attention, tensors, None, None, above=above, window=case.window)
            assert all(g.isfinite().all() for g in found)
        tensors[4].zero_()  # all gates shut
        tensors[6].fill_(NEVER)
        found = gradients(key_attention, tensors, None, None, above=above, window=case.window)
    assert torch.equal(found[0], above)
    assert not any(g.any() for g in found[1:])


@every_path
def test_padding_neither_gives_nor_gets_a_gradient(path: str) -> None:
    case = Case(T=20, window=8, lengths=(0, 13))
    tensors, (_, lengths) = case.tensors(), case.ragged
    above = torch.randn_like(tensors[0])
    found = []
    with native.use(path):
        for value in (1.0, 2.0):
            for t in (above, *tensors[1:3], *tensors[4:6]):
                t[0], t[1, 13:] = value, value
            found.append(
                gradients(key_attention, tensors, None, lengths, above=above, window=case.window)
            )
    for one, other in zip(found[0][1:], found[1][1:], strict=True):
        assert torch.equal(one, other)
    for i in (1, 2, 4, 5):
        assert not found[0][i][0].any()
        assert not found[0][i][1, 13:].any()


@every_path
def test_strided_tensors_and_heads_among_others(path: str) -> None:
    case = Case(T=30, H=2, window=10)
    wide = Case(T=30, H=5, window=10).tensors()
    tensors = case.tensors()
    tensors[4], tensors[5] = wide[4][:, :, 2:4], wide[5][:, :, 1:3]
    tensors[1] = tensors[1].transpose(0, 1).contiguous().transpose(0, 1)
    above = torch.randn_like(wide[0])
    exact = gradients(
        reference.key_attention, tensors, None, None, above=above[:, :, 3:], window=case.window
    )

    def attended(above: Tensor) -> tuple[Tensor, ...]:
        leaves = [wide[0].requires_grad_(), *(t.detach().requires_grad_() for t in tensors[1:])]
        y = key_attention(*leaves, None, None, window=case.window, head=3)
        return torch.autograd.grad(y, leaves, above)

    with native.use(path):
        of_y, *found = attended(above)
        assert torch.equal(of_y, above)
        assert_close(found, exact[1:], 1e-10)
        one = torch.ones((), dtype=torch.float64).expand(wide[0].shape)
        for a, b in zip(attended(one), attended(one.contiguous()), strict=True):
            assert torch.equal(a, b)


@every_path
def test_forward_is_a_view_and_an_empty_batch_works(path: str) -> None:
    tensors = Case(B=0).tensors()
    with native.use(path):
        found = gradients(key_attention, tensors, None, None, above=tensors[0], window=3)
    assert [g.shape for g in found] == [t.shape for t in tensors]
    assert not found[3].any()
    tensors = [t.requires_grad_() for t in Case().tensors()]
    y = tensors[0] * 1
    assert key_attention(y, *tensors[1:], None, None).data_ptr() == y.data_ptr()
    with torch.no_grad():
        assert key_attention(y, *tensors[1:], None, None) is y


@every_isa
def test_threads_change_no_bit(isa: str) -> None:
    case = Case(B=3, T=70, H=4, A=16, D=20, window=33, resets=0.05, lengths=(70, 3, 50))
    tensors, ragged = [t.float() for t in case.tensors()], case.ragged
    above, before, found = torch.randn(tensors[0].shape), torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3, 5):
            torch.set_num_threads(threads)
            with native.use(isa):
                found.append(
                    gradients(key_attention, tensors, *ragged, above=above, window=case.window)
                )
    finally:
        torch.set_num_threads(before)
    for other in found[1:]:
        assert all(map(torch.equal, found[0], other))


def test_second_derivatives() -> None:
    case = Case(B=2, T=5, H=1, A=2, D=2, window=3, resets=0.3, lengths=(5, 3))
    tensors, ragged = case.tensors(), case.ragged
    above = torch.randn_like(tensors[0])

    def first(run: Run, *given: Tensor) -> tuple[Tensor, ...]:
        y = run(*given[:-1], *ragged, window=case.window)
        return torch.autograd.grad(y, given[1:-1], given[-1], create_graph=True)

    found = []
    for run in (key_attention, reference.key_attention):
        leaves = [t.clone().requires_grad_() for t in (*tensors, above)]
        grads = first(run, *leaves)
        loss = sum((g.sin() * (i + 1)).sum() for i, g in enumerate(grads))
        found.append(torch.autograd.grad(loss, leaves[1:]))
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-11)


def test_under_compile_and_vmap() -> None:
    case = Case(T=140, H=2, window=20, resets=0.1, lengths=(140, 70))
    tensors, (reset, lengths) = case.tensors(), case.ragged
    given = {"above": torch.randn_like(tensors[0]), "window": case.window}
    plain = gradients(key_attention, tensors, reset, lengths, **given)
    compiled = torch.compile(key_attention, fullgraph=True, backend="aot_eager")
    assert_close(gradients(compiled, tensors, reset, lengths, **given), plain, 1e-12)

    def of_one(*sequence: Tensor) -> tuple[Tensor, ...]:
        """Gradients of a sequence: y, query, key, gate, candidate, reset, length, above"""
        y, query, key, gate, candidate, reset, length, above = (t.unsqueeze(0) for t in sequence)

        def loss(query: Tensor, key: Tensor, gate: Tensor, candidate: Tensor) -> Tensor:
            weighed = (query, key, tensors[3], gate, candidate, tensors[6], reset, length)
            return (key_attention(y, *weighed, window=case.window) * above).sum()

        return torch.func.grad(loss, (0, 1, 2, 3))(query, key, gate, candidate)

    y, query, key, _, gate, candidate, _ = tensors
    batch = (y, query, key, gate, candidate, reset, lengths, given["above"])
    found = [g.squeeze(1) for g in torch.func.vmap(of_one)(*batch)]
    assert_close(found, [plain[i] for i in (1, 2, 4, 5)], 1e-12)
