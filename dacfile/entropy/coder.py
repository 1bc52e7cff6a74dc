"""Blocks of codes to layers of bytes and back: raw fallback and checksums around any prior."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np

from dacfile.entropy.packing import pack, raw_size, unpack
from dacfile.entropy.prior import Channels, Known, Prior
from dacfile.errors import EntropyMismatch, UsageError

StoredLayer = tuple[bytes, int]  # the bytes of a layer and the CRC-32 of its codes
StoredBlock = Sequence[Sequence[StoredLayer] | None]


def codes_crc(codes: np.ndarray) -> int:
    """Return the CRC-32 (zlib) of a layer's codes [frames] as little-endian u16."""
    return zlib.crc32(np.ascontiguousarray(codes, "<u2").tobytes())


def encode_blocks(
    prior: Prior | None, blocks: Sequence[Channels], first_frames: Sequence[int], codebook_size: int = 1024
) -> list[list[list[StoredLayer]]]:
    """Code independent blocks; `blocks[b][c]` holds uint16 codes [layers, frames], or None for a channel without codes.

    `first_frames[b]` is the index in the file of the block's first frame. Returns `[b][c][k] = (bytes, codes_crc)`; a
    layer that the prior does not shrink is stored raw, at exactly `raw_size` bytes. `codebook_size` counts only without
    a prior. Raises UsageError for codes that the prior cannot code.
    """
    size = prior.codebook_size if prior else codebook_size
    for block in blocks:
        _check_codes(block, size, prior.codebooks if prior else 255)
    if prior is None:
        return [[[] if codes is None else [_raw(row, size) for row in codes] for codes in block] for block in blocks]
    coded = prior.encode_layers(blocks, first_frames)
    return [
        [[] if codes is None else _smaller(codes, streams, size) for codes, streams in zip(block, row, strict=True)]
        for block, row in zip(blocks, coded, strict=True)
    ]


def _check_codes(block: Channels, size: int, layers: int) -> None:
    present = [codes for codes in block if codes is not None]
    if any(codes.ndim != 2 or len(codes) > layers or codes.shape[1] != present[0].shape[1] for codes in present):
        raise UsageError(f"codes must be [layers <= {layers}, frames], with as many frames in every channel of a block")
    if any(codes.size and codes.max() >= size for codes in present):
        raise UsageError(f"a code is beyond the {size} entries of the codebook")


def _raw(codes: np.ndarray, size: int) -> StoredLayer:
    return pack(codes, size), codes_crc(codes)


def _smaller(codes: np.ndarray, streams: list[bytes], size: int) -> list[StoredLayer]:
    limit = raw_size(codes.shape[1], size)
    return [
        (stream, codes_crc(row)) if len(stream) < limit else _raw(row, size)
        for row, stream in zip(codes, streams, strict=True)
    ]


def decode_blocks(
    prior: Prior | None,
    payloads: Sequence[StoredBlock],
    frames: Sequence[int],
    layers: int | None = None,
    first_frames: Sequence[int] | None = None,
    codebook_size: int = 1024,
) -> list[list[np.ndarray | None]]:
    """Undo `encode_blocks`; `frames[b]` is the length of block b, `layers` caps how many layers are decoded.

    Returns `[b][c]`: uint16 codes [layers of c, frames], or None where the payload is None. `first_frames` defaults to
    blocks that all start at frame 0 and matters only to priors with phases. Raises EntropyMismatch when the codes do
    not match their checksum.
    """
    size = prior.codebook_size if prior else codebook_size
    firsts = [0] * len(payloads) if first_frames is None else first_frames
    cut = [[list(stored or ())[:layers] for stored in block] for block in payloads]
    known = [
        [[_known(data, crc, count, size) for data, crc in stored] for stored in block]
        for block, count in zip(cut, frames, strict=True)
    ]
    codes = _decode_known(prior, known, frames, firsts)
    for index, (block, arrays) in enumerate(zip(cut, codes, strict=True)):
        for channel, (stored, array) in enumerate(zip(block, arrays, strict=True)):
            _check_crcs(stored, array, f"block {index} of the call, channel {channel}")
    return [
        [None if stored is None else array for stored, array in zip(block, arrays, strict=True)]
        for block, arrays in zip(payloads, codes, strict=True)
    ]


def _known(data: bytes, crc: int, frames: int, size: int) -> Known:
    if len(data) != raw_size(frames, size):
        return data
    codes = unpack(data, frames, size)
    if codes_crc(codes) != crc or (codes.size and codes.max() >= size):
        raise EntropyMismatch("a raw layer does not match the checksum of its codes")
    return codes


def _decode_known(
    prior: Prior | None, known: list[list[list[Known]]], frames: Sequence[int], first_frames: Sequence[int]
) -> list[list[np.ndarray]]:
    if prior is not None:
        deepest = max((len(channel) for block in known for channel in block), default=0)
        if deepest > prior.codebooks:
            raise EntropyMismatch(f"{deepest} layers, but the prior has {prior.codebooks}: it is another model's")
        return prior.decode_layers(known, frames, first_frames)
    out = []
    for block, count in zip(known, frames, strict=True):
        if any(isinstance(layer, bytes) for channel in block for layer in channel):
            raise EntropyMismatch("a layer is range coded, but the file names no prior")
        out.append([np.array(channel, np.uint16).reshape(len(channel), count) for channel in block])
    return out


def _check_crcs(stored: Sequence[StoredLayer], codes: np.ndarray, where: str) -> None:
    for layer, ((_, crc), row) in enumerate(zip(stored, codes, strict=True)):
        if codes_crc(row) != crc:
            raise EntropyMismatch(f"{where}, layer {layer}: decoded to other codes than were stored")
