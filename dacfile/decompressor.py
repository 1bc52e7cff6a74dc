"""`.dacz` to audio file: the whole or a part, in the source's own format or another one."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import BinaryIO

from dacfile.audio.writer import AudioWriter, OutputFormat, output_format
from dacfile.container import Head, Reader, SalvageReport, gaps_of, salvage
from dacfile.decoder import Decoder, source_length
from dacfile.entropy import Prior
from dacfile.errors import UsageError
from dacfile.events import ProgressCallback
from dacfile.plan import AUDIO_SUFFIXES
from dacfile.spool import spool, spooled
from dacfile.stream import WindowCodec

FindCodec = Callable[[Head], WindowCodec]
FindPrior = Callable[[Head], Prior | None]
MOST_GAPS = 20  # that are told one by one


@dataclass(frozen=True)
class DecompressOptions:
    """What a user may choose for one file.

    `codebooks` caps the layers used; `start` and `duration` are seconds; `format` is "wav", "flac", "aiff", "w64",
    "caf", or None for the source's own format; `force` decodes what is intact of a damaged file, silence for the rest.
    """

    codebooks: int | None = None
    start: float = 0.0
    duration: float | None = None
    format: str | None = None
    force: bool = False


@dataclass(frozen=True)
class Decompressed:
    """What became of one file: samples per channel, seconds, channels, format, how many samples were clipped, damage.

    `damage` tells what is silent because it was lost, `left_out` which tags and pictures are missing, in sentences.
    """

    samples: int
    seconds: float
    channels: int
    form: OutputFormat
    clipped: int
    damage: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should know."""
        clipped = (f"{self.clipped} samples were clipped",) if self.clipped else ()
        return (*self.damage, *clipped, *self.left_out)


def decompress_file(
    source: str | PathLike[str] | BinaryIO,
    target: BinaryIO,
    find_codec: FindCodec,
    find_prior: FindPrior,
    options: DecompressOptions | None = None,
    progress: ProgressCallback | None = None,
) -> Decompressed:
    """Decompress a `.dacz` file (path or binary stream, also a pipe) to the stream `target`.

    The two functions return the model and the prior that a file names. Nothing is written before both are there.
    Raises DaczError for a damaged file or impossible options, OSError.
    """
    options = options or DecompressOptions()
    with _opened(source, options.force) as (reader, damage):
        head = reader.head
        form = output_format(head.container_name, head.subtype_name, options.format)
        prior = find_prior(head)
        decoder = Decoder(reader, find_codec(head), prior, options.codebooks)
        start, stop = sample_range(reader, options.start, options.duration)
        samples, done = stop - start, 0
        with AudioWriter(
            target, form, head.source_rate, head.channels, samples, head.channel_mask, reader.tags, reader.pictures
        ) as writer:
            for block in decoder.samples(start, stop):
                writer.write(block)
                done += len(block)
                if progress:
                    progress(done / head.source_rate, samples / head.source_rate)
        damage += _gaps_within(reader, start, stop)
        seconds = samples / head.source_rate
        return Decompressed(samples, seconds, head.channels, form, writer.clipped, damage, writer.notes)


def format_of_name(target: Path, wanted: str | None) -> str | None:
    """Return the format to write `target` in: what its name says, else `wanted`.

    Raises UsageError for the name of a format that is not written, and when the name and `wanted` say different things.
    """
    suffix = target.suffix.lower()
    if suffix not in AUDIO_SUFFIXES:
        return wanted
    said = output_format("", "", suffix).container
    if wanted is not None and output_format("", "", wanted).container != said:
        raise UsageError(f"{target}: the name says {said.lower()}, but the format asked for is {wanted}")
    return said.lower()


@contextmanager
def _opened(source: str | PathLike[str] | BinaryIO, force: bool) -> Iterator[tuple[Reader, tuple[str, ...]]]:
    """Open a file, or with `force` a salvaged copy of it, and say what had to be guessed about it."""
    if not force:
        with Reader(source) as reader:
            yield reader, ()
        return
    with spool() as copy:
        report = _salvage(source, copy)
        with Reader(copy) as reader:
            yield reader, report.guesses


def _salvage(source: str | PathLike[str] | BinaryIO, target: BinaryIO) -> SalvageReport:
    if isinstance(source, (str, PathLike)) or source.seekable():
        return salvage(source, target)
    with spooled(source) as copy:
        return salvage(copy, target)


def _gaps_within(reader: Reader, start: int, stop: int) -> tuple[str, ...]:
    """Return what is silent of the samples [start, stop) because it was lost, also before an earlier salvage."""
    rate = reader.head.source_rate
    gaps = gaps_of(reader.lost, reader.head, reader.source_samples or 0)
    told = [str(gap) for gap in gaps if gap.start * rate < stop and gap.stop * rate > start]
    more = len(told) - MOST_GAPS
    return (*told[:MOST_GAPS], f"and {more} more gaps") if more > 0 else tuple(told)


def sample_range(reader: Reader, start: float, duration: float | None) -> tuple[int, int]:
    """Return the source's samples [start, stop) for seconds; raises UsageError for a part that is not in the file."""
    total, rate = source_length(reader), reader.head.source_rate
    for name, value in (("start", start), ("duration", duration)):
        if value is not None and not value >= 0:
            reason = "a number of seconds is expected" if math.isnan(value) else "it cannot be negative"
            raise UsageError(f"{name} {value:g}: {reason}")
    first = round(min(start, total / rate) * rate)
    if start > 0 and first >= total:
        raise UsageError(f"starting at {start:g} s: the file ends at {total / rate:.2f} s")
    if duration is None:
        return first, total
    return first, min(first + round(min(duration, total / rate) * rate), total)
