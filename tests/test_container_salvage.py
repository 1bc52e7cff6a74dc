"""Salvage keeps every intact block and says what is gone."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from container_files import (
    PICTURE,
    TAGS,
    Pipe,
    attacked,
    chunk_spans,
    equalised,
    make_block,
    make_blocks,
    make_head,
    write_file,
)

from dacfile.container import SILENT, Block, Reader, SalvageReport, salvage, verify_structure, wire
from dacfile.errors import ChecksumError, NotDacz, StructureError, UnsupportedFeature, UsageError

HEAD = make_head(source_samples=385)
BLOCKS = attacked(equalised(make_blocks(HEAD)))
DATA = write_file(HEAD, BLOCKS, tags=TAGS, pictures=[PICTURE])
SECONDS_PER_BLOCK = HEAD.frames_per_block * HEAD.hop / HEAD.rate


SPANS = chunk_spans(DATA)
BLOCK_SPANS = [(start, end) for kind, start, end in SPANS if kind == wire.BLOCK]


def saved(data: bytes) -> tuple[SalvageReport, bytes]:
    target = io.BytesIO()
    report = salvage(io.BytesIO(data), target)
    verify_structure(io.BytesIO(target.getvalue()))
    return report, target.getvalue()


def damaged(data: bytes, at: int) -> bytes:
    return data[:at] + bytes((data[at] ^ 0x10,)) + data[at + 1 :]


def blocks_of(data: bytes) -> list[Block]:
    return list(Reader(io.BytesIO(data)).blocks())


def test_intact_file_is_copied() -> None:
    report, data = saved(DATA)
    assert data == DATA
    assert report.complete
    assert not report.gaps


@pytest.mark.parametrize("lost", [0, 1, 2])
def test_one_damaged_block(lost: int) -> None:
    start, end = BLOCK_SPANS[lost]
    report, data = saved(damaged(DATA, (start + end) // 2))
    assert [(gap.first_block, gap.blocks) for gap in report.gaps] == [(lost, 1)]
    assert report.gaps[0].start == pytest.approx(lost * SECONDS_PER_BLOCK)
    assert report.gaps[0].stop == pytest.approx(min((lost + 1) * SECONDS_PER_BLOCK, 385 / HEAD.source_rate))
    assert not report.complete
    with Reader(io.BytesIO(data)) as reader:
        assert reader.lost == ((lost, 1),)
        assert reader.tags == TAGS
        assert reader.pictures == (PICTURE,)
        assert reader.source_samples == 385
    read = blocks_of(data)
    assert [block.frames for block in read] == [block.frames for block in BLOCKS]
    for number, block in enumerate(read):
        expected = BLOCKS[number] if number != lost else None
        assert block == expected or (number == lost and {c.mode for c in block.channels} == {SILENT})


@pytest.mark.parametrize("kind", [wire.HEAD, wire.TAGS, wire.PICTURE, wire.HEAD_COPY, wire.INDEX, wire.TAIL])
def test_damage_outside_the_blocks_costs_no_audio(kind: bytes) -> None:
    start, end = next((start, end) for found, start, end in SPANS if found == kind)
    report, data = saved(damaged(DATA, (start + end) // 2))
    assert blocks_of(data) == BLOCKS
    assert not report.gaps
    assert report.complete
    assert report.head_was_damaged == (kind == wire.HEAD)


def test_every_truncation_keeps_the_whole_blocks() -> None:
    for size in range(BLOCK_SPANS[0][1], len(DATA)):
        whole = sum(end <= size for _, end in BLOCK_SPANS)
        report, data = saved(DATA[:size])
        assert report.kept == whole
        assert blocks_of(data)[:whole] == BLOCKS[:whole]
        assert report.tail.source_samples == 385


def test_truncation_before_the_first_block_ends() -> None:
    with pytest.raises(StructureError):
        saved(DATA[: BLOCK_SPANS[0][1] - 1])


def test_length_is_taken_from_the_blocks_if_nothing_else_knows_it() -> None:
    data = write_file(make_head(), BLOCKS)
    report, fixed = saved(data[: chunk_spans(data)[-1][1]])
    assert not report.length_known
    assert not report.complete
    assert blocks_of(fixed) == BLOCKS


def test_blocks_in_any_order_and_repeated() -> None:
    parts = [DATA[start:end] for start, end in BLOCK_SPANS]
    data = DATA[: BLOCK_SPANS[0][0]] + parts[2] + b"junk" + parts[0] + parts[0] + parts[1] + DATA[BLOCK_SPANS[2][1] :]
    report, fixed = saved(data)
    assert report.complete
    assert blocks_of(fixed) == BLOCKS


def test_zeroed_sectors() -> None:
    for at in range(0, len(DATA), 64):
        data = DATA[:at] + bytes(min(64, len(DATA) - at)) + DATA[at + 64 :]
        untouched = {n for n, (start, end) in enumerate(BLOCK_SPANS) if end <= at or start >= at + 64}
        report, fixed = saved(data)
        assert report.kept >= len(untouched)
        assert all(blocks_of(fixed)[n] == BLOCKS[n] for n in untouched)


def test_a_second_salvage_remembers_the_first() -> None:
    _, once = saved(damaged(DATA, BLOCK_SPANS[0][0] + 30))
    spans = [span for span in chunk_spans(once) if span[0] == wire.BLOCK]
    _, twice = saved(damaged(once, spans[2][1] + 30))
    assert Reader(io.BytesIO(twice)).lost == ((0, 1), (2, 1))


def test_both_headers_damaged() -> None:
    data = DATA
    for kind, start, _ in SPANS:
        if kind in (wire.HEAD, wire.HEAD_COPY):
            data = damaged(data, start + 20)
    with pytest.raises(ChecksumError, match="neither the header"):
        saved(data)


def test_a_newer_file_is_refused() -> None:
    payload = wire.pack_chunk(wire.BLOCK, b"\0\0\0\0" + b"\x11\0" + b"\x03\0" + b"\0\0")
    start, end = BLOCK_SPANS[0]
    with pytest.raises(UnsupportedFeature):
        saved(DATA[:start] + payload + DATA[end:])


def test_a_hostile_length_does_not_fill_the_disk() -> None:
    head = replace(HEAD, source_samples=None, frames_per_block=1)
    block = replace(make_blocks(head, 1, 1)[0], sequence=0xFFFFFFFE)
    data = bytearray(write_file(head, []))
    at = chunk_spans(bytes(data))[1][1]
    data[at:at] = wire.pack_chunk(wire.BLOCK, pack_unchecked(block, head))
    report, fixed = saved(bytes(data))
    assert report.kept == 0
    assert len(fixed) < 1_000


def pack_unchecked(block: Block, head: object) -> bytes:
    from dacfile.container.block import pack_block

    return pack_block(block, head)  # type: ignore[arg-type]


def test_a_pipe_is_refused() -> None:
    with pytest.raises(UsageError):
        salvage(Pipe(DATA), io.BytesIO())  # type: ignore[arg-type]


OTHER_BLOCKS = [make_block(HEAD, n, n == 2, 17 if n == 2 else None, seed=7) for n in range(3)]
OTHER = write_file(HEAD, OTHER_BLOCKS, tags=(("TITLE", "Other"),), pictures=[PICTURE, PICTURE])
END_OF_BLOCKS = BLOCK_SPANS[2][1]
MIDDLES = {kind: (start + end) // 2 for kind, start, end in reversed(SPANS)}  # of the first chunk of each type


@pytest.mark.parametrize(
    "end",
    [DATA, damaged(DATA, BLOCK_SPANS[1][0] + 30), damaged(DATA, MIDDLES[wire.TAIL]), DATA[:-30], DATA[:END_OF_BLOCKS]]
    + [DATA[: BLOCK_SPANS[1][1]], damaged(DATA, MIDDLES[wire.HEAD])],
    ids=["whole", "block", "TAIL", "cut in TAIL", "cut behind the blocks", "cut behind a block", "HEAD"],
)
@pytest.mark.parametrize(
    "other", [OTHER, damaged(OTHER, MIDDLES[wire.HEAD]), OTHER[8:]], ids=["whole", "HEAD", "magic"]
)
def test_nothing_of_a_second_file_is_used(end: bytes, other: bytes) -> None:
    alone, expected = saved(end)
    report, data = saved(end + other)
    assert data == expected
    assert (report.kept, report.gaps, report.length_known) == (alone.kept, alone.gaps, alone.length_known)
    assert not report.complete
    assert report.stop is not None
    assert report.stop >= len(end)
    assert f"another file, from byte {report.stop} on, was left out" in report.notes


def test_a_second_file_of_another_length_and_a_third() -> None:
    short = write_file(make_head(source_samples=20), make_blocks(make_head(), 1, 7))
    report, data = saved(short + DATA + OTHER)
    assert data == short
    assert report.stop == len(short)
    assert report.notes == (f"another file, from byte {len(short)} on, was left out",)


def test_a_file_in_front_that_has_lost_its_headers_is_not_used() -> None:
    headless = damaged(damaged(OTHER, MIDDLES[wire.HEAD]), MIDDLES[wire.HEAD_COPY] + len(OTHER) - len(DATA))
    report, data = saved(headless + damaged(DATA, BLOCK_SPANS[1][0] + 30))
    assert data == saved(damaged(DATA, BLOCK_SPANS[1][0] + 30))[1]
    assert report.notes[-1] == f"parts of another file, in front of byte {len(headless)}, were left out"
    with_junk, data = saved(b"junk" * 9 + DATA)
    assert (with_junk.complete, data) == (True, DATA)


def test_what_follows_the_end_without_being_a_file_does_not_matter() -> None:
    report, data = saved(DATA + b"something else" * 5)
    assert (report.complete, data) == (True, DATA)


def test_where_the_joint_of_two_files_is_destroyed_only_what_lies_beside_the_header_is_used() -> None:
    other = write_file(make_head(source_samples=400), [*OTHER_BLOCKS[:2], make_block(HEAD, 2, True, 30, seed=7)])
    begin = next(start for kind, start, _ in chunk_spans(other) if kind == wire.BLOCK)
    for taken in range(3):  # blocks of the second file that are lost too: whichever are left contradict the first one
        rest = other[[start for kind, start, _ in chunk_spans(other) if kind == wire.BLOCK][taken] :]
        report, data = saved(DATA[: BLOCK_SPANS[0][1]] + bytes(begin) + rest)
        assert report.kept == 1
        assert blocks_of(data)[0] == BLOCKS[0]
        assert all({c.mode for c in block.channels} == {SILENT} for block in blocks_of(data)[1:])
        assert not report.complete


def test_two_files_side_by_side_without_their_joint_are_refused() -> None:
    other = write_file(make_head(source_samples=400), [*OTHER_BLOCKS[:2], make_block(HEAD, 2, True, 30, seed=7)])
    rest = next(start for kind, start, _ in reversed(chunk_spans(other)) if kind == wire.BLOCK)
    with pytest.raises(StructureError, match="cannot be told apart"):
        saved(DATA[: BLOCK_SPANS[1][1]] + other[rest:])


def test_an_empty_file_is_none() -> None:
    with pytest.raises(NotDacz, match="empty"):
        saved(b"")
