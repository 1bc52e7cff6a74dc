"""How fast this machine codes: the stages one by one, and whole batches from files to files.

Speeds are seconds of one channel's audio per second on the clock: a stereo file of 10 s counts 20. Everything runs once
before it is timed, so that neither loading nor the first call's preparations count.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import soundfile

from dacfile import batch
from dacfile.audio.files import AudioReader
from dacfile.audio.resample import Resampler
from dacfile.entropy import Prior, decode_blocks, encode_blocks
from dacfile.errors import DaczError, UnsupportedAudio, UsageError
from dacfile.events import Event, FileFailed, Finished
from dacfile.installed import Codecs, cores, default_prior
from dacfile.stream import StreamDecoder, StreamEncoder, WindowCodec

NETWORK = ("encode", "decode")
ENTROPY = ("entropy encode", "entropy decode")
BLOCK_SECONDS = 20.0  # of the blocks that are entropy coded together, as in files
TRIAL_SECONDS = 0.5  # of audio, to see how much fits into the time
MOST_TIME = 4.0  # seconds on the clock for one pass of the network; slow models get less audio

Result = TypeVar("Result")


@dataclass(frozen=True)
class Timing:
    """One stage of one model: `audio` seconds of all channels took `elapsed` seconds, on `cores` processor cores."""

    stage: str
    audio: float
    elapsed: float
    cores: int

    @property
    def speed(self) -> float:
        """Times real time, over all channels."""
        return self.audio / max(self.elapsed, 1e-9)


def synthetic(seconds: float, rate: int) -> np.ndarray:
    """Return something like music in stereo, float32 [samples, 2], the same every time: plucked chords and noise."""
    random = np.random.default_rng(7)
    time_axis = np.arange(max(round(seconds * rate), 1), dtype=np.float32) / rate
    beat = time_axis % np.float32(0.5)
    out = random.normal(0, 0.02, (len(time_axis), 2)).astype(np.float32) * np.exp(-12 * beat)[:, None]
    chord = (time_axis / 2).astype(np.int64) % 4
    for harmonic in range(1, 9):
        for root in (110.0, 138.6, 164.8):
            phase = 2 * np.pi * harmonic * root * (2.0 ** (np.array([0, 3, 5, 7]) / 12))[chord] * time_axis
            tone = np.sin(phase % (2 * np.pi)) * np.exp(-harmonic * beat) / (12 * harmonic)
            out += (tone[:, None] * random.uniform(0.5, 1, 2)).astype(np.float32)
    return out


def read_start(path: Path, seconds: float, rate: int) -> np.ndarray:
    """Return the first `seconds` of an audio file at `rate`, float32 [samples, C].

    Raises UnsupportedAudio or OSError, UsageError when there is nothing in it.
    """
    try:
        parts = _first_parts(path, seconds, rate)
    except UnsupportedAudio as error:
        raise UnsupportedAudio(f"{path}: {error}") from None
    audio = np.concatenate(parts)[: max(round(seconds * rate), 1)]
    if not len(audio):
        raise UsageError(f"{path}: holds no samples: there is nothing to measure")
    return audio


def _first_parts(path: Path, seconds: float, rate: int) -> list[np.ndarray]:
    """Return at least the first `seconds` of an audio file at `rate`, or all there is, piece by piece."""
    with AudioReader(path) as reader:
        resampler = Resampler(reader.info.rate, rate, reader.info.channels)
        parts = []
        for block in reader.blocks():
            parts += list(resampler.pieces(block))
            if resampler.given >= seconds * rate:
                return parts
        return [*parts, resampler.finish()]


class Bench:
    """Measures one model on one device. Raises ModelNotFound, UsageError for a device that is not there.

    `name`, `device` and `precision` say what is measured. `seconds` of audio are used, or of `source` when one is
    given, and less when the model is slow.
    """

    def __init__(
        self, model: str, device: str = "auto", precision: str = "auto", seconds: float = 30.0,
        source: Path | None = None, codec: WindowCodec | None = None,
    ) -> None:  # fmt: skip
        if not seconds > 0:
            raise UsageError(f"{seconds:g} seconds of audio are too little to measure")
        self.codec = Codecs(device, precision, codec, jobs=cores()).for_source(model, lambda: 0)
        self.name = self.codec.name
        self.device = str(getattr(self.codec, "device", "cpu"))
        self.precision = str(getattr(self.codec, "precision", "fp32"))
        self.prior: Prior | None = default_prior(self.codec.name, self.codec.id)
        self._source, self._seconds = source, seconds
        self._audio = self._fitting()

    @property
    def seconds(self) -> float:
        """Seconds of audio that are measured."""
        return len(self._audio) / self.codec.facts.rate

    def timings(self) -> Iterator[Timing]:
        """Measure: yield the network both ways, entropy coding both ways, then whole batches both ways.

        Of the first four a CPU uses one core; a batch has one file a core.
        """
        codes, encode = self._timed(lambda: self._encode(self._audio))
        _, decode = self._timed(lambda: self._decode(codes))
        yield from self._parts(NETWORK, (encode, decode))
        if self.prior is not None:
            yield from self._parts(ENTROPY, self._entropy(codes, self.prior))
        with tempfile.TemporaryDirectory(prefix="dacz-bench-") as folder:
            yield from self._whole(Path(folder))

    def _parts(self, stages: tuple[str, ...], elapsed: tuple[float, ...]) -> Iterator[Timing]:
        audio = self.seconds * self._audio.shape[1]
        yield from (Timing(stage, audio, spent, 1) for stage, spent in zip(stages, elapsed, strict=True))

    def _material(self, seconds: float) -> np.ndarray:
        rate = self.codec.facts.rate
        return synthetic(seconds, rate) if self._source is None else read_start(self._source, seconds, rate)

    def _fitting(self) -> np.ndarray:
        """Return as much audio as both networks can do in the time; this also warms them up."""
        trial = self._material(min(TRIAL_SECONDS, self._seconds))
        codes = self._warm_up(trial)
        begin = time.perf_counter()
        self._decode(self._encode(trial))
        spent = max(time.perf_counter() - begin, 1e-6) / (codes.shape[-1] * self.codec.facts.hop)
        fits = MOST_TIME / spent / self.codec.facts.rate
        audio = self._material(min(self._seconds, max(fits, TRIAL_SECONDS)))
        if self.device != "cpu":
            self._warm_up(audio)  # memory is taken anew for larger batches
        return audio

    def _warm_up(self, audio: np.ndarray) -> np.ndarray:
        """Code on every device both ways, which take turns; return the codes."""
        for _ in range(getattr(self.codec, "copies", 1)):
            codes = self._encode(audio)
            self._decode(codes)
        return codes

    def _encode(self, audio: np.ndarray) -> np.ndarray:
        encoder = StreamEncoder(self.codec, audio.shape[1])
        return np.concatenate([encoder.push(audio), encoder.finish()], axis=-1)

    def _decode(self, codes: np.ndarray) -> np.ndarray:
        decoder = StreamDecoder(self.codec, len(codes), None)
        return np.concatenate([decoder.push(codes), decoder.finish()])

    def _timed(self, work: Callable[[], Result]) -> tuple[Result, float]:
        begin = time.perf_counter()
        result = work()
        return result, time.perf_counter() - begin

    def _entropy(self, codes: np.ndarray, prior: Prior) -> tuple[float, float]:
        facts = self.codec.facts
        size = max(round(BLOCK_SECONDS * facts.rate / facts.hop), 1)
        starts = list(range(0, codes.shape[-1], size))
        blocks = [[channel[:, start : start + size] for channel in codes] for start in starts]
        stored, encode = self._timed(lambda: encode_blocks(prior, blocks, starts, facts.codebook_size))
        frames = [block[0].shape[-1] for block in blocks]
        _, decode = self._timed(lambda: decode_blocks(prior, stored, frames, None, starts, facts.codebook_size))
        return encode, decode

    def _whole(self, folder: Path) -> Iterator[Timing]:
        """Compress and decompress a folder with one file for every core."""
        music, packed, back = folder / "music", folder / "packed", folder / "back"
        music.mkdir()
        for number in range(cores()):
            soundfile.write(music / f"{number}.flac", np.clip(self._audio, -1, 1), self.codec.facts.rate, "PCM_16")
        settings = batch.CompressSettings(codec=self.codec)
        yield self._batch("compress", batch.process(batch.plan_compress([music], packed), settings))
        plan = batch.plan_decompress([packed], back, None)
        yield self._batch("decompress", batch.process(plan, batch.DecompressSettings(codec=self.codec)))

    def _batch(self, stage: str, events: Iterator[Event]) -> Timing:
        for event in events:
            if isinstance(event, FileFailed):
                raise DaczError(f"measuring failed: {event.reason}")
            if isinstance(event, Finished):
                end = event
        return Timing(stage, end.channel_seconds, end.elapsed, cores())
