"""Training of the quantiser: straight-through gradient, codebooks by moving average, quantiser dropout.

Moving averages as in VQ-VAE (arXiv 1711.00937, appendix A.1), dropout as in DAC (arXiv 2306.06546, section 3.3).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dacfile.model.lapped_quantizer import Chooser, LappedQuantizer, Stage
from dacfile.model.rdo import RdoChoice

DECAY = 0.98
# An entry whose smoothed count falls this far below its fair share of a batch is dead and moves to a live vector.
DEAD_SHARE = 0.03


class QuantizerTrainer(nn.Module):
    """Runs a quantiser in training and follows it with moving averages of counts and sums."""

    counts: Tensor
    sums: Tensor

    def __init__(self, quantizer: LappedQuantizer, dropout: float = 0.5, frozen: bool = False) -> None:
        super().__init__()
        self.frozen = frozen
        self.quantizer = [quantizer]  # in a list: not a submodule, its parameters belong to the model
        self.dropout = dropout
        self.choice: RdoChoice | None = None  # the nearest entries
        books = torch.stack([stage.codebook for stage in quantizer])
        self.register_buffer("counts", torch.ones(books.shape[:2]))
        self.register_buffer("sums", torch.zeros_like(books))

    def reset(self) -> None:
        """Start the averages from the codebooks as they are."""
        self.counts.fill_(1.0)
        self.sums.copy_(torch.stack([stage.codebook for stage in self.quantizer[0]]))

    def forward(self, latent: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Quantise latent float32 [B, L, width]; return (quantised with straight-through gradient, commitment, codes).

        With dropout, half of the rows use only a random number of stages.
        """
        active = self.active_stages(latent.shape[0], latent.device)
        residual, total, commitment, codes = latent, torch.zeros_like(latent), latent.new_zeros(()), []
        choose = self.chooser(*latent.shape[:2])
        for k, stage in enumerate(self.quantizer[0]):
            projected = stage.project_in(residual)
            code = choose(k, projected.detach())
            entry = stage.codebook[code]
            used = (active > k).float()[:, None, None]
            commitment = commitment + ((projected - entry).square().mean((1, 2)) * used[:, 0, 0]).mean()
            step = stage.project_out(projected + (entry - projected).detach())
            total = total + step * used
            residual = residual - step
            codes.append(code)
            if self.training and not self.frozen:
                self.follow(k, stage, projected.detach().flatten(0, 1), code.flatten())
        return total, commitment, torch.stack(codes, 1)

    def chooser(self, rows: int, frames: int) -> Chooser:
        """Return what chooses the codes of a batch."""
        if self.choice is None:
            return self.quantizer[0].nearest
        self.choice.follow()
        return self.choice.chooser(rows, frames)

    def active_stages(self, rows: int, device: torch.device) -> Tensor:
        """Return how many stages each row uses."""
        stages = len(self.quantizer[0].stages)
        full = torch.full((rows,), stages, device=device)
        if not self.training:
            return full
        fewer = torch.randint(1, stages + 1, (rows,), device=device)
        return torch.where(torch.rand(rows, device=device) < self.dropout, fewer, full)

    @torch.no_grad()
    def follow(self, k: int, stage: Stage, projected: Tensor, code: Tensor) -> None:
        """Move codebook k towards the projections [n, dim] that chose its entries; re-seed dead entries."""
        counts, sums = self.counts[k], self.sums[k]
        counts.mul_(DECAY).index_add_(0, code, torch.full_like(projected[:, 0], 1 - DECAY))
        sums.mul_(DECAY).index_add_(0, code, projected * (1 - DECAY))
        dead = (counts < DEAD_SHARE * len(projected) / len(counts)).nonzero()[:, 0]
        dead = dead[: len(projected) // 16]
        if len(dead):
            picked = projected[torch.randint(len(projected), (len(dead),), device=projected.device)]
            fresh = max(1.0, len(projected) / len(counts)) * 0.5
            counts[dead] = fresh
            sums[dead] = picked * fresh
        stage.codebook.copy_(sums / counts[:, None])
