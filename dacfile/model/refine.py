"""Refinement of codes: an encoder that listens to what its codes decode to, and searches for better ones.

An encoder network maps every sound to codes in one pass, and none of its weights were learned for this sound: what that
costs is called the amortisation gap (Cremer, Li and Duvenaud, arXiv 1801.03558). Here the latent before the quantiser
is moved by the gradient of the reconstruction loss through the decoder, as in Campos et al. (arXiv 1906.01223). The
gradient passes the quantiser straight through, as in training. Only encoders do this: files and decoders know nothing
of it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from dacfile.errors import UsageError
from dacfile.model.base import Model
from dacfile.model.lapped import Lapped
from dacfile.model.lapped_cpu import FastLapped
from dacfile.model.lapped_quantizer import Choice
from dacfile.quality.reconstruction import SIZES, ReconstructionLoss

# Numbers found on validation audio with the 44k model (docs/training.md).
MEL_WEIGHT, STFT_WEIGHT = 15.0, 8.0
STEP = 0.3  # of the first pass, in powers of the quantiser's error over the deviation of the latent; falls to the last
BETAS = (0.8, 0.95)
SMALLEST = 1e-20  # of gradients: silence has none
# Refined codes are less likely ones: with bits that weigh so many times more, files stay as large as they were.
RDO_FACTOR = 2.0
LEAST_SAMPLES = SIZES[-1]  # the longest window of the loss
# The decoder's noise starts elsewhere in every pass, since an encoder does not know where a window will lie.
NOISE_STRIDE = 97


class Refined(Model):
    """A `lapped` network whose encoder improves its codes in a number of passes; decoding is the network's own.

    A pass costs about three times as much as encoding without. Every row of a batch is coded by itself. `network` is
    what runs, `model` the plain form of it, for gradients. Raises UsageError for other architectures, or no pass.
    """

    def __init__(self, network: Model, model: Model, passes: int) -> None:
        super().__init__()
        if passes < 1 or not (isinstance(network, Lapped | FastLapped) and isinstance(model, Lapped)):
            raise UsageError("only the codes of lapped models can be refined, and in one pass at least")
        self.facts, self.config, self.passes = model.facts, model.config, passes
        self._network, self._decoder = network, model.decoder
        self._loss = ReconstructionLoss(model.facts.rate).to(model.decoder.noise.device)
        self.choice: Choice | None = network.choice

    def encode(self, x: Tensor) -> Tensor:
        """Return codes int64 [B, K, L] of samples float32 [B, (L + 1) hop], as `Lapped.encode` does."""
        with torch.inference_mode(False), torch.no_grad():
            samples = x.clone()  # a tensor made in inference mode could not take part in gradients
            latent = self._network.encoder(samples)
            reference = samples[:, self.facts.hop : -self.facts.hop]
            if reference.shape[1] >= LEAST_SAMPLES:
                latent = self._refined(latent, reference)
            return self._network.quantizer.encode(latent, self.choice)

    def decode(self, codes: Tensor, first_frame: Tensor, channel: Tensor) -> Tensor:
        """Return samples float32 [B, (L - 1) hop] of codes int64 [B, n <= K, L], as `Lapped.decode` does."""
        return self._network.decode(codes, first_frame, channel)

    def _refined(self, latent: Tensor, reference: Tensor) -> Tensor:
        """Return a latent [B, L, width] whose codes decode to samples nearer to the reference [B, (L - 1) hop].

        Adam (arXiv 1412.6980) with an epsilon as large as the mean gradient: what hardly matters hardly moves. Rows
        that are no nearer in the end stay as they were.
        """
        length = STEP * self._error(latent).square().mean((1, 2), keepdim=True) / latent.std((1, 2), keepdim=True)
        moved, begin = latent, latent.new_zeros(0)
        first, second = torch.zeros_like(latent), torch.zeros_like(latent)
        for number in range(self.passes):
            gradient, losses = self._gradient(moved, reference, number)
            begin = begin if len(begin) else losses
            first.lerp_(gradient, 1 - BETAS[0])
            second.lerp_(gradient.square(), 1 - BETAS[1])
            mean, square = (moment / (1 - b ** (number + 1)) for moment, b in zip((first, second), BETAS, strict=True))
            level = gradient.square().mean((1, 2), keepdim=True).sqrt().clamp_min(SMALLEST)
            moved = moved - length * (1 - number / self.passes) * mean / (square.sqrt() + level)
        nearer = self._losses(moved, reference, 0) < begin
        return torch.where(nearer[:, None, None], moved, latent)

    def _gradient(self, latent: Tensor, reference: Tensor, number: int) -> tuple[Tensor, Tensor]:
        """Return the gradient of the losses, [B, L, width], and these, [B]."""
        with torch.enable_grad():
            latent = latent.detach().requires_grad_()
            losses = self._losses(latent, reference, number)
            (gradient,) = torch.autograd.grad(losses.sum(), latent)
        return gradient, losses.detach()

    def _losses(self, latent: Tensor, reference: Tensor, number: int) -> Tensor:
        """Return what samples [B, n] lose when a latent [B, L, width] is coded, float32 [B], in pass `number`."""
        with torch.no_grad():
            error = self._error(latent)
            first = torch.full((len(latent),), number * NOISE_STRIDE, device=latent.device)
            noise = self._decoder.noise_at(first, torch.zeros_like(first), latent.shape[1])
        mel, stft = self._loss.each(self._decoder(latent + error, noise), reference, number)
        return MEL_WEIGHT * mel + STFT_WEIGHT * stft

    def _error(self, latent: Tensor) -> Tensor:
        """Return what the quantiser adds to a latent [B, L, width]."""
        quantizer = self._network.quantizer
        return quantizer.decode(quantizer.encode(latent, self.choice)) - latent
