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
STEP = 0.12  # of Adam's first step, in standard deviations of the latent; the steps get smaller to the last
BETAS = (0.8, 0.95)
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
        """Return a latent [B, L, width] whose codes decode to samples nearer to the reference [B, (L - 1) hop]."""
        scale = latent.std((1, 2), keepdim=True)
        offset = torch.zeros_like(latent, requires_grad=True)
        optimiser = torch.optim.Adam([offset], STEP, BETAS)
        fall = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda done: 1 - done / self.passes)
        for number in range(self.passes):
            with torch.enable_grad():
                loss = self._loss_of(latent + scale * offset, reference, number)
            (offset.grad,) = torch.autograd.grad(loss, offset)
            optimiser.step()
            fall.step()
        return latent + scale * offset

    def _loss_of(self, latent: Tensor, reference: Tensor, number: int) -> Tensor:
        """Return what samples [B, n] lose when a latent [B, L, width] is coded, summed over rows, in pass `number`."""
        with torch.no_grad():
            codes = self._network.quantizer.encode(latent, self.choice)
            step = self._network.quantizer.decode(codes) - latent
            first = codes.new_full((len(codes),), number * NOISE_STRIDE)
            noise = self._decoder.noise_at(first, torch.zeros_like(first), latent.shape[1])
        mel, stft = self._loss.each(self._decoder(latent + step, noise), reference, number)
        return (MEL_WEIGHT * mel + STFT_WEIGHT * stft).sum()
