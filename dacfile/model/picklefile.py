"""Look at a weights file before any library opens it. Standard library only.

torch.load(weights_only=True) refuses everything but tensors and plain values; this keeps archives from it that hold
more than that in the first place (TorchScript, torch.package), old-style pickles, and archives that unpack to more than
they are.
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Literal

from dacfile.errors import UnsafeWeights

MAX_ENTRIES = 20_000
MAX_PICKLE_BYTES = 16 << 20  # names and shapes only; tensors are entries of their own
Kind = Literal["safetensors", "torch"]


def sniff(path: Path) -> Kind:
    """Return the kind of a weights file by its first bytes. Raises UnsafeWeights for anything else."""
    with path.open("rb") as stream:
        start = stream.read(64)
    if start.startswith(b"PK\x03\x04"):
        return "torch"
    if start[8:9] == b"{":
        return "safetensors"
    raise UnsafeWeights(_what_it_is(start))


def _what_it_is(start: bytes) -> str:
    if not start:
        return "an empty file, not weights"
    if start.lstrip()[:1] == b"<":
        return "a web page, not weights; was it downloaded from a page that asks to log in?"
    if start[:1] == b"\x80":
        return "a bare pickle, which could run any code; save it again with torch 1.6 or newer, or as safetensors"
    if start.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer, not weights; fetch the file itself"
    return "not a weights file (neither safetensors nor a torch archive)"


def check_torch_file(path: Path) -> None:
    """Raise UnsafeWeights unless a torch archive holds one pickle and tensors that are stored as they are."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, UnicodeDecodeError) as error:
        raise UnsafeWeights(f"a damaged or truncated torch archive ({error})") from error
    if len(entries) > MAX_ENTRIES:
        raise UnsafeWeights(f"a torch archive of {len(entries)} entries")
    _check_members(entries)
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise UnsafeWeights("a torch archive with compressed entries, which torch never writes")
    if sum(entry.file_size for entry in entries) > path.stat().st_size:
        raise UnsafeWeights("a torch archive that unpacks to more than it is")


def _check_members(entries: list[zipfile.ZipInfo]) -> None:
    parts = [entry.filename.split("/", 1)[-1] for entry in entries]
    if any(part.startswith(("code/", ".data/extern_modules")) or part.endswith(".py") for part in parts):
        raise UnsafeWeights("a torch archive with program code in it (TorchScript or torch.package), not plain weights")
    pickles = [entry for entry, part in zip(entries, parts, strict=True) if part.endswith(".pkl")]
    if len(pickles) != 1 or pickles[0].file_size > MAX_PICKLE_BYTES:
        raise UnsafeWeights("not a torch archive of tensors (it needs exactly one small pickle)")
