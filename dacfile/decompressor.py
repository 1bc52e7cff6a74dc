"""`.dacz` to audio file: the whole or a part, in the source's own format or another one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from os import PathLike
from typing import BinaryIO

from dacfile.audio.writer import AudioWriter, OutputFormat, output_format
from dacfile.compressor import Progress
from dacfile.container import Head, Reader
from dacfile.decoder import Decoder
from dacfile.entropy import Prior
from dacfile.errors import UsageError
from dacfile.stream import WindowCodec

FindCodec = Callable[[Head], WindowCodec]
FindPrior = Callable[[Head], Prior | None]


@dataclass(frozen=True)
class DecompressOptions:
    """What a user may choose for one file.

    `codebooks` caps the layers used; `start` and `duration` are seconds; `format` is "wav", "flac", "aiff", "w64",
    "caf", or None for the source's own format.
    """

    codebooks: int | None = None
    start: float = 0.0
    duration: float | None = None
    format: str | None = None


@dataclass(frozen=True)
class Decompressed:
    """What became of one file: samples per channel, seconds, channels, format, and how many samples were clipped."""

    samples: int
    seconds: float
    channels: int
    form: OutputFormat
    clipped: int

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should know."""
        return (f"{self.clipped} samples were clipped",) if self.clipped else ()


def decompress_file(
    source: str | PathLike[str] | BinaryIO,
    target: BinaryIO,
    find_codec: FindCodec,
    find_prior: FindPrior,
    options: DecompressOptions | None = None,
    progress: Progress | None = None,
) -> Decompressed:
    """Decompress a `.dacz` file (path or binary stream, also a pipe) to the stream `target`.

    The two functions return the model and the prior that a file names. Nothing is written before both are there.
    Raises DaczError for a damaged file or impossible options, OSError.
    """
    options = options or DecompressOptions()
    with Reader(source) as reader:
        head = reader.head
        form = output_format(head.container_name, head.subtype_name, options.format)
        prior = find_prior(head)
        decoder = Decoder(reader, find_codec(head), prior, options.codebooks)
        start, stop = sample_range(reader, options.start, options.duration)
        samples, done = stop - start, 0
        with AudioWriter(
            target, form, head.source_rate, head.channels, samples, head.channel_mask, reader.tags
        ) as writer:
            for block in decoder.samples(start, stop):
                writer.write(block)
                done += len(block)
                if progress:
                    progress(done / head.source_rate, samples / head.source_rate)
        return Decompressed(stop - start, (stop - start) / head.source_rate, head.channels, form, writer.clipped)


def sample_range(reader: Reader, start: float, duration: float | None) -> tuple[int, int]:
    """Return the source's samples [start, stop) for seconds; raises UsageError for a part that is not in the file."""
    total = reader.source_samples
    if total is None:
        raise UsageError("this file says how long it is only at its end: save it to a disk, then decode it")
    rate = reader.head.source_rate
    if not start >= 0 or (duration is not None and not duration >= 0):
        raise UsageError("start and duration cannot be negative")
    first = round(min(start, total / rate) * rate)
    if start > 0 and first >= total:
        raise UsageError(f"starting at {start:g} s: the file ends at {total / rate:.2f} s")
    if duration is None:
        return first, total
    return first, min(first + round(min(duration, total / rate) * rate), total)
