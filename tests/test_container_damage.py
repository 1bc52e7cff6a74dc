"""Whatever happens to the bytes of a file, a reader raises `DaczError`; it never returns other blocks in silence."""

from __future__ import annotations

import io
from collections.abc import Callable

import pytest
from container_files import (
    PICTURE,
    TAGS,
    Pipe,
    attacked,
    chunk_spans,
    equalised,
    join,
    make_blocks,
    make_head,
    read_all,
    split,
    write_file,
)

from dacfile.container import Reader, verify_structure, wire
from dacfile.errors import DaczError, NotDacz, StructureError, Truncated

HEAD = make_head(codebooks=3)
BLOCKS = attacked(equalised(make_blocks(HEAD)))
DATA = write_file(HEAD, BLOCKS, tags=TAGS, pictures=[PICTURE])
CHUNKS = split(DATA)
BLOCK_NUMBERS = [i for i, (kind, _) in enumerate(CHUNKS) if kind == wire.BLOCK]
OPTIONAL = [i for i, (kind, _) in enumerate(CHUNKS) if kind.islower()]


def flipped(bit: int) -> bytes:
    data = bytearray(DATA)
    data[bit // 8] ^= 1 << bit % 8
    return bytes(data)


@pytest.mark.parametrize("wrap", [io.BytesIO, Pipe])
def test_every_bit_flip_is_damage(wrap: type) -> None:
    whole_pieces = {"piece": len(DATA)} if wrap is Pipe else {}
    for bit in range(8 * len(DATA)):
        with pytest.raises(DaczError) as caught:
            read_all(wrap(flipped(bit), **whole_pieces))
        wanted = {4} if bit < 64 else {3, 4} if wrap is Pipe else {3}
        assert caught.value.exit_code in wanted, f"bit {bit}: {caught.value!r}"
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("wrap", [io.BytesIO, Pipe])
def test_every_truncation_is_truncated(wrap: type) -> None:
    for size in range(1, len(DATA)):
        with pytest.raises(Truncated):
            read_all(wrap(DATA[:size]))
    with pytest.raises(NotDacz, match="empty"):
        read_all(wrap(b""))


@pytest.mark.parametrize("extra", [b"\0", b"RIFF....WAVE", DATA], ids=["zero", "wav", "second file"])
@pytest.mark.parametrize("wrap", [io.BytesIO, Pipe])
def test_nothing_may_follow_the_end(wrap: type, extra: bytes) -> None:
    with pytest.raises(StructureError):
        read_all(wrap(DATA + extra))


def test_two_bytes_swapped_or_removed_or_inserted() -> None:
    for at in range(len(DATA) - 1):
        changed = [DATA[:at] + DATA[at + 1 :], DATA[:at] + b"\x55" + DATA[at:]]
        if DATA[at] != DATA[at + 1]:
            changed.append(DATA[:at] + DATA[at + 1 : at + 2] + DATA[at : at + 1] + DATA[at + 2 :])
        for data in changed:
            with pytest.raises(DaczError):
                read_all(io.BytesIO(data))


@pytest.mark.parametrize(
    ("damage", "hint"),
    [
        (lambda data: data.replace(b"\n", b"\r\n"), "line ends"),
        (lambda data: data.replace(b"\r\n", b"\n"), "line ends"),
        (lambda data: bytes(byte & 0x7F for byte in data), "high bits"),
        (lambda data: data.decode("latin-1").encode(), "UTF-8"),
        (lambda data: data.decode("utf-8", "replace").encode(), "text"),
        (lambda data: b"RIFF" + data, "WAV"),
        (lambda data: b"ECDC" + data, "ecdc"),
        (lambda data: b"\x93NUMPY" + data, "descript"),
        (lambda data: b"fLaC" + data, "FLAC"),
        (lambda data: b"hello, world", "magic"),
    ],
)
def test_what_is_not_ours_is_named(damage: Callable[[bytes], bytes], hint: str) -> None:
    with pytest.raises(NotDacz, match=hint):
        Reader(io.BytesIO(damage(DATA)))


def test_join_is_the_inverse_of_split() -> None:
    assert join(CHUNKS) == DATA


@pytest.mark.parametrize("number", range(len(CHUNKS)))
def test_a_chunk_removed(number: int) -> None:
    """Optional chunks may be missing if TAIL agrees; without a new TAIL the SHA-256 or the size tells."""
    data = join(CHUNKS[:number] + CHUNKS[number + 1 :])
    if number in OPTIONAL:
        assert read_all(io.BytesIO(data)) == BLOCKS
        assert Reader(io.BytesIO(data)).block(1) == BLOCKS[1]
        verify_structure(io.BytesIO(data))
    else:
        with pytest.raises((StructureError, Truncated)):
            read_all(io.BytesIO(data))
    start, end = chunk_spans(DATA)[number][1:]
    with pytest.raises(DaczError):
        read_all(io.BytesIO(DATA[:start] + DATA[end:]))


@pytest.mark.parametrize("number", range(len(CHUNKS)))
def test_a_chunk_repeated(number: int) -> None:
    data = join(CHUNKS[: number + 1] + CHUNKS[number:])
    if CHUNKS[number][0] == wire.PICTURE:
        assert read_all(io.BytesIO(data)) == BLOCKS
    else:
        with pytest.raises(StructureError):
            read_all(io.BytesIO(data))


@pytest.mark.parametrize("number", range(len(CHUNKS) - 1))
def test_two_chunks_swapped(number: int) -> None:
    chunks = [*CHUNKS]
    chunks[number], chunks[number + 1] = chunks[number + 1], chunks[number]
    with pytest.raises((StructureError, Truncated)):
        read_all(io.BytesIO(join(chunks)))


def test_blocks_of_another_file_do_not_fit() -> None:
    other = split(write_file(HEAD, make_blocks(HEAD)[:2] + [make_blocks(HEAD, 3, 5)[2]]))
    chunks = [*CHUNKS]
    chunks[BLOCK_NUMBERS[2]] = next(chunk for chunk in reversed(other) if chunk[0] == wire.BLOCK)
    with pytest.raises(StructureError, match="frames"):
        read_all(io.BytesIO(join(chunks)))
