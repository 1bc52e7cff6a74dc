"""Fuzzing of decoding: damaged files through the prior, the stub codec, silence, mid/side, resampling and the writer.

The suite runs some hundred cases in a child process (`test_hard_decode.py`); long runs go by hand:
`python tests/fuzz_decode.py --count 100000 --seed 1`. Half of the cases have CRC and SHA-256 checks switched off.
The process may take no more than `fuzz_loop.MARGIN` bytes of memory beyond what it has after the good files.
"""

from __future__ import annotations

import argparse
import io
import random
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent)]

import numpy as np  # noqa: E402
import soundfile  # noqa: E402
from container_files import attacked, equalised  # noqa: E402
from fuzz_loop import limit_memory, run_cases  # noqa: E402
from fuzz_reader import crc_checks_off, damaged_bytes, damaged_chunks  # noqa: E402
from stub_codec import StubCodec  # noqa: E402

from dacfile.container import Head, rewrite  # noqa: E402
from dacfile.entropy import Prior  # noqa: E402
from dacfile.entropy.counts import CountPrior, normalise  # noqa: E402
from dacfile.errors import DaczError, PriorNotFound  # noqa: E402
from dacfile.pipeline import CompressOptions, DecompressOptions, compress_file, decompress_file  # noqa: E402


class EqualisingCodec(StubCodec):
    """A stub whose samples depend on the gains of equalisers."""

    def __init__(self) -> None:
        super().__init__(hop=32, codebooks=2)
        self.facts = replace(self.facts, architecture="lapped")

    def decode_windows(
        self,
        codes: np.ndarray,
        first_frames: Sequence[int],
        channels: Sequence[int],
        gains: np.ndarray | None = None,
    ) -> np.ndarray:
        samples = super().decode_windows(codes, first_frames, channels)
        return samples if gains is None else samples * np.exp(gains.mean((1, 2)))[:, None]


CODEC = EqualisingCodec()
PRIOR = CountPrior(normalise(np.random.default_rng(0).integers(1, 99, (2, 1, 64))).astype(np.int32))
MOST_BYTES = 1 << 24  # of output: more may be right for a file that says so, but takes long


class Full(OSError):
    """The output has become larger than what is worth the time."""


class Sink(io.BytesIO):
    """An output of limited size."""

    def write(self, data) -> int:
        if self.tell() + len(data) > MOST_BYTES:
            raise Full
        return super().write(data)


def corpus() -> list[bytes]:
    """Return good files: mono, mid/side, silence and equal channels, resampled, raw and with a prior and equalisers."""
    rng = np.random.default_rng(0)
    noise = rng.uniform(-0.5, 0.5, (900, 3)).astype(np.float32)
    gaps = noise[:, [0, 1, 0]].copy()
    gaps[200:700] = 0
    cases = [(noise[:, :1], 8000, "lr"), (noise[:, :2], 8000, "ms"), (gaps, 8000, "lr"), (noise[:, :1], 11_025, "lr")]
    files = []
    for samples, rate, stereo in cases:
        for prior in (None, PRIOR):
            wav, out = io.BytesIO(), io.BytesIO()
            soundfile.write(wav, samples, rate, format="WAV", subtype="FLOAT")
            wav.seek(0)
            compress_file(wav, out, CODEC, prior, CompressOptions(stereo=stereo, block_seconds=0.04))
            files.append(out.getvalue())
    return [*files, *map(with_equalisers, files[1::2])]


def with_equalisers(data: bytes) -> bytes:
    """Return a file with equalisers and attacks in some of its blocks."""
    out = io.BytesIO()
    rewrite(io.BytesIO(data), out, lambda blocks: attacked(equalised(list(blocks))))
    return out.getvalue()


CORPUS = corpus()


def find_prior(head: Head) -> Prior | None:
    """Return the prior a file names, as the installed ones are found."""
    if head.coder == 0:
        return None
    if head.prior_id != PRIOR.id:
        raise PriorNotFound("no such prior")
    return PRIOR


def decode(data: bytes, options: DecompressOptions) -> str:
    """Return what became of a file."""
    try:
        decompress_file(io.BytesIO(data), Sink(), lambda head: CODEC, find_prior, options)
    except DaczError as error:
        return type(error).__name__
    except Full:
        return "large output"
    return "decoded"


def case(number: int) -> str:
    """Return what became of one damaged file, decoded in one of many ways; CRCs are looked at in every other case."""
    rng = random.Random(number)
    data = rng.choice((damaged_bytes, damaged_chunks, damaged_chunks))(rng, rng.choice(CORPUS))
    wishes = DecompressOptions(
        force=rng.randrange(2) == 0,
        start=rng.choice((0.0, 0.0, 0.05)),
        duration=rng.choice((None, 0.03)),
        codebooks=rng.choice((None, 1)),
        format=rng.choice((None, "wav", "flac")),
    )
    with crc_checks_off() if number % 2 else nullcontext():
        return decode(data, wishes)


def main() -> None:
    """Run many cases and report."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if any(decode(data, DecompressOptions()) != "decoded" for data in CORPUS):
        raise AssertionError("a good file cannot be decoded")
    limit_memory()
    run_cases(case, options.count, options.seed)


if __name__ == "__main__":
    main()
