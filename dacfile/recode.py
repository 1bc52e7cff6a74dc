"""The same codes under another prior: recode `.dacz` files without loss, or only measure what that would bring."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO

import numpy as np

from dacfile.blocks import CodedBlock, decode_codes, encode_layers, grouped, stored_channels
from dacfile.container import CODED, CODER_RANGE, CODER_RAW, Block, Head, Reader, rewrite
from dacfile.entropy import RAW_PRIOR_ID, Prior, StoredPrior
from dacfile.entropy.coder import StoredLayer
from dacfile.entropy.prior import check_covers
from dacfile.errors import EntropyMismatch, PriorNotFound, UnsafeWeights
from dacfile.events import FileSkipped, ProgressCallback
from dacfile.folders import user_folder
from dacfile.installed import prior_of
from dacfile.plan import Task
from dacfile.priors import BUNDLED_WORD, NONE_WORD, bundled_prior, keep_prior, named_prior
from dacfile.repack import RecodeSettings, copy_mode, existing_output, refuse_itself
from dacfile.runner import Outcome

_keeping = threading.Lock()
Checksums = list[tuple[int, ...]]  # codes_crc of all layers of a block, channel after channel


class Recode:
    """The action of recoding. Raises PriorNotFound or UnsafeWeights for a prior that cannot be had.

    A prior that readers of an output would not find is added to the user's store first, so that no file is ever left,
    or replaced by one, that nobody can read.
    """

    def __init__(self, settings: RecodeSettings) -> None:
        self.settings = settings
        fixed = settings.prior in (BUNDLED_WORD, NONE_WORD)
        self._named = None if fixed else named_prior(settings.prior)

    def prior_for(self, head: Head) -> StoredPrior | None:
        """Return the prior that a file shall have. Raises PriorNotFound, ModelMismatch."""
        prior = bundled_prior(head) if self.settings.prior == BUNDLED_WORD else self._named
        check_covers(prior, head, "the file")
        return prior

    def existing(self, task: Task) -> FileSkipped | None:
        """Return why an output that is there stays; in place it is the source itself."""
        if not self.settings.in_place:
            refuse_itself(task)
            return existing_output(task, self.settings.exists)
        with Reader(task.source) as reader:
            head = reader.head
        if head.prior_id == _id_of(self.prior_for(head)):
            return FileSkipped(task.source, "has this prior already", done=True)
        return None

    def __call__(self, task: Task, stream: BinaryIO, progress: ProgressCallback) -> Outcome:
        """Write the file with the other prior, and prove from its bytes that the codes are the same."""
        begin = time.monotonic()
        with Reader(task.source) as reader:
            head = reader.head
        prior = self.prior_for(head)
        seconds = recode(task.source, stream, prior, progress)
        copy_mode(task.source, stream)
        notes = _keep_findable(prior, head, task.target)
        return Outcome(seconds, head.channels, time.monotonic() - begin, notes)

    def after(self, task: Task, made: bool) -> None:
        """Nothing is left to do."""


def _keep_findable(prior: StoredPrior | None, head: Head, target: Path) -> tuple[str, ...]:
    """Add a prior to the user's store unless a reader of `target` finds it as things are; return what to tell."""
    if prior is None:
        return ()
    with _keeping:
        try:
            prior_of(with_prior(head, prior), target)
        except (PriorNotFound, UnsafeWeights):
            return (f"it needs a prior that was not installed; added now: {keep_prior(prior, user_folder())}",)
    return ()


def recode(
    source: Path,
    target: BinaryIO,
    prior: Prior | None,
    progress: ProgressCallback = lambda done, total: None,
) -> float:
    """Copy `source` to `target`, readable and seekable, with its codes coded by `prior` (None: raw); return seconds.

    The target is read back and decoded: every layer must have the codes_crc that it had. Raises EntropyMismatch if not,
    PriorNotFound or ModelMismatch for the file's own prior, and what damage of the source raises.
    """
    with Reader(source) as reader:
        head = reader.head
    old, before = prior_of(head, source), Checksums()
    per_frame = head.hop / head.rate

    def change_blocks(blocks: Iterator[Block]) -> Iterator[Block]:
        for group in grouped(blocks):
            before.extend(map(_checksums, group))
            yield from _recoded(group, head, old, prior)
            progress((group[-1].sequence + 1) * head.frames_per_block * per_frame, None)

    tail = rewrite(source, target, change_blocks, lambda head: with_prior(head, prior))
    target.flush()
    target.seek(0)
    if checksums_of(target, prior) != before:
        raise EntropyMismatch(f"{source}: recoded to other codes; the file is left as it is, please report it")
    return tail.source_samples / head.source_rate


def with_prior(head: Head, prior: Prior | None) -> Head:
    """Return a header that names another prior."""
    return replace(head, coder=CODER_RANGE if prior else CODER_RAW, prior_id=_id_of(prior))


def checksums_of(stream: BinaryIO, prior: Prior | None) -> Checksums:
    """Decode a whole file with `prior`, which compares the codes with the checksums, and return the checksums."""
    found = Checksums()
    reader = Reader(stream)
    for group in grouped(reader.blocks()):
        for _ in decode_codes(group, reader.head, prior):
            pass
        found.extend(map(_checksums, group))
    return found


def _recoded(group: Sequence[Block], head: Head, old: Prior | None, new: Prior | None) -> Iterator[Block]:
    decoded = list(decode_codes(group, head, old))
    for block, coded, channels in zip(group, decoded, encode_layers(decoded, head, new), strict=True):
        yield replace(block, channels=stored_channels(coded, channels))


def _checksums(block: Block) -> tuple[int, ...]:
    return tuple(layer.codes_crc for channel in block.channels for layer in channel.layers)


def _id_of(prior: Prior | None) -> bytes:
    return prior.id if prior else RAW_PRIOR_ID


@dataclass
class PriorSizes:
    """Bytes of the codes of some files: raw, as they are stored, and coded by the prior in question, also by layer."""

    files: int = 0
    codes: int = 0
    raw: int = 0
    stored: int = 0
    coded: int = 0
    layer_codes: np.ndarray = field(default_factory=lambda: np.zeros(256, np.int64))
    layer_bytes: np.ndarray = field(default_factory=lambda: np.zeros(256, np.int64))

    def __add__(self, other: PriorSizes) -> PriorSizes:
        """Return the sums over the files of both."""
        return PriorSizes(*(getattr(self, name) + getattr(other, name) for name in self.__dataclass_fields__))

    @property
    def bits(self) -> list[float]:
        """Bits a code with the prior in question (raw fallback included), by layer, down to the last that has codes."""
        deep = int(np.count_nonzero(self.layer_codes))
        return (8 * self.layer_bytes[:deep] / np.maximum(self.layer_codes[:deep], 1)).tolist()


def measure(path: Path | BinaryIO, prior: Prior | None) -> PriorSizes:
    """Code the codes of a `.dacz` file or stream with `prior` (None: raw) and return the sizes; nothing is written.

    Raises DaczError when the file is damaged, its own prior is missing, or `prior` does not fit.
    """
    sizes = PriorSizes(files=1)
    with Reader(path) as reader:
        head = reader.head
        check_covers(prior, head, "the file")
        old = prior_of(head, path)
        for group in grouped(reader.blocks()):
            decoded = list(decode_codes(group, head, old))
            for block, coded, channels in zip(group, decoded, encode_layers(decoded, head, prior), strict=True):
                _add(sizes, head, block, coded, channels)
    return sizes


def _add(
    sizes: PriorSizes, head: Head, block: Block, coded: CodedBlock, channels: Sequence[Sequence[StoredLayer]]
) -> None:
    raw = head.raw_layer_bytes(block.frames)
    for channel, layers in zip(block.channels, channels, strict=True):
        if channel.mode != CODED:
            continue
        lengths = [len(data) for data, _ in layers]
        sizes.codes += coded.frames * len(lengths)
        sizes.raw += raw * len(lengths)
        sizes.stored += sum(len(layer.data) for layer in channel.layers)
        sizes.coded += sum(lengths)
        sizes.layer_codes[: len(lengths)] += coded.frames
        sizes.layer_bytes[: len(lengths)] += lengths
