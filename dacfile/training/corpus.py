"""The training corpus: decoded once into one memory-mapped file per rate, sampled by category.

Cache layout (`prepare`): `audio.npy`, int16, all files one after another at the model's rate, and `index.json`, one row
per stretch: name, category, first sample, samples. A stereo file yields its mid and, where it is audible, its side,
because that is what the codec will be asked to code.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr

from dacfile.errors import UsageError

AUDIO_SUFFIXES = {".flac", ".ogg", ".opus", ".wav", ".mp3", ".aiff", ".aif"}
# A side channel below this level relative to the mid teaches nothing but rounding noise.
SIDE_FLOOR_DB = -30.0


@dataclass(frozen=True)
class Stretch:
    """One channel of one file in the cache: `audio[first : first + samples]`."""

    name: str
    category: str
    first: int
    samples: int


def find_audio(root: Path) -> list[Path]:
    """Return every audio file below `root`, sorted, so that a cache does not depend on directory order."""
    return sorted(p for p in root.rglob("*") if p.suffix.lower() in AUDIO_SUFFIXES)


def category_of(path: Path, root: Path) -> str:
    """Return the name of the first folder below `root`, or "audio" for files directly in it."""
    parts = path.relative_to(root).parts
    return parts[0] if len(parts) > 1 else "audio"


def coded_channels(audio: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """Yield (label, samples) for what the codec would code of float32 `audio` [samples, channels]."""
    if audio.shape[1] == 1:
        yield "mono", audio[:, 0]
        return
    mid = (audio[:, 0] + audio[:, 1]) / 2
    side = (audio[:, 0] - audio[:, 1]) / 2
    yield "mid", mid
    if np.mean(side**2) > 10 ** (SIDE_FLOOR_DB / 10) * np.mean(mid**2):
        yield "side", side


def prepare(root: Path, cache: Path, rate: int) -> None:
    """Decode all audio below `root` to `rate` Hz and write the cache folder. Raises UsageError where there is none."""
    cache.mkdir(parents=True, exist_ok=True)
    stretches: list[Stretch] = []
    pieces: list[np.ndarray] = []
    first = 0
    for path in find_audio(root):
        audio, source_rate = soundfile.read(path, dtype="float32", always_2d=True)
        for label, samples in coded_channels(audio):
            samples = soxr.resample(samples, source_rate, rate) if source_rate != rate else samples
            pcm = np.round(np.clip(samples, -1, 1) * 32767).astype(np.int16)
            stretches.append(Stretch(f"{path.relative_to(root)}:{label}", category_of(path, root), first, len(pcm)))
            pieces.append(pcm)
            first += len(pcm)
    if not pieces:
        raise UsageError(f"{root}: no audio there")
    np.save(cache / "audio.npy", np.concatenate(pieces))
    (cache / "index.json").write_text(json.dumps([asdict(s) for s in stretches], indent=0))


class Corpus:
    """A prepared cache, read through a memory map.

    Attributes: audio (int16 [samples]), stretches.
    """

    def __init__(self, cache: Path) -> None:
        self.audio = np.load(cache / "audio.npy", mmap_mode="r")
        self.stretches = [Stretch(**row) for row in json.loads((cache / "index.json").read_text())]

    def read(self, stretch: Stretch, start: int = 0, samples: int | None = None) -> np.ndarray:
        """Return float32 samples of a stretch, shortened where it ends."""
        stop = stretch.samples if samples is None else min(start + samples, stretch.samples)
        return self.audio[stretch.first + start : stretch.first + stop].astype(np.float32) / 32767
