"""Checking a whole file without decoding it."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from os import PathLike
from typing import BinaryIO

from dacfile.limits import DEFAULT_LIMITS, Limits

from .head import Head
from .walk import walking
from .wire import Tail

_ALWAYS = (
    "magic, order and CRC-32 of every chunk",
    "fields and limits of the header",
    "sequence, lengths and modes of every block",
    "TAIL against the blocks and the size of the file",
    "SHA-256 of the file",
    "end magic, and nothing after it",
)


@dataclass(frozen=True)
class StructureReport:
    """What `verify_structure` looked at; `checks` are sentences for people, all of them passed."""

    head: Head
    tail: Tail
    lost: tuple[tuple[int, int], ...]
    checks: tuple[str, ...]


def verify_structure(
    stream_or_path: BinaryIO | str | PathLike[str], limits: Limits = DEFAULT_LIMITS
) -> StructureReport:
    """Read the whole file and check everything but the codes; return what was checked.

    Raises the first `DaczError` found. The codes need the prior: compare them with their `codes_crc` when decoding.
    """
    with walking(stream_or_path, limits) as walk:
        deque(walk.blocks(), maxlen=0)
        walk.check_index()
    checks = list(_ALWAYS)
    if walk.index is not None:
        checks.append("index against the blocks")
    if walk.has_head_copy:
        checks.append("copy of the header")
    return StructureReport(walk.head, walk.tail, walk.lost, tuple(checks))
