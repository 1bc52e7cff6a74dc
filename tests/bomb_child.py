"""Runs in a child process with little memory: fields set to extremes, CRCs right, must end in `DaczError` at once.

Prints one JSON object: how many files were tried, those that ended otherwise, and how much the peak memory grew.
"""

from __future__ import annotations

import io
import json
import resource
import struct
import sys
from collections.abc import Iterator

from container_files import PICTURE, TAGS, Pipe, join, make_blocks, make_head, split, write_file

from dacfile.container import Reader, drop_layers, salvage, verify_structure, wire
from dacfile.errors import DaczError

HEADROOM = 48 << 20  # bytes of address space beyond what the interpreter has after the imports
EXTREMES = (0, (1 << 31) - 1, 1 << 31, (1 << 32) - 2, (1 << 32) - 1)


def files() -> Iterator[bytes]:
    """Yield a small file with every run of 1, 4 and 8 bytes of every payload at extremes, and every chunk length."""
    head = make_head(codebooks=1, frames_per_block=4)
    blocks = make_blocks(head, 2, 3)
    data = write_file(head, blocks, tags=TAGS[:1], pictures=[PICTURE], lost=[(0, 1)])
    chunks = split(data)
    for number, (kind, payload) in enumerate(chunks):
        for size in (1, 4, 8):
            for at in range(len(payload) - size + 1):
                for field in sorted({(value % (1 << 8 * size)).to_bytes(size, "little") for value in EXTREMES}):
                    changed = payload[:at] + field + payload[at + size :]
                    lying = [*chunks[:number], (kind, changed), *chunks[number + 1 :]]
                    yield with_right_checksums(lying, kind == wire.TAIL)
    at = len(wire.MAGIC)
    for _, payload in chunks:
        for value in EXTREMES:
            yield data[: at + 4] + struct.pack("<I", value) + data[at + 8 :]
        at += wire.CHUNK_OVERHEAD + len(payload)


def with_right_checksums(chunks: list[tuple[bytes, bytes]], lies_in_tail: bool) -> bytes:
    """Join the chunks; the copy of HEAD is kept equal and TAIL is mended, so that the lie itself is looked at."""
    chunks = [(kind, chunks[0][1] if kind == wire.HEAD_COPY else payload) for kind, payload in chunks]
    if not lies_in_tail:
        return join(chunks)
    return wire.MAGIC + b"".join(wire.pack_chunk(*chunk) for chunk in chunks) + wire.END


def exercise(data: bytes) -> None:
    """Do everything that a reader offers; each step may raise `DaczError`."""
    steps = (
        lambda: list(Reader(io.BytesIO(data)).blocks()),
        lambda: list(Reader(Pipe(data, 1 << 16)).blocks()),  # type: ignore[arg-type]
        lambda: Reader(io.BytesIO(data)).block(1),
        lambda: verify_structure(io.BytesIO(data)),
        lambda: drop_layers(io.BytesIO(data), io.BytesIO(), 1),
        lambda: salvage(io.BytesIO(data), io.BytesIO()),
    )
    for step in steps:
        try:
            step()
        except DaczError:
            continue


def main() -> None:
    """Limit the memory, try all files, report."""
    all_files = list(files())
    with open("/proc/self/statm") as stream:
        pages = int(stream.read().split()[0])
    limit = pages * resource.getpagesize() + HEADROOM
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    escaped = []
    for data in all_files:
        try:
            exercise(data)
        except BaseException as error:
            escaped.append(f"{type(error).__name__}: {error}")
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    json.dump({"files": len(all_files), "escaped": escaped[:5], "grown": grown}, sys.stdout)


if __name__ == "__main__":
    main()
