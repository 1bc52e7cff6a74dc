"""The worked example of the spec: its facts, and its table of bytes. Run it to print the table."""

from __future__ import annotations

import hashlib
import io
import struct
import zlib

from dacfile.container import CODED, Block, ChannelBlock, Head, Layer, Writer

CODES = ((3, 14), (0, 9))
MODEL_ID = bytes.fromhex("000102030405060708090a0b0c0d0e0f")
HEAD = Head(
    rate=8_000,
    hop=160,
    frames_per_block=1_000,
    codebook_size=16,
    codebooks=2,
    context=1,
    channels=1,
    subtype=3,
    container=1,
    channel_mask=0,
    source_rate=8_000,
    source_samples=200,
    skip=0,
    nominal_bitrate=400,
    coder=0,
    transform=0,
    model_id=MODEL_ID,
    prior_id=bytes(16),
    gains=(768,),
)
SOURCE_DIGEST = hashlib.sha256(struct.pack("<200f", *([0.5] * 200))).digest()[:16]


def file_bytes() -> bytes:
    """Return the example as the reference writer makes it."""
    layers = tuple(Layer(bytes((a | b << 4,)), zlib.crc32(struct.pack("<2H", a, b))) for a, b in CODES)
    stream = io.BytesIO()
    writer = Writer(stream, HEAD, [("TITLE", "Hi")])
    writer.write_block(Block(0, 2, True, (ChannelBlock(CODED, layers),)))
    writer.finish(200, SOURCE_DIGEST)
    return stream.getvalue()


_HEAD_FIELDS = (
    *((1, "major version 1"), (1, "minor version 0"), (2, "flags: source length known"), (4, "rate 8,000 Hz")),
    *((2, "hop 160"), (2, "F = 1,000 frames per block"), (2, "N = 16"), (1, "K = 2"), (1, "context 1")),
    *((2, "C = 1 channel"), (1, "source: PCM_16"), (1, "source: WAV"), (4, "no channel mask")),
    *((4, "source rate 8,000 Hz"), (8, "source length 200"), (1, "no transform"), (1, "reserved")),
    *((2, "skip 0"), (4, "nominal 400 bit/s"), (1, "coder 0: raw"), (3, "reserved")),
    *((16, "model id"), (16, "no prior"), (2, "gain 768: +3 dB")),
)
FIELDS = (
    (8, "magic"),
    *((4, "HEAD"), (4, "82 bytes"), *_HEAD_FIELDS, (4, "CRC-32")),
    *((4, "tags"), (4, "17 bytes"), (4, "1 entry"), (2, "5 bytes of key"), (4, "2 bytes of value")),
    *((5, "TITLE"), (2, "Hi"), (4, "CRC-32")),
    *((4, "BLOC"), (4, "24 bytes"), (4, "sequence number 0"), (2, "n = 2 frames"), (1, "last block"), (1, "reserved")),
    *((1, "channel 0: coded"), (1, "2 layers"), (2, "layer 0: 1 byte"), (4, "layer 0: codes_crc of 03 00 0E 00")),
    *((2, "layer 1: 1 byte"), (4, "layer 1: codes_crc of 00 00 09 00"), (1, "layer 0: 3, 14"), (1, "layer 1: 0, 9")),
    (4, "CRC-32"),
    *((4, "hcpy"), (4, "82 bytes"), (82, "as in HEAD"), (4, "CRC-32")),
    *((4, "indx"), (4, "8 bytes"), (4, "1 block"), (4, "36 bytes to its end"), (4, "CRC-32")),
    *((4, "TAIL"), (4, "84 bytes"), (8, "source length 200"), (8, "2 frames"), (4, "1 block")),
    *((8, "offset of indx"), (8, "size of the file"), (32, "SHA-256 of all bytes before TAIL")),
    *((16, "source digest of 200 samples of 0.5"), (4, "CRC-32")),
    (8, "end"),
)


def table() -> str:
    """Return lines of `offset  up to 16 bytes in hex  meaning`."""
    data, at, lines = file_bytes(), 0, []
    for size, meaning in FIELDS:
        for start in range(at, at + size, 16):
            row = data[start : min(start + 16, at + size)].hex(" ").upper()
            lines.append(f"{start:04X}  {row:<47}  {meaning if start == at else ''}".rstrip())
        at += size
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())
