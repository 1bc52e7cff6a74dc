"""`dacz models`: what is installed, and how more gets here."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dacz.render import complain
from dacz.text import escape, number, size, table

if TYPE_CHECKING:
    from dacfile.model.store import ModelEntry

app = typer.Typer(
    help="The installed models: list, show, fetch, add, remove. Compressing and decompressing never download anything.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

AsJson = Annotated[bool, typer.Option("--json", help="JSON in place of a table.")]
Name = Annotated[str, typer.Argument(help="Name or id of an installed model.", show_default=False)]
Official = Annotated[str, typer.Argument(help="descript-44k, descript-44k-16kbps, ...", show_default=False)]


@app.command("list")
def list_models(as_json: AsJson = False) -> int:
    """List the installed models with rate, codebooks and nominal bit rate per channel."""
    from dacfile.model import store

    entries, problems = store.scan()
    if as_json:
        print(json.dumps([as_dict(entry) for entry in entries]))
    else:
        print(table(_rows(entries), right=(2, 3, 4, 5, 6)))
    for path, error in problems:
        complain(path, str(error).removeprefix(f"{path}: "))
    return problems[0][1].exit_code if problems else 0


@app.command("show")
def show(name: Name, as_json: AsJson = False) -> None:
    """Show everything that is known about a model, with its card."""
    from dacfile.model import store

    entry = store.find(name)
    if as_json:
        print(json.dumps(as_dict(entry)))
        return
    facts = entry.facts
    rows = [
        ("name", entry.name),
        ("id", entry.id.hex()),
        ("architecture", facts.architecture),
        ("rate", f"{facts.rate:,} Hz"),
        ("frames", f"{number(facts.rate / facts.hop)} per second (hop {facts.hop})"),
        ("codebooks", f"{facts.codebooks} of {facts.codebook_size:,} entries"),
        ("bit rates", _bitrates(entry)),
        ("file", f"{entry.path} ({size(entry.size)}, {'bundled' if entry.bundled else 'added'})"),
        ("description", entry.description),
        ("licence", entry.licence),
        ("source", entry.source),
    ]
    print(table([row for row in rows if row[1]]))
    if entry.card is not None:
        text = entry.card.read_text(encoding="utf-8", errors="replace")
        print("\n" + "\n".join(escape(line) for line in text.rstrip().splitlines()))


@app.command("add")
def add(
    file: Annotated[Path, typer.Argument(help="Weights: the official layout (.pth) or native safetensors.")],
    name: Annotated[str, typer.Option(help="What the model shall be called.")],
    rate: Annotated[int | None, typer.Option(help="Sample rate in Hz, where the file does not say it.")] = None,
    licence: Annotated[str, typer.Option(help="Licence of the weights, kept with them.")] = "",
    source: Annotated[str, typer.Option(help="Where they come from, kept with them.")] = "",
) -> None:
    """Install the weights of a model for this user."""
    from dacfile.model import store

    texts = {key: value for key, value in (("licence", licence), ("source", source)) if value}
    entry = store.add(file, name, rate, overwrite=False, **texts)
    print(f"added {escape(entry.name)}, id {entry.id.hex()}: {escape(entry.path)}")


@app.command("fetch")
def fetch(name: Official) -> None:
    """Download official weights, check them and install them for this user; an interrupted download is resumed."""
    from dacfile.model.fetch import fetch as download

    entry = download(name, _show_progress if sys.stderr.isatty() else None)
    print(f"added {escape(entry.name)}, id {entry.id.hex()}: {escape(entry.path)}")


def _show_progress(done: int, total: int | None) -> None:
    end = "\n" if done == total else ""
    print(f"\r{size(done)}" + (f" of {size(total)}   " if total else "   "), end=end, file=sys.stderr, flush=True)


@app.command("remove")
def remove(name: Name) -> None:
    """Delete a model that was added; bundled ones stay. Files made with it cannot be decoded without it."""
    from dacfile.model import store

    entry = store.remove(name)
    print(f"removed {escape(entry.name)}, id {entry.id.hex()}")


def as_dict(entry: ModelEntry) -> dict[str, Any]:
    """Return an entry as a JSON object."""
    return {
        "name": entry.name,
        "id": entry.id.hex(),
        "facts": entry.facts.to_dict(),
        "nominal_bitrate": entry.facts.nominal_bitrate,
        "path": str(entry.path),
        "bytes": entry.size,
        "bundled": entry.bundled,
        "description": entry.description,
        "licence": entry.licence,
        "source": entry.source,
    }


def _rows(entries: list[ModelEntry]) -> list[tuple[str, ...]]:
    head: tuple[str, ...] = ("name", "architecture", "Hz", "hop", "codebooks", "kbit/s", "size", "id", "licence")
    return [head] + [
        (
            entry.name,
            entry.facts.architecture,
            f"{entry.facts.rate:,}",
            str(entry.facts.hop),
            str(entry.facts.codebooks),
            number(entry.facts.nominal_bitrate / 1000),
            size(entry.size),
            entry.id.hex()[:12],
            entry.licence,
        )
        for entry in entries
    ]


def _bitrates(entry: ModelEntry) -> str:
    each = entry.facts.nominal_bitrate / entry.facts.codebooks / 1000
    rates = ", ".join(number(each * n) for n in range(1, entry.facts.codebooks + 1))
    return f"{rates} kbit/s per channel with 1 to {entry.facts.codebooks} codebooks (nominal)"
