"""Answers behind one prompt: attention by parts is attention under the mask of the whole row, gradients too."""

import pytest
import torch

from dodam.nn.attention import attend
from dodam.nn.branches import Branches
from dodam.nn.mask import Mask


def row(prompt: int, *answers: int) -> list[int]:
    return [0] * prompt + [number for number, length in enumerate(answers, start=1) for _ in range(length)]


ROWS = {
    "lengths differ": [row(5, 3, 1, 4), row(2, 6), row(7, 2, 2)],
    "no prompt": [row(0, 3, 2), row(0, 4)],
    "alike": [row(3, 2, 2), row(3, 2, 2)],
}


@pytest.mark.parametrize("softcap", [None, 5.0])
@pytest.mark.parametrize("name", ROWS)
def test_by_parts_as_under_the_whole_mask(name: str, softcap: float | None) -> None:
    rows = ROWS[name]
    width = max(map(len, rows)) + 1  # every row has padding
    branches_BT = torch.tensor([one + [0] * (width - len(one)) for one in rows])
    real_BT = torch.tensor([[place < len(one) for place in range(width)] for one in rows])
    found = Branches.of(branches_BT)
    assert int(found.real_AL.sum()) == int((branches_BT > 0).sum())
    generator = torch.Generator().manual_seed(0)
    shapes = [(len(rows), heads, width, 8) for heads in (4, 2, 2)]
    q, k, v = (torch.randn(shape, generator=generator).requires_grad_() for shape in shapes)
    slopes = torch.randn(shapes[0], generator=generator) * real_BT[:, None, :, None]
    outs, gradients = [], []
    for mask in (Mask(causal=True, branches=found), Mask(causal=True, allowed=found.allowed)):
        out = attend(q, k, v, mask, softcap=softcap)
        (out * slopes).sum().backward()
        outs.append(out.detach() * real_BT[:, None, :, None])
        gradients.append([part.grad.clone() for part in (q, k, v)])
        q.grad = k.grad = v.grad = None
    torch.testing.assert_close(*outs, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(*gradients, atol=1e-5, rtol=1e-5)
    assert torch.isfinite(attend(q, k, v, Mask(causal=True, branches=found), softcap=softcap)).all()
