"""`memory_scan` where the answer is known in a formula."""

from __future__ import annotations

import pytest
import torch
from memory_cases import Case, all_rows

from ramgru.kernels.memory_scan import memory_scan, reference
from ramgru.kernels.recurrence.reference import linear_scan

SCANS = pytest.mark.parametrize("scan", [memory_scan, reference], ids=["operator", "reference"])


@SCANS
def test_one_cell_with_weight_one_is_a_mingru(scan) -> None:
    x = Case(T=9, K=1, J=1, N=1, D=4, initial="dense").tensors()
    x["write_weight"].fill_(1)
    x["read_weight"].fill_(1)
    outputs = scan(**x, memory_size=1)[0]
    for h in range(2):
        z = x["gate"][:, :, h, None].expand(-1, -1, 4)
        states = linear_scan(1 - z, z * x["candidate"][:, :, h], x["initial_rows"][:, h, 0])
        torch.testing.assert_close(outputs[:, :, h], states, rtol=0, atol=1e-14)


def constant(*, index: list[int], weight: list[float], gate: float, T: int = 12):
    """The same write at every step, of c = (1, -2), read with the weights of the write."""
    K = len(index)
    where = torch.tensor(index).expand(1, T, 1, K)
    a = torch.tensor(weight, dtype=torch.float64).expand(1, T, 1, K)
    c = torch.tensor([1.0, -2.0], dtype=torch.float64)
    return {
        "write_index": where,
        "write_weight": a,
        "gate": torch.full((1, T, 1), gate, dtype=torch.float64),
        "candidate": c.expand(1, T, 1, 2),
        "read_index": where,
        "read_weight": a,
        "memory_size": 50,
    }, c


@SCANS
def test_approaches_a_constant_candidate_geometrically(scan) -> None:
    x, c = constant(index=[3, 30], weight=[0.5, 0.25], gate=0.6)
    n = torch.arange(1, 13, dtype=torch.float64)[:, None]
    wanted = 0.5 * (1 - 0.7**n) * c + 0.25 * (1 - 0.85**n) * c
    torch.testing.assert_close(scan(**x)[0][0, :, 0], wanted, rtol=0, atol=1e-14)


@SCANS
def test_writes_a_repeated_address_twice(scan) -> None:
    x, c = constant(index=[3, 3], weight=[1.0, 1.0], gate=0.25)
    n = torch.arange(1, 13, dtype=torch.float64)[:, None]
    wanted = 2 * (1 - 0.75 ** (2 * n)) * c
    torch.testing.assert_close(scan(**x)[0][0, :, 0], wanted, rtol=0, atol=1e-14)


def test_a_cell_never_written_reads_the_fresh_memory() -> None:
    x = Case(N=20, K=1, fresh=True).tensors()
    x["write_index"].fill_(0)
    x["read_index"].clamp_(min=1)
    fresh = (x["fresh_left"].unsqueeze(2) + x["fresh_right"].unsqueeze(1)).flatten(
        1, 2
    )  # (H, N, D)
    outputs, cells, rows = memory_scan(**x, memory_size=20)
    held = torch.stack([fresh[h][x["read_index"][:, :, h]] for h in range(2)], dim=2)
    wanted = (held * x["read_weight"].unsqueeze(-1)).sum(-2)
    torch.testing.assert_close(outputs, wanted, rtol=0, atol=1e-14)
    full = all_rows(cells, rows, x, 20)
    assert torch.equal(full[:, :, 1:], fresh[:, 1:].expand(2, -1, -1, -1))


def test_every_read_is_a_known_mixture_of_past_candidates() -> None:
    """The weight of the write at s in the read at t: sum_i r_t[i] g_s[i] prod_u (1 - g_u[i])."""
    case = Case(B=1, H=1, T=8, N=4)
    x = case.tensors()
    g = x["write_weight"] * x["gate"].unsqueeze(-1)
    outputs, _, _ = memory_scan(**x, memory_size=4)
    writes = list(zip(x["write_index"].flatten().tolist(), g.flatten().tolist(), strict=True))
    for t in range(8):
        wanted = torch.zeros(case.D, dtype=torch.float64)
        read = zip(x["read_index"][0, t, 0].tolist(), x["read_weight"][0, t, 0], strict=True)
        for cell, left in read:
            for e in reversed(range((t + 1) * case.K)):
                at, gate = writes[e]
                if at == cell:
                    wanted += left * gate * x["candidate"][0, e // case.K, 0]
                    left = left * (1 - gate)
        torch.testing.assert_close(outputs[0, t, 0], wanted, rtol=0, atol=1e-14)


@SCANS
def test_tags_that_say_nothing_leave_the_weights_as_they_are(scan) -> None:
    """Without null and with a match of 0: w = r / sum r."""
    case = Case(tag=2)
    x = case.tensors()
    x["null"].fill_(float("-inf"))
    x["match"].zero_()
    y = scan(**x, memory_size=7)[0]
    plain = {name: v for name, v in x.items() if name not in ("query", "match", "null")}
    plain["read_weight"] = x["read_weight"] / x["read_weight"].sum(-1, keepdim=True)
    torch.testing.assert_close(y[..., :3], scan(**plain, memory_size=7)[0][..., :3])
    assert not y[..., 3].any()


@SCANS
def test_a_read_finds_the_cell_whose_tag_is_its_query(scan) -> None:
    """Cells with tags e1 and e2: weights e^5 and 1 against a null of e."""
    one = torch.eye(2, dtype=torch.float64).view(1, 2, 1, 2)
    value = torch.tensor([[3.0], [5.0]], dtype=torch.float64).view(1, 2, 1, 1)
    ones = torch.ones(1, 2, 1, 2, dtype=torch.float64)
    write = torch.tensor([0, 1]).view(1, 2, 1, 1)
    read = torch.tensor([0, 1]).expand(1, 2, 1, 2)
    five, null = torch.tensor([5.0], dtype=torch.float64), torch.tensor([1.0], dtype=torch.float64)
    y = scan(
        write,
        ones[..., :1],
        ones[..., 0],
        torch.cat([value, 7 * one], -1),
        read,
        ones,
        memory_size=2,
        query=one[:, :1].expand(1, 2, 1, 2),
        match=five,
        null=null,
    )[0]
    odds = torch.stack([five.exp(), torch.ones_like(five), null.exp()]).squeeze()
    w = odds / odds.sum()
    wanted = torch.stack([w[0] * 3 + w[1] * 5, w[2]])
    torch.testing.assert_close(y[0, 1, 0], wanted, rtol=0, atol=1e-14)
