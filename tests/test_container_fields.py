"""Fields that lie, with right CRCs: the right error class, and an index that lies spares reading in order."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from dataclasses import replace

import pytest
from container_files import (
    PICTURE,
    TAGS,
    chunk_spans,
    equalised,
    equaliser,
    join,
    make_blocks,
    make_head,
    read_all,
    split,
    write_file,
)

from dacfile.container import SILENT, Block, ChannelBlock, Picture, Reader, verify_structure, wire
from dacfile.container.tags import pack_tags, parse_tags
from dacfile.errors import (
    DaczError,
    LimitError,
    StructureError,
    UnsupportedFeature,
    UnsupportedVersion,
    UsageError,
)
from dacfile.limits import Limits

HEAD = make_head()
BLOCKS = make_blocks(HEAD)
DATA = write_file(HEAD, BLOCKS, tags=TAGS, pictures=[PICTURE])
CHUNKS = split(DATA)


def patched(kind: bytes, offset: int, value: bytes, data: bytes = DATA) -> bytes:
    """Return the file with the bytes at `offset` of its first `kind` payload replaced, all CRCs and TAIL right."""
    chunks = split(data)
    number = next(i for i, chunk in enumerate(chunks) if chunk[0] == kind)
    payload = chunks[number][1]
    chunks[number] = kind, payload[:offset] + value + payload[offset + len(value) :]
    if kind == wire.HEAD:
        chunks = [(k, chunks[number][1] if k == wire.HEAD_COPY else p) for k, p in chunks]
    return join(chunks)


def u8(value: int) -> bytes:
    return struct.pack("<B", value)


def u16(value: int) -> bytes:
    return struct.pack("<H", value)


def u32(value: int) -> bytes:
    return struct.pack("<I", value)


def u64(value: int) -> bytes:
    return struct.pack("<Q", value)


@pytest.mark.parametrize(
    ("offset", "value", "error"),
    [
        (0, u8(0), UnsupportedVersion),
        (0, u8(2), UnsupportedVersion),
        (2, u16(0x0002), UnsupportedFeature),
        (2, u16(0x0080), UnsupportedFeature),
        (2, u16(0x0001), StructureError),
        (4, u32(0), StructureError),
        (4, u32(768_001), LimitError),
        (8, u16(0), StructureError),
        (8, u16(4_097), LimitError),
        (10, u16(0), StructureError),
        (10, u16(4_097), LimitError),
        (12, u16(1), StructureError),
        (12, u16(4_097), LimitError),
        (14, u8(0), StructureError),
        (14, u8(65), LimitError),
        (15, u8(65), LimitError),
        (16, u16(0), StructureError),
        (16, u16(3), StructureError),
        (16, u16(256), StructureError),
        (20, u32(7), StructureError),
        (24, u32(0), StructureError),
        (24, u32(768_001), LimitError),
        (28, u64(5), StructureError),
        (36, u8(2), UnsupportedFeature),
        (37, u8(1), UnsupportedFeature),
        (44, u8(2), UnsupportedFeature),
        (44, u8(1), StructureError),
        (45, u8(1), UnsupportedFeature),
        (47, u8(1), UnsupportedFeature),
        (64, u8(1), StructureError),
    ],
)
def test_head_fields(offset: int, value: bytes, error: type[DaczError]) -> None:
    with pytest.raises(error):
        Reader(io.BytesIO(patched(wire.HEAD, offset, value)))


def test_a_head_for_256_channels_is_beyond_the_limit() -> None:
    payload = CHUNKS[0][1]
    chunks = [(wire.HEAD, payload[:16] + u16(256) + payload[18:80] + bytes(512)), *CHUNKS[1:]]
    with pytest.raises(LimitError):
        Reader(io.BytesIO(join(chunks)))


@pytest.mark.parametrize(("offset", "value"), [(1, u8(9)), (2, u16(0xFF00)), (18, u8(255)), (19, u8(255))])
def test_what_a_reader_has_to_ignore(offset: int, value: bytes) -> None:
    data = patched(wire.HEAD, offset, value)
    assert read_all(io.BytesIO(data)) == BLOCKS
    with Reader(io.BytesIO(data)) as reader:
        assert reader.head.subtype_name == ("PCM_16" if offset != 18 else "")


def test_a_longer_head_is_read() -> None:
    chunks = [(k, p + b"future" if k in (wire.HEAD, wire.HEAD_COPY) else p) for k, p in CHUNKS]
    with Reader(io.BytesIO(join(chunks))) as reader:
        assert reader.head.extra == b"future"
        assert list(reader.blocks()) == BLOCKS


@pytest.mark.parametrize("size", [0, 1, 79, 83])
def test_a_shorter_head_is_refused(size: int) -> None:
    with pytest.raises(StructureError):
        Reader(io.BytesIO(join([(wire.HEAD, CHUNKS[0][1][:size]), *CHUNKS[1:]])))


@pytest.mark.parametrize(
    ("offset", "value", "error"),
    [
        (0, u32(1), StructureError),
        (0, u32(0xFFFFFFFF), StructureError),
        (4, u16(0), StructureError),
        (4, u16(39), StructureError),
        (4, u16(41), StructureError),
        (4, u16(0xFFFF), StructureError),
        (6, u8(1), StructureError),
        (6, u8(2), UnsupportedFeature),
        (7, u8(1), UnsupportedFeature),
        (8, u8(0), StructureError),
        (8, u8(1), StructureError),
        (8, u8(3), UnsupportedFeature),
        (8, u8(6), UnsupportedFeature),
        (8, u8(255), UnsupportedFeature),
        (9, u8(0), StructureError),
        (9, u8(3), StructureError),
        (9, u8(255), StructureError),
        (10, u16(0), StructureError),
        (10, u16(21), StructureError),
        (10, u16(0xFFFF), StructureError),
    ],
)
def test_block_fields(offset: int, value: bytes, error: type[DaczError]) -> None:
    with pytest.raises(error):
        read_all(io.BytesIO(patched(wire.BLOCK, offset, value)))


@pytest.mark.parametrize(
    ("offset", "value", "error"),
    [
        (8, u8(2), StructureError),
        (8, u8(3), UnsupportedFeature),
        (8, u8(6), UnsupportedFeature),
        (9, u8(0), StructureError),
        (9, u8(3), StructureError),
        (10, u16(0), StructureError),
        (10, u16(39), StructureError),
        (10, u16(41), StructureError),
        (10, u16(0xFFFF), StructureError),
        (52, u16(21), StructureError),
    ],
)
def test_block_fields_with_an_equaliser(offset: int, value: bytes, error: type[DaczError]) -> None:
    head = make_head(channels=1, channel_mask=0)
    data = write_file(head, equalised(make_blocks(head)))
    with pytest.raises(error):
        read_all(io.BytesIO(patched(wire.BLOCK, offset, value, data)))


@pytest.mark.parametrize("size", [0, 41, 0xFFFF])
def test_the_size_of_an_equaliser_is_looked_at_before_what_follows(size: int) -> None:
    data = patched(wire.BLOCK, 10, u16(size), write_file(HEAD, equalised(BLOCKS)))
    with pytest.raises(StructureError, match=f"an equaliser of {size} bytes"):
        read_all(io.BytesIO(data))


@pytest.mark.parametrize(
    ("channel", "message"),
    [
        (ChannelBlock(SILENT, (), equaliser(0, 40)), "does not fit its mode"),
        (replace(BLOCKS[0].channels[0], equaliser=bytes(41)), "an equaliser of 41 bytes, where a raw one has 40"),
    ],
)
def test_equalisers_that_cannot_be_written(channel: ChannelBlock, message: str) -> None:
    head = make_head(channels=1, channel_mask=0)
    with pytest.raises(StructureError, match=message):
        write_file(head, [Block(0, 40, True, (channel,))])


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"source_samples": 10_000}, StructureError),
        ({"source_samples": 1 << 41}, LimitError),
        ({"total_frames": 96}, StructureError),
        ({"total_frames": 0}, StructureError),
        ({"total_frames": (1 << 64) - 1}, StructureError),
        ({"blocks": 2}, StructureError),
        ({"blocks": 4}, StructureError),
        ({"blocks": 0xFFFFFFFF}, LimitError),
        ({"file_size": 1}, StructureError),
        ({"sha256": bytes(32)}, DaczError),
    ],
)
def test_tail_fields(change: dict[str, object], error: type[DaczError]) -> None:
    with pytest.raises(error):
        read_all(io.BytesIO(join(CHUNKS, **change)))


@pytest.mark.parametrize("source_samples", [100, 383, 1 << 39])
def test_tail_may_not_contradict_head(source_samples: int) -> None:
    known = make_head(source_samples=385)
    with pytest.raises(StructureError):
        read_all(io.BytesIO(join(split(write_file(known, BLOCKS)), source_samples=source_samples)))


def lying_index(change: Callable[[list[int]], list[int]]) -> bytes:
    distances = change(list(wire.parse_index(dict(CHUNKS)[wire.INDEX])))
    return join([(k, wire.pack_index(distances) if k == wire.INDEX else p) for k, p in CHUNKS])


@pytest.mark.parametrize(
    "data",
    [
        lying_index(lambda d: [0xFFFFFFFF] * len(d)),
        lying_index(lambda d: [0] * len(d)),
        lying_index(lambda d: [d[0] + 1, *d[1:]]),
        lying_index(lambda d: [d[0] - 1, *d[1:]]),
        lying_index(lambda d: [d[0] + d[1], d[1], d[2]]),
        lying_index(lambda d: d[:2]),
        lying_index(lambda d: [*d, 0]),
        join(CHUNKS, index_offset=1),
        join(CHUNKS, index_offset=len(DATA)),
        join(CHUNKS, index_offset=(1 << 64) - 1),
        join(CHUNKS, index_offset=chunk_spans(DATA)[0][1]),
    ],
)
def test_an_index_that_lies(data: bytes) -> None:
    with Reader(io.BytesIO(data)) as reader, pytest.raises(DaczError) as caught:
        reader.block(2)
    assert caught.value.exit_code == 3
    with pytest.raises(DaczError):
        verify_structure(io.BytesIO(data))
    assert read_all(io.BytesIO(data)) == BLOCKS


def test_an_index_with_an_impossible_count() -> None:
    data = patched(wire.INDEX, 0, u32(0xFFFFFFFF))
    with Reader(io.BytesIO(data)) as reader:
        with pytest.raises(StructureError):
            reader.block(2)
        with pytest.raises(StructureError):
            list(reader.blocks())


def test_no_index_means_a_scan() -> None:
    data = join([chunk for chunk in CHUNKS if chunk[0] != wire.INDEX])
    with Reader(io.BytesIO(data)) as reader:
        assert [reader.block(i) for i in (2, 0, 1)] == [BLOCKS[2], BLOCKS[0], BLOCKS[1]]
    with Reader(io.BytesIO(data)) as reader, pytest.raises(UsageError):
        reader.block(3)


@pytest.mark.parametrize("place", range(1, len(CHUNKS)))
def test_unknown_chunks(place: int) -> None:
    ancillary = [*CHUNKS[:place], (b"zzzz", b"what is this"), *CHUNKS[place:]]
    assert read_all(io.BytesIO(join(ancillary))) == BLOCKS
    critical = [*CHUNKS[:place], (b"Zzzz", b"what is this"), *CHUNKS[place:]]
    with pytest.raises(UnsupportedFeature, match="Zzzz"):
        read_all(io.BytesIO(join(critical)))
    damaged = join(critical).replace(b"what is this", b"what IS this")
    with pytest.raises(DaczError) as caught:
        read_all(io.BytesIO(damaged))
    assert caught.value.exit_code == 3


@pytest.mark.parametrize("tags", [[], [("A", "")], [("k" * 65_535, "v")], [("A", "x\0y\x1b[2J")], [("A", "b")] * 4_096])
def test_tags_come_back(tags: list[tuple[str, str]]) -> None:
    assert parse_tags(pack_tags(tags)) == tuple(tags)


@pytest.mark.parametrize(
    ("tags", "error"),
    [
        ([("", "v")], UsageError),
        ([("a=b", "v")], UsageError),
        ([("a~", "v")], UsageError),
        ([("ä", "v")], UsageError),
        ([("a\n", "v")], UsageError),
        ([("A", "\ud800")], UsageError),
        ([("A", "b")] * 4_097, LimitError),
        ([("A", "x" * (1 << 20))], LimitError),
    ],
)
def test_tags_that_cannot_be_written(tags: list[tuple[str, str]], error: type[DaczError]) -> None:
    with pytest.raises(error):
        pack_tags(tags)


def entry(key: bytes, value: bytes) -> bytes:
    return struct.pack("<HI", len(key), len(value)) + key + value


@pytest.mark.parametrize(
    ("payload", "error"),
    [
        (b"", StructureError),
        (u32(1), StructureError),
        (u32(0xFFFFFFFF), LimitError),
        (u32(4_097) + bytes(6) * 4_097, LimitError),
        (u32(1) + entry(b"", b"v"), StructureError),
        (u32(1) + entry(b"a=b", b"v"), StructureError),
        (u32(1) + entry(b"\xff", b"v"), StructureError),
        (u32(1) + entry(b"A", b"\xff"), StructureError),
        (u32(1) + entry(b"A", b"\xed\xa0\x80"), StructureError),
        (u32(1) + entry(b"A", b"v") + b"x", StructureError),
        (u32(1) + struct.pack("<HI", 1, 0xFFFFFFFF) + b"A", StructureError),
        (u32(1) + struct.pack("<HI", 0xFFFF, 0) + b"A", StructureError),
        (u32(0) + bytes(1 << 20), LimitError),
    ],
)
def test_tags_that_cannot_be_read(payload: bytes, error: type[DaczError]) -> None:
    with pytest.raises(error):
        Reader(io.BytesIO(join([(k, payload if k == wire.TAGS else p) for k, p in CHUNKS])))


@pytest.mark.parametrize(
    ("payload", "error"),
    [(b"", StructureError), (b"\3\xff\0\0png", StructureError), (b"\3\0\xff\xffpng", StructureError)]
    + [(b"\3\1\0\0\xff", StructureError), (b"\3\0\1\0\xff", StructureError)],
)
def test_pictures_that_cannot_be_read(payload: bytes, error: type[DaczError]) -> None:
    with pytest.raises(error):
        Reader(io.BytesIO(join([(k, payload if k == wire.PICTURE else p) for k, p in CHUNKS])))


def test_too_many_or_too_large_pictures() -> None:
    with pytest.raises(LimitError):
        write_file(pictures=[PICTURE] * 9)
    with pytest.raises(LimitError):
        write_file(pictures=[Picture(3, "", "", bytes(16 << 20))])
    with pytest.raises(UsageError):
        write_file(pictures=[Picture(3, "x" * 256, "", b"")])
    nine = [CHUNKS[0], *[chunk for chunk in CHUNKS if chunk[0] == wire.PICTURE] * 9, *CHUNKS[3:]]
    with pytest.raises(LimitError):
        Reader(io.BytesIO(join(nine)))


@pytest.mark.parametrize(
    "limits", [Limits(channels=1), Limits(rate=8_000), Limits(blocks=2), Limits(tags_bytes=8), Limits(chunks=3)]
)
def test_a_caller_can_lower_the_limits(limits: Limits) -> None:
    with pytest.raises(LimitError), Reader(io.BytesIO(DATA), limits) as reader:
        list(reader.blocks())
