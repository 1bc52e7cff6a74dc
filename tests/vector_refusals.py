"""The vectors that a reader must refuse: (name, file, error, note)."""

from __future__ import annotations

import io
import struct
import zlib
from dataclasses import replace

from container_files import (
    PICTURE,
    TAGS,
    chunk_spans,
    equalised,
    join,
    make_blocks,
    make_head,
    pack_codes,
    split,
    write_file,
)

from dacfile.container import CODED, Attack, Block, ChannelBlock, Layer, Reader, wire
from dacfile.container.block import pack_block

Refusal = tuple[str, bytes, str, str]
DATA = write_file(tags=TAGS, pictures=[PICTURE], lost=[(1, 1)])
CHUNKS = split(DATA)
SPANS = {kind: (start, end) for kind, start, end in reversed(chunk_spans(DATA))}
BLOCKS = [i for i, (kind, _) in enumerate(CHUNKS) if kind == wire.BLOCK]


def patched(kind: bytes, offset: int, field: bytes, data: bytes = DATA) -> bytes:
    """Return the file with a field of its first `kind` chunk replaced, CRCs, copy of HEAD and TAIL right."""
    chunks = split(data)
    number = next(i for i, chunk in enumerate(chunks) if chunk[0] == kind)
    payload = chunks[number][1]
    return with_payload(kind, payload[:offset] + field + payload[offset + len(field) :], data)


def with_payload(kind: bytes, payload: bytes, data: bytes = DATA) -> bytes:
    """Return the file with the payload of its first `kind` chunk replaced."""
    chunks = split(data)
    number = next(i for i, chunk in enumerate(chunks) if chunk[0] == kind)
    chunks[number] = kind, payload
    if kind == wire.HEAD:
        chunks = [(k, payload if k == wire.HEAD_COPY else p) for k, p in chunks]
    return join(chunks)


def flipped(kind: bytes, data: bytes = DATA) -> bytes:
    """Return the file with one bit of the payload of its first `kind` chunk flipped, and nothing mended."""
    start, end = next((start, end) for k, start, end in chunk_spans(data) if k == kind)
    at = (start + 8 + end - 4) // 2
    return data[:at] + bytes((data[at] ^ 4,)) + data[at + 1 :]


def inserted(place: int, kind: bytes, payload: bytes) -> bytes:
    """Return the file with a chunk put before chunk number `place`."""
    return join([*CHUNKS[:place], (kind, payload), *CHUNKS[place:]])


def without_index(data: bytes) -> bytes:
    """Return the file without the index, which would be wrong where a block gets another length."""
    return join([chunk for chunk in split(data) if chunk[0] != wire.INDEX])


def u8(value: int) -> bytes:
    return struct.pack("<B", value)


def u16(value: int) -> bytes:
    return struct.pack("<H", value)


def u32(value: int) -> bytes:
    return struct.pack("<I", value)


def _not_ours() -> list[Refusal]:
    return [
        ("empty", b"", "NotDacz", "no byte at all"),
        ("text", b"This is a text file.\n", "NotDacz", "something else"),
        ("wav", b"RIFF\x24\0\0\0WAVEfmt ", "NotDacz", "the start of a WAV file"),
        ("lf-to-crlf", DATA.replace(b"\n", b"\r\n"), "NotDacz", "line ends changed"),
        ("crlf-to-lf", DATA.replace(b"\r\n", b"\n"), "NotDacz", "line ends changed"),
        ("seven-bits", bytes(byte & 0x7F for byte in DATA), "NotDacz", "high bits cleared"),
        ("utf-8", DATA.decode("latin-1").encode(), "NotDacz", "re-encoded as text"),
    ]


def _cut() -> list[Refusal]:
    block_start, block_end = SPANS[wire.BLOCK]
    return [
        ("cut-in-magic", DATA[:5], "Truncated", "five bytes of the magic"),
        ("cut-after-magic", DATA[:8], "Truncated", "only the magic"),
        ("cut-in-head", DATA[:60], "Truncated", "cut inside HEAD"),
        ("cut-in-block", DATA[: (block_start + block_end) // 2], "Truncated", "cut inside a block"),
        ("cut-after-block", DATA[:block_end], "Truncated", "cut between two chunks"),
        ("cut-in-chunk-header", DATA[: block_end + 6], "Truncated", "cut inside a length"),
        ("cut-before-tail", DATA[: SPANS[wire.TAIL][0]], "Truncated", "TAIL is missing"),
        ("cut-in-tail", DATA[: SPANS[wire.TAIL][0] + 50], "Truncated", "cut inside TAIL"),
        ("cut-before-end", DATA[:-8], "Truncated", "the end bytes are missing"),
        ("cut-one-byte", DATA[:-1], "Truncated", "the last byte is missing"),
        ("length-too-large", DATA[: block_start + 4] + u32(0x7FFFFFFF) + DATA[block_start + 8 :], "StructureError",
         "a block longer than HEAD allows"),
    ]  # fmt: skip


def _damaged() -> list[Refusal]:
    start = SPANS[wire.HEAD][0]
    reserved = bytearray(DATA)
    reserved[start + 8 + 45] = 1
    critical = bytearray(inserted(BLOCKS[1], b"Zzzz", b"unknown"))
    critical[critical.index(b"unknown")] ^= 1
    sha = bytearray(DATA)
    payload = bytearray(dict(CHUNKS)[wire.TAIL])
    payload[40] ^= 1
    sha[SPANS[wire.TAIL][0] : SPANS[wire.TAIL][1]] = wire.pack_chunk(wire.TAIL, bytes(payload))
    names = {wire.HEAD: "head", wire.TAGS: "tags", wire.PICTURE: "pict", wire.LOST: "lost"}
    names |= {wire.BLOCK: "block", wire.HEAD_COPY: "hcpy", wire.INDEX: "indx", wire.TAIL: "tail"}
    return [
        *(
            (f"crc-{name}", flipped(kind), "ChecksumError", f"one bit of {kind.decode()}")
            for kind, name in names.items()
        ),
        ("crc-before-reserved", bytes(reserved), "ChecksumError", "a reserved bit set by damage is damage"),
        ("crc-before-critical", bytes(critical), "ChecksumError", "an unknown critical chunk, damaged, is damage"),
        ("sha-256", bytes(sha), "ChecksumError", "the SHA-256 of the file"),
    ]


def _order() -> list[Refusal]:
    first, second, third = BLOCKS
    swapped = [*CHUNKS]
    swapped[first], swapped[second] = swapped[second], swapped[first]
    late_tags = [c for c in CHUNKS if c[0] != wire.TAGS]
    late_tags.insert(first, CHUNKS[1])
    return [
        ("trailing-byte", DATA + b"\0", "StructureError", "a byte after the end"),
        ("two-files", DATA + DATA, "StructureError", "two files in one"),
        ("wav-appended", DATA + b"RIFF\x24\0\0\0WAVEfmt ", "StructureError", "a file that is also another one"),
        ("wrong-end", DATA[:-8] + wire.MAGIC, "StructureError", "other bytes in place of the end"),
        ("no-head", join(CHUNKS[1:]), "StructureError", "the first chunk is not HEAD"),
        ("two-heads", inserted(1, *CHUNKS[0]), "StructureError", "HEAD twice"),
        ("two-tags", inserted(1, *CHUNKS[1]), "StructureError", "tags twice"),
        ("tags-after-pict", join(late_tags), "StructureError", "tags after a picture"),
        ("tags-after-block", join([CHUNKS[0], *CHUNKS[2 : second], CHUNKS[1], *CHUNKS[second:]]), "StructureError",
         "tags between blocks"),
        ("blocks-swapped", join(swapped), "StructureError", "blocks out of order"),
        ("block-repeated", inserted(second, *CHUNKS[first]), "StructureError", "a block twice"),
        ("block-missing", join(CHUNKS[:second] + CHUNKS[third:]), "StructureError", "a gap in the sequence"),
        ("last-block-missing", join(CHUNKS[:third] + CHUNKS[third + 1 :]), "StructureError", "no block is the last"),
        ("block-after-last", inserted(third + 1, wire.BLOCK, u32(3) + CHUNKS[third][1][4:]), "StructureError",
         "a block after the last one"),
        ("type-not-letters", inserted(second, b"ab1d", b""), "StructureError", "a chunk type with a digit"),
        ("hole", DATA[: SPANS[wire.BLOCK][1]] + bytes(8) + DATA[SPANS[wire.BLOCK][1] :], "StructureError",
         "bytes between two chunks"),
    ]  # fmt: skip


def _head() -> list[Refusal]:
    payload = CHUNKS[0][1]
    mono = write_file(make_head(channels=1, channel_mask=0))
    known = write_file(make_head(source_samples=385))
    return [
        ("head-empty", with_payload(wire.HEAD, b""), "StructureError", "HEAD of no bytes"),
        ("head-short", with_payload(wire.HEAD, payload[:-1]), "StructureError", "a gain is missing"),
        ("rate-0", patched(wire.HEAD, 4, u32(0)), "StructureError", "rate 0"),
        ("hop-0", patched(wire.HEAD, 8, u16(0)), "StructureError", "hop 0"),
        ("frames-per-block-0", patched(wire.HEAD, 10, u16(0)), "StructureError", "F = 0"),
        ("codebook-size-1", patched(wire.HEAD, 12, u16(1)), "StructureError", "N = 1"),
        ("codebooks-0", patched(wire.HEAD, 14, u8(0)), "StructureError", "K = 0"),
        ("channels-0", with_payload(wire.HEAD, payload[:16] + u16(0) + payload[18:80]), "StructureError", "C = 0"),
        ("channel-mask", patched(wire.HEAD, 20, u32(7)), "StructureError", "a mask of three for two channels"),
        ("length-flag", patched(wire.HEAD, 2, u16(1)), "StructureError", "length said to be known, but it is not"),
        ("length-no-flag", patched(wire.HEAD, 2, u16(0), known), "StructureError", "length known, but not said to be"),
        ("mid-side-mono", patched(wire.HEAD, 36, u8(1), mono), "StructureError", "mid/side of one channel"),
        ("raw-with-prior", patched(wire.HEAD, 64, u8(1)), "StructureError", "a prior without the range coder"),
        ("range-without-prior", patched(wire.HEAD, 44, u8(1)), "StructureError", "the range coder without a prior"),
        ("hcpy-differs", join([(k, p[:-1] + b"\x11" if k == wire.HEAD_COPY else p) for k, p in CHUNKS]),
         "StructureError", "the copy of HEAD is another one"),
    ]  # fmt: skip


def _block() -> list[Refusal]:
    fields = [
        ("frames-0", 4, u16(0), "a block of no frames"),
        ("frames-short", 4, u16(39), "a short block that is not the last"),
        ("frames-many", 4, u16(41), "more frames than F"),
        ("last-early", 6, u8(1), "the flag of the last block on the first"),
        ("same-as-itself", 8, u8(1), "channel 0 the same as channel 0"),
        ("layers-0", 9, u8(0), "coded, but no layers"),
        ("layers-many", 9, u8(3), "more layers than K"),
        ("layer-long", 10, u16(21), "a layer longer than raw"),
        ("layer-short", 10, u16(19), "a range-coded layer where the coder is raw"),
        ("lengths", 8, u8(0), "the lengths of the layers do not add up"),
    ]
    return [
        *((name, patched(wire.BLOCK, at, field), "StructureError", note) for name, at, field, note in fields),
        ("block-short", with_payload(wire.BLOCK, CHUNKS[BLOCKS[0]][1][:9]), "StructureError", "a table is missing"),
    ]


def _others() -> list[Refusal]:
    known = split(write_file(make_head(source_samples=385)))
    distances = list(wire.parse_index(dict(CHUNKS)[wire.INDEX]))
    distances[1] += 1
    tail = [
        ("tail-blocks", {"blocks": 2}, "fewer blocks than there are"),
        ("tail-frames", {"total_frames": 96}, "fewer frames than there are"),
        ("tail-size", {"file_size": len(DATA) + 1}, "another file size"),
        ("tail-long-source", {"source_samples": 1 << 39}, "more samples than the frames hold"),
        ("tail-index-offset", {"index_offset": 8}, "the index is elsewhere"),
    ]
    tags = [
        ("tags-utf-8", u32(1) + struct.pack("<HI", 1, 1) + b"A\xff", "a value that is not UTF-8"),
        ("tags-empty-key", u32(1) + struct.pack("<HI", 0, 1) + b"v", "an empty key"),
        ("tags-equals-sign", u32(1) + struct.pack("<HI", 3, 1) + b"a=bv", "an invalid key"),
        ("tags-long-value", u32(1) + struct.pack("<HI", 1, 0xFFFFFFFF) + b"A", "a value beyond the chunk"),
        ("tags-rest", u32(0) + b"rest", "bytes after the last entry"),
    ]
    return [
        *((name, join(CHUNKS, **change), "StructureError", note) for name, change, note in tail),
        ("tail-length", join(known, source_samples=384), "StructureError", "another source length than in HEAD"),
        ("tail-short", with_payload(wire.TAIL, CHUNKS[-1][1][:83]), "StructureError", "83 bytes"),
        *((name, with_payload(wire.TAGS, payload), "StructureError", note) for name, payload, note in tags),
        ("pict-short", with_payload(wire.PICTURE, b"\3\xff\0\0png"), "StructureError", "a MIME type beyond the chunk"),
        ("lost-overlap", with_payload(wire.LOST, u32(2) + u32(0) + u32(2) + u32(1) + u32(1)), "StructureError",
         "ranges that overlap"),
        ("index-count", with_payload(wire.INDEX, u32(0xFFFFFFFF)), "StructureError", "a count without entries"),
        ("index-distance", with_payload(wire.INDEX, wire.pack_index(distances)), "StructureError",
         "an index that leads astray; reading in order may go on"),
    ]  # fmt: skip


def _codes(range_coded: bytes) -> list[Refusal]:
    five = make_head(codebook_size=5, channels=1, channel_mask=0, codebooks=1)
    codes = [7] + [0] * 39
    crc = zlib.crc32(b"".join(u16(code) for code in codes))
    layer = Layer(pack_codes(codes, 3), crc)
    beyond = write_file(five, [Block(0, 40, True, (ChannelBlock(CODED, (layer,)),))])
    with Reader(io.BytesIO(range_coded)) as reader:
        head, block = reader.head, reader.block(0)
    first, *rest = block.channels[0].layers
    silly = replace(first, data=b"\xff" * len(first.data))
    wrong = replace(first, codes_crc=first.codes_crc ^ 1)

    def recoded(changed: Layer) -> bytes:
        channel = ChannelBlock(CODED, (changed, *rest))
        return with_payload(wire.BLOCK, pack_block(replace(block, channels=(channel,)), head), range_coded)

    return [
        (
            "codes-crc-raw",
            patched(wire.BLOCK, 12, bytes(4)),
            "EntropyMismatch",
            "raw codes that do not match codes_crc",
        ),
        ("code-beyond", beyond, "EntropyMismatch", "a raw code beyond the codebook"),
        ("codes-crc-range", recoded(wrong), "EntropyMismatch", "range-coded codes that do not match codes_crc"),
        ("range-data", recoded(silly), "EntropyMismatch", "a range-coded layer of other codes, or of none"),
    ]


def _equaliser() -> list[Refusal]:
    head = make_head(channels=1, channel_mask=0)
    mono = without_index(write_file(head, equalised(make_blocks(head))))
    payload = split(mono)[1][1]
    at, end = 10, 52  # of the size and of the equaliser
    plain = write_file(head)

    def changed(equaliser: bytes) -> bytes:
        return with_payload(wire.BLOCK, payload[:at] + equaliser + payload[end:], mono)

    return [
        ("equaliser-cut", with_payload(wire.BLOCK, payload[: end - 1], mono), "StructureError",
         "a table that ends within an equaliser"),
        ("equaliser-missing", patched(wire.BLOCK, 8, u8(4), plain), "StructureError", "mode 4 without an equaliser"),
        ("equaliser-unexpected", patched(wire.BLOCK, 8, u8(2), mono), "StructureError", "an equaliser in mode 2"),
        ("equaliser-layers-0", patched(wire.BLOCK, 9, u8(0), mono), "StructureError", "an equaliser, but no layers"),
        ("equaliser-lengths", changed(payload[at : end - 1]), "StructureError", "an equaliser without its last byte"),
        ("equaliser-size-0", changed(u16(0)), "StructureError", "mode 4 with an equaliser of no bytes"),
        ("equaliser-size-large", _large_equaliser(), "StructureError",
         "an equaliser longer than raw in a short block, but not too long for others"),
        ("equaliser-data", changed(u16(39) + b"\xff" * 39), "EntropyMismatch", "a range-coded equaliser of no levels"),
    ]  # fmt: skip


def _attacks() -> list[Refusal]:
    head = make_head(channels=1, channel_mask=0)
    (block,) = make_blocks(head, 1)
    channel = replace(block.channels[0], attacks=(Attack(5, 40), Attack(16 * 17 - 1, 7)))
    data = without_index(write_file(head, [replace(block, channels=(channel,))]))
    payload = split(data)[1][1]
    at, end = 12, 19  # of the count and behind the attacks

    def changed(attacks: bytes) -> bytes:
        return with_payload(wire.BLOCK, payload[:at] + attacks + payload[end:], data)

    def of(*attacks: tuple[int, int]) -> bytes:
        return changed(u8(len(attacks)) + b"".join(u16(position) + u8(depth) for position, depth in attacks))

    return [
        ("attacks-cut", with_payload(wire.BLOCK, payload[: end - 1], data), "StructureError",
         "a table that ends within an attack"),
        ("attacks-cut-before", with_payload(wire.BLOCK, payload[:at], data), "StructureError",
         "a table that ends before the number of attacks"),
        ("attacks-none", of(), "StructureError", "mode 5 without attacks"),
        ("attacks-missing", patched(wire.BLOCK, at, u8(3), data), "StructureError", "one attack fewer than it says"),
        ("attacks-many", of(*((16 * i, 9) for i in range(17)), (270, 9)), "StructureError",
         "more attacks than frames"),
        ("attacks-order", of((9, 40), (8, 40)), "StructureError", "attacks that are not in order"),
        ("attacks-twice", of((9, 40), (9, 41)), "StructureError", "two attacks at one place"),
        ("attacks-beyond", of((5, 40), (16 * 17, 7)), "StructureError", "an attack behind the block's last frame"),
        ("attacks-depth-0", of((5, 0)), "StructureError", "an attack of no depth"),
        ("attacks-unexpected", patched(wire.BLOCK, 8, u8(4), data), "StructureError",
         "mode 4 with an equaliser of no bytes, and attacks"),
        ("attacks-layers-0", patched(wire.BLOCK, 9, u8(0), data), "StructureError", "attacks, but no layers"),
    ]  # fmt: skip


def _large_equaliser() -> bytes:
    """Return a file of one block of two stretches, where there may be three, with an equaliser of 81 bytes."""
    head = make_head(channels=1, channel_mask=0, codebooks=1, frames_per_block=150)
    data = without_index(write_file(head, make_blocks(head, 1, 100)))
    payload = split(data)[1][1]
    return with_payload(wire.BLOCK, payload[:8] + u8(4) + u8(1) + u16(81) + bytes(81) + payload[10:], data)


def bad_files(range_coded: bytes) -> list[Refusal]:
    """Return what is damaged or breaks a rule; `range_coded` is an intact mono file coded with a prior."""
    first = [*_not_ours(), *_cut(), *_damaged(), *_order(), *_head(), *_block(), *_others()]
    return [*first, *_codes(range_coded), *_equaliser(), *_attacks()]


def unsupported_files() -> list[Refusal]:
    """Return intact files that need a newer or a larger reader."""
    unknown = "UnsupportedFeature"
    many_tags = u32(4_097) + (struct.pack("<HI", 1, 0) + b"k") * 4_097
    wide = CHUNKS[0][1][:16] + u16(256) + CHUNKS[0][1][18:80] + bytes(512)
    block = CHUNKS[BLOCKS[0]][1]
    before = block[:8] + u8(3) + block[9:10] + b"\x89" * 24 + block[10:]
    limits = [
        ("rate", patched(wire.HEAD, 4, u32(768_001)), "a rate above 768 kHz"),
        ("hop", patched(wire.HEAD, 8, u16(4_097)), "a hop above 4,096"),
        ("frames-per-block", patched(wire.HEAD, 10, u16(4_097)), "F above 4,096"),
        ("codebook-size", patched(wire.HEAD, 12, u16(4_097)), "N above 4,096"),
        ("codebooks", patched(wire.HEAD, 14, u8(65)), "K above 64"),
        ("context", patched(wire.HEAD, 15, u8(65)), "a context above 64"),
        ("channels", with_payload(wire.HEAD, wide), "256 channels"),
        ("source-samples", join(CHUNKS, source_samples=1 << 41), "a source longer than 2^40 samples"),
        ("tags", with_payload(wire.TAGS, many_tags), "4,097 tags"),
        ("pictures", join([CHUNKS[0], *[CHUNKS[2]] * 9, *CHUNKS[3:]]), "nine pictures"),
    ]
    return [
        ("major-2", patched(wire.HEAD, 0, u8(2)), "UnsupportedVersion", "another major version"),
        ("flag", patched(wire.HEAD, 2, u16(2)), unknown, "a reserved flag of HEAD"),
        ("reserved-37", patched(wire.HEAD, 37, u8(1)), unknown, "a reserved byte of HEAD"),
        ("reserved-45", patched(wire.HEAD, 45, u8(1)), unknown, "a reserved byte of HEAD"),
        ("transform", patched(wire.HEAD, 36, u8(2)), unknown, "another channel transform"),
        ("skip", patched(wire.HEAD, 38, u16(100)), unknown, "a codec delay"),
        ("coder", patched(wire.HEAD, 44, u8(2)), unknown, "another coder"),
        ("block-flag", patched(wire.BLOCK, 6, u8(2)), unknown, "a reserved flag of a block"),
        ("block-reserved", patched(wire.BLOCK, 7, u8(1)), unknown, "the reserved byte of a block"),
        ("mode", patched(wire.BLOCK, 8, u8(6)), unknown, "another mode of a channel"),
        ("mode-3", with_payload(wire.BLOCK, before), unknown, "the equaliser of a whole block, of an early version"),
        ("critical-chunk", inserted(BLOCKS[1], b"Zzzz", b"unknown"), unknown, "an unknown critical chunk"),
        *((f"limit-{name}", data, "LimitError", note) for name, data, note in limits),
    ]
