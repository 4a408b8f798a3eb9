"""The smallest additive change of an input that carries its CLS token most of the way to another one.

Shapes: B windows, P parcels, T steps, D width.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor


class Shift(NamedTuple):
    """`delta_BPT`: the change, 0 where nothing is known. `before_B`, `after_B`: distances of CLS from the target."""

    delta_BPT: Tensor
    before_B: Tensor
    after_B: Tensor


def smallest(cls: Callable[[Tensor], Tensor], x_BPT: Tensor, target_BD: Tensor, share: float, steps: int) -> Shift:
    """Gradient descent on the squared distance, from no change, until `share` of the distance is gone.

    From zero, gradient descent moves only in directions that move CLS, the most effective ones first, and stops early:
    on a linear map that is close to the smallest change that reaches as far (Landweber's iteration; Engl et al., 1996,
    ch. 6), without a penalty that would have to be tuned. Steps are Polyak's (1987): loss over squared gradient.
    A window that never gets so far keeps the change that came closest.
    """
    import torch

    best = torch.zeros_like(x_BPT)
    delta = torch.zeros_like(x_BPT)
    before = after = torch.linalg.vector_norm(cls(x_BPT).detach() - target_BD, dim=1)
    open_B = torch.arange(len(x_BPT), device=x_BPT.device)[before > 0]  # windows that are still on their way
    for _ in range(steps + 1):
        if not len(open_B):
            break
        changed = delta[open_B].requires_grad_()
        with torch.enable_grad():
            loss = (cls(x_BPT[open_B] + changed) - target_BD[open_B]).square().sum(1)
            (gradient,) = torch.autograd.grad(loss.sum(), changed)
        loss, gradient = loss.detach(), gradient.nan_to_num()  # nothing changes where nothing is known
        closer = loss.sqrt() < after[open_B]
        after = after.index_put((open_B[closer],), loss.sqrt()[closer])
        best[open_B[closer]] = changed.detach()[closer]
        # Polyak: x - (f(x) - f*) / |grad f|^2 grad f, with f* = 0, as the distance can be 0
        size = gradient.square().sum((1, 2))
        step = torch.where(size > 0, loss / size.clamp(min=1e-30), 0)
        delta[open_B] = changed.detach() - step[:, None, None] * gradient
        open_B = open_B[loss.sqrt() > (1 - share) * before[open_B]]
    return Shift(best, before, after)
