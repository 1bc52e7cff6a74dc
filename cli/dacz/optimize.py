"""`dacz optimize`: give an archive a prior of its own where that makes it smaller, without loss."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dacfile.errors import DaczError, UsageError
from dacz.common import complain_about, exit_code, expand
from dacz.options import AsJson, DryRun, Quiet
from dacz.priors import read_pieces, show_progress
from dacz.text import escape, plural, size

if TYPE_CHECKING:
    from dacfile.entropy import StoredPrior
    from dacfile.model.store import ModelEntry
    from dacfile.optimize import Saving


def command(
    folder: Annotated[Path, typer.Argument(help="A folder of .dacz files.", show_default=False)],
    minutes: Annotated[float, typer.Option(min=0, help="Processor time for learning at most, for each model.")] = 10.0,
    always: Annotated[bool, typer.Option("--always", help="Also when the prior takes more than it saves.")] = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> int:
    """Learn a prior from an archive's own codes and recode its files with it, when that saves more than it takes.

    Without loss: the checksums of all codes must stay the same, and every file is replaced in one step. The prior is
    kept twice: in a folder called .dacz beside the files, which must move with them, and in this user's store. A run
    that was interrupted is completed by the next one. `dacz repack --prior bundled` undoes it.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder}: not a folder")
    run = _Run(folder, minutes, always, dry_run, as_json, quiet)
    files = expand([folder], run.codes)
    for model, paths in run.by_model(files).items():
        run.optimize(model, paths)
        if run.stopped is not None:  # for whatever reason: it holds for the other models too
            break
    for path, error in run.left_out.items():
        complain_about(path, error, run.codes)
    good = len(files) - len(run.left_out) - run.failed
    return exit_code(run.codes, good) if run.stopped is None else run.stopped


@dataclass
class _Run:
    """One call of the command; `left_out` collects what could not be done, to be told at the end.

    `failed` counts the files that could not be recoded; `stopped` is the exit code of a run that was interrupted, or
    ended by a full disk.
    """

    folder: Path
    minutes: float
    always: bool
    dry_run: bool
    as_json: bool
    quiet: bool
    codes: list[int] = field(default_factory=list)
    left_out: dict[Path, DaczError | OSError] = field(default_factory=dict)
    failed: int = 0
    stopped: int | None = None

    def by_model(self, files: list[Path]) -> dict[bytes, list[Path]]:
        """Return the files that can be opened, by the model that made them."""
        from dacfile.container import Reader

        found: dict[bytes, list[Path]] = {}
        for path in files:
            try:
                with Reader(path) as reader:
                    found.setdefault(reader.head.model_id, []).append(path)
            except (DaczError, OSError) as error:
                self.left_out[path] = error
        return found

    def optimize(self, model_id: bytes, paths: list[Path]) -> None:
        """Do the files of one model."""
        from dacfile.model import store
        from dacfile.optimize import not_coded_with, own_prior, saving

        try:
            entry = store.find(model_id)
        except DaczError as error:
            self.left_out.update(dict.fromkeys(paths, error))
            return
        kept = own_prior(self.folder, model_id)
        if kept is not None:
            found = saving(not_coded_with(paths, kept), kept)
            if found.smaller:
                self._apply(entry, found, kept, 0)
                return
        self._learn(entry, paths)

    def _learn(self, entry: ModelEntry, paths: list[Path]) -> None:
        from dacfile.entropy.files import prior_bytes
        from dacfile.installed import default_prior
        from dacfile.optimize import not_coded_with, saving
        from dacfile.training.prior_archive import train_on_pieces

        pieces, _ = read_pieces(paths, entry.id, self.left_out.__setitem__)
        if not pieces:
            return
        start = default_prior(entry.name, entry.id)
        stored = sum(path.stat().st_size for path in paths if path not in self.left_out)
        hopeless = start is not None and stored <= len(prior_bytes(start)) and not self.always
        name, on_evaluation = self.folder.resolve().name, None if self.quiet or self.as_json else show_progress
        minutes = 0 if hopeless else self.minutes  # files smaller than a network: tables may pay, a network cannot
        prior = train_on_pieces(pieces, entry.facts, entry.id, name, minutes, start, on_evaluation)
        learned, cost = saving(paths, prior), len(prior_bytes(prior))
        if start is not None:
            free = saving(not_coded_with(paths, start), start)
            if free.smaller and free.saved >= learned.saved - (0 if self.always else cost):
                self._apply(entry, free, start, 0)
                return
        self._apply(entry, learned, prior, cost)

    def _apply(self, entry: ModelEntry, found: Saving, prior: StoredPrior, cost: int) -> None:
        """Tell what a prior brings, and recode the files when it pays; `cost`: bytes that its file adds."""
        from dacfile.optimize import install
        from dacfile.repack import RecodeSettings, plan_repack
        from dacz import work

        pays = bool(found.smaller) and (found.saved > cost or self.always)
        self._tell(entry, found, prior, cost, pays)
        if not pays or self.dry_run:
            return
        settings = RecodeSettings(install(self.folder, prior), in_place=True)
        plan = plan_repack(found.smaller, None)
        end = work.process(plan, settings, jobs=0, as_json=self.as_json, quiet=self.quiet)
        self.failed += end.failed
        self.codes += [end.exit_code] * end.failed
        self.stopped = end.exit_code if end.message else None

    def _tell(self, entry: ModelEntry, found: Saving, prior: StoredPrior, cost: int, pays: bool) -> None:
        if self.as_json:
            sizes = {"stored_bytes": found.stored, "saved_bytes": found.saved, "prior_bytes": cost, "pays": pays}
            facts = {"event": "saving", "model": entry.name, "prior": prior.id.hex(), "kind": prior.config["kind"]}
            print(json.dumps({**facts, "files": len(found.smaller), **sizes}), flush=True)
        elif not self.quiet:
            percent = 100 * found.saved / max(found.stored, 1)
            means = f"{prior.config['kind']} of {size(cost)}" if cost else "a prior that is there already"
            print(
                f"{escape(entry.name)}: {plural(len(found.smaller), 'file')} would be {size(found.saved)} smaller in "
                f"all, of {size(found.stored)} ({percent:.1f} %), with {means}"
            )
            if not pays:
                print(f"nothing done: the prior itself takes {size(cost)}" if found.saved else "nothing done")
