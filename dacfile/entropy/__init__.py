"""Codes to bytes and back, exactly: integer probabilities, a range coder, raw packing. numpy only, never torch."""

from __future__ import annotations

from dacfile.entropy.coder import decode_blocks, encode_blocks
from dacfile.entropy.files import StoredPrior, find_prior, load_prior, prior_files
from dacfile.entropy.packing import bits_per_code, raw_size
from dacfile.entropy.prior import RAW_PRIOR_ID, Prior

__all__ = [
    "RAW_PRIOR_ID",
    "Prior",
    "StoredPrior",
    "bits_per_code",
    "decode_blocks",
    "encode_blocks",
    "find_prior",
    "load_prior",
    "prior_files",
    "raw_size",
]
