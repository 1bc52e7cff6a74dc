"""`dacz optimize`: give an archive a prior of its own where that makes it smaller, without loss."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from dacz.common import complain_about, expand, worst
from dacz.options import DryRun
from dacz.priors import read_pieces, show_progress
from dacz.text import escape, plural, size

if TYPE_CHECKING:
    from dacfile.entropy.files import Storable
    from dacfile.model.store import ModelEntry


def command(
    folder: Annotated[Path, typer.Argument(help="A folder of .dacz files.", show_default=False)],
    minutes: Annotated[float, typer.Option(min=0, help="Processor time for learning, for each model.")] = 10.0,
    dry_run: DryRun = False,
) -> int:
    """Learn a prior from an archive's own codes and recode its files with it, when that saves more than it takes.

    Without loss: the checksums of all codes must stay the same, and every file is replaced in one step. The prior is
    kept in .dacz inside the folder, which must move with the files, and for this user. `dacz repack --prior` undoes it.
    """
    from dacfile.errors import UsageError

    if not folder.is_dir():
        raise UsageError(f"{folder}: not a folder")
    codes: list[int] = []
    files = expand([folder], codes)
    models = _by_model(files, codes)
    for model, paths in models.items():
        codes += _optimize(folder, model, paths, minutes, dry_run)
    return worst(codes, sum(map(len, models.values())))


def _by_model(files: list[Path], codes: list[int]) -> dict[bytes, list[Path]]:
    from dacfile.container import Reader
    from dacfile.errors import DaczError

    found: dict[bytes, list[Path]] = {}
    for path in files:
        try:
            with Reader(path) as reader:
                found.setdefault(reader.head.model_id, []).append(path)
        except (DaczError, OSError) as error:
            complain_about(path, error, codes)
    return found


def _optimize(folder: Path, model_id: bytes, paths: list[Path], minutes: float, dry_run: bool) -> list[int]:
    """Do the files of one model; return the exit codes of what failed."""
    from dacfile.installed import default_prior
    from dacfile.model import store
    from dacfile.training.prior_archive import train_on_pieces

    codes: list[int] = []
    entry = store.find(model_id)
    pieces, _ = read_pieces(paths, model_id, codes)
    if not pieces:
        return codes
    start = default_prior(entry.name, model_id)
    prior = train_on_pieces(pieces, entry.facts, model_id, folder.resolve().name, minutes, start, show_progress)
    return codes + _apply(folder, entry, paths, prior, dry_run)


def _apply(folder: Path, entry: ModelEntry, paths: list[Path], prior: Storable, dry_run: bool) -> list[int]:
    from dacfile.entropy import Prior
    from dacfile.optimize import install, smaller_with

    smaller, saved = smaller_with(paths, cast(Prior, prior))
    cost = sum(tensor.nbytes for tensor in prior.tensors.values())
    print(f"{escape(entry.name)}: {plural(len(smaller), 'file')} of {len(paths)} would be {size(saved)} smaller in all")
    if saved <= cost:
        print(f"nothing done: the prior itself takes {size(cost)}")
        return []
    if dry_run:
        return []
    from dacfile.repack import RecodeSettings, plan_repack
    from dacz import work

    path = install(folder, prior)
    settings = RecodeSettings(str(path), in_place=True)
    code = work.run(plan_repack(smaller, None), settings, jobs=0, as_json=False, quiet=False)
    return [code] if code else []
