"""Temporary room for what must be read twice or moved in: in memory up to a size, in a temporary file beyond it."""

from __future__ import annotations

import shutil
import tempfile
from typing import BinaryIO, cast

IN_MEMORY = 1 << 24  # bytes


def spool() -> BinaryIO:
    """Return an empty stream to write, move in and read; closing it, or leaving its context, removes it."""
    return cast(BinaryIO, tempfile.SpooledTemporaryFile(IN_MEMORY))


def spooled(stream: BinaryIO) -> BinaryIO:
    """Return a copy of the rest of a stream, which may be a pipe, that stands at its start."""
    copy = spool()
    shutil.copyfileobj(stream, copy)
    copy.seek(0)
    return copy
