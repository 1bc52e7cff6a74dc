"""Configurations of the smallest networks of both architectures: material for tests of files and stores."""

from __future__ import annotations

from typing import Any

SMALL_DAC: dict[str, Any] = {
    "architecture": "dac",
    "encoder_dim": 2,
    "encoder_rates": [2, 3],
    "decoder_dim": 8,
    "decoder_rates": [3, 2],
    "n_codebooks": 2,
    "codebook_size": 8,
}
SMALL_LAPPED: dict[str, Any] = {
    "architecture": "lapped",
    "rate": 8000,
    "hop": 64,
    "codebooks": 2,
    "codebook_size": 16,
    "width": 16,
    "split": 16,
    "quadrature": 32,
    "encoder_blocks": 1,
    "decoder_blocks": 1,
}
