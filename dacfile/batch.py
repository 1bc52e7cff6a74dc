"""Many files: compress, decompress, repack. What is done with one file is the pipeline's business.

    for event in batch.process(batch.plan_compress([Path("music")], Path("archive")), batch.CompressSettings()):
        ...

Events are those of `dacfile.events`. A second run over the same inputs does no work.
"""

from __future__ import annotations

import os
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from dacfile.errors import DaczError, NotDacz, OutputExists, UsageError
from dacfile.events import Event, FileSkipped, ProgressCallback, Started
from dacfile.plan import Plan, Task, compress_rules, decompress_rules, make_plan
from dacfile.repack import (
    RecodeSettings,
    Repack,
    RepackSettings,
    channel_depths,
    deepest_layer,
    existing_output,
    refuse_dangling,
)
from dacfile.runner import Action, Outcome, Stop, failure, run
from dacfile.spool import spooled
from dacfile.verification import complete_head, verify_file

if TYPE_CHECKING:
    from dacfile.coders import Coders
    from dacfile.compressor import CompressOptions
    from dacfile.container import Head
    from dacfile.decompressor import DecompressOptions
    from dacfile.entropy import Prior
    from dacfile.model.store import ModelEntry
    from dacfile.stream import WindowCodec

EXISTS = ("skip", "overwrite", "fail")
MAX_JOBS = 16  # chosen for the user; each takes memory, and Python itself does not scale further
SMALL_BYTES = 1 << 18  # of .dacz in flight: short files are decoded faster together (dacfile.combine)
MANY_CORES = 4  # from here on threads are expected to wait more for each other than processes cost
FULL_BAND = 44_100  # Hz; a model of this rate keeps what people hear, a slower one is worth a note


@dataclass(frozen=True)
class CompressSettings:
    """How to compress: `model` is a name, a weights file or "auto"; `options` as `compress_file` has them.

    prior: use the model's prior; without it codes are stored raw. exists: what happens when an output is there: "skip"
    leaves what is complete and not older than its source, "fail" and "overwrite" do as they say. check: with "skip",
    decide by the samples themselves in place of the times of the files. verify: read back and decode the codes of every
    output. remove: then delete the source, unless it has changed meanwhile (implies verify); a file that links among
    the sources lead to goes with them, when the last one is done. rdo, refine: how codes are chosen, as
    `dacfile.api.compress` has it. coders: processes for entropy coding; 0 leaves it to the threads, None takes one a
    core where there are many.
    """

    model: str = "auto"
    options: CompressOptions | None = None
    device: str = "auto"
    precision: str = "auto"
    prior: bool = True
    rdo: float | None = None
    refine: int = 0
    exists: str = "skip"
    check: bool = False
    verify: bool = False
    remove: bool = False
    coders: int | None = None
    codec: WindowCodec | None = field(default=None, compare=False)  # used for every file, whatever `model` says


@dataclass(frozen=True)
class DecompressSettings:
    """How to decompress: `options` as `decompress_file` has them; exists: "skip" leaves any output that is there.

    coders: as in `CompressSettings`.
    """

    options: DecompressOptions | None = None
    device: str = "auto"
    precision: str = "auto"
    exists: str = "skip"
    coders: int | None = None
    codec: WindowCodec | None = field(default=None, compare=False)


Settings = CompressSettings | DecompressSettings | RepackSettings | RecodeSettings


def plan_compress(inputs: Sequence[Path], out: Path | None) -> Plan:
    """Return what `compress` would look at; raises UsageError for impossible outputs."""
    return make_plan(inputs, out, compress_rules())


def plan_decompress(inputs: Sequence[Path], out: Path | None, wanted: str | None, force: bool = False) -> Plan:
    """Return what `decompress` would look at; the name of an output depends on what the file says of its source.

    With `force`, a file may be damaged as long as one of the two copies of its header is intact.
    """
    from dacfile.audio.writer import output_format
    from dacfile.container import Reader, salvageable_head

    def head_of(path: Path) -> Head:
        if force:
            return salvageable_head(path)
        with Reader(path) as reader:
            return reader.head

    def suffix(path: Path) -> str:
        head = head_of(path)
        return output_format(head.container_name, head.subtype_name, wanted).suffix

    if wanted is not None:
        output_format("WAV", "PCM_16", wanted)  # an impossible wish is an error of the call, not of each file
    return make_plan(inputs, out, decompress_rules(suffix))


def process(plan: Plan, settings: Settings, *, jobs: int = 0, stop: Stop | None = None) -> Iterator[Event]:
    """Do to the files of a plan what the settings are for, `jobs` files at a time (0: one a core); yield events.

    Raises UsageError or ModelNotFound for settings that no file could be done with.
    """
    if settings.exists not in EXISTS:
        raise UsageError(f"--exists {settings.exists}: use one of {', '.join(EXISTS)}")
    jobs = _jobs(plan, jobs, SMALL_BYTES if isinstance(settings, DecompressSettings) else 0)
    return run(plan, _action(plan, settings, jobs), jobs=jobs, stop=stop)


def _action(plan: Plan, settings: Settings, jobs: int = 1) -> Action:
    match settings:
        case CompressSettings():
            return _Compress(settings, jobs, plan.tasks if settings.remove else ())
        case DecompressSettings():
            return _Decompress(settings, jobs)
        case RepackSettings():
            return Repack(settings)
        case RecodeSettings():
            from dacfile.recode import Recode

            return Recode(settings)


def _jobs(plan: Plan, wanted: int, small: int) -> int:
    """Return how many files to work on at a time: `wanted`, else one a core, or as many as hold `small` bytes."""
    from dacfile.installed import cores

    largest = max((task.size for task in plan.tasks), default=1)
    return max(1, min(wanted or min(max(cores(), small // max(largest, 1)), MAX_JOBS), len(plan.tasks)))


def _coders(wanted: int | None, jobs: int) -> Coders:
    from dacfile.coders import Coders
    from dacfile.installed import cores

    chosen = cores() if cores() >= MANY_CORES else 0
    return Coders(min(chosen, jobs) if wanted is None else wanted)


class _Compress:
    """The action of `compress`."""

    def __init__(self, settings: CompressSettings, jobs: int = 1, to_remove: Sequence[Task] = ()) -> None:
        from dacfile.compressor import CompressOptions, check_codebooks
        from dacfile.installed import Codecs, rdo_weight
        from dacfile.model.facts import check_refinable

        if settings.check and settings.exists != "skip":
            raise UsageError(f"--check says what is skipped: it cannot be used with --exists {settings.exists}")
        self.settings, self.names = settings, _Names(to_remove)
        rdo = rdo_weight(settings.rdo, settings.prior)
        self.codecs = Codecs(settings.device, settings.precision, settings.codec, jobs, rdo, settings.refine)
        self.codecs.check()
        if self.wanted:
            check_codebooks(settings.options or CompressOptions(), self.wanted.facts)
            check_refinable(settings.refine, self.wanted.facts)
        self.coders = _coders(settings.coders, jobs)

    def existing(self, task: Task) -> FileSkipped | None:
        if self.settings.exists != "skip":
            return existing_output(task, self.settings.exists)
        refuse_dangling(task.target)
        try:
            head = complete_head(task.target)
        except NotDacz:
            raise OutputExists(f"{task.target} exists and is not a .dacz file; move it away first") from None
        if head is None or not self._is_current(task):
            return None
        if other := self._difference(task.target, head):
            return FileSkipped(task.source, f"is done, with {other}; --exists overwrite makes it anew")
        also = ", and its source is deleted" if self.settings.remove else ""
        if self.names.several(task):
            also += " once that is done for all links to it"
        return FileSkipped(task.source, f"is done{also}", done=True)

    def _difference(self, target: Path, head: Head) -> str:
        """Say how an output differs from what was asked for; "" if it does not, or nobody can tell."""
        if self.wanted and self.wanted.id != head.model_id:
            return f"another model than {self.settings.model}"
        options = self.settings.options
        wanted = options.codebooks if options else None
        if wanted is not None and deepest_layer(target, wanted) not in (0, wanted):
            return f"other than {wanted} codebooks"
        if options and options.bitrate is not None and _other_rate(target, head, options.bitrate * 1000):
            return f"{head.nominal_bitrate / 1000:.3g} kbit/s in place of {options.bitrate:g}"
        return ""

    @cached_property
    def wanted(self) -> ModelEntry | None:
        """The model that was asked for by name; None when any will do."""
        if self.settings.model == "auto" or self.settings.codec is not None:
            return None
        from dacfile.model import store

        return store.find(self.settings.model)

    def _is_current(self, task: Task) -> bool:
        """Say whether an output is of this very source: by times, which costs nothing, or by the samples."""
        if self.settings.check:
            from dacfile.deep import is_source

            return is_source(task.target, task.source)
        return task.target.stat().st_mtime_ns >= task.source.stat().st_mtime_ns

    def __call__(self, task: Task, stream: BinaryIO, progress: ProgressCallback) -> Outcome:
        return self.encode(task.source, stream, progress)

    def encode(self, source: Path | BinaryIO, stream: BinaryIO, progress: ProgressCallback | None = None) -> Outcome:
        """Compress one file or seekable stream."""
        from dacfile.audio.files import rate_of
        from dacfile.compressor import compress_file
        from dacfile.installed import default_prior

        codec = self.codecs.for_source(self.settings.model, lambda: rate_of(source))
        prior: Prior | None = default_prior(codec.name, codec.id) if self.settings.prior else None
        prior = prior and self.coders.remote(prior)
        begin = time.monotonic()
        done = compress_file(source, stream, codec, prior, self.settings.options, progress)
        notes = done.notes
        if codec.facts.rate < min(done.source.rate, FULL_BAND):
            notes += (f"nothing above {codec.facts.rate / 2000:g} kHz is kept by the model {codec.name}",)
        return Outcome(done.seconds, done.source.channels, time.monotonic() - begin, notes)

    def after(self, task: Task, made: bool) -> None:
        """Read the finished file back; only then may the source go, if it is still what was compressed."""
        if not (self.settings.verify or self.settings.remove):
            return
        try:
            verify_file(task.target)
        except BaseException:
            if made:
                task.target.unlink(missing_ok=True)
            raise
        if self.settings.remove:
            self._remove(self.names.complete(task))

    def _remove(self, tasks: Sequence[Task]) -> None:
        from dacfile.deep import check_source

        for task in tasks:
            check_source(task.target, task.source)
        for task in tasks:
            task.source.unlink()


class _Names:
    """Which sources are one file, under its own name and as links: that one cannot go before all of them are done."""

    def __init__(self, tasks: Sequence[Task]) -> None:
        self._files = {task.source: os.path.realpath(task.source) for task in tasks}
        self._counts = Counter(self._files.values())
        self._done: defaultdict[str, list[Task]] = defaultdict(list)
        self._guard = threading.Lock()

    def several(self, task: Task) -> bool:
        """Say whether the source of a task is that of others too."""
        return self._counts[self._files.get(task.source, "")] > 1

    def complete(self, task: Task) -> list[Task]:
        """Note that a task is done; return all tasks of its file when it was the last of them, else none."""
        file = self._files[task.source]
        with self._guard:
            done = self._done[file]
            done.append(task)
            return done if len(done) == self._counts[file] else []


def _other_rate(target: Path, head: Head, wanted: float) -> bool:
    """Say whether `wanted` bit/s would have given a file of fewer layers, or one of more.

    More of them are only missed where each coded channel could have had another one: the deeper of two channels may get
    one alone, which the file does not tell.
    """
    if head.nominal_bitrate > wanted:
        return True
    layer = head.rate / head.hop * head.bits_per_code
    if head.nominal_bitrate + layer > wanted:
        return False  # known without reading on
    depths = channel_depths(target, head.codebooks)
    return 0 < max(depths) < head.codebooks and head.nominal_bitrate + layer * sum(map(bool, depths)) <= wanted


class _Decompress:
    """The action of `decompress`."""

    def __init__(self, settings: DecompressSettings, jobs: int = 1) -> None:
        from dacfile.installed import Codecs

        self.settings = settings
        self.shared: dict[bytes, Prior] = {}  # by id
        self.codecs = Codecs(settings.device, settings.precision, settings.codec, jobs)
        self.codecs.check()
        self.coders = _coders(settings.coders, jobs)

    def existing(self, task: Task) -> FileSkipped | None:
        return existing_output(task, self.settings.exists)

    def __call__(self, task: Task, stream: BinaryIO, progress: ProgressCallback) -> Outcome:
        return self.decode(task.source, stream, progress, task.target)

    def decode(
        self,
        source: Path | BinaryIO,
        stream: BinaryIO,
        progress: ProgressCallback | None = None,
        name: Path | None = None,
    ) -> Outcome:
        """Decompress one file or stream; `name`, if it has one, says the format."""
        from dacfile.combine import SharedPrior
        from dacfile.decompressor import DecompressOptions, decompress_file, format_of_name
        from dacfile.installed import prior_of

        begin = time.monotonic()

        def find_codec(head: Head) -> WindowCodec:
            nonlocal begin
            codec = self.codecs.for_head(head)
            begin = time.monotonic()
            return codec

        def find_prior(head: Head) -> Prior | None:
            prior = prior_of(head, source)
            return self.shared.setdefault(prior.id, SharedPrior(self.coders.remote(prior))) if prior else None

        options = self.settings.options or DecompressOptions()
        if name is not None:
            options = replace(options, format=format_of_name(name, options.format))
        done = decompress_file(source, stream, find_codec, find_prior, options, progress)
        return Outcome(done.seconds, done.channels, time.monotonic() - begin, done.notes, bool(done.damage))

    def after(self, task: Task, made: bool) -> None:
        pass


def compress_stream(source: BinaryIO | Path, target: BinaryIO, settings: CompressSettings) -> Outcome:
    """Compress audio from a stream, which may be a pipe, or a file, to a stream."""
    if isinstance(source, Path):
        return _Compress(settings).encode(source, target)
    with spooled(source) as copy:
        return _Compress(settings).encode(copy, target)


def decompress_stream(
    source: BinaryIO | Path, target: BinaryIO, settings: DecompressSettings, name: Path | None = None
) -> Outcome:
    """Decompress a stream, which may be a pipe, or a file, to a stream; `name`, if it has one, says the format."""
    return _Decompress(settings).decode(source, target, name=name)


def preview(plan: Plan, settings: Settings) -> Iterator[Event]:
    """Yield what a run would do without doing it: Started for files that would be made, else skips and failures."""
    action = _action(plan, settings)
    yield from (FileSkipped(note.path, note.reason) for note in plan.notes)
    yield from (failure(problem.path, problem.error) for problem in plan.problems)
    for task in plan.tasks:
        try:
            skipped = action.existing(task) if os.path.lexists(task.target) else None
        except (DaczError, OSError) as error:
            yield failure(task.source, error)
        else:
            yield skipped or Started(task.source, task.target)
