"""Tags and pictures of audio files: what a source has, and what an output gets.

All of them with mutagen (the extra `tags`); without it the ten strings that libsndfile knows. Trouble with them never
fails a file: what cannot be kept is left out and told in a note. Pictures are never decoded.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import BinaryIO

from dacfile.audio.strings import PROGRAM_TAGS, fitting_strings
from dacfile.audio.view import View
from dacfile.container.tags import COUNT_BYTES, ENTRY_BYTES, Picture, Tags, is_valid_key, pack_picture
from dacfile.errors import DaczError
from dacfile.limits import DEFAULT_LIMITS, MIB, Limits

INSTALL = "pip install 'dacfile[tags]'"
MOST_BYTES = 64 * MIB  # that are read to find the tags of one file
PICTURE_MARKS = (b"image/", b"METADATA_BLOCK_PICTURE")
MARKS_WITHIN = 1 << 16  # bytes at the start of a file
RIFF_SIZE = 1 << 32  # what the lengths in RIFF and AIFF files can count


@dataclass(frozen=True)
class Metadata:
    """Tags with upper-case Vorbis keys in order, duplicates kept; pictures; what a user should know of them."""

    tags: tuple[tuple[str, str], ...] = ()
    pictures: tuple[Picture, ...] = ()
    notes: tuple[str, ...] = ()


def read_metadata(view: View, container: str, subtype: str, strings: Tags, limits: Limits = DEFAULT_LIMITS) -> Metadata:
    """Return what a source holds, as much of it as a `.dacz` file may; `view` is left where it was.

    `container` and `subtype` are libsndfile's names, `strings` the tags that libsndfile has found.
    """
    position = view.tell()
    try:
        found = _find(view, container, subtype, tuple(strings))
    finally:
        view.seek(position)
    return _within(found, limits)


def write_metadata(stream: BinaryIO, container: str, tags: Tags, pictures: tuple[Picture, ...]) -> tuple[str, ...]:
    """Put tags and pictures into a finished file, which has libsndfile's strings already; return notes.

    `stream` can be read, written and moved in; no sample is touched. Raises OSError when it cannot be written.
    """
    tags = [(key.upper(), value) for key, value in tags if key.upper() not in PROGRAM_TAGS]
    if not tags and not pictures:
        return ()
    files = _tag_files()
    if files is None:
        return _left_out(container, tags, pictures, INSTALL)
    if container not in files.WRITERS:
        return _left_out(container, tags, pictures, f"{container} files have no place for them")
    fitting = [picture for picture in pictures if files.fits(picture, container)]
    if container != "FLAC" and not _has_room(stream, tags, fitting):
        return _left_out(container, tags, pictures, "the file would be larger than 4 GiB")
    files.write(stream, container, tags, fitting)
    lost = len(pictures) - len(fitting)
    return (f"{_count(lost, 'picture')} left out: too large for a {container} file",) if lost else ()


def _find(view: View, container: str, subtype: str, strings: tuple[tuple[str, str], ...]) -> Metadata:
    files = _tag_files()
    if files is None:
        return Metadata(strings, notes=tuple(_hint(view)))
    read = files.READERS.get(container) or files.READERS.get(subtype)
    if read is None:
        return Metadata(strings)
    try:
        tags, pictures = read(_Capped(view))
    except Exception:  # on damaged tags mutagen raises more than its own errors
        return Metadata(strings, notes=("its tags are damaged or very large: only the most common ones are kept",))
    if container in files.WITH_STRINGS:
        known = {key for key, _ in tags}
        tags += [(key, value) for key, value in strings if key not in known]
    return Metadata(tuple(tags), tuple(pictures))


def _tag_files() -> ModuleType | None:
    """Return the module that needs mutagen, or None without it; imported late, since most programs need no tags."""
    try:
        import mutagen  # noqa: F401
    except ImportError:
        return None
    from dacfile.audio import tagfiles

    return tagfiles


def _hint(view: View) -> Iterator[str]:
    """Yield a note when a look at the start of a file shows a picture, which is lost without mutagen."""
    view.seek(0)
    start = view.read(MARKS_WITHIN)
    if any(mark in start for mark in PICTURE_MARKS):
        yield f"its pictures and its less common tags are left out; to keep them: {INSTALL}"


class _Capped:
    """A source as mutagen may read it: MOST_BYTES in all, whatever the lengths in a damaged file say."""

    def __init__(self, view: View) -> None:
        self._view, self._left = view, MOST_BYTES
        self.tell = view.tell
        view.seek(0)

    def read(self, size: int = -1) -> bytes:
        """Return up to `size` bytes; raises ValueError for more than are left to be read."""
        if size > self._left:
            raise ValueError("more than a tag may have")
        data = self._view.read(self._left if size < 0 else size)
        self._left -= len(data)
        return data

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move; what is before the start is the start, where the view would stay in its place."""
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self.tell()}.get(whence)
        if start is None:
            start = self._view.seek(0, os.SEEK_END)
        return self._view.seek(max(start + offset, 0))


def _within(found: Metadata, limits: Limits) -> Metadata:
    """Return what of it a `.dacz` file may hold, with notes about the rest."""
    tags = tuple(_fitting_tags(found.tags, limits))
    pictures = tuple(picture for picture in found.pictures if _is_storable(picture, limits))[: limits.pictures]
    notes = list(found.notes)
    if lost := len(found.tags) - len(tags):
        notes.append(f"{_count(lost, 'tag')} left out: too many, too long or with impossible names")
    if lost := len(found.pictures) - len(pictures):
        most = f"{limits.pictures} of up to {limits.picture_bytes // MIB} MiB each can be kept"
        notes.append(f"{_count(lost, 'picture')} left out: {most}")
    return Metadata(tags, pictures, tuple(notes))


def _fitting_tags(tags: Tags, limits: Limits) -> Iterator[tuple[str, str]]:
    count, total = 0, COUNT_BYTES
    for key, value in tags:
        data = value.encode("utf-8", "replace")
        size = ENTRY_BYTES + len(key) + len(data)
        if is_valid_key(key) and count < limits.tags_entries and total + size <= limits.tags_bytes:
            count, total = count + 1, total + size
            yield key, data.decode()


def _is_storable(picture: Picture, limits: Limits) -> bool:
    try:
        pack_picture(picture, limits)
    except DaczError:
        return False
    return True


def _has_room(stream: BinaryIO, tags: Tags, pictures: list[Picture]) -> bool:
    """Say whether a file whose lengths have 32 bits has room for these, generously estimated."""
    size = stream.seek(0, os.SEEK_END)
    size += sum(len(picture.data) + 4 * len(picture.description) for picture in pictures)
    return size + sum(8 * len(key) + 4 * len(value) for key, value in tags) + MIB < RIFF_SIZE


def _left_out(container: str, tags: Tags, pictures: tuple[Picture, ...], why: str) -> tuple[str, ...]:
    """Return the note about what is not among libsndfile's strings, if there is such."""
    held = fitting_strings(container, tags)
    lost = sum(key not in held for key, _ in tags)
    parts = [_count(number, name) for number, name in ((lost, "tag"), (len(pictures), "picture")) if number]
    return (f"{' and '.join(parts)} left out: {why}",) if parts else ()


def _count(number: int, name: str) -> str:
    return f"{number} {name}{'s' * (number != 1)}"
