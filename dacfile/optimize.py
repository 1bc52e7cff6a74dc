"""What `dacz optimize` needs: which files a prior makes smaller, and where an archive keeps its own priors."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from dacfile.container import Reader
from dacfile.entropy import Prior, StoredPrior, load_prior
from dacfile.entropy.files import read_metadata
from dacfile.errors import DaczError
from dacfile.folders import PRIOR_SUFFIX, user_folders
from dacfile.installed import PRIOR_FOLDER
from dacfile.priors import keep_prior, list_priors
from dacfile.recode import measure


@dataclass(frozen=True)
class Saving:
    """What a prior does to files: those it makes smaller, the bytes of all codes as stored, and what it saves."""

    smaller: tuple[Path, ...]
    stored: int
    saved: int


def saving(paths: Iterable[Path], prior: Prior) -> Saving:
    """Return what recoding the files with `prior` would bring; files that cannot be read are left out."""
    found, stored, saved = list[Path](), 0, 0
    for path in paths:
        try:
            sizes = measure(path, prior)
        except (DaczError, OSError):
            continue
        stored += sizes.stored
        if sizes.coded < sizes.stored:
            found.append(path)
            saved += sizes.stored - sizes.coded
    return Saving(tuple(found), stored, saved)


def own_prior(folder: Path, model_id: bytes) -> StoredPrior | None:
    """Return the newest prior of this model that the archive keeps, None if there is none that can be read."""
    place = folder / PRIOR_FOLDER
    for path in sorted(place.glob("*" + PRIOR_SUFFIX), key=_changed, reverse=True):
        try:
            if read_metadata(path).get("model") == model_id.hex():
                return load_prior(path)
        except (DaczError, OSError):
            continue
    return None


def _changed(path: Path) -> int:
    """Return when a file was changed last, ns; 0 for what is gone, as the target of a link may be."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


def not_coded_with(paths: Sequence[Path], prior: Prior) -> list[Path]:
    """Return the files that another prior has coded; those that cannot be read are left out."""
    found = []
    for path in paths:
        try:
            with Reader(path) as reader:
                if reader.head.prior_id != prior.id:
                    found.append(path)
        except (DaczError, OSError):
            continue
    return found


def install(folder: Path, prior: StoredPrior) -> str:
    """Write a prior, named by its id, into the `.dacz` folder of an archive, and into the user's store if it is new.

    A user who has no store keeps it in the archive alone. All is complete before any file names the prior, so that an
    interruption leaves nothing that cannot be read. What the package brings is written nowhere: every installation has
    it. Returns what `named_prior` finds it by.
    """
    identity = prior.id.hex()
    installed = [entry for entry in list_priors() if entry.id == identity]
    if any(entry.bundled for entry in installed):
        return identity
    for place in (folder / PRIOR_FOLDER,) if installed else (*user_folders(), folder / PRIOR_FOLDER):
        target = place / (identity + PRIOR_SUFFIX)
        if not target.exists():
            keep_prior(prior, place)
    return str(target)
