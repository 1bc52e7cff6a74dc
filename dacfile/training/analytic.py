"""The analytic start of `lapped`: principal components and k-means put a working codec there before step one.

The latent holds the principal components of what matters at the rate: the companded coefficients below the split and
the weighted band energies above it. Everything else (other features, residual branches, fine gains) starts near zero.
"""

from __future__ import annotations

import torch
from torch import Tensor

from dacfile.model.lapped import Lapped
from dacfile.model.lapped_quantizer import Stage

KMEANS_ROUNDS = 12
# Untrained connections start this small: they must be able to learn, but not disturb.
QUIET = 1e-3


def kept_features(model: Lapped) -> Tensor:
    """Return the indices of the features that the start codes."""
    numbers = model.numbers
    energies = torch.arange(numbers.hop + numbers.quadrature, model.encoder.project.in_features)
    return torch.cat([torch.arange(numbers.split), energies])


@torch.no_grad()
def initialise(model: Lapped, samples: Tensor, noise: Tensor, seed: int = 0) -> None:
    """Set the model's weights from samples float32 [B, n] of the corpus and noise tables [2, frames, hop]."""
    torch.manual_seed(seed)
    model.decoder.noise.copy_(noise)
    centre_energies(model, samples)
    set_principal_components(model, model.encoder.features(samples).flatten(0, 1))
    enter = model.decoder.enter
    for parameter in enter.parameters():
        parameter.normal_(0, QUIET)
    enter.weight[:, :, 1] += torch.eye(model.numbers.width)
    residual = torch.cat([model.encoder(part).flatten(0, 1) for part in samples.split(64)])
    for stage in model.quantizer:
        residual = residual - initialise_stage(stage, residual)


def centre_energies(model: Lapped, samples: Tensor) -> None:
    """Store the mean log energy of each band in the encoder and the decoder."""
    bands = len(model.encoder.energy_mean)
    model.encoder.energy_mean.zero_()
    energies = model.encoder.features(samples)[..., -bands:] / model.numbers.energy_weight
    model.encoder.energy_mean.copy_(energies.mean((0, 1)))
    model.decoder.energy_mean.copy_(model.encoder.energy_mean)


def set_principal_components(model: Lapped, features: Tensor) -> None:
    """Make the encoder's and the decoder's linear maps the principal components of the kept features, and inverse."""
    numbers, kept = model.numbers, kept_features(model)
    mean = features[:, kept].mean(0)
    components = principal_components(features[:, kept] - mean)
    encoder, decoder = model.encoder.project, model.decoder.project
    for layer in (encoder, decoder):
        layer.weight.normal_(0, QUIET)
        layer.bias.zero_()
    count = len(kept)
    encoder.weight[:count, kept] = components.T
    encoder.bias[:count] = -mean @ components
    bands = decoder.out_features - 2 * numbers.hop
    rows = torch.cat([torch.arange(numbers.split), 2 * numbers.hop + torch.arange(bands)])
    decoder.weight[rows, :count] = components
    decoder.bias[rows] = mean


def principal_components(centred: Tensor) -> Tensor:
    """Return the eigenvectors [d, d] of the covariance of centred [n, d], largest variance first."""
    return torch.linalg.eigh(centred.T @ centred / len(centred)).eigenvectors.flip(1)


def initialise_stage(stage: Stage, residual: Tensor) -> Tensor:
    """Set one stage from what is left [n, width]; return what it codes of it."""
    dim = stage.codebook.shape[1]
    mean = residual.mean(0)
    plane = principal_components(residual - mean)[:, :dim]
    scale = ((residual - mean) @ plane).std(0).clamp_min(1e-6)
    stage.project_in.weight.copy_((plane / scale).T)
    stage.project_in.bias.copy_(-(mean @ plane) / scale)
    stage.project_out.weight.copy_(plane * scale)
    stage.project_out.bias.copy_(mean)
    stage.codebook.copy_(kmeans(stage.project_in(residual), len(stage.codebook)))
    return stage.entries()[stage.nearest(stage.project_in(residual))]


def kmeans(points: Tensor, size: int) -> Tensor:
    """Return `size` centres [size, dim] of points [n, dim]; empty cells are re-seeded from the data."""
    centres = points[torch.randperm(len(points))[:size]].clone()
    for _ in range(KMEANS_ROUNDS):
        nearest = torch.addmm(centres.square().sum(-1) * -0.5, points, centres.T).argmax(-1)
        count = torch.zeros(size).index_add_(0, nearest, torch.ones(len(points)))
        centres = torch.zeros_like(centres).index_add_(0, nearest, points) / count.clamp_min(1)[:, None]
        empty = count == 0
        centres[empty] = points[torch.randperm(len(points))[: int(empty.sum())]]
    return centres
