"""Snake on rows on a CPU: piece by piece, so that its passes over memory stay in the cache, with a cheaper sine.

Measured on one core with AVX-512 (Zen 5), nanoseconds per value: 1.67 with PyTorch's sine, which alone takes 1.09, and
1.30 as below. A pass of simple arithmetic takes 0.05 to 0.1.
"""

from __future__ import annotations

from collections.abc import Callable
from math import pi

import torch
from torch import Tensor

from dacfile.model.layers import SNAKE_EPSILON, Snake

# Values of a piece, for each thread: four buffers of it and the piece itself take 1.25 MiB.
PIECE = 1 << 16

# sin^2(pi f) = v P(v) with v = f^2, |f| <= 1/2: P as minimax polynomial, relative error 1.4e-8, a quarter of float32's.
P0, P1, P2, P3, P4, P5 = (9.86960426, -32.46966236, 42.72692743, -30.09855312, 13.03711143, -3.3362104)


def snake(layer: Snake) -> Callable[[Tensor, Tensor], None]:
    """Return a function that writes the Snake of values [n, ..., C] into a tensor of that shape, maybe the same one.

    sin^2 has the period pi, so the argument in periods need only be brought to its nearest whole number; the error of
    that is the one of the product alpha x in float32.
    """
    alpha = layer.alpha.detach().flatten()
    periods = (alpha.double() / pi).float()
    inverse = (alpha + SNAKE_EPSILON).reciprocal()
    even = [torch.tensor(value) for value in (P0, P2, P4)]

    def write(x: Tensor, out: Tensor) -> None:
        count = max(PIECE * torch.get_num_threads() // max(x[:1].numel(), 1), 1)
        scratch = x.new_empty(4, min(count, len(x)), *x.shape[1:])
        for piece, result in zip(x.split(count), out.split(count), strict=True):
            f, v, w, p = scratch[:, : len(piece)]
            torch.mul(piece, periods, out=f)
            torch.round(f, out=v)
            f.sub_(v)
            torch.mul(f, f, out=v)
            torch.mul(v, v, out=w)
            torch.add(even[2], v, alpha=P5, out=p)
            torch.add(even[1], v, alpha=P3, out=f).addcmul_(w, p)
            torch.add(even[0], v, alpha=P1, out=p).addcmul_(w, f)
            torch.addcmul(piece, v.mul_(inverse), p, out=result)

    return write
