"""Small random context networks and codes that they like: material for the tests of exactness."""

from __future__ import annotations

import numpy as np

from dacfile.entropy.context import NetworkPrior
from dacfile.entropy.network import KIND, NetworkConfig, shapes
from dacfile.errors import EntropyMismatch

SMALL = NetworkConfig(
    codebooks=4,
    codebook_size=64,
    groups=8,
    phases=2,
    width=12,
    hidden=20,
    taps=3,
    head=16,
    own_past=(0, 2),
    lags=3,
    past_width=6,
)
EXPONENTS = [7, 9, 8, 9, 5, 5]


def random_prior(config: NetworkConfig = SMALL, seed: int = 0, scale: int = 127) -> NetworkPrior:
    """Return a network of random weights, large enough that rounding and clipping happen everywhere."""
    generator = np.random.default_rng(seed)
    tensors = {}
    for name, (kind, shape) in shapes(config).items():
        if name.endswith("order"):
            tensors[name] = generator.permutation(config.codebook_size).astype(np.uint16)
        elif kind == "int8":
            tensors[name] = generator.integers(-scale, scale + 1, shape).astype(np.int8)
        else:
            tensors[name] = generator.integers(-3000, 3000, shape).astype(np.int32)
    file = {"kind": KIND, "version": 1, **config.as_dict(), "exponents": [EXPONENTS] * config.codebooks}
    return NetworkPrior(file, tensors)


def likely_codes(
    prior: NetworkPrior, shapes_: list[tuple[int, int]], first: int = 0, seed: int = 0
) -> list[np.ndarray | None]:
    """Return a block's codes that the prior finds probable: what it decodes from random bytes. (0, T): no codes."""
    for attempt in range(100):
        generator = np.random.default_rng([seed, attempt])
        payload = [[generator.bytes(4 * frames + 8) for _ in range(layers)] for layers, frames in shapes_]
        try:
            codes = prior.decode_layers([payload], [shapes_[0][1]], [first])[0]
        except EntropyMismatch:  # a few byte strings in a hundred name no symbols at all
            continue
        return [array if len(array) else None for array in codes]
    raise ValueError("no decodable bytes")
