"""Residual vector quantiser of the `dac` network: factorised, cosine look-up (arXiv 2306.06546, section 3.2)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Codebook(nn.Module):
    """The entries [N, d] of one stage under the name `weight`.

    Not nn.Embedding: making one without memory (on the meta device) imports torch's compiler, 800 modules of it.
    """

    def __init__(self, codebook_size: int, codebook_dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(codebook_size, codebook_dim))
        if not self.weight.is_meta:
            nn.init.normal_(self.weight)


class VectorQuantizer(nn.Module):
    """One stage: project D -> d, take the codebook entry that points most nearly the same way, project back."""

    def __init__(self, width: int, codebook_size: int, codebook_dim: int) -> None:
        super().__init__()
        self.in_proj = nn.Conv1d(width, codebook_dim, 1)
        self.out_proj = nn.Conv1d(codebook_dim, width, 1)
        self.codebook = Codebook(codebook_size, codebook_dim)

    def nearest(self, rows: Tensor) -> Tensor:
        """Return the codes int64 [R] of latent rows [R, D].

        The length of the projected row changes no comparison, so only the codebook is normalised.
        """
        projected = F.linear(rows, self.in_proj.weight[:, :, 0], self.in_proj.bias)
        return (projected @ F.normalize(self.codebook.weight).T).argmax(1)

    def embed(self, codes: Tensor) -> Tensor:
        """Return what the codes int64 [R] stand for in the latent, [R, D]."""
        return F.linear(self.codebook.weight[codes], self.out_proj.weight[:, :, 0], self.out_proj.bias)

    def table(self) -> Tensor:
        """Return [N + 1, d + 1]: each entry and a 1 that switches the bias on; a last row of zeros for absent codes."""
        entries = F.pad(self.codebook.weight, (0, 1), value=1.0)
        return F.pad(entries, (0, 0, 0, 1))

    def unproject(self) -> Tensor:
        """Return [d + 1, D], which maps rows of `table` to the latent."""
        bias = self.out_proj.bias
        rows = [self.out_proj.weight[:, :, 0].T] + ([bias[None]] if bias is not None else [])
        return torch.cat(rows)


class ResidualVectorQuantizer(nn.Module):
    """K stages, each coding what the stages before it left; always in float32, whatever surrounds it."""

    def __init__(self, width: int, codebook_size: int, codebook_dims: Sequence[int]) -> None:
        super().__init__()
        self.quantizers = nn.ModuleList(VectorQuantizer(width, codebook_size, dim) for dim in codebook_dims)

    def encode(self, latent: Tensor) -> Tensor:
        """Return codes int64 [B, K, L] of a latent [B, L, D]."""
        batch, length, width = latent.shape
        with torch.autocast(latent.device.type, enabled=False):
            rows = latent.reshape(-1, width).float()
            codes = []
            for stage in self.stages():
                code = stage.nearest(rows)
                rows = rows - stage.embed(code)
                codes.append(code)
        return torch.stack(codes).view(-1, batch, length).transpose(0, 1)

    def decode(self, codes: Tensor) -> Tensor:
        """Return the latent float32 [B, L, D] of codes int64 [B, n, L]; negative codes add nothing."""
        stages = self.stages()[: codes.shape[1]]
        with torch.autocast(codes.device.type, enabled=False):
            # An index of -1 is the row of zeros at the end of each table.
            rows = [stage.table()[codes[:, k].clamp(min=-1)] for k, stage in enumerate(stages)]
            return torch.cat(rows, -1) @ torch.cat([stage.unproject() for stage in stages])

    def stages(self) -> list[VectorQuantizer]:
        """Return the stages with their type."""
        return [stage for stage in self.quantizers if isinstance(stage, VectorQuantizer)]
