"""Layers of the `dac` network (descript-audio-codec, arXiv 2306.06546), with the published parameter names.

Weight norm is folded before the weights get here (`dacfile.model.layouts`), so convolutions are plain ones.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor, nn

DILATIONS = (1, 3, 9)  # of the three residual units of every block
SNAKE_EPSILON = 1e-9  # the published network adds it to alpha before dividing


@cache  # a module that is not there would be looked for at every call
def fused_snake(device: torch.device) -> Callable[[Tensor, Tensor, float], Tensor] | None:
    """Return f(x [B, C, T], alpha [1, C, 1], epsilon), a fused inference kernel; None off CUDA or without Triton."""
    if device.type != "cuda":
        return None
    try:
        from dacfile.model import snake_cuda
    except ImportError:  # PyTorch for CUDA comes with Triton, but not on every system
        return None
    return snake_cuda.working(device)


class Snake(nn.Module):
    """x + sin^2(alpha x) / alpha, one alpha per channel (arXiv 2006.08195)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.ones(1, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, C, T] to the same shape."""
        if not torch.is_grad_enabled() and (fused := fused_snake(x.device)):
            return fused(x, self.alpha, SNAKE_EPSILON)
        return x + (self.alpha + SNAKE_EPSILON).reciprocal() * torch.sin(self.alpha * x).square()


class ResidualUnit(nn.Module):
    """Dilated convolution of 7 and pointwise convolution, added to the input."""

    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        self.block = nn.Sequential(
            Snake(channels),
            nn.Conv1d(channels, channels, 7, dilation=dilation, padding=3 * dilation),
            Snake(channels),
            nn.Conv1d(channels, channels, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, C, T] to the same shape."""
        return x + self.block(x)


class Block(nn.Module):
    """A sequence under the name `block`, as the published modules have it."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.block = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """Run the layers one after another."""
        out: Tensor = self.block(x)
        return out


def half(stride: int) -> int:
    """Padding of the resampling convolutions: half the stride, rounded up."""
    return -(-stride // 2)


def encoder_block(channels: int, stride: int) -> Block:
    """Return residual units on C channels, then a convolution to 2 C channels at 1/stride of the rate."""
    return Block(
        *(ResidualUnit(channels, dilation) for dilation in DILATIONS),
        Snake(channels),
        nn.Conv1d(channels, 2 * channels, 2 * stride, stride, half(stride)),
    )


def decoder_block(channels: int, out_channels: int, stride: int) -> Block:
    """Return a transposed convolution to stride times the rate, then residual units.

    From T frames it makes T * stride samples, one less when the stride is odd.
    """
    return Block(
        Snake(channels),
        nn.ConvTranspose1d(channels, out_channels, 2 * stride, stride, half(stride)),
        *(ResidualUnit(out_channels, dilation) for dilation in DILATIONS),
    )
