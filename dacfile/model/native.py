"""The native weights file: safetensors whose metadata say what model it is. Standard library only.

Metadata (all values are text): `format` = "dacfile-model-1", `config` and `facts` as JSON, `id` as 32 hexadecimal
digits, and `description`, `licence`, `source` for people. So listing models reads a few kilobytes and hashes nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

from dacfile.errors import ModelNotFound, UnsafeWeights

FORMAT = "dacfile-model-1"
MAX_HEADER_BYTES = 16 << 20  # the published networks have 600 tensors, 60 kB of header
CARD_KEYS = ("description", "licence", "source")  # of the model card: metadata for people


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


def canonical_json(config: Mapping[str, Any]) -> str:
    """Return a configuration as the one text that is hashed and stored: sorted keys, no spaces, ASCII."""
    return json.dumps(config, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
