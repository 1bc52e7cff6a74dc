"""Snake on CUDA in one pass over memory, as a Triton kernel; Triton comes with PyTorch's CUDA builds.

PyTorch alone takes five kernels, and the values of a window go to memory and back in each of them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import cache

import torch
import triton
from torch import Tensor
from triton import language as tl

BLOCK = 1024  # values of a row that one program does

log = logging.getLogger(__name__)


@triton.jit
def _kernel(x, alpha, out, channels, length, epsilon, block: tl.constexpr):  # type: ignore[no-untyped-def]
    row = tl.program_id(0).to(tl.int64)
    place = tl.program_id(1) * block + tl.arange(0, block)
    inside = place < length
    value = tl.load(x + row * length + place, inside).to(tl.float32)
    a = tl.load(alpha + row % channels).to(tl.float32)
    sine = tl.sin(a * value)
    tl.store(out + row * length + place, value + sine * sine / (a + epsilon), inside)


def snake(x: Tensor, alpha: Tensor, epsilon: float) -> Tensor:
    """Return x + sin^2(alpha x) / (alpha + epsilon) for x [B, C, T], alpha [1, C, 1]; computed in float32."""
    x = x.contiguous()
    batch, channels, length = x.shape
    out = torch.empty_like(x)
    if x.numel():
        grid = (batch * channels, triton.cdiv(length, BLOCK))
        with torch.cuda.device_of(x):  # Triton launches on the present device, whatever the tensors are on
            _kernel[grid](x, alpha.contiguous(), out, channels, length, epsilon, BLOCK)
    return out


@cache
def working(device: torch.device) -> Callable[[Tensor, Tensor, float], Tensor] | None:
    """Return `snake` if it compiles and runs on this device, else None."""
    try:
        snake(torch.ones(1, 1, 1, device=device), torch.ones(1, 1, 1, device=device), 0.0)
    except Exception as error:  # no compiler, or a device that Triton does not know: slower, not wrong
        log.info("Snake stays in PyTorch's kernels: %s", error)
        return None
    return snake
