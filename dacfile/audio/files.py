"""Read audio files of any format in blocks, through libsndfile, without trusting their names or their headers."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import soundfile

from dacfile.audio.mp3 import check_mp3, count_frames, with_count
from dacfile.audio.ogg import check_ogg
from dacfile.audio.riff import read_wave_header, with_true_length
from dacfile.audio.strings import strings_of
from dacfile.audio.tags import Metadata, read_metadata
from dacfile.audio.view import View
from dacfile.errors import LimitError, SourceChanged, UnsupportedAudio
from dacfile.limits import DEFAULT_LIMITS, Limits
from dacfile.spool import spooled

Source = str | os.PathLike[str] | BinaryIO
BLOCK_VALUES = 1 << 17  # samples of all channels in one block
ESTIMATED_LENGTH = ("MP3",)  # formats whose headers only estimate the length


@dataclass(frozen=True)
class SourceInfo:
    """Facts of a source.

    `samples` per channel as its header says, None if unknown; container, subtype and tags as libsndfile knows them.
    """

    name: str
    rate: int
    channels: int
    samples: int | None
    container: str
    subtype: str
    channel_mask: int
    tags: tuple[tuple[str, str], ...]
    file_bytes: int


class AudioReader:
    """An open source; a context manager.

    `source` is a path or a binary stream; a stream that cannot seek (a pipe) is copied to a temporary file first.
    `warnings` collects what is odd but readable. Raises UnsupportedAudio when it is not audio, LimitError when it has
    too many channels or too high a rate, and OSError when it cannot be opened.
    """

    def __init__(self, source: Source, limits: Limits = DEFAULT_LIMITS) -> None:
        self.path = None if hasattr(source, "read") else Path(source)
        self.name = str(self.path) if self.path else str(getattr(source, "name", "<stream>"))
        self.warnings: list[str] = []
        self._started = False
        stream: BinaryIO = open(self.path, "rb") if self.path else source  # type: ignore[assignment]  # noqa: SIM115
        self._owned = [stream] if self.path else []
        try:
            self._stream = self._seekable(stream)
            self._identity = self._identify()
            self._sound = self._open()
            self._known = len(self.warnings)
            self.info = self._describe(limits)
        except BaseException:
            self._close_files()
            raise

    def __enter__(self) -> AudioReader:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the source, if it was opened here."""
        self._sound.close()
        self._close_files()

    def blocks(self) -> Iterator[np.ndarray]:
        """Yield the samples from first to last, float32 [n, C]; may be called again to read once more.

        Raises UnsupportedAudio when the data are damaged, end too early, or hold NaN or infinity, and SourceChanged
        when the file changed since it was opened.
        """
        frames = max(BLOCK_VALUES // self.info.channels, 1)
        done = 0
        self._rewind()
        while True:
            block = self._read(frames)
            if not len(block):
                break
            self._check_finite(block, done)
            done += len(block)
            yield block
        self.check_unchanged()
        self._check_length(done)

    def metadata(self) -> Metadata:
        """Return all tags and pictures that can be kept; damaged ones never fail. Raises OSError."""
        found = read_metadata(self._view, self.info.container, self.info.subtype, self.info.tags)
        self._check_readable()
        return found

    def check_unchanged(self) -> None:
        """Raise SourceChanged when the file is not the one that was opened any more, by its size and times."""
        try:
            same = self._identify() == self._identity
        except FileNotFoundError:
            same = False
        if not same:
            raise SourceChanged("changed while it was being read; try again when it is at rest")

    def _seekable(self, stream: BinaryIO) -> BinaryIO:
        if stream.seekable():
            return stream
        copy = spooled(stream)
        self._owned.append(copy)
        return copy

    def _open(self) -> soundfile.SoundFile:
        size = self._stream.seek(0, os.SEEK_END)
        self._stream.seek(0)
        if not size:
            raise UnsupportedAudio("not audio: the file is empty")
        header = read_wave_header(self._stream)
        self._mask = header.channel_mask if header else 0
        # a view, so that libsndfile judges by content, not by name
        self._view = with_true_length(self._stream, header) if header else View(self._stream)
        self._warn(header.note if header else None)
        sound = self._open_view()
        if sound.format == "OGG":
            self._warn(check_ogg(View(self._stream)))
        return self._open_mp3(sound) if sound.format == "MP3" else sound

    def _open_mp3(self, sound: soundfile.SoundFile) -> soundfile.SoundFile:
        """Return an MP3 opened anew where libsndfile did not know its length; `sound` is what it has opened."""
        frames = count_frames(View(self._stream))
        if frames is None:
            return sound
        if frames.told is None:
            sound.close()
            self._view = with_count(self._stream, frames)
            sound = self._open_view()
        check_mp3(frames, sound.frames)
        return sound

    def _open_view(self) -> soundfile.SoundFile:
        self._view.seek(0)
        try:
            return soundfile.SoundFile(self._view)
        except (soundfile.LibsndfileError, TypeError) as error:
            self._check_readable()
            raise UnsupportedAudio(f"not audio that can be read ({_reason(error)})") from None

    def _warn(self, note: str | None) -> None:
        if note:
            self.warnings.append(note)

    def _describe(self, limits: Limits) -> SourceInfo:
        sound = self._sound
        if sound.channels > limits.channels:
            raise LimitError.over("channels", sound.channels, limits.channels)
        if sound.samplerate > limits.rate:
            raise LimitError.over("sample rate", sound.samplerate, limits.rate)
        unknown = not 0 <= sound.frames <= limits.source_samples
        return SourceInfo(
            name=self.name,
            rate=sound.samplerate,
            channels=sound.channels,
            samples=None if unknown else sound.frames,
            container=sound.format,
            subtype=sound.subtype,
            channel_mask=self._mask if self._mask.bit_count() <= sound.channels else 0,
            tags=strings_of(sound),
            file_bytes=self._stream_size(),
        )

    def _stream_size(self) -> int:
        position = self._stream.tell()
        size = self._stream.seek(0, os.SEEK_END)
        self._stream.seek(position)
        return size

    def _rewind(self) -> None:
        if self._started:
            self._sound.close()
            del self.warnings[self._known :]
            self._sound = self._open_view()
        self._started = True

    def _read(self, frames: int) -> np.ndarray:
        """Return up to `frames` samples; soundfile's own `read` seeks, which a FLAC of unknown length cannot."""
        block = np.empty((frames, self.info.channels), np.float32)
        pointer = soundfile._ffi.cast("float *", block.ctypes.data)
        count = soundfile._snd.sf_readf_float(self._sound._file, pointer, frames)
        failure = soundfile._snd.sf_error(self._sound._file)
        self._check_readable()
        if failure:
            self.check_unchanged()
            reason = _reason(soundfile.LibsndfileError(failure))
            raise UnsupportedAudio(f"the audio is damaged or cut off ({reason})")
        return block[:count]

    def _check_readable(self) -> None:
        """Raise what went wrong with the stream itself: a bad disk is not bad audio, and never the end of the file."""
        if self._view.error is not None:
            raise self._view.error

    def _check_finite(self, block: np.ndarray, done: int) -> None:
        finite = np.isfinite(block)
        if finite.all():
            return
        sample, channel = np.argwhere(~finite)[0]
        raise UnsupportedAudio(f"sample {done + sample} of channel {channel} is {block[sample, channel]}: not audio")

    def _check_length(self, done: int) -> None:
        expected = self.info.samples
        if expected is None or done == expected:
            return
        text = f"{done} of {expected} samples could be read"
        if self.info.container not in ESTIMATED_LENGTH:
            raise UnsupportedAudio(f"the audio is damaged or cut off: {text}")
        self.warnings.append(f"{text}: the length in the header is an estimate, or the file is cut off")

    def _identify(self) -> tuple[int, ...] | None:
        if self.path is None:
            return None
        facts = os.stat(self.path)
        return facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns

    def _close_files(self) -> None:
        for file in self._owned:
            file.close()


def rate_of(source: Source) -> int:
    """Return the sample rate of an audio file, Hz; a stream has to seek and is left at its start.

    Raises as AudioReader does.
    """
    with AudioReader(source) as reader:
        rate = reader.info.rate
    if reader.path is None:
        source.seek(0)  # type: ignore[union-attr]
    return rate


def _reason(error: Exception) -> str:
    text = getattr(error, "error_string", "") or getattr(error, "prefix", "") or "damaged data"
    return text.strip().rstrip(".").lower().removeprefix("error : ").removeprefix("error in ")
