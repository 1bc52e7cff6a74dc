"""Every cap that a reader applies to hostile input, with its unit and its reason.

The defaults of the fields up to `source_samples` are the limits of the format itself (spec section 4.2); a caller may
lower them, or any of the others, to spend less memory on files of strangers.
"""

from __future__ import annotations

from dataclasses import dataclass

KIB = 1 << 10
MIB = 1 << 20


@dataclass(frozen=True)
class Limits:
    """Caps of a reader; a file beyond one of them raises `LimitError` before anything is allocated for it."""

    rate: int = 768_000  # Hz; the highest rate that audio hardware offers
    hop: int = 4_096  # samples per frame
    frames_per_block: int = 4_096  # with 12-bit codes a raw layer is 6,144 bytes: its length always fits in a u16
    codebook_size: int = 4_096  # entries; 12 bits
    codebooks: int = 64
    context: int = 64  # frames on each side
    channels: int = 255  # mode tables and decoders scale with it
    source_samples: int = 1 << 40  # per channel: 265 days at 48 kHz

    blocks: int = 1 << 20  # 242 days of 20 s blocks; bounds the index (8 MiB) and what salvage may have to fill in
    head_bytes: int = 64 * KIB  # 590 at 255 channels in v1.0; the rest is room for later minor versions
    tags_bytes: int = MIB
    tags_entries: int = 4_096  # RFC 9639 warns of millions of valid fields
    picture_bytes: int = 16 * MIB  # each
    pictures: int = 8
    other_bytes: int = 16 * MIB  # unknown ancillary chunks that are kept in memory, all together
    chunks: int = 1 << 16  # chunks other than BLOC: bounds the work and memory of a file made of empty chunks


DEFAULT_LIMITS = Limits()
