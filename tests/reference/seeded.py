"""Weights and signals that are the same on every machine: numpy's frozen legacy generator, one seed per tensor name."""

from __future__ import annotations

import zlib

import numpy as np


def tensor(name: str, shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """Return float32 values for a parameter of a DAC network, lively enough that wrong wiring shows."""
    random = np.random.RandomState(zlib.crc32(name.encode()) ^ seed)
    last = name.rsplit(".", 1)[-1]
    loudness = 0.75 if name.startswith("decoder") else 1.0  # keeps the final tanh out of saturation
    if last == "alpha":
        values = random.uniform(0.5, 2, shape)
    elif last == "weight_g":
        values = loudness * random.uniform(0.5, 1.0, shape)
    elif last == "bias":
        values = random.normal(0, 0.01, shape)
    elif last == "weight" and "codebook" not in name:
        values = loudness * random.normal(0, 0.8, shape) / np.sqrt(np.prod(shape[1:]))
    else:
        values = random.normal(0, 1, shape)
    return values.astype(np.float32)


def signal(samples: int, seed: int = 0) -> np.ndarray:
    """Return float32 [samples]: two tones, a click and noise."""
    random = np.random.RandomState(seed)
    time = np.arange(samples)
    tones = 0.3 * np.sin(0.05 * time) + 0.2 * np.sin(0.41 * time + 1)
    click = 0.6 * np.exp(-np.abs(time - samples // 3) / 5)
    return (tones + click + random.normal(0, 0.1, samples)).astype(np.float32)
