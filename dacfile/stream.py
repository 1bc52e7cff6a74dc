"""Code whole files window by window with any codec that can code single windows; numpy only."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol, TypeVar

import numpy as np

from dacfile.errors import ModelMismatch, UsageError
from dacfile.model.facts import Facts
from dacfile.windows import DecodeBuffer, DecodeJob, EncodeBuffer, EncodeJob, check_floating

if TYPE_CHECKING:
    from dacfile.container import Head

Job = TypeVar("Job", EncodeJob, DecodeJob)


class Windowed(Protocol):
    """What cutting into windows needs to know of a codec, in either direction."""

    facts: Facts
    batch: int  # windows it takes in one call; 1: one by one


class WindowEncoder(Windowed, Protocol):
    """What encodes windows."""

    def encode_windows(self, x: np.ndarray, first_frames: Sequence[int], channels: Sequence[int]) -> np.ndarray:
        """Return codes uint16 [B, K, L] of samples float32 [B, lead + L * hop]; the rest is what decoding will have."""


class WindowDecoder(Windowed, Protocol):
    """What decodes windows."""

    def decode_windows(self, codes: np.ndarray, first_frames: Sequence[int], channels: Sequence[int]) -> np.ndarray:
        """Return samples float32 [B, L * hop - tail] of codes uint16 [B, n, L]; ABSENT codes add nothing."""


class WindowPreview(Windowed, Protocol):
    """What decodes windows for an encoder to listen to."""

    def preview_windows(
        self,
        codes: np.ndarray,
        first_frames: Sequence[int],
        channels: Sequence[int],
        gains: np.ndarray | None = None,
    ) -> np.ndarray:
        """Return about what decoding does, float32 [B, L * hop - tail] for codes uint16 [B, n, L], perhaps with gains.

        Gains float32 [B, L, POINTS] are those of equalisers (`dacfile.equaliser`), for models that have them.
        """


class WindowCodec(WindowEncoder, WindowPreview, Protocol):
    """A model that codes windows both ways; `dacfile.codec.Codec` is the real one."""

    name: str
    id: bytes  # 16 bytes

    def decode_windows(
        self,
        codes: np.ndarray,
        first_frames: Sequence[int],
        channels: Sequence[int],
        gains: np.ndarray | None = None,
    ) -> np.ndarray:
        """Decode as `WindowDecoder` does.

        Gains float32 [B, L, POINTS] are those of equalisers (`dacfile.equaliser`), for models that have them.
        """


def check_model(head: Head, codec: WindowCodec) -> None:
    """Raise ModelMismatch unless a model is the one that a file was made with."""
    if codec.id != head.model_id:
        raise ModelMismatch(f"made with the model {head.model_id.hex()}, not with {codec.name or codec.id.hex()}")
    facts = codec.facts
    numbers = (facts.rate, facts.hop, facts.codebooks, facts.codebook_size)
    if numbers != (head.rate, head.hop, head.codebooks, head.codebook_size):
        raise ModelMismatch(f"the model {codec.name} has another rate, hop or codebooks than the file says")


def encode_jobs(codec: WindowEncoder, jobs: Sequence[EncodeJob]) -> list[np.ndarray]:
    """Encode jobs of any number of files; return the kept codes of each, uint16 [C, K, kept frames].

    Jobs of equal window length make one batch. Where the codec takes windows one by one, none need be as long as the
    others.
    """
    jobs = jobs if codec.batch > 1 else [job.shortened(codec.facts) for job in jobs]

    def run(group: list[EncodeJob]) -> np.ndarray:
        firsts = np.repeat([job.first_frame for job in group], [len(job.samples) for job in group])
        channels = [channel for job in group for channel in job.channels]
        return codec.encode_windows(np.concatenate([job.samples for job in group]), firsts.tolist(), channels)

    outputs = _in_groups(jobs, lambda job: job.samples.shape[-1], run, lambda job: len(job.samples))
    return [codes[..., job.keep] for job, codes in zip(jobs, outputs, strict=True)]


def decode_jobs(codec: WindowDecoder, jobs: Sequence[DecodeJob]) -> list[np.ndarray]:
    """Decode jobs of any number of files; return the kept samples of each, float32 [kept samples, C].

    Jobs of equal window length and depth make one batch; see `encode_jobs` for codecs that take them one by one.
    """
    jobs = jobs if codec.batch > 1 else [job.shortened(codec.facts) for job in jobs]

    def run(group: list[DecodeJob]) -> np.ndarray:
        counts = [len(job.codes) for job in group]
        firsts = np.repeat([job.first_frame for job in group], counts)
        channels = np.concatenate([np.arange(count) for count in counts])
        return codec.decode_windows(np.concatenate([job.codes for job in group]), firsts.tolist(), channels.tolist())

    outputs = _in_groups(jobs, lambda job: job.codes.shape[1:], run, lambda job: len(job.codes))
    return [samples[:, job.keep].T for job, samples in zip(jobs, outputs, strict=True)]


def _in_groups(
    jobs: Sequence[Job],
    shape: Callable[[Job], object],
    run: Callable[[list[Job]], np.ndarray],
    rows: Callable[[Job], int],
) -> list[np.ndarray]:
    """Run jobs of equal shape together and return each job's own rows, in the order of `jobs`."""
    groups: dict[object, list[int]] = {}
    for index, job in enumerate(jobs):
        groups.setdefault(shape(job), []).append(index)
    outputs: dict[int, np.ndarray] = {}
    for indices in groups.values():
        output = run([jobs[index] for index in indices])
        ends = np.cumsum([rows(jobs[index]) for index in indices])
        outputs.update(zip(indices, np.split(output, ends[:-1]), strict=True))
    return [outputs[index] for index in range(len(jobs))]


class StreamEncoder:
    """Encode one file whose samples arrive in pieces; memory holds about one window.

    `channels` is how many there are, or the numbers that decoding will give them, SIDE among them.
    """

    def __init__(self, codec: WindowEncoder, channels: int | Sequence[int], window: int = 0) -> None:
        numbers = range(channels) if isinstance(channels, int) else channels
        self.codec = codec
        self.channels = len(numbers)
        self._buffer = EncodeBuffer(codec.facts, numbers, window)

    def push(self, samples: np.ndarray) -> np.ndarray:
        """Add samples float32 [n, C]; return the codes that are ready, uint16 [C, K, t] with t >= 0."""
        if samples.ndim != 2 or samples.shape[1] != self.channels:
            raise UsageError(f"samples of shape {samples.shape} for an encoder of {self.channels} channels")
        check_floating(samples)
        return self._run(self._buffer.push(samples))

    def finish(self) -> np.ndarray:
        """Return the codes of the rest of the file, uint16 [C, K, t]."""
        return self._run(self._buffer.finish())

    def _run(self, jobs: list[EncodeJob]) -> np.ndarray:
        nothing = np.zeros((self.channels, self.codec.facts.codebooks, 0), np.uint16)
        return np.concatenate([nothing, *encode_jobs(self.codec, jobs)], axis=-1)


class StreamDecoder:
    """Decode one file, or the samples [start, total_samples) of it, from codes that arrive in pieces.

    `first_frame` is the absolute index of the first frame that will be pushed; `dacfile.windows.frames_for` tells which
    frames a range of samples needs. `total_samples` may be None until `finish`.
    """

    def __init__(
        self,
        codec: WindowDecoder,
        channels: int,
        total_samples: int | None,
        first_frame: int = 0,
        start: int = 0,
        window: int = 0,
    ) -> None:
        self.codec = codec
        self.channels = channels
        self._buffer = DecodeBuffer(codec.facts, channels, first_frame, start, total_samples, window)

    def push(self, codes: np.ndarray) -> np.ndarray:
        """Add codes uint16 [C, n, t], n <= K, ABSENT where there is none; return samples float32 [m, C], m >= 0."""
        if codes.ndim != 3 or codes.shape[0] != self.channels:
            raise UsageError(f"codes of shape {codes.shape} for a decoder of {self.channels} channels")
        return self._run(self._buffer.push(codes))

    def finish(self, total_samples: int | None = None) -> np.ndarray:
        """Return the rest of the samples, float32 [m, C]; `total_samples` replaces that of the constructor."""
        return self._run(self._buffer.finish(total_samples))

    def _run(self, jobs: list[DecodeJob]) -> np.ndarray:
        return np.concatenate([np.zeros((0, self.channels), np.float32), *decode_jobs(self.codec, jobs)])
