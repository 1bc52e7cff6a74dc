"""The models of this machine: those in the package and those in the user's store. No torch here.

Where they lie: `dacfile.folders`. A model's name is its file's name.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

from dacfile.errors import DaczError, ModelMismatch, ModelNotFound, OutputExists, UsageError
from dacfile.folders import BUNDLED, MODEL_SUFFIX, PRIOR_SUFFIX, user_folder, user_folders
from dacfile.model.facts import Facts
from dacfile.model.native import CARD_KEYS, FORMAT, read_metadata

RESERVED = "auto"  # what `--model` takes beside names, ids and paths
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_ID = re.compile(r"[0-9a-fA-F]{32}")


@dataclass(frozen=True)
class ModelEntry:
    """An installed model as its file describes it; the id is checked when the model is loaded."""

    name: str
    id: bytes  # 16 bytes
    facts: Facts
    path: Path
    bundled: bool
    size: int  # bytes of the file
    description: str = ""
    licence: str = ""
    source: str = ""

    @property
    def card(self) -> Path | None:
        """The model card (Markdown) beside the weights, if there is one."""
        path = self.path.with_suffix(".md")
        return path if path.is_file() else None


def read_entry(path: Path, bundled: bool = False) -> ModelEntry:
    """Return the entry of a native weights file.

    Raises ModelNotFound (no such file), UnsafeWeights (no safetensors) or ModelMismatch (not a model of ours).
    """
    metadata = read_metadata(path)
    if metadata.get("format") != FORMAT:
        raise ModelMismatch(f"{path}: not a native weights file; `dacz models add` makes one of it")
    try:
        facts = Facts.from_dict(json.loads(metadata.get("facts", "")))
        model_id = bytes.fromhex(metadata.get("id", ""))
    except (ValueError, RecursionError) as error:
        raise ModelMismatch(f"{path}: damaged description of the model ({error})") from error
    if len(model_id) != 16:
        raise ModelMismatch(f"{path}: the model has no id")
    card = {key: metadata.get(key, "") for key in CARD_KEYS}
    return ModelEntry(path.name.removesuffix(MODEL_SUFFIX), model_id, facts, path, bundled, path.stat().st_size, **card)


def scan() -> tuple[list[ModelEntry], list[tuple[Path, DaczError]]]:
    """Return the installed models, bundled ones first, and the files that should be models but cannot be read."""
    entries: list[ModelEntry] = []
    problems: list[tuple[Path, DaczError]] = []
    for folder, bundled in ((BUNDLED, True), *((folder, False) for folder in user_folders())):
        for path in sorted(folder.glob("*" + MODEL_SUFFIX)):
            if path.name.endswith(PRIOR_SUFFIX) or path.name.startswith("."):
                continue
            try:
                entries.append(read_entry(path, bundled))
            except DaczError as error:
                problems.append((path, error))
    return entries, problems


def list_models() -> list[ModelEntry]:
    """Return the installed models, bundled ones first; files that cannot be read are left out (`scan` names them)."""
    return scan()[0]


def find(model: str | Path | bytes) -> ModelEntry:
    """Return the model with a name, an id (16 bytes, or 32 hexadecimal digits), or of a native weights file.

    Text is a name first, then an id, then a path. Raises ModelNotFound; for files as `read_entry` does.
    """
    if isinstance(model, bytes):
        return find_by_id(model)
    if isinstance(model, Path):
        return read_entry(model)
    entries = list_models()
    for entry in entries:
        if entry.name == model:
            return entry
    if is_id(model):
        return find_by_id(bytes.fromhex(model))
    if is_path(model):
        return read_entry(Path(model))
    raise ModelNotFound(f"no model is called {model!r}; installed are {_names(entries)}{_advice(model)}")


def find_by_id(model_id: bytes) -> ModelEntry:
    """Return the installed model with this id. Raises ModelNotFound."""
    entries = list_models()
    for entry in entries:
        if entry.id == model_id:
            return entry
    raise ModelNotFound(
        f"the model with the id {model_id.hex()} is not installed (installed are {_names(entries)}); "
        "get its weights with `dacz models fetch NAME` or `dacz models add FILE --name NAME`"
    )


def is_id(text: str) -> bool:
    """Tell whether text has the form of an id, of a model or a prior: no name may, since names are looked up first."""
    return _ID.fullmatch(text) is not None


def is_path(model: str) -> bool:
    """Tell whether text means a file rather than a name."""
    return os.sep in model or model.endswith((MODEL_SUFFIX, ".pth", ".pt", ".bin"))


def _names(entries: list[ModelEntry]) -> str:
    return ", ".join(entry.name for entry in entries) or "none"


def _advice(name: str) -> str:
    return f"; get it with `dacz models fetch {name}`" if name.startswith("descript-") else ""


def target_for(name: str, overwrite: bool = False) -> Path:
    """Return where a new model of this name goes in the user's store.

    Raises UsageError for names that are no file names, reserved, bundled or like an id, and without a store,
    OutputExists when the name is taken.
    """
    if not _NAME.fullmatch(name) or name.endswith((MODEL_SUFFIX, ".prior")):
        raise UsageError(f"{name!r} cannot be the name of a model; use letters, digits, dots, dashes, underscores")
    if name == RESERVED:
        raise UsageError(f"{name} lets the program choose a model; choose another name")
    if is_id(name):
        raise UsageError(f"{name} looks like the id of a model; choose another name")
    if (BUNDLED / (name + MODEL_SUFFIX)).exists():
        raise UsageError(f"{name} is a bundled model; choose another name")
    path = user_folder() / (name + MODEL_SUFFIX)
    if path.exists() and not overwrite:
        raise OutputExists(f"a model called {name} is installed already; remove it first or choose another name")
    return path


def add(file: Path, name: str, rate: int | None = None, overwrite: bool = False, **card: str) -> ModelEntry:
    """Install a weights file of any known layout in the user's store.

    `rate` (Hz) is for files that do not say it; `card` may say `description`, `licence` and `source`. The tensors are
    kept as they are, so that the id is the same on every machine. Raises UsageError, OutputExists, ModelNotFound,
    UnsafeWeights or ModelMismatch.
    """
    target = target_for(name, overwrite)
    from dacfile.model.checkpoint import read_checkpoint, save_native  # torch only when it is needed

    checkpoint = read_checkpoint(file, rate)
    texts = {key: checkpoint.metadata.get(key, "") for key in CARD_KEYS} | card
    save_native(target, checkpoint.config, checkpoint.tensors, texts, half=False, overwrite=overwrite)
    return read_entry(target)


def remove(name: str) -> ModelEntry:
    """Delete a model from the user's store and return what it was.

    Raises ModelNotFound, or UsageError for bundled models.
    """
    entry = next((entry for entry in list_models() if entry.name == name), None)
    if entry is None:
        raise ModelNotFound(f"no model is called {name!r}; installed are {_names(list_models())}")
    if entry.bundled:
        raise UsageError(f"{name} is a bundled model; it belongs to the package")
    entry.path.unlink()
    return entry
