"""What a prior is: exact integer probabilities for the codes of one model, known by a hash of its content."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from dacfile.errors import ModelMismatch

Codes = np.ndarray  # uint16 [layers, frames] of one channel in one block
Known = bytes | np.ndarray  # a layer that is still coded, or (it was stored raw) its uint16 codes [frames]
Channels = Sequence[Codes | None]  # one block; None: a channel without codes (silent, or the same as channel 0)

ID_BYTES = 16
RAW_PRIOR_ID = bytes(ID_BYTES)


class Prior(Protocol):
    """Codes the layers of independent blocks; results never depend on which blocks share a call.

    Attributes: id (16 bytes), codebooks K, codebook_size N, config (JSON-able numbers), info (free metadata).
    """

    @property
    def id(self) -> bytes: ...

    @property
    def codebooks(self) -> int: ...

    @property
    def codebook_size(self) -> int: ...

    @property
    def config(self) -> dict[str, Any]: ...

    @property
    def info(self) -> dict[str, str]: ...

    def encode_layers(self, blocks: Sequence[Channels], first_frames: Sequence[int]) -> list[list[list[bytes]]]:
        """Return the range-coded bytes `[block][channel][layer]`; channels without codes get an empty list."""
        ...

    def decode_layers(
        self, payloads: Sequence[Sequence[Sequence[Known]]], frames: Sequence[int], first_frames: Sequence[int]
    ) -> list[list[np.ndarray]]:
        """Return uint16 codes [layers, frames] for each block and channel. Raises EntropyMismatch."""
        ...


class Codebooks(Protocol):
    """What a prior has to cover; a model's `Facts` and a file's `Head` say it."""

    @property
    def codebooks(self) -> int: ...

    @property
    def codebook_size(self) -> int: ...


def covers(prior: Prior, needed: Codebooks) -> bool:
    """Say whether a prior can code the codes of a model or a file."""
    return prior.codebook_size == needed.codebook_size and prior.codebooks >= needed.codebooks


def check_covers(prior: Prior | None, needed: Codebooks, what: str) -> None:
    """Raise ModelMismatch when a prior cannot code the codes of `what`, "the model" or "the file"; None can: raw."""
    if prior is not None and not covers(prior, needed):
        raise ModelMismatch(
            f"the prior is for {prior.codebooks} codebooks of {prior.codebook_size} entries, "
            f"{what} has {needed.codebooks} of {needed.codebook_size}"
        )


def content_id(config: Mapping[str, Any], tensors: Mapping[str, np.ndarray]) -> bytes:
    """Return the first 16 bytes of SHA-256 over the canonical configuration and tensors (design as for model ids).

    Canonical: `config` as JSON with sorted keys and no spaces, a zero byte, then for each tensor in order of its name:
    name, zero byte, numpy dtype name, zero byte, shape as decimal numbers joined by commas, zero byte, little-endian
    bytes in C order.
    """
    digest = hashlib.sha256(json.dumps(config, sort_keys=True, separators=(",", ":")).encode() + b"\0")
    for name in sorted(tensors):
        tensor = tensors[name]
        shape = ",".join(map(str, tensor.shape))
        digest.update(f"{name}\0{tensor.dtype.name}\0{shape}\0".encode())
        digest.update(np.ascontiguousarray(tensor, tensor.dtype.newbyteorder("<")).tobytes())
    return digest.digest()[:ID_BYTES]
