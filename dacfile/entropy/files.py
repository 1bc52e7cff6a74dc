"""Prior files (safetensors with a JSON configuration in the metadata) and looking them up by id."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file

from dacfile.entropy import counts, network
from dacfile.entropy.context import NetworkPrior
from dacfile.entropy.counts import CountPrior
from dacfile.errors import PriorNotFound, UnsafeWeights
from dacfile.folders import BUNDLED, PRIOR_SUFFIX, user_folders
from dacfile.safetensors_file import StoredTensor, write

StoredPrior: TypeAlias = CountPrior | NetworkPrior  # what a file holds; any other `Prior` stands in front of one

MAX_FILE_BYTES = 64 << 20
MAX_CONFIG_BYTES = 1 << 20
_DTYPES = {"int8": "I8", "uint8": "U8", "int16": "I16", "uint16": "U16", "int32": "I32", "int64": "I64"}
_BUILDERS: dict[str, Callable[..., StoredPrior]] = {counts.KIND: counts.from_file, network.KIND: NetworkPrior}


def save_prior(prior: StoredPrior, path: Path) -> None:
    """Write a prior file."""
    path.write_bytes(prior_bytes(prior))


def prior_bytes(prior: StoredPrior) -> bytes:
    """Return the bytes of a prior file; `config` and `id` go into the metadata beside the free `info` texts."""
    config = json.dumps(prior.config, sort_keys=True, separators=(",", ":"))
    # Wide types first, as the safetensors library has them: every tensor lies at a multiple of its type's size.
    ordered = sorted(prior.tensors.items(), key=lambda item: (-item[1].itemsize, item[0]))
    stream = BytesIO()
    write(
        stream,
        {name: _stored(tensor) for name, tensor in ordered},
        {**prior.info, "config": config, "id": prior.id.hex()},
    )
    return stream.getvalue()


def _stored(tensor: np.ndarray) -> StoredTensor:
    data = np.ascontiguousarray(tensor, tensor.dtype.newbyteorder("<")).tobytes()
    return StoredTensor(_DTYPES[tensor.dtype.name], tensor.shape, data)


def load_prior(path: Path | str) -> StoredPrior:
    """Read a prior file and check its hash.

    Raises PriorNotFound (no such file) or UnsafeWeights (not a prior file, damaged, or of an unknown kind).
    """
    path = Path(path)
    if not path.is_file():
        raise PriorNotFound(f"{path}: no such prior file; `dacz prior list` shows what is installed")
    config, tensors, info, claimed = _read(path)
    builder = _BUILDERS.get(str(config.get("kind")))
    if builder is None or config.get("version") != 1:
        raise UnsafeWeights(f"{path}: a prior of an unknown kind; a newer dacfile may read it")
    prior = builder(config, tensors, info)
    if prior.id.hex() != claimed or prior.config != config:
        raise UnsafeWeights(f"{path}: the prior does not match its own id; fetch or train it again")
    return prior


def _read(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray], dict[str, str], str]:
    if path.stat().st_size > MAX_FILE_BYTES:
        raise UnsafeWeights(f"{path}: larger than any prior ({MAX_FILE_BYTES >> 20} MiB)")
    info = read_metadata(path)
    claimed = info.pop("id", "")
    try:
        config = json.loads(info.pop("config", "")[:MAX_CONFIG_BYTES])
        tensors = load_file(path)
    except (SafetensorError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise UnsafeWeights(f"{path}: not a prior file ({type(error).__name__})") from error
    if not isinstance(config, dict):
        raise UnsafeWeights(f"{path}: not a prior file (its configuration is no JSON object)")
    return config, tensors, info, claimed


def read_metadata(path: Path) -> dict[str, str]:
    """Return the metadata of a safetensors file ({} if there is none). Raises UnsafeWeights."""
    # The library's reader, not that of models: it sees that a file is cut off, and such a prior must be passed over.
    try:
        with safe_open(path, "np") as file:
            return dict(file.metadata() or {})
    except (SafetensorError, OSError) as error:
        raise UnsafeWeights(f"{path}: not a safetensors file ({error})") from error


def prior_files(folders: Iterable[Path] = ()) -> Iterator[tuple[Path, dict[str, str]]]:
    """Yield (path, metadata) of every prior file in `folders`, then of the installed ones; skip unreadable files."""
    for folder in (*folders, BUNDLED, *user_folders()):
        for path in sorted(folder.glob("*" + PRIOR_SUFFIX)):
            try:
                yield path, read_metadata(path)
            except UnsafeWeights:
                continue


def find_prior(prior_id: bytes, folders: Iterable[Path] = ()) -> StoredPrior:
    """Load the prior with this 16-byte id from `folders` or the installed ones.

    Raises PriorNotFound, or UnsafeWeights when all that claim to be this prior are damaged.
    """
    wanted, damage = prior_id.hex(), None
    for path, metadata in prior_files(folders):
        if metadata.get("id") == wanted:
            try:
                return load_prior(path)
            except UnsafeWeights as error:  # another folder may have an intact copy
                damage = damage or error
    if damage is not None:
        raise damage
    raise PriorNotFound(f"prior {wanted} is not installed; get its file and run `dacz prior add FILE --name NAME`")
