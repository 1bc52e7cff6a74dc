"""`dacz prior`: what is installed, adding one, what one saves, and learning one from an archive."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dacz.common import DaczFiles, complain_about, expand, worst
from dacz.text import escape, plural, size, table

if TYPE_CHECKING:
    from dacfile.recode import Gain
    from dacfile.training.prior import Progress
    from dacfile.training.prior_data import Piece

app = typer.Typer(
    help="The priors, which make files smaller without loss: list, add, eval, train. Files need theirs to be read.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

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


@app.command("eval")
def evaluate(
    prior: Annotated[str, typer.Argument(help="File, name or id of a prior, or none.", show_default=False)],
    inputs: DaczFiles,
    as_json: AsJson = False,
) -> int:
    """Say how large the codes of .dacz files would be with a prior; nothing is written."""
    from dacfile.errors import DaczError
    from dacfile.priors import NONE_WORD, named_prior
    from dacfile.recode import Gain, measure

    chosen = None if prior == NONE_WORD else named_prior(prior)
    codes: list[int] = []
    total = Gain()
    for path in expand(inputs, codes):
        gain = Gain()
        try:
            measure(path, chosen, gain)
        except (DaczError, OSError) as error:
            complain_about(path, error, codes)
        else:
            total = total + gain
    if total.files:
        print(json.dumps(_as_dict(total)) if as_json else "\n".join(_lines(total)))
    return worst(codes, total.files)


def _as_dict(gain: Gain) -> dict[str, Any]:
    sizes = {"raw_bytes": gain.raw, "stored_bytes": gain.stored, "prior_bytes": gain.coded}
    return {"files": gain.files, "codes": gain.codes, **sizes, "bits": [round(bits, 3) for bits in gain.bits]}


def _lines(gain: Gain) -> list[str]:
    return [
        f"{plural(gain.files, 'file')}, {plural(gain.codes, 'code')}",
        table(
            [
                ("raw", size(gain.raw), ""),
                ("as stored", size(gain.stored), _change(gain.stored, gain.raw)),
                ("with this prior", size(gain.coded), _change(gain.coded, gain.raw)),
            ],
            right=(1, 2),
        ),
        "bits a code, layer by layer: " + " ".join(f"{bits:.2f}" for bits in gain.bits),
    ]


def _change(after: int, before: int) -> str:
    return f"{100 * (after - before) / before:+.1f} %" if before else ""


@app.command("train")
def train(
    inputs: DaczFiles,
    model: Annotated[str, typer.Option(help="The model that made the files.")],
    out: Annotated[Path, typer.Option("-o", "--output", help="The prior to write: NAME.prior.safetensors.")],
    minutes: Annotated[float, typer.Option(min=0, help="Processor time at most.")] = 10.0,
) -> int:
    """Learn a prior from the codes of .dacz files; install it with `dacz prior add` and use it with `dacz repack`."""
    from dacfile.entropy.files import PRIOR_SUFFIX, save_prior
    from dacfile.errors import OutputExists, UsageError
    from dacfile.installed import default_prior
    from dacfile.model import store

    if not out.name.endswith(PRIOR_SUFFIX):
        raise UsageError(f"{out}: the name of a prior ends in {PRIOR_SUFFIX}")
    if out.exists():
        raise OutputExists(f"{out}: exists already; choose another name")
    entry = store.find(model)
    codes: list[int] = []
    files = expand(inputs, codes)
    pieces, used = read_pieces(files, entry.id, codes)
    if not used:
        return worst(codes, 0)
    from dacfile.training.prior_archive import train_on_pieces

    name, start = out.name.removesuffix(PRIOR_SUFFIX), default_prior(entry.name, entry.id)
    prior = train_on_pieces(pieces, entry.facts, entry.id, name, minutes, start, show_progress)
    out.parent.mkdir(parents=True, exist_ok=True)
    save_prior(prior, out)
    if start is not None and prior.id == start.id:
        print("nothing better was found than the prior that is installed; more minutes or more files may help")
    print(f"{escape(out)}: {prior.config['kind']}, id {prior.id.hex()}, learned from {plural(used, 'file')}")
    return worst(codes, used)


def read_pieces(files: list[Path], model_id: bytes, codes: list[int]) -> tuple[list[Piece], int]:
    """Return the codes of all files that can be read, and how many these are; complain about the others."""
    from dacfile.errors import DaczError
    from dacfile.training.prior_archive import pieces_of_file

    pieces, used = list[Any](), 0
    for path in files:
        try:
            pieces += pieces_of_file(path, model_id)
            used += 1
        except (DaczError, OSError) as error:
            complain_about(path, error, codes)
    return pieces, used


def show_progress(progress: Progress) -> None:
    """Tell a terminal how the training goes."""
    if sys.stderr.isatty():
        mean = sum(progress.bits) / len(progress.bits)
        print(f"{100 * progress.done:3.0f} %: {mean:.3f} bits a code on held-out codes", file=sys.stderr)
