"""The block that the networks of `lapped` are made of: ConvNeXt (arXiv 2201.03545) over frames."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Block(nn.Module):
    """ConvNeXt block over frames: depthwise convolution, LayerNorm, two linear maps, small residual scale."""

    def __init__(self, width: int, kernel: int, expansion: int) -> None:
        super().__init__()
        self.mix = nn.Conv1d(width, width, kernel, padding=kernel // 2, groups=width)
        self.norm = nn.LayerNorm(width)
        self.widen = nn.Linear(width, expansion * width)
        self.narrow = nn.Linear(expansion * width, width)
        self.scale = nn.Parameter(torch.full((width,), 0.02))

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, L, width] to the same shape."""
        y = self.mix(x.transpose(1, 2)).transpose(1, 2)
        y = self.narrow(F.gelu(self.widen(self.norm(y))))
        return x + self.scale * y


def blocks(count: int, width: int, kernel: int, expansion: int) -> nn.Sequential:
    """Return so many blocks, one after another."""
    return nn.Sequential(*(Block(width, kernel, expansion) for _ in range(count)))
