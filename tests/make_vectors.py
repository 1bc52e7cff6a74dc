"""Builds spec/vectors: files that every reader must read, or must refuse for the reason given.

`python tests/make_vectors.py` writes them all again, the same bytes each time. Once version 1.0 of the format is final,
vectors are only added.
"""

from __future__ import annotations

import hashlib
import io
import random
import struct
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent.parent)]

import numpy as np  # noqa: E402
import spec_example  # noqa: E402
import vector_prior  # noqa: E402
from container_files import (  # noqa: E402
    PICTURE,
    TAGS,
    attacked,
    equalised,
    join,
    make_block,
    make_blocks,
    make_head,
    split,
    write_file,
)
from vector_refusals import bad_files, unsupported_files  # noqa: E402

from dacfile.container import (  # noqa: E402
    CODED,
    SAME,
    SILENT,
    Attack,
    Block,
    ChannelBlock,
    Layer,
    Picture,
    Reader,
    drop_layers,
    salvage,
    verify_structure,
    wire,
)
from dacfile.entropy import Prior, decode_blocks, encode_blocks  # noqa: E402
from dacfile.entropy.context import NetworkPrior  # noqa: E402
from dacfile.equaliser_code import FLAT, LEVELS, POINTS, pack, unpack  # noqa: E402
from dacfile.errors import DaczError, EntropyMismatch  # noqa: E402

FOLDER = Path(__file__).parent.parent / "spec" / "vectors"
PRIORS = {prior.id: prior for prior in vector_prior.priors().values()}


@dataclass(frozen=True)
class Vector:
    """A file, what must come of it (a digest of its codes, or the name of an error), and what it is for."""

    name: str
    data: bytes
    expected: str
    note: str


def outcome(data: bytes) -> str:
    """Return the digest of the codes of a file that was checked in full, or the name of the error."""
    try:
        verify_structure(io.BytesIO(data))
        return codes_digest(data)
    except DaczError as error:
        return type(error).__name__


def codes_digest(data: bytes) -> str:
    """Return the first 16 hexadecimal digits of the SHA-256 over what blocks hold, as README.md says."""
    digest = hashlib.sha256()
    with Reader(io.BytesIO(data)) as reader:
        head, prior = reader.head, PRIORS.get(reader.head.prior_id)
        for block in reader.blocks():
            stored = [[(x.data, x.codes_crc) for x in c.layers] if c.mode == CODED else None for c in block.channels]
            first = block.sequence * head.frames_per_block
            (decoded,) = decode_blocks(prior, [stored], [block.frames], None, [first], head.codebook_size)
            for channel, codes in zip(block.channels, decoded, strict=True):
                mode = 5 if channel.attacks else 4 if channel.equaliser else channel.mode  # as it is stored
                levels = unpack(channel.equaliser, block.frames).tobytes() if channel.equaliser else b""
                attacks = b"".join(struct.pack("<HB", *attack) for attack in channel.attacks)
                digest.update(bytes((mode, len(channel.layers))) + levels + attacks)
                if codes is not None:
                    digest.update(codes.astype("<u2").tobytes())
    return digest.hexdigest()[:16]


def coded_file(prior: Prior, kinds: Sequence[int], seed: int, spreads: Sequence[int] = (3, 3, 1)) -> bytes:
    """Return a file coded with a prior, 3 blocks of 50 frames; `kinds` are the layers of each channel, 0: silent."""
    head = make_head(
        channels=len(kinds),
        channel_mask=0,
        codebooks=prior.codebooks,
        codebook_size=prior.codebook_size,
        frames_per_block=50,
        coder=1,
        prior_id=prior.id,
    )
    rng = random.Random(seed)
    blocks = []
    for number, frames in enumerate((50, 50, 21)):
        make = decoded_codes if isinstance(prior, NetworkPrior) else likely_codes
        codes = make(prior, kinds, frames, number * 50, rng, spreads)
        ((*stored,),) = encode_blocks(prior, [codes], [number * 50])
        parts = [ChannelBlock(CODED if x else SILENT, tuple(Layer(*layer) for layer in x)) for x in stored]
        blocks.append(Block(number, frames, number == 2, tuple(parts)))
    return write_file(head, blocks)


Codes = list[np.ndarray | None]


def likely_codes(
    prior: Prior, kinds: Sequence[int], frames: int, first: int, rng: random.Random, spreads: Sequence[int]
) -> Codes:
    """Return codes near the likely ones of a count table, `spreads` apart for each layer."""
    phases = int(prior.config["phases"])

    def code(layer: int, t: int) -> int:
        middle = vector_prior.likeliest(layer, (first + t) % phases)
        return (middle + rng.randrange(-spreads[layer], spreads[layer] + 1)) % prior.codebook_size

    def channel(layers: int) -> np.ndarray:
        return np.array([[code(layer, t) for t in range(frames)] for layer in range(layers)], np.uint16)

    return [channel(layers) if layers else None for layers in kinds]


def decoded_codes(
    prior: Prior, kinds: Sequence[int], frames: int, first: int, rng: random.Random, spreads: Sequence[int]
) -> Codes:
    """Return codes that a network finds likely: what it decodes from random bytes, except where these are invalid."""
    while True:
        payload = [[rng.randbytes(2 * frames + 8) for _ in range(layers)] for layers in kinds]
        try:
            (codes,) = prior.decode_layers([payload], [frames], [first])
        except EntropyMismatch:
            continue
        return [rows if len(rows) else None for rows in codes]


def with_unknown_chunks() -> bytes:
    """Return a file with unknown ancillary chunks wherever they may be."""
    chunks = split(write_file(tags=TAGS, pictures=[PICTURE]))
    mixed = [chunks[0]]
    for number, chunk in enumerate(chunks[1:]):
        mixed += [(b"wxyz", b"unknown %d" % number), chunk]
    # The index has to know of them: distances run from block to block.
    at, starts = len(wire.MAGIC), []
    for kind, payload in mixed:
        starts += [at] if kind == wire.BLOCK else []
        at += wire.CHUNK_OVERHEAD + len(payload)
    last = next(len(p) for k, p in reversed(mixed) if k == wire.BLOCK) + wire.CHUNK_OVERHEAD
    distances = [b - a for a, b in zip(starts, [*starts[1:], starts[-1] + last], strict=True)]
    return join([(k, wire.pack_index(distances) if k == wire.INDEX else p) for k, p in mixed])


def without_optional_chunks() -> bytes:
    """Return a file with neither copy of HEAD nor index."""
    return join([chunk for chunk in split(write_file()) if chunk[0] not in (wire.HEAD_COPY, wire.INDEX)])


def unusual_modes() -> bytes:
    """Return a file in which channels are silent, coded and the same in turn."""
    head = make_head(channels=3, channel_mask=0, frames_per_block=9)
    coded = make_block(head, 0, False).channels[0]
    silent, same = ChannelBlock(SILENT), ChannelBlock(SAME)
    rows = [(silent, silent, silent), (coded, same, silent), (silent, same, coded), (coded, coded, same)]
    return write_file(head, [Block(i, 9, i == 3, row) for i, row in enumerate(rows)])


def large_fields() -> bytes:
    """Return a file whose fields have the largest values that the format allows, but for the channels."""
    head = make_head(rate=768_000, hop=4_096, frames_per_block=4_096, codebook_size=4_096, codebooks=64, context=64)
    head = replace(head, source_rate=768_000, nominal_bitrate=0xFFFFFFFF, gains=(32_767, -32_768))
    silence = (ChannelBlock(SILENT),) * 2
    blocks = [Block(0, 4_096, False, silence), replace(make_block(head, 1, True, 2), sequence=1)]
    return write_file(head, blocks, source_samples=4_096 * 4_096)


def every_level() -> bytes:
    """Return a file of one channel whose equalisers hold all levels at all points."""
    head = make_head(channels=1, channel_mask=0)
    blocks = []
    for block in make_blocks(head):
        levels = [(3 * point + block.sequence) % 16 for point in range(80)]
        data = bytes(even | odd << 4 for even, odd in zip(levels[::2], levels[1::2], strict=True))
        blocks.append(replace(block, channels=(replace(block.channels[0], equaliser=data),)))
    return write_file(head, blocks)


def some_equalisers() -> bytes:
    """Return a file of six channels: equalisers in some blocks of some channels, one of them flat."""
    head = make_head(channels=6, channel_mask=0, transform=1)
    blocks = equalised(make_blocks(head, 4))
    flat = replace(blocks[1].channels[4], equaliser=b"\x88" * 40)
    blocks[1] = replace(blocks[1], channels=(*blocks[1].channels[:4], flat, blocks[1].channels[5]))
    return write_file(head, blocks)


def several_stretches() -> bytes:
    """Return a file whose blocks have three stretches each, the last one two; none ends where a stretch does."""
    head = make_head(codebooks=1, frames_per_block=150)
    return write_file(head, equalised(make_blocks(head, 4, 100)))


def every_weight() -> bytes:
    """Return a file of one range-coded equaliser, in which every level comes first and follows every level."""
    stretches = LEVELS + 1
    head = make_head(channels=1, channel_mask=0, codebooks=1, frames_per_block=64 * stretches)
    levels = np.full((stretches, POINTS), FLAT, np.uint8)
    steps = np.cumsum(np.arange(stretches))  # in each stretch by one more
    levels[:, :LEVELS] = (np.arange(LEVELS) + steps[:, None]) % LEVELS
    (block,) = make_blocks(head, 1, head.frames_per_block)
    return write_file(head, [replace(block, channels=(replace(block.channels[0], equaliser=pack(levels)),))])


def with_equalisers(data: bytes) -> bytes:
    """Return a file with equalisers in some blocks of its coded channels."""
    with Reader(io.BytesIO(data)) as reader:
        return write_file(reader.head, equalised(list(reader.blocks())))


def every_place() -> bytes:
    """Return a file of one channel with attacks at all places of a frame; the first block is as large as it can be."""
    head = make_head(channels=1, channel_mask=0)
    blocks = []
    for block in make_blocks(head):
        attacks = tuple(Attack(16 * i + i % 16, 255 - i) for i in range(block.frames))
        data = b"" if block.sequence else bytes(40)
        blocks.append(replace(block, channels=(replace(block.channels[0], equaliser=data, attacks=attacks),)))
    return write_file(head, blocks)


def most_attacks() -> bytes:
    """Return a file of one block with 255 attacks, the last one at its very end, and one without."""
    head = make_head(channels=1, channel_mask=0, codebooks=1, frames_per_block=256)
    first, last = make_blocks(head, 2)
    attacks = tuple(Attack(16 * (256 - 255 + i) + 15, 1) for i in range(255))
    return write_file(head, [replace(first, channels=(replace(first.channels[0], attacks=attacks),)), last])


def with_attacks(data: bytes) -> bytes:
    """Return a file with attacks and equalisers in some blocks of its coded channels, both in some."""
    with Reader(io.BytesIO(with_equalisers(data))) as reader:
        return write_file(reader.head, attacked(list(reader.blocks())))


def of(**changes: object) -> bytes:
    """Return three raw blocks with a changed head."""
    head = make_head(**changes)
    return write_file(head, make_blocks(head))


def streamed(data: bytes, change: Callable[[io.BytesIO, io.BytesIO], object]) -> bytes:
    """Return what `change` writes when it reads `data`."""
    target = io.BytesIO()
    change(io.BytesIO(data), target)
    return target.getvalue()


def damaged_block(data: bytes) -> bytes:
    """Return the file with one byte of its second block changed."""
    at = data.index(b"BLOC", data.index(b"BLOC") + 4) + 40
    return data[:at] + bytes((data[at] ^ 1,)) + data[at + 1 :]


def good_files() -> list[tuple[str, bytes, str]]:
    """Return (name, file, note) of everything that must be read."""
    one, two, network = PRIORS.values()
    stereo = coded_file(one, (3, 3), 1)
    hostile_tags = (("TITLE", "\x1b[2J\x00../../etc/passwd"), (" ", ""), ("title", "日本語 \U0001f3b5"), ("TITLE", "x"))
    pictures = [Picture(i, "image/png", f"no {i}", bytes((i,)) * i) for i in range(8)]
    return [
        ("example", spec_example.file_bytes(), "the worked example of section 16"),
        ("no-audio", write_file(make_head(), []), "a source of 0 samples: no block"),
        ("one-frame", write_file(make_head(channels=1, channel_mask=4), make_blocks(make_head(channels=1), 1, 1)),
         "one block of one frame"),
        ("stereo", of(), "three blocks of two channels, the second with fewer layers"),
        ("full-last-block", write_file(blocks=make_blocks(make_head(), 3, 40)), "a last block as long as the others"),
        ("six-channels", of(channels=6, channel_mask=0x3F), "every mode, 5.1"),
        ("channels-255", write_file(*(lambda h: (h, make_blocks(h, 1, 1)))(make_head(channels=255, channel_mask=0))),
         "as many channels as there may be"),
        ("modes", unusual_modes(), "modes that change from block to block; the same as a silent channel 0"),
        ("mid-side", of(transform=1, gains=(-300, 3_000)), "mid/side, with gains of both signs"),
        ("size-2", of(codebook_size=2), "codes of 1 bit"),
        ("size-5", of(codebook_size=5), "a codebook size that is no power of two"),
        ("size-4096", of(codebook_size=4_096), "codes of 12 bits"),
        ("codebooks-64", of(codebooks=64, frames_per_block=3), "as many layers as there may be"),
        ("large-fields", large_fields(), "fields at their limits"),
        ("length-known", of(source_samples=385), "source length in HEAD"),
        ("resampled", of(source_rate=44_056, source_samples=1_060), "another source rate"),
        ("no-copy-no-index", without_optional_chunks(), "neither hcpy nor indx"),
        ("unknown-chunks", with_unknown_chunks(), "unknown ancillary chunks at every place"),
        ("later-minor", of(minor=3, unused_flags=0xFF00, extra=b"from the future"),
         "a later minor version: unused flags set, a longer HEAD"),
        ("unknown-source", of(subtype=255, container=254), "unknown source formats read as unknown"),
        ("tags", write_file(tags=hostile_tags), "tags with control characters, Unicode, duplicates, an empty value"),
        ("tags-many", write_file(make_head(), [], tags=[("k", "")] * 4_096), "as many tags as there may be"),
        ("pictures", write_file(pictures=pictures), "eight pictures, one of them empty"),
        ("salvaged", streamed(damaged_block(of(source_samples=385)), salvage), "a lost block, named by a lost chunk"),
        ("range-mono", coded_file(one, (3,), 2), "range coder, count tables"),
        ("range-stereo", stereo, "range coder, two channels"),
        ("range-fewer-layers", coded_file(one, (3, 1, 0, 2), 3), "range coder, a different number of layers each"),
        ("range-phases", coded_file(two, (3, 2), 4), "range coder, tables that depend on the parity of the frame"),
        ("range-and-raw", coded_file(one, (3,), 5, (8, 2, 8)), "some layers do not shrink and are raw"),
        ("range-short", coded_file(one, (3,), 6, (0, 0, 0)), "the likeliest codes only: short streams and empty ones"),
        ("network-mono", coded_file(network, (3,), 7), "a network prior; the first and last layer see their own past"),
        ("network-stereo", coded_file(network, (3, 2), 8), "a network prior; channel 1 sees channel 0"),
        ("network-silent", coded_file(network, (0, 1, 3), 9), "a network prior; channel 0 is silent"),
        ("range-dropped", streamed(stereo, lambda a, b: drop_layers(a, b, 1)), "layers dropped after coding"),
        ("equaliser", every_level(), "an equaliser in every block"),
        ("equaliser-some", some_equalisers(), "equalisers in some blocks of some channels, one of them of 0 dB"),
        ("equaliser-stretches", several_stretches(), "equalisers of several stretches, raw and range coded"),
        ("equaliser-weights", every_weight(), "a range-coded equaliser, in which every level follows every level"),
        ("equaliser-range", with_equalisers(stereo), "range coder, two channels, equalisers"),
        ("equaliser-dropped", streamed(with_equalisers(stereo), lambda a, b: drop_layers(a, b, 1)),
         "equalisers stay when layers are dropped"),
        ("attacks", every_place(), "attacks in every block, at all places of a frame; the first block is the largest"),
        ("attacks-255", most_attacks(), "as many attacks as there may be"),
        ("attacks-some", with_attacks(of(channels=6, channel_mask=0, transform=1)),
         "attacks and equalisers in some blocks of some channels, both in some"),
        ("attacks-range", streamed(with_attacks(stereo), lambda a, b: drop_layers(a, b, 1)),
         "range coder, two channels, attacks; layers dropped"),
    ]  # fmt: skip


def range_coded() -> bytes:
    """Return the file from which the refused range-coded ones are made."""
    return coded_file(next(iter(PRIORS.values())), (3,), 2)


def vectors() -> list[Vector]:
    """Return all vectors, in the order of the README."""
    good = [Vector(f"good-{name}", data, outcome(data), note) for name, data, note in good_files()]
    bad = [Vector(f"bad-{name}", data, error, note) for name, data, error, note in bad_files(range_coded())]
    beyond = unsupported_files()
    unsupported = [Vector(f"unsupported-{name}", data, error, note) for name, data, error, note in beyond]
    return [*good, *bad, *unsupported]


INTRODUCTION = """# Conformance vectors of the `.dacz` format, version 1

Made by `tests/make_vectors.py`. A reader that checks everything must read each `good-*` file and get codes with the
given digest, and must refuse each other file with the given error (section 12 of [the specification](../dacz-v1.md)):
`bad-*` are damaged or not `.dacz` files, `unsupported-*` are intact but need a newer or a larger reader.

The digest is the first 16 hexadecimal digits of the SHA-256 over, for each block and in it each channel: the mode and
the number of layers as one byte each, where there is an equaliser its levels (section 9.7) as one byte each, stretch
after stretch, where there are attacks (section 9.8) these as they are stored, then the codes as u16, layer after layer.
The files `good-range-*`, `good-network-*`, `good-equaliser-range`, `good-equaliser-dropped`, `good-attacks-range` and
some bad ones need the priors `test-*.prior.safetensors`.

| file | expected | what it is for |
|---|---|---|
"""


def write_all(folder: Path) -> None:
    """Write vectors, priors and README."""
    folder.mkdir(parents=True, exist_ok=True)
    vector_prior.save_all(folder)
    made = vectors()
    for vector in made:
        (folder / f"{vector.name}.dacz").write_bytes(vector.data)
    lines = [f"| `{vector.name}.dacz` | {vector.expected} | {vector.note} |\n" for vector in made]
    (folder / "README.md").write_text(INTRODUCTION + "".join(lines))


if __name__ == "__main__":
    write_all(FOLDER)
