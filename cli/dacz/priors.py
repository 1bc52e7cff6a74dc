"""`dacz prior`: what is installed, adding and removing one, what one saves, and learning one from an archive."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dacfile.errors import DaczError, OutputExists, UsageError
from dacz.common import CodedFiles, complain_about, exit_code, expand_coded
from dacz.options import Quiet
from dacz.text import escape, plural, size, table

if TYPE_CHECKING:
    from dacfile.entropy import Prior
    from dacfile.recode import PriorSizes
    from dacfile.stream import WindowCodec
    from dacfile.training.prior import Evaluation
    from dacfile.training.prior_data import Piece

app = typer.Typer(
    help="The priors, which make files smaller without loss. Files need theirs to be read.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Refuse = Callable[[Path, DaczError | OSError], None]
AsJson = Annotated[bool, typer.Option("--json", help="JSON in place of text.")]
PriorFile = Annotated[Path, typer.Argument(help="A file ending in .prior.safetensors.", show_default=False)]


@app.command("list")
def list_priors(as_json: AsJson = False) -> None:
    """List the installed priors."""
    from dacfile.priors import list_priors as installed

    entries = installed()
    if as_json:
        print(json.dumps([asdict(entry) | {"path": str(entry.path)} for entry in entries]))
        return
    rows: list[tuple[object, ...]] = [("name", "kind", "codebooks", "entries", "size", "id", "for the model")]
    for entry in entries:
        numbers = (str(entry.codebooks), f"{entry.codebook_size:,}", size(entry.size))
        rows.append((entry.name, entry.kind, *numbers, entry.id, entry.model[:12]))
    print(table(rows, right=(2, 3, 4)))


@app.command("add")
def add(file: PriorFile, name: Annotated[str, typer.Option(help="What the prior shall be called.")]) -> None:
    """Install a prior for this user: files that were made with it can be read, and others recoded with it."""
    from dacfile.priors import add_prior

    entry = add_prior(file, name)
    print(f"added {escape(entry.name)}, id {entry.id}: {escape(entry.path)}")


@app.command("remove")
def remove(
    name: Annotated[str, typer.Argument(help="The name of a prior that was added.", show_default=False)],
) -> None:
    """Delete a prior that was added; bundled ones stay. Files made with it cannot be read without it."""
    from dacfile.priors import remove_prior

    entry = remove_prior(name)
    print(f"removed {escape(entry.name)}, id {entry.id}: {escape(entry.path)}")


@app.command("eval")
def evaluate(
    prior: Annotated[str, typer.Argument(help="File, name or id of a prior, or none.", show_default=False)],
    inputs: CodedFiles,
    model: Annotated[str | None, typer.Option(help="The model that codes audio. Default: the prior's own.")] = None,
    as_json: AsJson = False,
) -> int:
    """Say how large the codes of .dacz files, or of audio files, would be with a prior; nothing is written."""
    from dacfile.coded import open_coded
    from dacfile.priors import NONE_WORD, named_prior
    from dacfile.recode import PriorSizes, measure

    chosen = None if prior == NONE_WORD else named_prior(prior)
    codec = CodecWhenNeeded(model or _owner(chosen))
    codes: list[int] = []
    total = PriorSizes()
    for path in expand_coded(inputs, codes):
        try:
            with open_coded(path, codec.for_file(path)) as source:
                total += measure(source, chosen)
        except (DaczError, OSError) as error:
            complain_about(path, error, codes)
    if total.files:
        print(json.dumps(_as_dict(total)) if as_json else "\n".join(_lines(total)))
    return exit_code(codes, total.files)


def _owner(prior: Prior | None) -> bytes:
    """Return the id of the model that a prior says it was made for; empty if it says none: the text is free."""
    try:
        return bytes.fromhex(prior.info.get("model", "")) if prior else b""
    except ValueError:
        return b""


class CodecWhenNeeded:
    """A model that is loaded when the first audio file comes; `.dacz` files need none."""

    def __init__(self, model: str | bytes) -> None:
        self._model = model
        self._codec: WindowCodec | None = None

    def for_file(self, path: Path) -> WindowCodec | None:
        """Return the codec to compress a file with, None for `.dacz` files and without a model."""
        from dacfile.coded import is_dacz
        from dacfile.installed import Codecs

        if not self._model or is_dacz(path):
            return None
        if self._codec is None:
            self._codec = Codecs().load(self._model)
        return self._codec


def _as_dict(total: PriorSizes) -> dict[str, Any]:
    sizes = {"raw_bytes": total.raw, "stored_bytes": total.stored, "prior_bytes": total.coded}
    return {"files": total.files, "codes": total.codes, **sizes, "bits": [round(bits, 3) for bits in total.bits]}


def _lines(total: PriorSizes) -> list[str]:
    return [
        f"{plural(total.files, 'file')}, {plural(total.codes, 'code')}",
        table(
            [
                ("raw", size(total.raw), ""),
                ("as stored", size(total.stored), _change(total.stored, total.raw)),
                ("with this prior", size(total.coded), _change(total.coded, total.raw)),
            ],
            right=(1, 2),
        ),
        "bits a code, layer by layer: " + " ".join(f"{bits:.2f}" for bits in total.bits),
    ]


def _change(after: int, before: int) -> str:
    return f"{100 * (after - before) / before:+.1f} %" if before else ""


@app.command("train")
def train(
    inputs: CodedFiles,
    model: Annotated[str, typer.Option(help="The model that made the .dacz files, and that codes the audio.")],
    out: Annotated[Path, typer.Option("-o", "--output", help="The prior to write: NAME.prior.safetensors.")],
    minutes: Annotated[float, typer.Option(min=0, help="Processor time at most; little material takes less.")] = 10.0,
    quiet: Quiet = False,
) -> int:
    """Learn a prior from the codes of .dacz and audio files; `dacz prior add` installs it, `dacz repack` uses it."""
    from dacfile.atomic import AtomicFile
    from dacfile.entropy.files import prior_bytes
    from dacfile.folders import PRIOR_SUFFIX
    from dacfile.installed import default_prior
    from dacfile.model import store

    _check_target(out)
    entry = store.find(model)
    codes: list[int] = []
    files = expand_coded(inputs, codes)
    pieces, used = read_pieces(files, entry.id, partial(complain_about, codes=codes), CodecWhenNeeded(model))
    if not used:
        return exit_code(codes, 0)
    from dacfile.training.prior_archive import train_on_pieces

    name, start = out.name.removesuffix(PRIOR_SUFFIX), default_prior(entry.name, entry.id)
    on_evaluation = None if quiet else show_progress
    prior = train_on_pieces(pieces, entry.facts, entry.id, name, minutes, start, on_evaluation)
    with AtomicFile(out, overwrite=False) as stream:
        stream.write(prior_bytes(prior))
    if not quiet:
        if start is not None and prior.id == start.id:
            print("nothing better was found than the prior that is installed; more minutes or more files may help")
        print(f"{escape(out)}: {prior.config['kind']}, id {prior.id.hex()}, learned from {plural(used, 'file')}")
    return exit_code(codes, used)


def _check_target(out: Path) -> None:
    """Raise now, before the training, what would be in the way of writing the prior after it."""
    from dacfile.atomic import check_target
    from dacfile.folders import PRIOR_SUFFIX

    if not out.name.endswith(PRIOR_SUFFIX):
        raise UsageError(f"{out}: the name of a prior ends in {PRIOR_SUFFIX}")
    if os.path.lexists(out):
        raise OutputExists(f"{out}: exists already; choose another name")
    check_target(out)


def read_pieces(
    files: list[Path], model_id: bytes, refuse: Refuse, codec: CodecWhenNeeded | None = None
) -> tuple[list[Piece], int]:
    """Return the codes of all files that can be read, and how many these are; tell `refuse` of the others."""
    from dacfile.coded import open_coded
    from dacfile.training.prior_archive import pieces_of_file

    pieces, used = list[Any](), 0
    for path in files:
        try:
            with open_coded(path, codec.for_file(path) if codec else None) as source:
                pieces += pieces_of_file(source, model_id, str(path))
            used += 1
        except (DaczError, OSError) as error:
            refuse(path, error)
    return pieces, used


def show_progress(evaluation: Evaluation) -> None:
    """Say how the training goes, on standard error."""
    if sys.stderr.isatty():
        found = [bits for bits in evaluation.bits if bits]
        mean = sum(found) / max(len(found), 1)
        print(f"{100 * evaluation.done:3.0f} %: {mean:.3f} bits a code on held-out codes", file=sys.stderr)
