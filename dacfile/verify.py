"""Prove that a file is what was written: its bytes, then its codes, then (deep) that it decodes to audio."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from dacfile.container import CODED, CODER_RAW, Block, Head, Reader
from dacfile.errors import DaczError, ModelMismatch, NotDacz
from dacfile.limits import DEFAULT_LIMITS, Limits

if TYPE_CHECKING:
    from dacfile.entropy import Prior

BLOCKS_AT_ONCE = 8  # decoded together, for speed


@dataclass(frozen=True)
class Verification:
    """What was checked, and how much of it; nothing was wrong."""

    blocks: int
    codes: int
    seconds: float
    checked: tuple[str, ...]


def verify_file(path: Path | BinaryIO, limits: Limits = DEFAULT_LIMITS) -> Verification:
    """Check the structure, every CRC, the SHA-256, the index, and that the codes decode to those that were encoded.

    Raises DaczError with the reason: damage (exit code 3), something this version does not know (4), or a prior that is
    not installed (5; the bytes were checked before that).
    """
    with Reader(path, limits) as reader:
        for _ in reader.blocks():
            pass
        if reader.block_count:
            reader.block(reader.block_count - 1)
        codes = _verify_codes(reader)
        seconds = (reader.source_samples or 0) / reader.head.source_rate
        return Verification(reader.block_count, codes, seconds, ("structure", "checksums", "codes"))


def _verify_codes(reader: Reader) -> int:
    """Decode all layers and compare them with their checksums; return the number of codes."""
    from dacfile.entropy import decode_blocks

    head = reader.head
    prior = prior_of(head)
    blocks, count = reader.blocks(), 0
    while group := list(islice(blocks, BLOCKS_AT_ONCE)):
        first_frames = [block.sequence * head.frames_per_block for block in group]
        decoded = decode_blocks(
            prior, [_payload(block) for block in group], [block.frames for block in group],
            first_frames=first_frames, codebook_size=head.codebook_size,
        )  # fmt: skip
        count += sum(codes.size for block in decoded for codes in block if codes is not None)
    return count


def prior_of(head: Head) -> Prior | None:
    """Return the installed prior that a file was coded with, None for raw codes.

    Raises PriorNotFound, or ModelMismatch when the prior with this id has other codebooks than the file.
    """
    if head.coder == CODER_RAW:
        return None
    prior = _prior(head.prior_id)
    if prior.codebook_size != head.codebook_size or prior.codebooks < head.codebooks:
        raise ModelMismatch(f"the prior {head.prior_id.hex()} has other codebooks than the file")
    return prior


@lru_cache(maxsize=4)
def _prior(prior_id: bytes) -> Prior:
    from dacfile.entropy import find_prior

    return find_prior(prior_id)


def _payload(block: Block) -> list[list[tuple[bytes, int]] | None]:
    return [
        [(layer.data, layer.codes_crc) for layer in channel.layers] if channel.mode == CODED else None
        for channel in block.channels
    ]


def is_complete(path: Path, limits: Limits = DEFAULT_LIMITS) -> Head | None:
    """Return the HEAD of a file that begins and ends as a complete `.dacz` file does, else None.

    Reads only the two ends: files are written atomically, so a wrong middle means damage after the writing.
    Raises NotDacz for a file that is not one of ours at all, OSError when it cannot be read.
    """
    try:
        with Reader(path, limits) as reader:
            return reader.head
    except NotDacz:
        raise
    except DaczError:
        return None

