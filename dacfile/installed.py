"""The models and priors of this machine, loaded once per run and shared by all files and threads."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

from dacfile.combine import SharedCodec
from dacfile.container import CODER_RAW, Head
from dacfile.entropy import Prior, StoredPrior, find_prior, load_prior, prior_files
from dacfile.entropy.prior import covers
from dacfile.errors import ModelMismatch, PriorNotFound, UnsafeWeights, UsageError
from dacfile.folders import PRIOR_SUFFIX
from dacfile.model.facts import HEAVIEST_BIT
from dacfile.stream import check_model

if TYPE_CHECKING:
    from dacfile.stream import WindowCodec

AUTO = "auto"
PRIOR_FOLDER = ".dacz"  # beside or above files: the priors of an archive
# Sources up to this rate (Hz) take this model when none is named; a slower model would cut off what they hold.
_BY_RATE = ((16_000, "16k"), (24_000, "24k"))
_LARGEST = "44k"
_loading_prior = threading.Lock()


class Codecs:
    """Codecs by name or id, each loaded when it is first needed; `only` is used for everything when it is given.

    `jobs` is how many files are worked on at the same time: torch then takes its share of the cores for each of them,
    and no more devices are used, since it takes seconds to begin with one.
    `rdo` and `refine` are how they choose codes, as `dacfile.api.compress` has it. Raises
    ModelNotFound, ModelMismatch, UnsafeWeights, or UsageError for the device and its precision, from all methods.
    """

    def __init__(
        self,
        device: str = AUTO,
        precision: str = AUTO,
        only: WindowCodec | None = None,
        jobs: int = 1,
        rdo: float | None = None,
        refine: int = 0,
    ) -> None:
        self._device, self._precision, self._only, self._jobs = device, precision, only, jobs
        self._rdo, self._refine = rdo, refine
        self._loaded: dict[str | bytes, WindowCodec] = {}
        self._guard = threading.Lock()

    def check(self) -> None:
        """Raise UsageError now, before every file fails by it, for a device or precision that is not to be had.

        Torch is imported only where something unusual is asked for.
        """
        if self._only is None and (self._device not in (AUTO, "cpu") or self._precision != AUTO):
            from dacfile.device import resolve_device, resolve_precision

            resolve_precision(self._precision, resolve_device(self._device))

    def for_source(self, model: str, rate: Callable[[], int]) -> WindowCodec:
        """Return the codec of a model; "auto" asks for the source's rate (Hz) and takes the smallest that keeps it."""
        if self._only is not None:
            return self._only
        return self.load(name_for_rate(rate()) if model == AUTO else model)

    def for_head(self, head: Head) -> WindowCodec:
        """Return the codec that a file was made with, or raise ModelMismatch when the model is another one."""
        codec = self.load(head.model_id)
        check_model(head, codec)
        return codec

    def load(self, key: str | bytes) -> WindowCodec:
        """Return the codec with a name or an id."""
        if self._only is not None:
            return self._only
        with self._guard:
            if key not in self._loaded:
                from dacfile.model import store

                store.find(key)  # a missing model is known before torch is imported
                from dacfile.codec import load_codec
                from dacfile.device import every_device

                devices = every_device(self._device)[: self._jobs]
                codec, *others = (load_codec(key, name, self._precision, self._refine) for name in devices)
                for each in (codec, *others):
                    each.set_rdo(partial(default_prior, codec.name, codec.id), self._rdo)
                # A CPU gains nothing from large batches, any other device is fast only with them.
                self._loaded[key] = codec if codec.device.type == "cpu" else SharedCodec(codec, *others)
                share_cores(self._jobs)
            return self._loaded[key]


def rdo_weight(wanted: float | None, prior: bool) -> float | None:
    """Return what a bit weighs when codes are chosen: what is wanted, None for the prior's own, nothing without prior.

    Raises UsageError for a weight that is negative, above `HEAVIEST_BIT` or no number, and for one of bits that no
    prior counts.
    """
    if wanted is not None and not 0 <= wanted <= HEAVIEST_BIT:
        most = f"{HEAVIEST_BIT:,.0f}"
        raise UsageError(f"a bit cannot weigh {wanted:g} when codes are chosen, but 0 (the nearest ones) to {most}")
    if wanted and not prior:
        raise UsageError("choosing codes by their bits (rdo) needs the prior that spends them: use one of both options")
    return wanted if prior else 0.0


def cores() -> int:
    """Return the number of processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def share_cores(jobs: int) -> None:
    """Let torch use one thread a core over all `jobs`, unless the user has said otherwise.

    Files are a better unit than matrices: with two threads per operation on two busy cores, the same work took 16 times
    the processor time, most of it waiting (docs/decisions.md).
    """
    if "OMP_NUM_THREADS" not in os.environ:
        import torch

        torch.set_num_threads(max(1, cores() // jobs))


def name_for_rate(rate: int) -> str:
    """Return the bundled model for sources of this rate; where the small one is not installed, the largest."""
    from dacfile.model import store

    installed = {entry.name for entry in store.list_models()}
    fitting = (name for limit, name in _BY_RATE if rate <= limit and name in installed)
    return next(fitting, _LARGEST)


def prior_of(head: Head, near: object = None) -> Prior | None:
    """Return the prior that a file was coded with, None for raw codes.

    Looked for among the installed ones, then, when `near` is the file's path, in folders called `.dacz` beside or above
    it, where an archive may keep its own priors. Raises PriorNotFound, UnsafeWeights when there are damaged copies
    alone, or ModelMismatch when the prior with this id has other codebooks than the file.
    """
    if head.coder == CODER_RAW:
        return None
    try:
        prior = _prior_by_id(head.prior_id)
    except (PriorNotFound, UnsafeWeights):
        prior = _prior_by_id(head.prior_id, folders_above(near) if isinstance(near, (str, os.PathLike)) else ())
    if not covers(prior, head):
        raise ModelMismatch(f"the prior {head.prior_id.hex()} has other codebooks than the file")
    return prior


def _prior_by_id(prior_id: bytes, folders: tuple[Path, ...] = ()) -> Prior:
    with _loading_prior:  # the cache alone would let every thread load its own
        return _cached_prior(prior_id, folders)


@lru_cache(maxsize=8)
def _cached_prior(prior_id: bytes, folders: tuple[Path, ...]) -> Prior:
    return find_prior(prior_id, folders)


def folders_above(path: str | os.PathLike[str]) -> tuple[Path, ...]:
    """Return the folders called `.dacz` beside a file and above it, the nearest first."""
    places = (folder / PRIOR_FOLDER for folder in Path(path).resolve().parents)
    return tuple(place for place in places if place.is_dir())


def default_prior(name: str, model_id: bytes) -> StoredPrior | None:
    """Return the prior to compress with: the one made for this model id, or lying beside the model; else None."""
    with _loading_prior:
        return _cached_default(name, model_id)


@lru_cache(maxsize=8)
def _cached_default(name: str, model_id: bytes) -> StoredPrior | None:
    for path, metadata in prior_files():
        if metadata.get("model") == model_id.hex() or ("model" not in metadata and path.name == name + PRIOR_SUFFIX):
            return load_prior(path)
    return None
