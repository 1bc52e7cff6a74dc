"""Dropping layers and rewriting keep everything else; `verify_structure` says what it saw."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from container_files import PICTURE, TAGS, Pipe, attacked, equalised, make_blocks, make_head, write_file

from dacfile.container import Block, Reader, Writer, drop_layers, rewrite, verify_structure
from dacfile.errors import StructureError, UsageError

HEAD = make_head(codebooks=4, nominal_bitrate=128_000)
BLOCKS = attacked(equalised(make_blocks(HEAD)))


def with_unknown_chunks() -> bytes:
    """Return a file with an unknown ancillary chunk before, between and after its blocks."""
    stream = io.BytesIO()
    writer = Writer(stream, HEAD, TAGS, [PICTURE])
    writer.write_other(b"abcd", b"before")
    for block in BLOCKS:
        writer.write_block(block)
        writer.write_other(b"efgh", b"after %d" % block.sequence)
    writer.finish(385, b"d" * 16)
    return stream.getvalue()


DATA = with_unknown_chunks()


def test_an_unchanged_rewrite_is_identical() -> None:
    target = io.BytesIO()
    rewrite(io.BytesIO(DATA), target, lambda blocks: blocks)
    assert target.getvalue() == DATA


@pytest.mark.parametrize("pipe", [False, True])
@pytest.mark.parametrize("layers", [1, 2, 3, 4, 9])
def test_drop_layers(layers: int, pipe: bool) -> None:
    target = io.BytesIO()
    source = Pipe(DATA) if pipe else io.BytesIO(DATA)
    drop_layers(source, target, layers)  # type: ignore[arg-type]
    with Reader(io.BytesIO(target.getvalue())) as reader:
        assert reader.tags == TAGS
        assert reader.head.nominal_bitrate == min(128_000, 32_000 * layers)
        kept = list(reader.blocks())
    for before, after in zip(BLOCKS, kept, strict=True):
        assert after == replace(before, channels=tuple(replace(c, layers=c.layers[:layers]) for c in before.channels))
    for text in (b"before", b"after 0", b"after 1", b"after 2"):
        assert text in target.getvalue()
    verify_structure(io.BytesIO(target.getvalue()))


def test_drop_all_layers_is_refused() -> None:
    with pytest.raises(UsageError):
        drop_layers(io.BytesIO(DATA), io.BytesIO(), 0)


def test_a_rewrite_that_loses_blocks_is_refused() -> None:
    def shorten(blocks: object) -> list[Block]:
        first = next(blocks)  # type: ignore[call-overload]
        list(blocks)  # type: ignore[call-overload]
        return [replace(first, last=True)]

    with pytest.raises(UsageError, match="not as many"):
        rewrite(io.BytesIO(DATA), io.BytesIO(), shorten)


def test_a_later_minor_version_survives_a_rewrite() -> None:
    head = replace(HEAD, minor=7, unused_flags=0x8100, extra=b"more")
    data, target = write_file(head), io.BytesIO()
    rewrite(io.BytesIO(data), target, lambda blocks: blocks)
    assert target.getvalue() == data


@pytest.mark.parametrize("wrap", [io.BytesIO, Pipe])
def test_verify_lists_its_checks(wrap: type) -> None:
    report = verify_structure(wrap(DATA))
    assert report.tail.blocks == 3
    assert any("SHA-256" in check for check in report.checks)
    assert any("index" in check for check in report.checks)


@pytest.mark.parametrize(
    ("samples", "calls"),
    [(385, "finish"), (385, "block 1"), (385, "last early"), (10_000, "all"), (385, "twice")],
)
def test_writer_refuses_wrong_calls(samples: int, calls: str) -> None:
    blocks = make_blocks(HEAD)
    writer = Writer(io.BytesIO(), HEAD)
    with pytest.raises((UsageError, StructureError)):
        if calls == "block 1":
            writer.write_block(blocks[1])
        writer.write_block(blocks[0])
        if calls == "last early":
            writer.write_block(replace(blocks[2], sequence=1))
            writer.write_block(blocks[2])
        if calls in ("all", "twice"):
            writer.write_block(blocks[1])
            writer.write_block(blocks[2])
        writer.finish(samples)
        writer.finish(samples)
