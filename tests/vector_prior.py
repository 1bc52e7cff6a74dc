"""The tiny priors that the range-coded vectors use, stored beside the vectors: made by arithmetic alone."""

from __future__ import annotations

import random
from math import prod
from pathlib import Path

import numpy as np

from dacfile.entropy.context import NetworkPrior
from dacfile.entropy.counts import CountPrior, normalise
from dacfile.entropy.files import save_prior
from dacfile.entropy.network import KIND, NetworkConfig, shapes

CODEBOOKS, SIZE = 3, 16
MIDDLES, HEIGHTS = (2, 7, 0), (4_000, 4_000, 4_000_000)


def weights(layer: int, phase: int) -> list[int]:
    """Return one weight per symbol: a hump whose place depends on layer and phase; that of layer 2 is a needle at 0."""
    middle = (MIDDLES[layer] + 3 * phase) % SIZE
    return [1 + HEIGHTS[layer] // (1 + (symbol - middle) ** 4) for symbol in range(SIZE)]


def likeliest(layer: int, phase: int) -> int:
    """Return the symbol with the largest weight."""
    return max(range(SIZE), key=weights(layer, phase).__getitem__)


def make(phases: int) -> CountPrior:
    """Return the prior with `phases` phases."""
    tables = [[weights(layer, phase) for phase in range(phases)] for layer in range(CODEBOOKS)]
    return CountPrior(normalise(np.array(tables)), {"description": "for the vectors of the spec"})


NETWORK = NetworkConfig(
    codebooks=CODEBOOKS,
    codebook_size=SIZE,
    groups=4,
    phases=2,
    width=8,
    hidden=8,
    taps=3,
    head=8,
    own_past=(0, 2),
    lags=2,
    past_width=4,
)


def make_network() -> NetworkPrior:
    """Return a network with random weights."""
    rng = random.Random(11)
    tensors = {}
    for name, (kind, shape) in shapes(NETWORK).items():
        if name.endswith("order"):
            values = rng.sample(range(SIZE), SIZE)
        else:
            largest = 90 if kind == "int8" else 2_000
            values = [rng.randrange(-largest, largest + 1) for _ in range(prod(shape))]
        tensors[name] = np.array(values).reshape(shape).astype(kind)
    exponents = [[7, 9, 8, 9, 5, 5]] * CODEBOOKS
    return NetworkPrior({"kind": KIND, "version": 1, **NETWORK.as_dict(), "exponents": exponents}, tensors)


def priors() -> dict[str, CountPrior | NetworkPrior]:
    """Return the priors by the names of their files."""
    return {"test-1": make(1), "test-2": make(2), "test-network": make_network()}


def save_all(folder: Path) -> None:
    """Write the prior files."""
    for name, prior in priors().items():
        save_prior(prior, folder / f"{name}.prior.safetensors")
