"""Codecs to compare: each turns a clip into a real file on disk and back, and says how large the file was.

Baselines run as a user would run them (opusenc and opusdec, ffmpeg), without tags and padding in the file. Rates are
nominal kbit/s for one channel; a stereo clip gets twice that. Decoded audio has the clip's rate, length, channels and
word length, with the codec's delay taken out by the decoder itself (Opus pre-skip, LAME tag, MP4 edit list). What
remains, up to three samples with Opus' speech coder, is found by cross-correlation and taken out as well, since a
waveform measure would punish it.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import soundfile
import soxr
import torch

from dacfile.api import load_codec
from dacfile.compressor import CompressOptions, compress_file
from dacfile.decompressor import DecompressOptions, decompress_file
from dacfile.entropy import Prior
from dacfile.installed import default_prior
from dacfile.model.checkpoint import model_id
from dacfile.quality import find_delay, round_to_word
from dacfile.stream import WindowCodec

LARGEST_DELAY = 8
ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Clip:
    """One test file. `category` is the folder it lies in."""

    path: Path
    category: str
    rate: int
    channels: int
    samples: int
    subtype: str

    @property
    def seconds(self) -> float:
        return self.samples / self.rate

    @classmethod
    def of(cls, path: Path) -> Clip:
        info = soundfile.info(path)
        return cls(path, path.parent.name, info.samplerate, info.channels, info.frames, info.subtype)

    def read(self) -> np.ndarray:
        """Return float32 [samples, channels]."""
        return soundfile.read(self.path, dtype="float32", always_2d=True)[0]


# (clip, empty folder) -> (bytes of the coded file, decoded float32 [samples, channels] at any rate, that rate)
Coder = Callable[[Clip, Path], tuple[int, np.ndarray, int]]


@dataclass(frozen=True)
class Codec:
    """One row of the scoreboard. `identity` names everything that the result depends on, for the cache."""

    name: str
    identity: str
    coder: Coder
    realign: bool = False

    def run(self, clip: Clip, folder: Path) -> tuple[int, np.ndarray]:
        """Return the size of the coded file and the decoded audio in the clip's own format."""
        size, audio, rate = self.coder(clip, folder)
        if rate != clip.rate:
            audio = soxr.resample(audio, rate, clip.rate)
        audio = audio[: clip.samples]
        audio = np.pad(audio, ((0, clip.samples - len(audio)), (0, 0)))
        if self.realign:
            audio = _realigned(clip.read(), audio)
        return size, round_to_word(audio.astype(np.float32), clip.subtype)


def find_codec(name: str) -> Codec:
    """Return the codec called FAMILY:RATE (opus, mp3, aac) or MODEL[@PASSES][:CODEBOOKS] (a model's name or path)."""
    family, _, setting = name.rpartition(":")
    if family in BASELINES:
        make, version = BASELINES[family]
        return Codec(name, f"{name} {version()}", make(int(setting)), realign=True)
    model, codebooks = (family, int(setting)) if family and setting.isdigit() else (name, None)
    return _dacz(name, model, codebooks)


def _realigned(reference: np.ndarray, audio: np.ndarray) -> np.ndarray:
    """Shift `audio` by the few samples that it lags or leads, with zeros moving in."""
    left, right = (torch.from_numpy(x.mean(1)) for x in (reference, audio))
    lag = find_delay(left, right, LARGEST_DELAY)
    moved = np.roll(audio, -lag, axis=0)
    moved[len(moved) - lag :] = 0
    moved[: max(-lag, 0)] = 0
    return moved


def _opus(kbps: int) -> Coder:
    def code(clip: Clip, folder: Path) -> tuple[int, np.ndarray, int]:
        source, coded, decoded = folder / "in.wav", folder / "clip.opus", folder / "out.wav"
        _write(source, clip)
        rate = str(kbps * clip.channels)
        _run("opusenc", "--quiet", "--bitrate", rate, "--padding", "0", "--discard-comments", source, coded)
        _run("opusdec", "--quiet", "--rate", "48000", "--float", coded, decoded)
        return coded.stat().st_size, *_read(decoded)

    return code


def _ffmpeg(encoder: str, suffix: str, *options: str) -> Callable[[int], Coder]:
    def make(kbps: int) -> Coder:
        def code(clip: Clip, folder: Path) -> tuple[int, np.ndarray, int]:
            source, coded, decoded = folder / "in.wav", folder / f"clip{suffix}", folder / "out.wav"
            _write(source, clip)
            rate = f"{kbps * clip.channels}k"
            quiet = ("ffmpeg", "-v", "error", "-y", "-i")
            _run(*quiet, source, "-map_metadata", "-1", "-c:a", encoder, "-b:a", rate, *options, coded)
            _run(*quiet, coded, "-c:a", "pcm_f32le", decoded)
            return coded.stat().st_size, *_read(decoded)

        return code

    return make


def _write(path: Path, clip: Clip) -> None:
    soundfile.write(path, clip.read(), clip.rate, subtype=clip.subtype)


def _read(path: Path) -> tuple[np.ndarray, int]:
    return soundfile.read(path, dtype="float32", always_2d=True)


def _run(*command: str | Path) -> str:
    if shutil.which(str(command[0])) is None:
        raise SystemExit(f"{command[0]} is not installed (Debian: apt-get install opus-tools ffmpeg)")
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{command[0]} failed: {done.stderr.strip()[-300:]}")
    return done.stdout


@lru_cache
def _opus_version() -> str:
    return _run("opusenc", "--version").splitlines()[0]


@lru_cache
def _ffmpeg_version() -> str:
    match = re.match(r"ffmpeg version (\S+)", _run("ffmpeg", "-version"))
    return match.group(0) if match else "ffmpeg"


BASELINES: dict[str, tuple[Callable[[int], Coder], Callable[[], str]]] = {
    "opus": (_opus, _opus_version),
    "mp3": (_ffmpeg("libmp3lame", ".mp3", "-id3v2_version", "0"), _ffmpeg_version),
    "aac": (_ffmpeg("aac", ".m4a"), _ffmpeg_version),
}


def _dacz(name: str, model: str, codebooks: int | None) -> Codec:
    model, _, passes = model.partition("@")
    codec, used, prior = _model(model, int(passes or 0))

    def code(clip: Clip, folder: Path) -> tuple[int, np.ndarray, int]:
        coded, decoded = folder / "clip.dacz", folder / "out.wav"
        with coded.open("wb") as file:
            compress_file(clip.path, file, codec, prior, CompressOptions(codebooks=codebooks))
        with decoded.open("wb") as file:
            decompress_file(coded, file, lambda _: codec, lambda _: prior, DecompressOptions(format="wav"))
        return coded.stat().st_size, *_read(decoded)

    prior_id = prior.id.hex() if prior else "raw"
    return Codec(name, f"{used} {prior_id} {codebooks} {passes} {_library_digest()}", code)


@lru_cache(maxsize=2)
def _model(model: str, passes: int) -> tuple[WindowCodec, str, Prior | None]:
    """Return codec, id of the network that it runs (without a second look where none is taken), and prior."""
    codec = load_codec(Path(model) if "/" in model else model, refine=passes)
    used = model_id(codec.model.config, codec.model.state_dict())
    return codec, used.hex(), default_prior(codec.name, codec.id)


@lru_cache
def _library_digest() -> str:
    """Return a digest of all code that a decoded clip may depend on: its cached results end with it."""
    digest = hashlib.sha256()
    for path in sorted((ROOT / "dacfile").rglob("*.py")):
        if path.relative_to(ROOT).parts[1] != "training":
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]
