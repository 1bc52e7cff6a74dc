"""Prove that a file is what was written: its bytes, then its codes, then (`deep`) that it decodes to all its audio."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dacfile.container import Head, Reader, verify_structure
from dacfile.errors import ChecksumError, StructureError, Truncated
from dacfile.limits import DEFAULT_LIMITS, Limits


@dataclass(frozen=True)
class Verification:
    """What was checked, in sentences, and how much of it: nothing was wrong."""

    blocks: int
    codes: int
    seconds: float
    checks: tuple[str, ...]


def verify_file(path: Path, limits: Limits = DEFAULT_LIMITS) -> Verification:
    """Check the structure, every CRC, the SHA-256, the index, and that the codes decode to those that were encoded.

    Equalisers are decoded as well.

    Raises DaczError with the reason: damage (exit code 3), something that this version does not know (4), or a prior
    that is not installed (5; the bytes were checked before that).
    """
    report = verify_structure(path, limits)
    codes = _count_exact_codes(path, limits)
    seconds = report.tail.source_samples / report.head.source_rate
    checks = (*report.checks, "codes against their checksums")
    return Verification(report.tail.blocks, codes, seconds, checks)


def _count_exact_codes(path: Path, limits: Limits) -> int:
    """Decode all layers, which compares them with their checksums, and equalisers; return the number of codes."""
    from dacfile.blocks import decode_codes
    from dacfile.equaliser_code import unpack
    from dacfile.installed import prior_of

    count = 0
    with Reader(path, limits) as reader:
        for block in decode_codes(reader.blocks(), reader.head, prior_of(reader.head, path)):
            count += sum(codes.size for codes in block.codes if codes is not None)
            for equaliser in block.equalisers:
                unpack(equaliser, block.frames)
    return count


def complete_head(path: Path, limits: Limits = DEFAULT_LIMITS) -> Head | None:
    """Return the head of a file that begins and ends as a complete `.dacz` file does, None for a damaged one.

    Reads only the two ends: files are written atomically, so a wrong middle means damage after the writing.
    Raises NotDacz for a file that is not one of ours at all, UnsupportedVersion, UnsupportedFeature or LimitError for
    one that may well be complete, OSError when it cannot be read.
    """
    try:
        with Reader(path, limits) as reader:
            return reader.head
    except (Truncated, ChecksumError, StructureError):
        return None
