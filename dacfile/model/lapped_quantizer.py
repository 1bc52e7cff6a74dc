"""Residual vector quantiser of the `lapped` architecture: factorised, Euclidean look-up.

As in DAC (arXiv 2306.06546, section 3.2) each stage projects the residual to a few dimensions and looks it up there;
unlike DAC the nearest entry is the Euclidean one, since transform coefficients differ widely in length and a cosine
look-up drops it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Chooser = Callable[[int, Tensor], Tensor]  # stage, its projections float32 [B, L, dim] -> codes int64 [B, L]


class Choice(Protocol):
    """Another way to choose codes than by distance alone (`dacfile.model.rdo`)."""

    def chooser(self, rows: int, frames: int) -> Chooser:
        """Return what chooses the codes of `rows` windows of `frames` frames, stage after stage."""
        ...


class Stage(nn.Module):
    """One codebook: residual [.., width] -> projection [.., dim] -> nearest entry -> [.., width]."""

    codebook: Tensor

    def __init__(self, width: int, dim: int, size: int) -> None:
        super().__init__()
        self.project_in = nn.Linear(width, dim)
        self.project_out = nn.Linear(dim, width)
        self.register_buffer("codebook", torch.randn(size, dim))

    def nearest(self, projected: Tensor) -> Tensor:
        """Return the index of the nearest entry, int64 [..], for projections [.., dim]."""
        # |p - e|^2 = |p|^2 - 2 p.e + |e|^2; the first term is the same for every entry.
        scores = torch.addmm(self.codebook.square().sum(-1) * -0.5, projected.flatten(0, -2), self.codebook.T)
        return largest(scores).view(projected.shape[:-1])

    def entries(self) -> Tensor:
        """Return what each index adds to the latent, float32 [size, width]."""
        entries: Tensor = self.project_out(self.codebook)
        return entries


def largest(scores: Tensor) -> Tensor:
    """Return the index of the largest score, int64 [..], of scores [.., N]."""
    if scores.device.type == "cpu":
        return torch.from_numpy(scores.detach().float().numpy().argmax(-1))  # 12 times faster than PyTorch's
    return scores.argmax(-1)


class LappedQuantizer(nn.Module):
    """K stages, each coding what the stages before it left over."""

    def __init__(self, codebooks: int, width: int, dim: int, size: int) -> None:
        super().__init__()
        self.width = width
        self.stages = nn.ModuleList(Stage(width, dim, size) for _ in range(codebooks))

    def __iter__(self) -> Iterator[Stage]:
        """Iterate over the stages, coarse to fine."""
        return cast(Iterator[Stage], iter(self.stages))

    def encode(self, latent: Tensor, choice: Choice | None = None) -> Tensor:
        """Return codes int64 [B, K, L] of a latent float32 [B, L, width]: the nearest entries, or by another choice."""
        residual, codes = latent, []
        choose = choice.chooser(*latent.shape[:2]) if choice else self.nearest
        for k, stage in enumerate(self):
            code = choose(k, stage.project_in(residual))
            residual = residual - stage.project_out(stage.codebook[code])
            codes.append(code)
        return torch.stack(codes, 1)

    def nearest(self, k: int, projected: Tensor) -> Tensor:
        """Return the index of stage k's entry that is nearest to projections [.., dim]."""
        nearest: Tensor = self.stages[k].nearest(projected)  # type: ignore[operator]
        return nearest

    def decode(self, codes: Tensor) -> Tensor:
        """Return the latent float32 [B, L, width] of codes int64 [B, n <= K, L]; a code of -1 adds nothing."""
        latent = codes.new_zeros((*codes.shape[::2], self.width), dtype=torch.float32)
        for stage, code in zip(self, codes.unbind(1), strict=False):
            # Index -1 is the row of zeros behind the entries.
            latent = latent + F.pad(stage.entries(), (0, 0, 0, 1))[code]
        return latent
