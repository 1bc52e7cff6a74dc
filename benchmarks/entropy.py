"""What the priors save and how fast they are, on codes that no prior has seen.

    python benchmarks/entropy.py CODES.npz [--prior FILE] [--training TRAINING.npz] [--seconds 20] [--rate 44100]
                                 [--out benchmarks/results/entropy.md]

CODES.npz holds uint16 arrays [codebooks, frames], names ending in :mono, :mid and :side, as made from a corpus by
`dacfile.training.export.write_codes`. Prints, layer by layer, bits a code: raw, order-0 entropy of these very codes,
count tables learned from TRAINING.npz, and the prior; then bytes of whole files, mono and pairs apart; then speeds on
one core as multiples of real time of one channel, by processor time, so that a busy machine matters little, and the
peak of memory. Run with OMP_NUM_THREADS=1. `--out` writes the same as a Markdown file.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dacfile.entropy import Prior, bits_per_code, decode_blocks, encode_blocks, load_prior
from dacfile.training.prior_counts import train_count_prior
from dacfile.training.prior_data import Piece, load_pieces
from dacfile.training.prior_run import blocks_of, measured_bits

BLOCK_OVERHEAD = 30  # bytes: chunk frame, sequence number, index entry
LAYER_OVERHEAD = 6  # bytes: length and checksum of a layer
TITLE = """# Entropy coding

`benchmarks/entropy.py` on {}: codes of `test/`, which no prior has seen. Bits a code; bytes of whole files, blocks of
20 s; speeds in seconds of one channel per second of processor time of one core.

"""
FILE_OVERHEAD = 400  # bytes: header, its copy, tail


def order0(pieces: Sequence[Piece], size: int) -> np.ndarray:
    """Return the entropy of each layer's codes in bits, without any context, as if it were known for free."""
    arrays = [array for piece in pieces for array in (piece.first, piece.second) if array is not None]
    seen = [np.bincount(np.concatenate([array[k] for array in arrays]), minlength=size) for k in range(len(arrays[0]))]
    shares = [row[row > 0] / row.sum() for row in seen]
    return np.array([-(share * np.log2(share)).sum() for share in shares])


def table(rows: dict[str, np.ndarray]) -> str:
    """Return named rows of bits as text, with the mean and the saving against the first row at the end."""
    first = next(iter(rows.values())).mean()
    lines = [
        f"{'bits a code, layer':22}"
        + "".join(f"{k:7d}" for k in range(len(next(iter(rows.values())))))
        + "   mean  saving"
    ]
    for name, bits in rows.items():
        cells = "".join(f"{b:7.3f}" for b in bits)
        lines.append(f"{name:22}{cells}{bits.mean():7.3f}{100 * (1 - bits.mean() / first):7.1f} %")
    return "\n".join(lines)


def file_bytes(prior: Prior | None, piece: Piece, block_frames: int) -> int:
    """Return the size of the file that would hold `piece`: layers, checksums, blocks, header and tail."""
    blocks, firsts = blocks_of([piece], block_frames)
    total = FILE_OVERHEAD
    for coded in encode_blocks(prior, blocks, firsts):
        total += BLOCK_OVERHEAD + sum(2 + sum(len(data) + LAYER_OVERHEAD for data, _ in layers) for layers in coded)
    return total


def sizes(prior: Prior | None, pieces: Sequence[Piece], rate: float, block_frames: int) -> str:
    """Return a line for single channels and one for pairs: bytes without and with the prior."""
    lines = []
    for name, chosen in (
        ("mono", [p for p in pieces if p.second is None]),
        ("pairs", [p for p in pieces if p.second is not None]),
    ):
        if not chosen:
            continue
        raw, small = (sum(file_bytes(q, piece, block_frames) for piece in chosen) for q in (None, prior))
        seconds = sum(piece.frames for piece in chosen) / rate
        lines.append(
            f"{name:6} {len(chosen):4d} files {seconds:8.1f} s: {raw:9d} bytes raw, {small:9d} with the prior, "
            f"{8 * small / seconds / 1000:.2f} kbit/s, saving {100 * (1 - small / raw):.1f} %"
        )
    return "\n".join(lines)


def timed(prior: Prior, blocks: list[list[np.ndarray]], rate: float) -> tuple[float, float]:
    """Return (encoding, decoding) speed in seconds of one channel per second of processor time."""
    seconds = sum(codes.shape[1] for block in blocks for codes in block) / rate
    zeros = [0] * len(blocks)
    began = time.process_time()
    stored = encode_blocks(prior, blocks, zeros)
    middle = time.process_time()
    decoded = decode_blocks(prior, stored, [block[0].shape[1] for block in blocks])
    end = time.process_time()
    if not all(np.array_equal(a, b) for x, y in zip(blocks, decoded, strict=True) for a, b in zip(x, y, strict=True)):
        raise SystemExit("decoded codes differ")
    return seconds / (middle - began), seconds / (end - middle)


def speeds(prior: Prior, pieces: Sequence[Piece], rate: float, block_frames: int) -> str:
    """Return the speeds of a single block and of many, mono and pairs."""
    lines = []
    for name, want in (("mono", False), ("pair", True)):
        chosen = [p for p in pieces if (p.second is not None) == want]
        if not chosen:
            continue
        joined = np.concatenate([p.first for p in chosen], 1)
        second = np.concatenate([p.second for p in chosen if p.second is not None], 1) if want else None
        blocks, _ = blocks_of([Piece(name, joined, second)], block_frames)
        full = [block for block in blocks if block[0].shape[1] == block_frames] or blocks
        timed(prior, full[:1], rate)
        for count in (1, 9):
            if count <= len(full):
                fast = [timed(prior, full[:count], rate) for _ in range(2)]
                encode, decode = (max(column) for column in zip(*fast, strict=True))
                lines.append(
                    f"{name}, {count:2d} blocks of {block_frames}: encode {encode:6.0f} x, decode {decode:6.0f} x"
                )
    return "\n".join(lines)


def main() -> None:
    """Print the whole report, and write it when asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("codes", type=Path)
    parser.add_argument("--prior", type=Path)
    parser.add_argument("--training", type=Path, help="codes for the count tables")
    parser.add_argument("--seconds", type=float, default=20.0, help="length of a block")
    parser.add_argument("--rate", type=float, default=44100)
    parser.add_argument("--hop", type=float, default=512)
    parser.add_argument("--out", type=Path, help="Markdown file to write")
    a = parser.parse_args()
    lines = report(a)
    print("\n".join(lines))
    if a.out:
        a.out.write_text(TITLE.format(a.codes.name) + "\n".join(["```", *lines, "```", ""]))


def report(a: argparse.Namespace) -> list[str]:
    """Return the lines of the report."""
    pieces, rate = load_pieces(a.codes), a.rate / a.hop
    prior = load_prior(a.prior) if a.prior else None
    size = prior.codebook_size if prior else 1024
    frames = round(a.seconds * rate)
    blocks, firsts = blocks_of(pieces, frames)
    depth = pieces[0].first.shape[0]
    rows = {"raw": np.full(depth, float(bits_per_code(size))), "order-0 of these": order0(pieces, size)}
    if a.training:
        arrays = [array for p in load_pieces(a.training) for array in (p.first, p.second) if array is not None]
        rows["count tables"] = measured_bits(train_count_prior(arrays, size), blocks, firsts)
    if prior:
        rows["prior, all"] = measured_bits(prior, blocks, firsts)
        for name, channel in (("  first channels", 0), ("  second channels", 1)):
            bits = _channel_bits(prior, blocks, firsts, channel)
            if bits is not None:
                rows[name] = bits
    lines = [table(rows), sizes(prior, pieces, rate, frames)]
    if prior:
        lines.append(f"prior {prior.id.hex()}")
        lines.append(speeds(prior, pieces, rate, frames))
    lines.append(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")
    return lines


def _channel_bits(prior: Prior, blocks: list[list[np.ndarray]], firsts: list[int], channel: int) -> np.ndarray | None:
    pairs = [i for i, block in enumerate(blocks) if len(block) > 1]
    if not pairs:
        return None
    chosen = [blocks[i] for i in pairs]
    coded = encode_blocks(prior, chosen, [firsts[i] for i in pairs])
    frames = sum(block[channel].shape[1] for block in chosen)
    return np.array([[8 * len(data) for data, _ in block[channel]] for block in coded]).sum(0) / frames


if __name__ == "__main__":
    main()
