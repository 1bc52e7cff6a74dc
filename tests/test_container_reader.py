"""How a reader reads: little for the facts, one block for a block, anything in any order."""

from __future__ import annotations

import io
import os
import threading
from pathlib import Path

import pytest
from container_files import chunk_spans, make_blocks, make_head, read_all, write_file

from dacfile.container import Reader, salvage, wire
from dacfile.errors import StructureError, UsageError

HEAD = make_head(codebooks=9, codebook_size=1_024, frames_per_block=430)
BLOCKS = make_blocks(HEAD, 180, 100)
DATA = write_file(HEAD, BLOCKS)  # as many blocks as an hour has, a quarter of the bytes


class Counting(io.BytesIO):
    """Counts the bytes that are read."""

    taken = 0

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(size)
        self.taken += len(data)
        return data


def test_opening_reads_only_the_ends() -> None:
    stream = Counting(DATA)
    reader = Reader(stream)
    assert reader.block_count == 180
    assert stream.taken < 400
    before = stream.taken
    assert reader.block(100) == BLOCKS[100]
    start, end = [(start, end) for kind, start, end in chunk_spans(DATA) if kind == wire.BLOCK][100]
    assert stream.taken - before == end - start + 12 + 4 + 4 * 180


def test_blocks_in_order_and_by_number_do_not_disturb_each_other() -> None:
    with Reader(io.BytesIO(DATA)) as reader:
        for number, (first, second) in enumerate(zip(reader.blocks(), reader.blocks(), strict=True)):
            assert first == second == BLOCKS[number]
            assert reader.block(179 - number) == BLOCKS[179 - number]


def test_blocks_can_be_read_again_after_stopping_early() -> None:
    with Reader(io.BytesIO(DATA)) as reader:
        assert next(reader.blocks()) == BLOCKS[0]
        assert list(reader.blocks()) == BLOCKS


@pytest.mark.parametrize("number", [-1, 180, 1 << 40])
def test_a_block_that_is_not_there(number: int) -> None:
    with Reader(io.BytesIO(DATA)) as reader, pytest.raises(UsageError):
        reader.block(number)


def test_a_file_is_closed_when_opening_fails(tmp_path: Path) -> None:
    path = tmp_path / "broken.dacz"
    path.write_bytes(DATA + b"rest")
    open_before = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").exists() else 0
    for _ in range(20):
        with pytest.raises(StructureError):
            Reader(path)
    open_after = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").exists() else 0
    assert open_after <= open_before + 1


def test_a_missing_file_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Reader(tmp_path / "missing.dacz")


def test_a_real_pipe() -> None:
    reading, writing = os.pipe()

    def write() -> None:
        with open(writing, "wb") as stream:
            stream.write(DATA)

    thread = threading.Thread(target=write)
    thread.start()
    with open(reading, "rb", buffering=0) as stream:
        assert read_all(stream) == BLOCKS
    thread.join()


def test_a_kilobyte_overwritten_in_the_middle() -> None:
    middle = len(DATA) // 2
    data = DATA[:middle] + bytes(1_024) + DATA[middle + 1_024 :]
    spans = [(start, end) for kind, start, end in chunk_spans(DATA) if kind == wire.BLOCK]
    touched = {n for n, (start, end) in enumerate(spans) if start < middle + 1_024 and end > middle}
    target = io.BytesIO()
    report = salvage(io.BytesIO(data), target)
    assert {n for gap in report.gaps for n in range(gap.first_block, gap.first_block + gap.blocks)} == touched
    seconds = HEAD.frames_per_block * HEAD.hop / HEAD.rate
    assert report.gaps[0].start == pytest.approx(min(touched) * seconds)
    assert report.gaps[-1].stop == pytest.approx((max(touched) + 1) * seconds)
    saved = read_all(io.BytesIO(target.getvalue()))
    assert [block for n, block in enumerate(saved) if n not in touched] == [
        block for n, block in enumerate(BLOCKS) if n not in touched
    ]
