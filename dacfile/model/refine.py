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

from dacfile.model.base import Model
from dacfile.model.lapped import Lapped
from dacfile.model.lapped_cpu import FastLapped
from dacfile.model.lapped_quantizer import Choice
from dacfile.model.look import noise_of
from dacfile.quality.reconstruction import SIZES, ReconstructionLoss, Target

# Numbers found on validation audio with the 44k model (docs/training.md).
MEL_WEIGHT, STFT_WEIGHT = 15.0, 8.0
STEP = 0.3  # of the first pass, in powers of the quantiser's error over the deviation of the latent; falls to the last
BETAS = (0.8, 0.95)
SMALLEST = 1e-20  # of gradients: silence has none
# Refined codes are less likely ones: with bits that weigh so many times more, files stay as large as they were.
RDO_FACTOR = 2.0
LEAST_SAMPLES = SIZES[-1]  # the longest window of the loss


class Refined(Model):
    """A `lapped` network whose encoder improves its codes in a number of passes; decoding is the network's own.

    A pass costs about three times as much as encoding without. Every row of a batch is coded by itself. `network` is
    what runs, `model` the plain form of it, for gradients. That it can be refined, `check_refinable` has told.
    """

    def __init__(self, network: Lapped | FastLapped, model: Lapped, passes: int) -> None:
        super().__init__()
        self.facts, self.config, self.passes = model.facts, model.config, passes
        self._network, self._decoder = network, model.decoder
        self._loss = ReconstructionLoss(model.facts.rate).to(model.decoder.noise.device)
        self.choice: Choice | None = network.choice

    def encode(self, x: Tensor, first_frame: Tensor | None = None, channel: Tensor | None = None) -> Tensor:
        """Return codes int64 [B, K, L] of samples float32 [B, (L + 1) hop], as `Lapped.encode` does."""
        with torch.inference_mode(False), torch.no_grad():
            samples = x.clone()  # a tensor made in inference mode could not take part in gradients
            encoder = self._network.encoder
            latent = encoder.latent(encoder.features(samples))
            reference = samples[:, self.facts.hop : -self.facts.hop]
            if reference.shape[1] < LEAST_SAMPLES:
                return self._network.quantizer.encode(latent, self.choice)
            noise = noise_of(self._decoder, samples, first_frame, channel)
            return self._refined(latent, noise, self._loss.targets(reference))

    def decode(self, codes: Tensor, first_frame: Tensor, channel: Tensor, gains: Tensor | None = None) -> Tensor:
        """Return samples float32 [B, (L - 1) hop] of codes int64 [B, n <= K, L], as `Lapped.decode` does."""
        return self._network.decode(codes, first_frame, channel, gains)

    def _refined(self, latent: Tensor, noise: Tensor, targets: Target) -> Tensor:
        """Return codes [B, K, L], from a latent [B, L, width] on, that decode nearer to a reference [B, (L - 1) hop].

        Adam (arXiv 1412.6980) with an epsilon as large as the mean gradient: what hardly matters hardly moves. Rows
        that are no nearer in the end keep the codes that they had.
        """
        first_codes, error = self._quantised(latent)
        codes, moved, history = first_codes, latent, list[Tensor]()
        length = STEP * error.square().mean((1, 2), keepdim=True) / latent.std((1, 2), keepdim=True)
        first, second = torch.zeros_like(latent), torch.zeros_like(latent)
        for number in range(self.passes):
            gradient, losses = self._gradient(moved, error, noise, targets, number)
            history.append(losses)
            first.lerp_(gradient, 1 - BETAS[0])
            second.lerp_(gradient.square(), 1 - BETAS[1])
            mean, square = (moment / (1 - b ** (number + 1)) for moment, b in zip((first, second), BETAS, strict=True))
            level = gradient.square().mean((1, 2), keepdim=True).sqrt().clamp_min(SMALLEST)
            moved = moved - length * (1 - number / self.passes) * mean / (square.sqrt() + level)
            codes, error = self._quantised(moved)
        nearer = self._losses(moved, error, noise, targets, 0) < history[0]
        return torch.where(nearer[:, None, None], codes, first_codes)

    def _quantised(self, latent: Tensor) -> tuple[Tensor, Tensor]:
        """Return the codes [B, K, L] of a latent [B, L, width], and what the quantiser adds to it."""
        codes = self._network.quantizer.encode(latent, self.choice)
        return codes, self._network.quantizer.decode(codes) - latent

    def _gradient(
        self, latent: Tensor, error: Tensor, noise: Tensor, targets: Target, number: int
    ) -> tuple[Tensor, Tensor]:
        """Return the gradient of the losses, [B, L, width], and these, [B]."""
        with torch.enable_grad():
            latent = latent.detach().requires_grad_()
            losses = self._losses(latent, error, noise, targets, number)
            (gradient,) = torch.autograd.grad(losses.sum(), latent)
        return gradient, losses.detach()

    def _losses(self, latent: Tensor, error: Tensor, noise: Tensor, targets: Target, number: int) -> Tensor:
        """Return what a reference loses, [B], when a latent [B, L, width] is coded with an error, in pass `number`."""
        mel, stft = self._loss.each(self._decoder(latent + error, noise), targets, number)
        return MEL_WEIGHT * mel + STFT_WEIGHT * stft
