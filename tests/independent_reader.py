"""A second reader of `.dacz`, written from spec/dacz-v1.md and spec/priors.md alone: plain Python, slow, no dacfile.

It shows that the documents suffice, and is the oracle for the vectors. `read_file` checks a whole file in memory and
returns its codes, or raises `Refused` with the name of the error in section 12.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from dataclasses import dataclass, field
from typing import Any

import prior_oracle
from range_oracle import Decoder

MAGIC = bytes.fromhex("89 44 43 5A 0D 0A 1A 0A")
END = bytes.fromhex("0A 1A 0A 0D 5A 43 44 89")
TYPES = ["HEAD", "tags", "pict", "lost", "BLOC", "hcpy", "indx", "TAIL"]
SEVERAL = {"pict", "BLOC"}
HEAD_BYTES, CHUNKS, BLOCKS = 1 << 16, 1 << 16, 1 << 20  # section 13
WEIGHTS = """
 0   641   73  111   89   34    2   31    1   15    1    1    1    1    1    1    1
 1    49  481   84  115   39   63    2    2   71   12   24   12    1   12   24   12
 2    30   25  419  142   69  119    3    9  142    9    1    1    8    1    1   24
 3    31   35   37  382    1  147   46  170   16   72    1    1   46    1   15    1
 4     9   18   50    4  356    1  129  195  189    4   19    4   22    1    1    1
 5     2    5   10   48    1  479    1    2  409   14    1   27    4    1    1    1
 6     1    1    2   29   90    1  506    1  187  109   36    1    7   23    1    6
 7     4   14    4   34   53    9    1  665    1   82  102   11    1   14    7    1
 8     1    1    1    2    8   27    1    1  886    5   16   43    5    3    1    1
 9     2    1    2    1    6    1   61    9   76  754    1   37   37   12    4    1
10     1    1    3    2    9    3    8   37  284    6  603    3   27   13    3    2
11     2    1    1    2    9    1    6    9  411   22    2  488    1   39    6    3
12     9    4    4   17    1    9    5    5   84  125  197    1  487    1   29   22
13     5    1   10   15   15    1   25   11  124    2  154  211    1  378   45    4
14     1   10    1   10    1    1    1    1  128   11    4  178    9  147  460   41
15     1    1    1    1    1    1    1    1  116    3    3   40   71   47  167  550
16     5    5    9   11   14   41    1    1  785    4   22   72   12   11    5    3
"""  # the table of section 9.7


Head = dict[str, Any]


class Refused(Exception):
    """The file breaks a rule; `kind` is the name of the error."""

    def __init__(self, kind: str, why: str) -> None:
        super().__init__(f"{kind}: {why}")
        self.kind = kind


def need(condition: bool, why: str, kind: str = "StructureError") -> None:
    """Refuse the file unless the condition holds."""
    if not condition:
        raise Refused(kind, why)


@dataclass
class Channel:
    """One channel of one block: mode, codes [layers][frames], an equaliser's levels [stretches][80], attacks."""

    mode: int
    codes: list[list[int]]
    levels: list[list[int]] = field(default_factory=list)
    attacks: list[tuple[int, int]] = field(default_factory=list)


@dataclass
class File:
    """What was read; `blocks` holds the channels of each block."""

    head: Head = field(default_factory=dict)
    tags: list[tuple[str, str]] = field(default_factory=list)
    pictures: list[tuple[int, str, str, bytes]] = field(default_factory=list)
    lost: list[tuple[int, int]] = field(default_factory=list)
    blocks: list[list[Channel]] = field(default_factory=list)
    frames: list[int] = field(default_factory=list)
    source_samples: int = 0


class Cursor:
    """Reads fields from a payload; running out of bytes is a StructureError."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def take(self, size: int) -> bytes:
        need(self.at + size <= len(self.data), "a field beyond its chunk")
        self.at += size
        return self.data[self.at - size : self.at]

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "little")

    def text(self, size: int) -> str:
        try:
            return self.take(size).decode("utf-8")
        except UnicodeDecodeError:
            raise Refused("StructureError", "not UTF-8") from None

    def finish(self) -> None:
        need(self.at == len(self.data), "bytes after the last field")


def chunks_of(data: bytes) -> list[tuple[str, int, bytes]]:
    """Section 3: return (type, offset, payload) of all chunks, their CRCs checked; unknown critical ones refused."""
    if not data or not (data[:8] == MAGIC or (len(data) < 8 and MAGIC.startswith(data))):
        raise Refused("NotDacz", "magic")
    need(len(data) >= 8, "magic", "Truncated")
    chunks: list[tuple[str, int, bytes]] = []
    at, most_block, others = 8, None, 0
    while not chunks or chunks[-1][0] != "TAIL":
        need(at + 8 <= len(data), "the header of a chunk", "Truncated")
        name = data[at : at + 4]
        length = int.from_bytes(data[at + 4 : at + 8], "little")
        need(name.isalpha() and name.isascii(), "no chunk type")
        kind = name.decode("ascii")
        check_order(kind, {chunk[0] for chunk in chunks})
        if kind == "BLOC" and most_block is not None:
            need(length <= most_block, "a block longer than HEAD allows")
        need(at + 12 + length <= len(data), f"chunk {kind}", "Truncated")
        payload = data[at + 8 : at + 8 + length]
        stored = int.from_bytes(data[at + 8 + length : at + 12 + length], "little")
        need(zlib.crc32(data[at : at + 8 + length]) == stored, f"CRC of {kind}", "ChecksumError")
        need(kind in TYPES or kind[0].islower(), f"unknown critical chunk {kind}", "UnsupportedFeature")
        others += kind != "BLOC"
        need(others <= CHUNKS, "chunks", "LimitError")
        if kind == "HEAD":
            most_block = largest_block(read_head(payload))
        chunks.append((kind, at, payload))
        at += 12 + length
    need(at + 8 <= len(data), "the end bytes", "Truncated")
    need(data[at : at + 8] == END, "the end bytes")
    need(at + 8 == len(data), "bytes after the end")
    return chunks


def check_order(kind: str, seen: set[str]) -> None:
    """Section 3.2: HEAD first, known chunks in order, most of them once."""
    need(bool(seen) or kind == "HEAD", "the first chunk is not HEAD")
    if kind in TYPES:
        ranks = [TYPES.index(name) for name in seen if name in TYPES]
        need(TYPES.index(kind) >= max(ranks, default=0), f"{kind} out of order")
        need(kind in SEVERAL or kind not in seen, f"{kind} twice")


HEAD_FIELDS = (
    *(("rate", 4, 1, 768_000), ("hop", 2, 1, 4_096), ("F", 2, 1, 4_096), ("N", 2, 2, 4_096), ("K", 1, 1, 64)),
    *(("context", 1, 0, 64), ("C", 2, 1, 255), ("subtype", 1, 0, 255), ("container", 1, 0, 255)),
    *(("mask", 4, 0, 1 << 32), ("source_rate", 4, 1, 768_000)),
)


def read_head(payload: bytes) -> Head:
    """Section 4."""
    need(len(payload) <= HEAD_BYTES, "HEAD", "LimitError")
    cursor = Cursor(payload)
    need(cursor.number(1) == 1, "major version", "UnsupportedVersion")
    cursor.number(1)
    need(len(payload) >= 80, "HEAD too short")
    flags = cursor.number(2)
    need(not flags & 0x00FE, "reserved flags", "UnsupportedFeature")
    head: dict[str, int] = {}
    for name, size, low, high in HEAD_FIELDS:
        head[name] = cursor.number(size)
        need(head[name] >= low, name)
        need(head[name] <= high, name, "LimitError")
    length = cursor.number(8)
    need((flags & 1 == 1) == (length != (1 << 64) - 1), "length and its flag")
    need(not flags & 1 or length <= 1 << 40, "source length", "LimitError")
    transform, reserved, skip = cursor.number(1), cursor.number(1), cursor.number(2)
    cursor.number(4)
    coder, reserved3 = cursor.number(1), cursor.number(3)
    unknown = transform > 1 or reserved or skip or coder > 1 or reserved3
    need(not unknown, "transform, coder, skip or reserved bytes", "UnsupportedFeature")
    model, prior = cursor.take(16), cursor.take(16)
    gains = struct.unpack(f"<{head['C']}h", cursor.take(2 * head["C"]))
    need(head["mask"].bit_count() <= head["C"], "channel mask")
    need(transform == 0 or head["C"] >= 2, "mid/side of one channel")
    need((coder == 0) == (prior == bytes(16)), "coder and prior")
    known = length if flags & 1 else -1
    return {
        **head,
        "length": known,
        "transform": transform,
        "coder": coder,
        "model": model,
        "prior": prior,
        "gains": gains,
    }


def bits_of(n: int) -> int:
    """Section 4.3: bits of a raw code."""
    return (n - 1).bit_length()


def raw_equaliser(frames: int) -> int:
    """Section 4.3: bytes of the largest equaliser."""
    return 40 * -(-frames // 64)


def largest_block(head: Head) -> int:
    """The payload of a block whose every layer and equaliser is raw, with as many attacks as there may be."""
    raw = -(-head["F"] * bits_of(head["N"]) // 8)
    return 8 + head["C"] * (2 + 2 + raw_equaliser(head["F"]) + 1 + 3 * min(head["F"], 255) + head["K"] * (6 + raw))


def read_tags(payload: bytes) -> list[tuple[str, str]]:
    """Section 5.1."""
    need(len(payload) <= 1 << 20, "tags", "LimitError")
    cursor = Cursor(payload)
    count = cursor.number(4)
    need(count <= 4_096, "tags", "LimitError")
    tags = []
    for _ in range(count):
        key_bytes, value_bytes = cursor.number(2), cursor.number(4)
        key = cursor.text(key_bytes)
        need(key != "" and all(0x20 <= ord(c) <= 0x7D and c != "=" for c in key), "key")
        tags.append((key, cursor.text(value_bytes)))
    cursor.finish()
    return tags


def read_picture(payload: bytes) -> tuple[int, str, str, bytes]:
    """Section 5.2."""
    need(len(payload) <= 16 << 20, "pict", "LimitError")
    cursor = Cursor(payload)
    kind, mime, description = cursor.number(1), cursor.number(1), cursor.number(2)
    return kind, cursor.text(mime), cursor.text(description), payload[cursor.at :]


def read_lost(payload: bytes) -> list[tuple[int, int]]:
    """Section 7.3."""
    cursor = Cursor(payload)
    ranges = [(cursor.number(4), cursor.number(4)) for _ in range(min(cursor.number(4), len(payload)))]
    cursor.finish()
    need(4 + 8 * len(ranges) == len(payload) and payload[:4] == len(ranges).to_bytes(4, "little"), "lost: count")
    end = -1
    for first, count in ranges:
        need(first > end and count > 0, "lost: order")
        end = first + count
    return ranges


@dataclass
class Stored:
    """A block before its codes are decoded: per channel mode, equaliser, attacks, (bytes, codes_crc) of each layer."""

    frames: int
    last: bool
    modes: list[int]
    equalisers: list[bytes]
    attacks: list[list[tuple[int, int]]]
    layers: list[list[tuple[bytes, int]]]


def read_block(payload: bytes, number: int, head: Head) -> Stored:
    """Section 6.1 and 6.2."""
    cursor = Cursor(payload)
    sequence, frames, flags, reserved = cursor.number(4), cursor.number(2), cursor.number(1), cursor.number(1)
    need(flags <= 1 and reserved == 0, "reserved bits of a block", "UnsupportedFeature")
    modes, equalisers, attacks, tables = [], [], [], []
    for _ in range(head["C"]):
        mode = cursor.number(1)
        need(mode in (0, 1, 2, 4, 5), "mode", "UnsupportedFeature")
        count = cursor.number(1) if mode >= 2 else 0
        need(mode < 2 or 1 <= count <= head["K"], "layers")
        size = cursor.number(2) if mode >= 4 else 0
        need(size <= raw_equaliser(frames) and (size > 0 or mode != 4), "size of an equaliser")
        modes.append(mode)
        equalisers.append(cursor.take(size))
        attacks.append(read_attacks(cursor, frames) if mode == 5 else [])
        tables.append([(cursor.number(2), cursor.number(4)) for _ in range(count)])
    need(modes[0] != 1, "channel 0 the same as itself")
    need(sequence == number, "sequence number")
    need(frames == head["F"] or (flags == 1 and 1 <= frames < head["F"]), "frames")
    raw = -(-frames * bits_of(head["N"]) // 8)
    layers: list[list[tuple[bytes, int]]] = [[] for _ in tables]
    for k in range(head["K"]):
        for channel, table in enumerate(tables):
            if k < len(table):
                size, crc = table[k]
                need(size == raw or (size < raw and head["coder"] == 1), "length of a layer")
                layers[channel].append((cursor.take(size), crc))
    cursor.finish()
    return Stored(frames, flags == 1, modes, equalisers, attacks, layers)


def read_attacks(cursor: Cursor, frames: int) -> list[tuple[int, int]]:
    """Section 6.1: position and depth of each attack of a channel."""
    count = cursor.number(1)
    need(1 <= count <= min(frames, 255), "number of attacks")
    attacks = [(cursor.number(2), cursor.number(1)) for _ in range(count)]
    positions = [position for position, _ in attacks]
    need(positions == sorted(set(positions)) and positions[-1] < 16 * frames, "positions of attacks")
    need(all(depth > 0 for _, depth in attacks), "depth of an attack")
    return attacks


def check_tail(head: Head, chunks: list[tuple[str, int, bytes]], blocks: list[Stored], data: bytes) -> int:
    """Section 8 and 7.2; returns the source length."""
    payload = chunks[-1][2]
    need(len(payload) == 84, "TAIL")
    cursor = Cursor(payload)
    length, frames, count = cursor.number(8), cursor.number(8), cursor.number(4)
    index_offset, size, digest = cursor.number(8), cursor.number(8), cursor.take(32)
    need(count <= BLOCKS, "blocks", "LimitError")
    need(length <= 1 << 40, "source length", "LimitError")
    need(head["length"] in (-1, length), "source length and HEAD")
    need((count - 1) * head["F"] < frames <= count * head["F"] or count == frames == 0, "frames and blocks")
    need(length * head["rate"] <= (frames + 1) * head["hop"] * head["source_rate"], "a source longer than its frames")
    need(not blocks or blocks[-1].last, "the last block")
    need(count == len(blocks) and frames == sum(block.frames for block in blocks), "frames or blocks")
    need(size == len(data), "size")
    tail_offset = chunks[-1][1]
    need(hashlib.sha256(data[:tail_offset]).digest() == digest, "SHA-256", "ChecksumError")
    starts = [offset for kind, offset, _ in chunks if kind == "BLOC"]
    ends = starts[1:] + [offset + 12 + len(p) for kind, offset, p in chunks if kind == "BLOC"][-1:]
    index = [(offset, p) for kind, offset, p in chunks if kind == "indx"]
    need(index_offset == (index[0][0] if index else 0), "offset of the index")
    if index:
        distances = [end - start for start, end in zip(starts, ends, strict=True)]
        need(index[0][1] == struct.pack(f"<{len(starts) + 1}I", len(starts), *distances), "index")
    return length


def decode(block: Stored, first: int, head: Head, prior: bytes | None) -> list[Channel]:
    """Section 6.2, 6.3, 10 and priors.md: the codes of a block, checked."""
    raw = -(-block.frames * bits_of(head["N"]) // 8)
    streams = [[data for data, _ in layers] for layers in block.layers]
    if prior is not None and prior_oracle.read_prior(prior)[0]["kind"] == "network":
        codes = prior_oracle.decode_block(prior, streams, block.frames, first)
    else:
        codes = [
            [
                raw_codes(data, block.frames, head["N"])
                if len(data) == raw
                else counted(data, block.frames, first, k, prior)
                for k, data in enumerate(layers)
            ]
            for layers in streams
        ]
    for decoded, layers in zip(codes, block.layers, strict=True):
        for row, (_, crc) in zip(decoded, layers, strict=True):
            need(max(row) < head["N"], "a code beyond its codebook", "EntropyMismatch")
            need(zlib.crc32(struct.pack(f"<{len(row)}H", *row)) == crc, "codes_crc", "EntropyMismatch")
    levels = [levels_of(data, block.frames) if data else [] for data in block.equalisers]
    return [Channel(*parts) for parts in zip(block.modes, codes, levels, block.attacks, strict=True)]


def raw_codes(data: bytes, frames: int, n: int) -> list[int]:
    """Section 6.3."""
    bits, number = bits_of(n), int.from_bytes(data, "little")
    return [number >> (i * bits) & ((1 << bits) - 1) for i in range(frames)]


def counted(data: bytes, frames: int, first: int, layer: int, prior: bytes | None) -> list[int]:
    """priors.md section 4: one table for each codebook and phase."""
    if prior is None:
        raise Refused("PriorNotFound", "prior")
    tables = prior_oracle.read_prior(prior)[1]["counts"][layer]
    coder = Decoder(data)
    try:
        return [coder.symbol(tables[(first + t) % len(tables)]) for t in range(frames)]
    except ValueError:
        raise Refused("EntropyMismatch", "range coder") from None


def levels_of(data: bytes, frames: int) -> list[list[int]]:
    """Section 9.7: the levels of an equaliser, 80 for each stretch."""
    stretches = -(-frames // 64)
    if len(data) == raw_equaliser(frames):
        levels = [level for byte in data for level in (byte & 15, byte >> 4)]
        return [levels[80 * s : 80 * (s + 1)] for s in range(stretches)]
    tables = [level_counts([int(weight) for weight in line.split()[1:]]) for line in WEIGHTS.strip().splitlines()]
    coder, rows = Decoder(data), [[16] * 80]
    try:
        for _ in range(stretches):
            rows.append([coder.symbol(tables[before]) for before in rows[-1]])
    except ValueError:
        raise Refused("EntropyMismatch", "range coder") from None
    return rows[1:]


def level_counts(weights: list[int]) -> list[int]:
    """Section 9.7: the counts that a row of the table stands for."""
    counts = [weight * ((1 << 24) - 16) // sum(weights) for weight in weights]
    return [counts[0] + (1 << 24) - 16 - sum(counts), *counts[1:]]


def read_file(data: bytes, priors: dict[bytes, bytes]) -> File:
    """Read and check a whole file; `priors` maps ids to prior files."""
    chunks = chunks_of(data)
    head = read_head(chunks[0][2])
    out = File(head=head)
    stored: list[Stored] = []
    for kind, _, payload in chunks:
        if kind == "tags":
            out.tags = read_tags(payload)
        elif kind == "pict":
            need(len(out.pictures) < 8, "pictures", "LimitError")
            out.pictures.append(read_picture(payload))
        elif kind == "lost":
            out.lost = read_lost(payload)
        elif kind == "BLOC":
            need(not stored or not stored[-1].last, "a block after the last one")
            stored.append(read_block(payload, len(stored), head))
        elif kind == "hcpy":
            need(payload == chunks[0][2], "copy of HEAD")
    out.source_samples = check_tail(head, chunks, stored, data)
    prior = priors.get(head["prior"]) if head["coder"] else None
    for number, block in enumerate(stored):
        out.blocks.append(decode(block, number * int(head["F"]), head, prior))
        out.frames.append(block.frames)
    return out


def digest(file: File) -> str:
    """Return the digest of spec/vectors/README.md."""
    total = hashlib.sha256()
    for block in file.blocks:
        for channel in block:
            total.update(bytes((channel.mode, len(channel.codes))) + b"".join(map(bytes, channel.levels)))
            total.update(b"".join(struct.pack("<HB", *attack) for attack in channel.attacks))
            for row in channel.codes:
                total.update(struct.pack(f"<{len(row)}H", *row))
    return total.hexdigest()[:16]
