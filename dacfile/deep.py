"""Verification down to the audio: it decodes to its full length, and to something like its source; needs the model."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dacfile.audio.files import AudioReader
from dacfile.container import Reader
from dacfile.decoder import Decoder
from dacfile.errors import SourceChanged, StructureError
from dacfile.installed import prior_of
from dacfile.material import DIGEST_BYTES
from dacfile.verification import Verification, verify_file

if TYPE_CHECKING:
    from dacfile.installed import Codecs


def verify_deep(path: Path, codecs: Codecs, source: Path | None = None) -> Verification:
    """Check a file as `verify_file` does, then decode its audio to its full length.

    With `source` also check that the file was made from exactly these samples, and tell how far the decoded ones are
    from them. Raises SourceChanged for another source, DaczError for everything else that is wrong.
    """
    result = verify_file(path)
    told: tuple[str, ...] = ("audio, to its full length",)
    if source is not None:
        check_source(path, source)
    with Reader(path) as reader:
        decoder = Decoder(reader, codecs.for_head(reader.head), prior_of(reader.head, path))
        if source is None:
            length = sum(len(block) for block in decoder.samples())
        else:
            length, ratio = _compare(decoder.samples(), source)
            told += ("the source's samples", f"the audio against the source's: signal to noise {ratio:.2f} dB")
        if length != reader.source_samples:
            raise StructureError(f"decodes to {length} samples, its source had {reader.source_samples}")
    return replace(result, checks=(*result.checks, *told))


def check_source(path: Path, source: Path) -> None:
    """Raise SourceChanged unless `source` holds exactly the samples that the file was made from."""
    if not is_source(path, source):
        raise SourceChanged(f"{source} does not hold the samples that {path} was made from")


def is_source(path: Path, source: Path) -> bool:
    """Say whether `source` has the rate, the channels and exactly the samples that the file was made from."""
    with Reader(path) as reader, AudioReader(source) as audio:
        same = (audio.info.rate, audio.info.channels) == (reader.head.source_rate, reader.head.channels)
    return same and source_digest(source) == stored_digest(path)


def source_digest(path: Path) -> bytes:
    """Return the digest of a source's samples as TAIL holds it; reads the whole file."""
    digest = hashlib.sha256()
    with AudioReader(path) as reader:
        for block in reader.blocks():
            digest.update(block.astype("<f4").tobytes())
    return digest.digest()[:DIGEST_BYTES]


def stored_digest(path: Path) -> bytes | None:
    """Return the digest of the source's samples that a file names; zeros after a salvage with losses."""
    with Reader(path) as reader:
        return reader.tail.source_digest if reader.tail else None


def _compare(decoded: Iterator[np.ndarray], source: Path) -> tuple[int, float]:
    """Return the decoded samples' number and their signal-to-noise ratio in dB over all channels."""
    length, signal, noise = 0, 0.0, 0.0
    with AudioReader(source) as reader:
        pieces = reader.blocks()
        held = np.zeros((0, reader.info.channels), np.float32)
        for block in decoded:
            while len(held) < len(block) and (piece := next(pieces, None)) is not None:
                held = np.concatenate([held, piece])
            wanted, held = held[: len(block)], held[len(block) :]
            signal += float(np.square(wanted, dtype=np.float64).sum())
            noise += float(np.square(block[: len(wanted)] - wanted, dtype=np.float64).sum())
            length += len(block)
    return length, _decibels(signal, noise)


def _decibels(signal: float, noise: float) -> float:
    if not noise:
        return math.inf
    return 10 * math.log10(signal / noise) if signal else -math.inf
