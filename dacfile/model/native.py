"""The native weights file: safetensors whose metadata say what model it is. Standard library only.

Metadata (all values are text): `format` = "dacfile-model-1", `config` and `facts` as JSON, `id` as 32 hexadecimal
digits, and `description`, `licence`, `source` for people. So listing models reads a few kilobytes and hashes nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from dacfile.errors import ModelNotFound, UnsafeWeights

FORMAT = "dacfile-model-1"
MAX_HEADER_BYTES = 16 << 20  # the published networks have 600 tensors, 60 kB of header
CARD_KEYS = ("description", "licence", "source")  # of the model card: metadata for people


@dataclass(frozen=True)
class StoredTensor:
    """A tensor as stored: dtype by its safetensors name, little-endian bytes."""

    dtype: str
    shape: tuple[int, ...]
    data: bytes


def read_metadata(path: Path) -> dict[str, str]:
    """Return the metadata of a safetensors file, {} if it has none.

    Raises ModelNotFound (no such file) or UnsafeWeights (not a safetensors file).
    """
    try:
        with path.open("rb") as stream:
            header = _read_header(stream)
    except FileNotFoundError:
        raise ModelNotFound(f"{path}: no such weights file") from None
    except (OSError, ValueError, RecursionError) as error:
        raise UnsafeWeights(f"{path}: not a safetensors file ({error})") from error
    metadata = header.get("__metadata__", {})
    if not isinstance(metadata, dict):
        raise UnsafeWeights(f"{path}: not a safetensors file (metadata that are no object)")
    return {str(key): str(value) for key, value in metadata.items()}


def _read_header(stream: BinaryIO) -> dict[str, Any]:
    length = int.from_bytes(stream.read(8), "little")
    if not 2 <= length <= MAX_HEADER_BYTES:
        raise ValueError(f"a header of {length} bytes")
    header = json.loads(stream.read(length))
    if not isinstance(header, dict):
        raise ValueError("a header that is no object")
    return header


def write(stream: BinaryIO, tensors: Mapping[str, StoredTensor], metadata: Mapping[str, str]) -> None:
    """Write a safetensors file: equal input gives equal bytes, which the safetensors library does not promise."""
    header: dict[str, Any] = {"__metadata__": dict(sorted(metadata.items()))}
    offset = 0
    for name, tensor in sorted(tensors.items()):
        end = offset + len(tensor.data)
        header[name] = {"dtype": tensor.dtype, "shape": list(tensor.shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    stream.write(len(text).to_bytes(8, "little") + text)
    for _, tensor in sorted(tensors.items()):
        stream.write(tensor.data)


def canonical_json(config: Mapping[str, Any]) -> str:
    """Return a configuration as the one text that is hashed and stored: sorted keys, no spaces, ASCII."""
    return json.dumps(config, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
