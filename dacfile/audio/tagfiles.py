"""Tags and pictures in the audio files themselves, by mutagen; imported only where that is installed."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from typing import Any, BinaryIO

from mutagen import aiff, flac, id3, oggopus, oggvorbis, wave

from dacfile.audio.id3 import from_id3, into_id3
from dacfile.container.tags import Picture, Tags

Found = tuple[list[tuple[str, str]], list[Picture]]

EMBEDDED_PICTURE = "METADATA_BLOCK_PICTURE"  # a FLAC picture block in base64, in a Vorbis comment
FLAC_BLOCK = (1 << 24) - 1  # bytes of a metadata block (RFC 9639, section 8.1)
WITH_STRINGS = ("WAV", "WAVEX", "AIFF")  # hold libsndfile's strings beside the ID3 chunk, and either may be missing


def fits(picture: Picture, container: str) -> bool:
    """Say whether a container has room for so large a picture; ID3 has for all that a `.dacz` file may hold."""
    return container != "FLAC" or len(_to_flac(picture).write()) <= FLAC_BLOCK


def write(stream: BinaryIO, container: str, tags: Tags, pictures: Sequence[Picture]) -> None:
    """Put tags and pictures into a file of one of the WRITERS; raises OSError when it cannot be written."""
    try:
        WRITERS[container](stream, tags, pictures)
    except OSError:
        raise
    except Exception as error:  # mutagen wraps the errors of the stream in its own, and raises others, too
        cause = error.args[0] if error.args else error
        raise cause if isinstance(cause, OSError) else OSError(f"writing the tags failed: {error}") from error


def _read_flac(stream: BinaryIO) -> Found:
    file = flac.FLAC(stream)
    tags, pictures = _from_vorbis(file.tags or ())
    return tags, [_from_flac(picture) for picture in file.pictures] + pictures


def _read_vorbis(stream: BinaryIO) -> Found:
    """Read only the comments: the class OggVorbis would look for the end of the stream, too."""
    return _from_vorbis(oggvorbis.OggVCommentDict(stream, oggvorbis.OggVorbisInfo(stream)))


def _read_opus(stream: BinaryIO) -> Found:
    return _from_vorbis(oggopus.OggOpusVComment(stream, oggopus.OggOpusInfo(stream)))


def _read_mp3(stream: BinaryIO) -> Found:
    """Read ID3v2, or ID3v1 where that is all: beside the other it is the same, cut short."""
    for old in (False, True):
        try:
            stream.seek(0)
            return from_id3(id3.ID3(stream, load_v1=old))
        except id3.ID3NoHeaderError:
            pass
    return [], []


def _read_iff(kind: Callable[..., Any]) -> Callable[[BinaryIO], Found]:
    """Return the reader of a container with an ID3 chunk; an ID3v1 tag at its end would be chance."""

    def read(stream: BinaryIO) -> Found:
        tags = kind(stream, load_v1=False).tags
        return ([], []) if tags is None else from_id3(tags)

    return read


def _from_vorbis(comments: Any) -> Found:
    tags, pictures = [], []
    for key, value in list(comments):
        if key.upper() == EMBEDDED_PICTURE:
            pictures.append(_from_flac(flac.Picture(base64.b64decode(value))))
        else:
            tags.append((key.upper(), value))
    return tags, pictures


def _from_flac(picture: Any) -> Picture:
    return Picture(int(picture.type), picture.mime, picture.desc, picture.data)


def _write_flac(stream: BinaryIO, tags: Tags, pictures: Sequence[Picture]) -> None:
    stream.seek(0)
    file: Any = flac.FLAC(stream)
    if file.tags is None:
        file.add_tags()
    file.tags[:] = list(tags)
    for picture in pictures:
        file.add_picture(_to_flac(picture))
    stream.seek(0)
    file.save(stream)


def _to_flac(picture: Picture) -> Any:
    """Return the block; its width and height stay 0, "unknown": pictures are never decoded."""
    block = flac.Picture()
    block.type, block.mime, block.desc = picture.kind, picture.mime, picture.description
    block.data = picture.data
    return block


def _write_iff(kind: Callable[..., Any]) -> Callable[[BinaryIO, Tags, Sequence[Picture]], None]:
    def write(stream: BinaryIO, tags: Tags, pictures: Sequence[Picture]) -> None:
        stream.seek(0)
        file = kind(stream)
        if file.tags is None:
            file.add_tags()
        into_id3(file.tags, tags, pictures)
        stream.seek(0)
        file.save(stream)

    return write


READERS: dict[str, Callable[[BinaryIO], Found]] = {  # by libsndfile's name of the container, or of what Ogg holds
    "FLAC": _read_flac,
    "VORBIS": _read_vorbis,
    "OPUS": _read_opus,
    "MP3": _read_mp3,
    "WAV": _read_iff(wave.WAVE),
    "WAVEX": _read_iff(wave.WAVE),
    "AIFF": _read_iff(aiff.AIFF),
}
WRITERS = {
    "FLAC": _write_flac,
    "WAV": _write_iff(wave.WAVE),
    "WAVEX": _write_iff(wave.WAVE),
    "AIFF": _write_iff(aiff.AIFF),
}
