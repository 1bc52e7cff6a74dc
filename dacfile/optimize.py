"""What `dacz optimize` needs: which files a prior makes smaller, and where an archive keeps its own prior."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dacfile.atomic import AtomicFile
from dacfile.entropy import PRIOR_SUFFIX, Prior
from dacfile.entropy.files import Storable, prior_bytes
from dacfile.errors import DaczError
from dacfile.installed import PRIOR_FOLDER
from dacfile.model.store import user_folder
from dacfile.recode import Gain, measure


def smaller_with(paths: Sequence[Path], prior: Prior) -> tuple[list[Path], int]:
    """Return the files whose codes take fewer bytes with `prior`, and the bytes saved; unreadable ones are left out."""
    found, saved = [], 0
    for path in paths:
        gain = Gain()
        try:
            measure(path, prior, gain)
        except (DaczError, OSError):
            continue
        if gain.coded < gain.stored:
            found.append(path)
            saved += gain.stored - gain.coded
    return found, saved


def install(folder: Path, prior: Storable) -> Path:
    """Write a prior, named by its id, into the `.dacz` folder of an archive and into the user's store."""
    name = prior.id.hex() + PRIOR_SUFFIX
    for place in (user_folder(), folder / PRIOR_FOLDER):
        place.mkdir(parents=True, exist_ok=True)
        target = place / name
        if not target.exists():
            with AtomicFile(target) as stream:
                stream.write(prior_bytes(prior))
    return target
