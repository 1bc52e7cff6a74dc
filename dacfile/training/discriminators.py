"""Discriminators that a CPU can afford: convolutions over time on bands of complex spectra.

As in DAC (arXiv 2306.06546, section 3.3) each resolution is split into frequency bands with a network of its own;
unlike there the bins of a band are the channels of one-dimensional convolutions, in place of images. Least-squares
losses (arXiv 1611.04076) and feature matching with the weights of DAC.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dacfile.quality.spectra import frames, real_transform

WINDOWS = (2048, 1024, 512)
# Edges of the bands as shares of the spectrum, as in DAC.
BANDS = (0.0, 0.1, 0.25, 0.5, 0.75, 1.0)
WIDTH = 64
SLOPE = 0.1


class BandDiscriminator(nn.Module):
    """Judges one band of bins: [B, 2 bins, frames] -> features of every layer, the last one the verdict."""

    def __init__(self, bins: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            [
                nn.Conv1d(2 * bins, WIDTH, 3, padding=1),
                nn.Conv1d(WIDTH, WIDTH, 5, stride=2, padding=2),
                nn.Conv1d(WIDTH, WIDTH, 5, stride=2, padding=2),
                nn.Conv1d(WIDTH, 1, 3, padding=1),
            ]
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return the features of every layer, [B, channels, frames]."""
        features = []
        for layer in self.layers:
            x = layer(x)
            features.append(x)
            x = F.leaky_relu(x, SLOPE)
        return features


class SpectrumDiscriminator(nn.Module):
    """Judges the bands of one STFT resolution."""

    window: Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size
        self.edges = [round(share * (size // 2 + 1)) for share in BANDS]
        self.register_buffer("window", torch.hann_window(size))
        self.bands = nn.ModuleList(
            BandDiscriminator(high - low) for low, high in zip(self.edges[:-1], self.edges[1:], strict=True)
        )

    def forward(self, samples: Tensor) -> list[list[Tensor]]:
        """Return the features of every band of samples [B, n]."""
        spectrum = torch.view_as_real(real_transform(frames(samples, self.window)))
        # The square root of the magnitude, with the phase: loud bins would else hide the faint ones.
        compressed = spectrum / (spectrum.square().sum(-1, keepdim=True) + 1e-6).pow(0.25)
        bands = zip(self.bands, self.edges[:-1], self.edges[1:], strict=True)
        return [band(compressed[:, :, low:high].flatten(2).transpose(1, 2)) for band, low, high in bands]


class Discriminators(nn.Module):
    """All resolutions; one list of features per band and resolution."""

    def __init__(self) -> None:
        super().__init__()
        self.resolutions = nn.ModuleList(SpectrumDiscriminator(size) for size in WINDOWS)

    def forward(self, samples: Tensor) -> list[list[Tensor]]:
        """Return features of samples [B, n]."""
        return [features for resolution in self.resolutions for features in resolution(samples)]


class Adversary:
    """The discriminators with their optimiser: `judge` trains them, `losses` tells the generator what they noticed."""

    def __init__(self, network: nn.Module, learning_rate: float, device: torch.device) -> None:
        self.network = network.to(device)
        self.optimiser = torch.optim.AdamW(self.network.parameters(), learning_rate, betas=(0.8, 0.99))

    def judge(self, estimate: Tensor, reference: Tensor) -> Tensor:
        """Take one step on samples [B, n]; return the discriminators' loss."""
        fake, real = self.network(estimate.detach()), self.network(reference)
        terms = [f[-1].square().mean() + (r[-1] - 1).square().mean() for f, r in zip(fake, real, strict=True)]
        loss = torch.stack(terms).mean()
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 10.0)
        self.optimiser.step()
        return loss.detach()

    def losses(self, estimate: Tensor, reference: Tensor) -> tuple[Tensor, Tensor]:
        """Return (adversarial, feature matching) for the generator, with gradient to `estimate` alone."""
        self.network.requires_grad_(False)
        fake = self.network(estimate)
        with torch.no_grad():
            real = self.network(reference)
        self.network.requires_grad_(True)
        adversarial = torch.stack([(features[-1] - 1).square().mean() for features in fake]).mean()
        matching = [
            (f - r).abs().mean() / r.abs().mean().clamp_min(1e-6)
            for fakes, reals in zip(fake, real, strict=True)
            for f, r in zip(fakes[:-1], reals[:-1], strict=True)
        ]
        return adversarial, torch.stack(matching).mean()

    def state_dict(self) -> dict[str, Any]:
        """Return weights and optimiser state."""
        return {"network": self.network.state_dict(), "optimiser": self.optimiser.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a state."""
        self.network.load_state_dict(cast(dict[str, Tensor], state["network"]))
        self.optimiser.load_state_dict(state["optimiser"])
