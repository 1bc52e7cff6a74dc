"""What else than the first stream an Ogg file holds (RFC 3533): libsndfile reads that one, and says nothing more."""

from __future__ import annotations

from collections.abc import Iterator

from dacfile.audio.view import View, Window
from dacfile.errors import UnsupportedAudio

CAPTURE = b"OggS"
HEADER = 27  # bytes of a page before its table of segments
BEGINS = 2  # the flag of the first page of a stream
SKELETON = b"fishead\0"  # describes the other streams and has no content of its own


def check_ogg(view: View) -> str | None:
    """Return a note when other streams run beside the first one; raises UnsupportedAudio when some come after it.

    All first pages of streams that run beside each other come before any other page, so a later one begins a new link
    of a chain. `view` is left at 0.
    """
    beside, more = 0, False
    for begins, content in _pages(Window(view)):
        if begins and more:
            raise UnsupportedAudio("a chain of several Ogg streams, of which only the first could be read; split it")
        more |= not begins
        beside += begins and content != SKELETON
    view.seek(0)
    return "it holds more streams than one: the others are left out" if beside > 1 else None


def _pages(window: Window) -> Iterator[tuple[bool, bytes]]:
    """Yield of each page whether it is the first of its stream, and its first bytes; what is damaged is passed over."""
    offset = 0
    while len(head := window.at(offset, HEADER)) == HEADER:
        if not head.startswith(CAPTURE):
            offset = window.find(CAPTURE, offset + 1)
            continue
        content = offset + HEADER + head[26]
        yield bool(head[5] & BEGINS), window.at(content, len(SKELETON))
        offset = content + sum(window.at(offset + HEADER, head[26]))
