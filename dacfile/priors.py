"""The installed priors: list them, find one by name, add or remove one. Priors lie beside the models; no torch here."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dacfile.atomic import AtomicFile
from dacfile.container import Head
from dacfile.entropy import StoredPrior, find_prior, load_prior, prior_files
from dacfile.entropy.files import prior_bytes
from dacfile.errors import OutputExists, PriorNotFound, UsageError
from dacfile.folders import BUNDLED, PRIOR_SUFFIX, user_folder
from dacfile.model.store import is_id, list_models

BUNDLED_WORD, NONE_WORD = "bundled", "none"  # what `--prior` takes beside names, ids and paths
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True)
class PriorEntry:
    """An installed prior as its file describes it; the id is checked when the prior is loaded."""

    name: str
    id: str  # 32 hexadecimal digits
    kind: str  # "network" or "counts"
    codebooks: int
    codebook_size: int
    model: str  # id of the model it was made for, hexadecimal; empty if the file does not say
    path: Path
    bundled: bool
    size: int  # bytes of the file


def list_priors() -> list[PriorEntry]:
    """Return the installed priors, bundled ones first; files that cannot be read are left out."""
    entries = (_entry(path, metadata) for path, metadata in prior_files())
    return [entry for entry in entries if entry is not None]


def _entry(path: Path, metadata: Mapping[str, str]) -> PriorEntry | None:
    try:
        config = json.loads(metadata["config"])
        kind, codebooks, entries = str(config["kind"]), int(config["codebooks"]), int(config["codebook_size"])
    except (KeyError, ValueError, TypeError, RecursionError):
        return None
    name, model, known = path.name.removesuffix(PRIOR_SUFFIX), metadata.get("model", ""), metadata.get("id", "")
    return PriorEntry(name, known, kind, codebooks, entries, model, path, path.parent == BUNDLED, path.stat().st_size)


def add_prior(file: Path, name: str) -> PriorEntry:
    """Check a prior file and install it in the user's store.

    Raises UsageError for names that are no file names, reserved, bundled or like an id, and without a store,
    OutputExists when the name is taken, PriorNotFound (no such file) or UnsafeWeights (not a prior).
    """
    if not _NAME.fullmatch(name) or name.endswith(PRIOR_SUFFIX):
        raise UsageError(f"{name!r} cannot be the name of a prior; use letters, digits, dots, dashes, underscores")
    if name in (BUNDLED_WORD, NONE_WORD) or (BUNDLED / (name + PRIOR_SUFFIX)).exists():
        raise UsageError(f"{name} is taken by the package; choose another name")
    if is_id(name):
        raise UsageError(f"{name} looks like the id of a prior; choose another name")
    target = user_folder() / (name + PRIOR_SUFFIX)
    if target.exists():
        raise OutputExists(f"a prior called {name} is installed already: {target}")
    load_prior(file)
    with AtomicFile(target, overwrite=False) as stream:
        stream.write(file.read_bytes())
    return next(entry for entry in list_priors() if entry.path == target)


def keep_prior(prior: StoredPrior, folder: Path) -> Path:
    """Write a prior, named by its id, into a folder, in place of a damaged copy too; return its path."""
    target = folder / (prior.id.hex() + PRIOR_SUFFIX)
    with AtomicFile(target, overwrite=True) as stream:
        stream.write(prior_bytes(prior))
    return target


def remove_prior(name: str) -> PriorEntry:
    """Delete a prior from the user's store and return what it was.

    Raises PriorNotFound, or UsageError for bundled priors.
    """
    entries = list_priors()
    entry = next((entry for entry in entries if entry.name == name), None)
    if entry is None:
        raise _not_found(name, entries)
    if entry.bundled:
        raise UsageError(f"{name} is a bundled prior; it belongs to the package")
    entry.path.unlink()
    return entry


def named_prior(text: str) -> StoredPrior:
    """Return the prior with a name, an id of 32 hexadecimal digits, or of a file; text is tried in this order.

    Raises PriorNotFound or UnsafeWeights.
    """
    entries = list_priors()
    for entry in entries:
        if entry.name == text:
            return load_prior(entry.path)
    if text.endswith(PRIOR_SUFFIX) or Path(text).is_file():
        return load_prior(text)
    if is_id(text):
        return find_prior(bytes.fromhex(text))
    raise _not_found(text, entries)


def _not_found(text: str, entries: list[PriorEntry]) -> PriorNotFound:
    names = ", ".join(entry.name for entry in entries) or "none"
    return PriorNotFound(f"no prior is called {text!r}; installed are {names}")


def bundled_prior(head: Head) -> StoredPrior:
    """Return the package's prior for the model of a file. Raises PriorNotFound when there is none."""
    names = {entry.id.hex(): entry.name for entry in list_models()}
    model = head.model_id.hex()
    for entry in list_priors():
        if entry.bundled and (entry.model == model or (not entry.model and entry.name == names.get(model))):
            return load_prior(entry.path)
    raise PriorNotFound(f"the package has no prior for the model {model}; name one, or use none")
