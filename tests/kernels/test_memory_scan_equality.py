"""`memory_scan` gives what its equations give: outputs, final memory and every gradient."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from memory_cases import Case, assert_near, cases, everything, fast, floating, slow

CORNERS = {
    "one-of-everything": Case(B=1, T=1, H=1, K=1, J=1, D=1, N=1, initial="dense"),
    "one-cell-many-writes": Case(K=4, J=3, N=1, initial="cells", fresh=True),
    "no-steps": Case(T=0, N=40, initial="cells", fresh=True, reset=True, lengths=True),
    "no-sequences": Case(B=0, initial="cells", fresh=True, reset=True, lengths=True),
    "no-sequences-compact": Case(B=0, N=4000, initial="cells"),
    "all-cells-at-the-end": Case(T=5, K=2, N=10, fresh=True, reset=True),
    "some-cells-at-the-end": Case(T=5, K=2, N=11, fresh=True, reset=True),
    "no-access-now-and-then": Case(T=9, K=3, N=5, initial="cells", fresh=True, holes=True),
    "tags-of-one-number": Case(tag=1, holes=True, fresh=True, seed=15),
    "tags-and-no-access": Case(B=1, T=3, H=1, K=1, J=1, N=2, holes=True, tag=4, seed=30),
    "tags-without-steps": Case(T=0, N=40, initial="cells", tag=2),
    "tags-without-sequences": Case(B=0, initial="cells", tag=2),
    "wide-tags": Case(D=9, N=300, initial="cells", fresh=True, strided=True, tag=19),
    "many-tags": Case(T=3, J=21, K=5, N=30, holes=True, reset=True, tag=16),
    "wide-and-strided": Case(D=9, N=300, initial="cells", fresh=True, strided=True),
}


@settings(max_examples=150)
@given(cases())
def test_equals_the_reference(case: Case) -> None:
    x = case.tensors()
    assert_near(everything(fast, x, case), everything(slow, x, case), absolute=1e-10)


@pytest.mark.parametrize("name", CORNERS)
def test_equals_the_reference_in_corners(name: str) -> None:
    case = CORNERS[name]
    x = case.tensors()
    assert_near(everything(fast, x, case), everything(slow, x, case), absolute=1e-10)


@settings(max_examples=60)
@given(cases(T=st.integers(1, 12)))
def test_float32_is_near_float64(case: Case) -> None:
    assume(case.tag != 1)  # the cosine of single numbers is a sign, whose gradient is all rounding
    x = case.tensors(torch.float32)
    exact = {name: value.double() if name in floating(x) else value for name, value in x.items()}
    found, wanted = everything(fast, x, case), everything(slow, exact, case)
    # All terms are near 1, and some gradients are the small rest of terms that cancel; those of
    # tags are divided by the tags' lengths.
    assert_near(found, wanted, absolute=1e-5 if case.tag else 1e-6, relative=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=["bfloat16", "float16"])
def test_half_precision_is_computed_wide(dtype: torch.dtype) -> None:
    case = Case(T=16, N=20, initial="cells", fresh=True, reset=True, lengths=True)
    x = case.tensors(dtype)
    exact = {name: value.double() if name in floating(x) else value for name, value in x.items()}
    found = everything(fast, x, case)
    # The recurrence runs in float32, so all that is lost is one rounding of what comes out.
    rounding = torch.finfo(dtype).eps
    assert_near(found, everything(slow, exact, case), relative=rounding)
    assert found["outputs"].dtype == dtype
    assert found["final memory"].dtype == torch.float32
    assert found["grad of gate"].dtype == dtype


def dense_table(a: dict[str, np.ndarray], case: Case) -> tuple[np.ndarray, np.ndarray]:
    """The recurrence with dense matrices: a table of all cells, and addresses over all cells."""
    D, width = case.D + (case.tag > 0), case.D + case.tag
    outputs = np.zeros((case.B, case.T, case.H, D))
    final = np.zeros((case.B, case.H, case.N, width))
    for b, h in np.ndindex(case.B, case.H):
        fresh = np.zeros((case.N, width))
        if case.fresh:
            factors = a["fresh_left"][h][:, None] + a["fresh_right"][h][None]
            fresh = factors.reshape(-1, width)[: case.N]
        M = fresh.copy()
        if case.initial == "dense":
            M[:] = a["initial_rows"][b, h]
        if case.initial == "cells":
            used = a["initial_cells"][b, h] >= 0
            M[a["initial_cells"][b, h][used]] = a["initial_rows"][b, h][used]
        for t in range(a["lengths"][b] if case.lengths else case.T):
            if case.reset and a["reset"][b, t]:
                M = fresh.copy()
            c, z, weight = a["candidate"][b, t, h], a["gate"][b, t, h], a["write_weight"][b, t, h]
            hot = np.eye(case.N + 1)[:, :-1]  # the last row, which -1 takes, names no cell
            one_hot = hot[a["write_index"][b, t, h]]  # (K, N)
            for address in one_hot * weight[:, None] * z:
                M = np.diag(1 - address) @ M + np.outer(address, c)
            read = a["read_weight"][b, t, h] @ hot[a["read_index"][b, t, h]]  # (N,)
            if case.tag:
                M1, tag, query = M[:, : case.D], M[:, case.D :], a["query"][b, t, h]
                lengths = np.linalg.norm(tag, axis=1) * np.linalg.norm(query)
                cosine = np.divide(tag @ query, lengths, out=np.zeros(case.N), where=lengths > 0)
                odds = np.append(read * np.exp(a["match"][h] * cosine), np.exp(a["null"][h]))
                if odds.sum() > 0:
                    w = odds / odds.sum()
                    outputs[b, t, h] = np.append(w[:-1] @ M1, w[-1])
            else:
                outputs[b, t, h] = read @ M
        final[b, h] = M
    return outputs, final


@settings(max_examples=100)
@given(cases(strided=False))
def test_reference_equals_a_dense_table_in_numpy(case: Case) -> None:
    x = case.tensors()
    outputs, final = slow(x, case)
    wanted = dense_table({name: value.numpy() for name, value in x.items()}, case)
    np.testing.assert_allclose(outputs.numpy(), wanted[0], rtol=0, atol=1e-12)
    np.testing.assert_allclose(final.numpy(), wanted[1], rtol=0, atol=1e-12)
