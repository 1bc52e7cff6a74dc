"""Numbers, names and tables as people read them; nothing that comes from a file reaches the terminal unescaped."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def escape(text: object) -> str:
    """Return `text` with control characters, bidirectional marks and undecodable bytes made visible."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in str(text))


def number(value: float, digits: int = 3) -> str:
    """Return a number with about `digits` significant digits, and never fewer than its whole part."""
    whole = len(str(int(abs(value))))
    return f"{value:,.{max(0, digits - whole)}f}"


def size(count: int) -> str:
    """Return bytes in decimal units: 999 B, 1.23 kB, 45.6 MB."""
    value = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 999.5:
            return f"{count} B" if unit == "B" else f"{number(value)} {unit}"
        value /= 1000
    return f"{number(value)} TB"


def clock(seconds: float) -> str:
    """Return a duration: 0:05.32 below a minute, 3:25 below an hour, 12:03:25 above."""
    if seconds < 60:
        return f"0:{seconds:05.2f}"
    whole = round(seconds)
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def kbps(bits_per_second: float) -> str:
    """Return a bit rate in kbit/s."""
    return f"{number(bits_per_second / 1000)} kbit/s"


def ratio(before: float, after: float) -> str:
    """Return how many times smaller `after` is."""
    return f"{number(before / after)} : 1" if after else "-"


def plural(count: int, word: str) -> str:
    """Return "1 file", "2 files"."""
    return f"{count:,} {word}" + ("" if count == 1 else "s")


def table(rows: Iterable[Sequence[object]], *, indent: int = 0, right: Sequence[int] = ()) -> str:
    """Return rows as aligned columns; the columns in `right` are aligned to the right."""
    cells = [[escape(cell) for cell in row] for row in rows]
    if not cells:
        return ""
    widths = [max(len(row[i]) for row in cells if i < len(row)) for i in range(max(map(len, cells)))]
    lines = []
    for row in cells:
        parts = [c.rjust(widths[i]) if i in right else c.ljust(widths[i]) for i, c in enumerate(row)]
        lines.append((" " * indent + "  ".join(parts)).rstrip())
    return "\n".join(lines)
