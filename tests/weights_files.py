"""Weights files for tests: small networks in every layout that can be loaded, and files that must not be."""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from reference import seeded

REFERENCE = Path(__file__).parent / "reference"


def reference_weights(name: str = "descript_2488") -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Return (constructor arguments, tensors) of a reference network, names as that implementation has them."""
    with np.load(REFERENCE / f"{name}.npz") as file:
        config, shapes = json.loads(str(file["config"])), json.loads(str(file["shapes"]))
    return config, {key: torch.from_numpy(seeded.tensor(key, tuple(shape))) for key, shape in shapes.items()}


def write_official(path: Path, name: str = "descript_2488", **changes: Any) -> Path:
    """Write a checkpoint in the layout of descript-audio-codec; `changes` replace constructor arguments."""
    config, tensors = reference_weights(name)
    torch.save({"state_dict": tensors, "metadata": {"kwargs": {**config, **changes}}}, path)
    return path


class Bomb:
    """Unpickles to the creation of a file."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (str(self.canary), "w")


def write_bomb(path: Path, canary: Path) -> Path:
    """Write an official-looking torch archive whose pickle would create `canary`."""
    _, tensors = reference_weights()
    torch.save({"state_dict": tensors, "metadata": {"kwargs": {}, "logs": Bomb(canary)}}, path)
    return path


def write_bare_pickle(path: Path, canary: Path) -> Path:
    """Write a pickle without an archive around it."""
    path.write_bytes(pickle.dumps({"state_dict": Bomb(canary)}))
    return path


def repacked(path: Path, compression: int = zipfile.ZIP_STORED, more: dict[str, bytes] | None = None) -> Path:
    """Write a torch archive again, compressed or with more entries."""
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    root = next(iter(entries)).split("/")[0]
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, data in {**entries, **{f"{root}/{key}": data for key, data in (more or {}).items()}}.items():
            archive.writestr(name, data)
    path.write_bytes(buffer.getvalue())
    return path
