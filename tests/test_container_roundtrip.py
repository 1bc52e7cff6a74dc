"""What is written is read back, from files, streams and pipes."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import pytest
from container_files import PICTURE, TAGS, Pipe, attacked, equalised, make_blocks, make_head, write_file

from dacfile.container import Block, Reader
from dacfile.errors import UsageError


@pytest.mark.parametrize("channels", [1, 2, 6, 255])
@pytest.mark.parametrize("count", [0, 1, 3])
@pytest.mark.parametrize("change", [list, equalised, attacked], ids=["plain", "equalised", "attacked"])
def test_blocks_come_back(channels: int, count: int, change: Callable[[list[Block]], list[Block]]) -> None:
    head = make_head(channels=channels, channel_mask=0)
    blocks = change(make_blocks(head, count))
    data = write_file(head, blocks, tags=TAGS, pictures=[PICTURE])
    with Reader(io.BytesIO(data)) as reader:
        assert reader.head == head
        assert reader.tags == TAGS
        assert reader.pictures == (PICTURE,)
        assert reader.block_count == count
        assert reader.file_size == len(data)
        assert reader.total_frames == sum(block.frames for block in blocks)
        assert list(reader.blocks()) == blocks
        assert [reader.block(i) for i in reversed(range(count))] == blocks[::-1]


def test_path_and_stream_agree(tmp_path: Path) -> None:
    data = write_file()
    path = tmp_path / "a.dacz"
    path.write_bytes(data)
    with Reader(path) as by_path, Reader(io.BytesIO(data)) as by_stream:
        assert by_path.tail == by_stream.tail
        assert list(by_path.blocks()) == list(by_stream.blocks())


@pytest.mark.parametrize("piece", [1, 7, 100_000])
def test_pipe(piece: int) -> None:
    data = write_file(tags=TAGS)
    reader = Reader(Pipe(data, piece))  # type: ignore[arg-type]
    assert reader.tags == TAGS
    assert reader.tail is None
    assert reader.source_samples is None
    with pytest.raises(UsageError):
        _ = reader.block_count
    with pytest.raises(UsageError):
        reader.block(0)
    assert list(reader.blocks()) == make_blocks(make_head())
    assert reader.block_count == 3
    assert reader.file_size == len(data)
    with pytest.raises(UsageError):
        list(reader.blocks())
