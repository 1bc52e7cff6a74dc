"""Write audio files in blocks: the source's own format where that is lossless, exact rounding, clipping counted."""

from __future__ import annotations

import io
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, BinaryIO

import numpy as np
import soundfile

from dacfile.audio.aiff import write_lengths
from dacfile.audio.riff import write_channel_mask
from dacfile.audio.strings import give_strings
from dacfile.audio.tags import write_metadata
from dacfile.container.tags import Picture
from dacfile.errors import UsageError

RIFF_LIMIT = (1 << 32) - (1 << 20)  # bytes of samples; beyond it a 32-bit length might not hold the file
WRITE_FRAMES = 1 << 12  # libsndfile's Vorbis encoder overflows the stack on large writes
FLAC_MAX_CHANNELS, FLAC_MAX_RATE = 8, 655_350  # RFC 9639, section 9.1
SUFFIXES = {"WAV": ".wav", "FLAC": ".flac", "AIFF": ".aiff", "W64": ".w64", "CAF": ".caf"}
NATIVE = {"WAV": "WAV", "WAVEX": "WAV", "RF64": "WAV", "FLAC": "FLAC", "AIFF": "AIFF"}  # restored as they were
SAMPLE_BYTES = {"PCM_S8": 1, "PCM_U8": 1, "PCM_16": 2, "PCM_24": 3, "PCM_32": 4, "FLOAT": 4, "DOUBLE": 8}
SAMPLE_BYTES |= {"ULAW": 1, "ALAW": 1}
INTEGER_BITS = {"PCM_S8": 8, "PCM_U8": 8, "PCM_16": 16, "PCM_24": 24, "PCM_32": 32, "ULAW": 16, "ALAW": 16}
NEAREST = {"PCM_U8": "PCM_S8", "PCM_S8": "PCM_U8", "PCM_32": "PCM_24", "FLOAT": "PCM_24", "DOUBLE": "PCM_24"}
DEFAULT_SUBTYPE = "PCM_16"  # for sources that were lossy already, or of unknown sample format
ADD_PEAK_CHUNK = 0x1050  # SFC_SET_ADD_PEAK_CHUNK of sndfile.h


@dataclass(frozen=True)
class OutputFormat:
    """Container and sample format in libsndfile's names, and the suffix (with dot) of such files."""

    container: str
    subtype: str
    suffix: str


def output_format(container: str, subtype: str, wanted: str | None = None) -> OutputFormat:
    """Return the format to write a source of this container and subtype in, or `wanted` in the nearest subtype.

    Raises UsageError when `wanted` is not one of the formats that are written.
    """
    chosen = wanted.upper().lstrip(".") if wanted else NATIVE.get(container, "WAV")
    chosen = {"AIF": "AIFF", "WAVE": "WAV", "BWF": "WAV", "RF64": "WAV"}.get(chosen, chosen)
    if chosen not in SUFFIXES:
        names = ", ".join(name.lower() for name in SUFFIXES)
        raise UsageError(f"cannot write the format {wanted!r}; use one of {names}")
    for candidate in (subtype, NEAREST.get(subtype, DEFAULT_SUBTYPE), DEFAULT_SUBTYPE):
        if candidate in SAMPLE_BYTES and soundfile.check_format(chosen, candidate):
            return OutputFormat(chosen, candidate, SUFFIXES[chosen])
    raise UsageError(f"cannot write {subtype} as {chosen.lower()}; choose another format")


class AudioWriter:
    """Write float32 blocks to a binary stream: a context manager that completes the file at its end.

    `samples` (per channel) must be known: it decides between WAV and RF64. A stream that cannot seek, or not be read,
    gets the file at the end, from a temporary file. Raises UsageError when the format cannot hold so much, so many
    channels or the rate. `clipped` counts the samples that an integer format could not hold; `notes` say which tags are
    left out. Errors of the stream are raised as they are.
    """

    def __init__(
        self,
        stream: BinaryIO,
        form: OutputFormat,
        rate: int,
        channels: int,
        samples: int,
        channel_mask: int = 0,
        tags: Sequence[tuple[str, str]] = (),
        pictures: Sequence[Picture] = (),
    ) -> None:
        self.clipped = 0
        self._written = 0
        self.notes: tuple[str, ...] = ()
        self._tags, self._pictures = tuple(tags), tuple(pictures)
        self._form, self._channels, self._samples, self._rate = form, channels, samples, rate
        self._mask = channel_mask if form.container == "WAV" else 0
        self._target = stream
        self._container = _container(form, rate, channels, samples, bool(self._mask))
        self._direct = stream.seekable() and stream.readable()
        self._file: BinaryIO = stream if self._direct else tempfile.TemporaryFile()  # noqa: SIM115
        self._sink = _Sink(self._file)
        self._sound = self._sink.call(
            partial(soundfile.SoundFile, self._sink, "w", rate, channels, form.subtype, format=self._container)
        )
        # libsndfile would put the time of writing into a PEAK chunk of float files; there is no public call for this
        soundfile._snd.sf_command(self._sound._file, ADD_PEAK_CHUNK, soundfile._ffi.NULL, 0)
        if samples:  # without, libsndfile would leave the length of the file as it was before the strings
            give_strings(self._sound, self._container, self._tags)

    def __enter__(self) -> AudioWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        if kind is None:
            self.finish()
        else:
            self._sink.detach()
            self._sound.close()

    def write(self, samples: np.ndarray) -> None:
        """Write samples float32 [n, C]; full scale is 1."""
        for start in range(0, len(samples), WRITE_FRAMES):
            values = self._convert(samples[start : start + WRITE_FRAMES])
            self._sink.call(partial(self._sound.write, values))
            self._written += len(values)

    def finish(self) -> None:
        """Complete the file; the stream stays open. Done by leaving the context."""
        self._sink.call(self._sound.close)
        if self._form.container == "FLAC" and not self._samples:
            self._file.write(_empty_flac(self._rate, self._channels, INTEGER_BITS[self._form.subtype]))
        if self._form.container == "AIFF":
            write_lengths(self._file, self._written, self._channels * SAMPLE_BYTES[self._form.subtype])
        if self._mask:
            write_channel_mask(self._file, self._mask)
        self.notes = write_metadata(self._file, self._container, self._tags, self._pictures)
        if not self._direct:
            self._file.seek(0)
            shutil.copyfileobj(self._file, self._target)
            self._file.close()

    def _convert(self, samples: np.ndarray) -> np.ndarray:
        """Return what libsndfile stores without touching it: integers rounded to nearest, at the top of their words."""
        bits = INTEGER_BITS.get(self._form.subtype)
        if bits is None:
            return np.ascontiguousarray(samples, np.float32)
        full = float(1 << (bits - 1))
        scaled = np.rint(np.multiply(samples, full, dtype=np.float64 if bits > 16 else np.float32))
        exact = np.clip(scaled, -full, full - 1)
        self.clipped += int(np.count_nonzero(exact != scaled))
        word = np.int16 if bits <= 16 else np.int32
        return exact.astype(word) << (np.dtype(word).itemsize * 8 - bits)


class _Sink:
    """A stream as libsndfile sees it; remembers the error of the stream, which C code would swallow."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._error: BaseException | None = None

    def write(self, data: bytes) -> int:
        """Write `data`, or nothing after an error."""
        if self._error is None:
            try:
                self._stream.write(data)
                return len(data)
            except BaseException as error:
                self._error = error
        return 0

    def seek(self, offset: int, whence: int = 0) -> int:
        """Move as the stream itself does."""
        return self._stream.seek(offset, whence)

    def tell(self) -> int:
        """Return the position in the stream."""
        return self._stream.tell()

    def read(self, size: int = -1) -> bytes:
        """Return nothing: outputs are only written."""
        return b""

    def detach(self) -> None:
        """Let go of the stream: what libsndfile does when it is closed goes nowhere."""
        self._stream = io.BytesIO()

    def call(self, step: Callable[[], Any]) -> Any:
        """Return what a step of libsndfile gives; raise the stream's own error if there was one."""
        try:
            result = step()
        except (soundfile.SoundFileError, AssertionError) as error:
            raise self._error or OSError(f"writing failed: {error}") from None
        if self._error is not None:
            self.detach()
            raise self._error
        return result


def _container(form: OutputFormat, rate: int, channels: int, samples: int, masked: bool) -> str:
    """Return libsndfile's name of the container to write; raises UsageError when it cannot hold the audio."""
    if form.container == "FLAC" and (channels > FLAC_MAX_CHANNELS or rate > FLAC_MAX_RATE):
        raise UsageError(f"FLAC cannot hold {channels} channels at {rate} Hz; use the format wav")
    size = samples * channels * SAMPLE_BYTES[form.subtype]
    if size > RIFF_LIMIT and form.container == "AIFF":
        raise UsageError("AIFF cannot hold more than 4 GiB; use the format wav")
    if form.container != "WAV":
        return form.container
    if size > RIFF_LIMIT:
        return "RF64"
    return "WAVEX" if masked else "WAV"


def _empty_flac(rate: int, channels: int, bits: int) -> bytes:
    """Return a FLAC file without samples, which libsndfile would leave without any bytes (RFC 9639, section 8.2)."""
    packed = rate << 44 | (channels - 1) << 41 | (bits - 1) << 36
    stream_info = bytes((16, 0, 16, 0)) + bytes(6) + packed.to_bytes(8, "big") + bytes(16)
    return b"fLaC" + bytes((0x80, 0, 0, len(stream_info))) + stream_info
