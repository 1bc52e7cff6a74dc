"""Fuzzing of the container reader: damage files at random, with the CRCs right, wrong or not looked at.

The suite runs a few thousand cases through hypothesis (`test_container_fuzz.py`); long runs go by hand:
`python tests/fuzz_reader.py --count 1000000 --seed 1`, which prints what it did and fails on the first exception that
is no `DaczError`, or on a slow case.
"""

from __future__ import annotations

import argparse
import io
import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent.parent)]

from container_files import PICTURE, TAGS, Pipe, attacked, equalised, join, make_blocks, make_head, split, write_file  # noqa: E402
from fuzz_loop import run_cases  # noqa: E402

from dacfile.container import Reader, drop_layers, salvage, verify_structure, wire  # noqa: E402
from dacfile.errors import DaczError  # noqa: E402

_TYPES = [*wire.ORDER, b"zzzz", b"Zzzz", b"\0\0\0\0"]


def corpus() -> list[bytes]:
    """Return the intact files that are damaged: mono and stereo, empty, with and without extras and equalisers."""
    small = make_head(codebooks=2, frames_per_block=6)
    mono = make_head(channels=1, channel_mask=0, source_samples=41, frames_per_block=6)
    six = make_head(channels=6, channel_mask=0, codebook_size=5, transform=1, frames_per_block=3)
    return [
        write_file(small, make_blocks(small, 3, 4)),
        write_file(mono, make_blocks(mono, 2, 5), tags=TAGS),
        write_file(six, make_blocks(six, 2, 3), pictures=[PICTURE], lost=[(0, 1), (5, 2)]),
        write_file(small, []),
        write_file(small, attacked(equalised(make_blocks(small, 3, 4)))),
        write_file(six, attacked(equalised(make_blocks(six, 2, 3)))),
    ]


CORPUS = corpus()


def damaged_bytes(rng: random.Random, data: bytes) -> bytes:
    """Return `data` with a few bytes changed, removed, inserted or copied; no CRC is mended."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 8))):
        at = rng.randrange(len(out) + 1)
        kind = rng.randrange(6)
        if kind < 2 and at < len(out):
            out[at] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))
        elif kind == 2:
            out[at : at + rng.randrange(1, 9)] = b""
        elif kind == 3:
            out[at:at] = rng.randbytes(rng.randrange(1, 9))
        elif kind == 4:
            start = rng.randrange(len(out) + 1)
            out[at:at] = out[start : start + rng.randrange(1, 200)]
        else:
            size = rng.choice((2, 4, 8))
            value = rng.choice((0, 1, (1 << 8 * size) - 1, 1 << (8 * size - 1), rng.getrandbits(8 * size)))
            out[at : at + size] = value.to_bytes(size, "little")
    return bytes(out[: rng.randrange(len(out))]) if out and rng.randrange(16) == 0 else bytes(out)


def damaged_chunks(rng: random.Random, data: bytes) -> bytes:
    """Return the file with chunks changed, dropped, repeated, swapped or renamed, and with right CRCs and TAIL."""
    chunks = split(data)
    for _ in range(rng.choice((1, 1, 2, 3))):
        at = rng.randrange(len(chunks))
        kind = rng.randrange(6)
        if kind == 0 and len(chunks) > 1:
            del chunks[at]
        elif kind == 1:
            chunks.insert(rng.randrange(len(chunks) + 1), chunks[at])
        elif kind == 2:
            other = rng.randrange(len(chunks))
            chunks[at], chunks[other] = chunks[other], chunks[at]
        elif kind == 3:
            chunks[at] = rng.choice(_TYPES), chunks[at][1]
        else:
            chunks[at] = chunks[at][0], damaged_bytes(rng, chunks[at][1]) if chunks[at][1] else b"\0"
    if rng.randrange(2):
        chunks = [(k, chunks[0][1] if k == wire.HEAD_COPY else p) for k, p in chunks]
    return join(chunks)


def damaged(seed: int) -> bytes:
    """Return one damaged file; the same for the same seed."""
    rng = random.Random(seed)
    data = rng.choice(CORPUS)
    kind = rng.randrange(8)
    if kind == 0:
        return wire.MAGIC + rng.randbytes(rng.randrange(300)) + wire.END
    return damaged_chunks(rng, data) if kind < 5 else damaged_bytes(rng, data)


def exercise(data: bytes) -> str:
    """Do everything that a reader offers with one file; return the outcome of reading it in order."""
    outcomes = []
    for step in (_read, _read_pipe, _seek, _verify, _drop, _salvage):
        try:
            step(data)
            outcomes.append("read")
        except DaczError as error:
            outcomes.append(type(error).__name__)
    return outcomes[0]


def _read(data: bytes) -> None:
    list(Reader(io.BytesIO(data)).blocks())


def _read_pipe(data: bytes) -> None:
    list(Reader(Pipe(data, 64)).blocks())  # type: ignore[arg-type]


def _seek(data: bytes) -> None:
    reader = Reader(io.BytesIO(data))
    for number in range(min(reader.block_count, 4)):
        reader.block(number)


def _verify(data: bytes) -> None:
    verify_structure(io.BytesIO(data))


def _drop(data: bytes) -> None:
    target = io.BytesIO()
    drop_layers(io.BytesIO(data), target, 1)
    _verify_own(target)


def _salvage(data: bytes) -> None:
    target = io.BytesIO()
    salvage(io.BytesIO(data), target)
    _verify_own(target)


def _verify_own(target: io.BytesIO) -> None:
    """Check a file that was written just now: an error here is one of the writer's."""
    try:
        verify_structure(io.BytesIO(target.getvalue()))
    except DaczError as error:
        raise AssertionError(f"a written file is not valid: {error}") from error


@contextmanager
def crc_checks_off() -> Iterator[None]:
    """Make every checksum match, so that the code behind the checks is reached."""
    original = wire.checksum_matches
    wire.checksum_matches = lambda stored, computed: True
    try:
        yield
    finally:
        wire.checksum_matches = original


def case(number: int) -> str:
    """Return what became of one damaged file; CRCs are looked at in every other case."""
    with crc_checks_off() if number % 2 else nullcontext():
        return exercise(damaged(number))


def main() -> None:
    """Run many cases and report."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    run_cases(case, options.count, options.seed)


if __name__ == "__main__":
    main()
