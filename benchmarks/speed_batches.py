"""Folders of songs and clips, and whole commands over them: `dacz` and Opus as users run them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr
from speed_report import Row

from dacfile.installed import cores

RATE = 44_100
OPUS_KBPS = 12  # a channel, about what the bundled 44k model is nearest to in quality
AUDIO_SUFFIXES = (".flac", ".wav", ".ogg", ".opus")
# The peak of a process counts what its parent held when it forked, so a small one has to start it.
LAUNCHER = [
    sys.executable,
    "-c",
    "import resource, subprocess, sys; code = subprocess.call(sys.argv[1:]); "
    "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss); sys.exit(code)",
]


@dataclass(frozen=True)
class Job:
    """One folder to compress and decompress in `work`, with the device of dacz."""

    title: str
    source: Path
    work: Path
    device: str
    precision: str


def make_songs(audio: Path, folder: Path, count: int, seconds: float) -> Path:
    """Write `count` stereo songs of 44.1 kHz made of the files in `audio` and return the folder."""
    material = _material(audio)
    length = round(seconds * RATE)
    for number in range(count):
        turned = np.roll(material, -number * len(material) // max(count, 1), axis=0)
        song = np.resize(turned, (length, 2)) if len(turned) < length else turned[:length]
        _write(folder / f"song{number:03}.flac", song)
    return folder


def make_clips(audio: Path, folder: Path, count: int, seconds: float) -> Path:
    """Write `count` stereo clips, each from another place of the same material, and return the folder."""
    material = _material(audio)
    length = round(seconds * RATE)
    for number in range(count):
        start = number * 12_347 % max(len(material) - length, 1)
        _write(folder / f"{number % 10}" / f"clip{number:05}.flac", material[start : start + length])
    return folder


def run_round(job: Job) -> Iterator[Row]:
    """Compress and decompress once with each; yield what each took."""
    shutil.rmtree(job.work, ignore_errors=True)
    files = sorted(job.source.rglob("*.flac"))
    audio = sum(info.frames / info.samplerate * info.channels for info in map(soundfile.info, files))
    device = ["--device", job.device, "--precision", job.precision, "--quiet"]
    dacz = [sys.executable, "-m", "dacz"]
    packed, back = job.work / "dacz", job.work / "back"
    yield _row(
        job, "dacz", "compress", audio, [[*dacz, "compress", job.source, "-o", packed, "--model", "44k", *device]]
    )
    if opus := shutil.which("opusenc") is not None:
        yield _row(job, "opus", "compress", audio, list(_opusenc(files, job.work / "opus")))
    yield _row(job, "dacz", "decompress", audio, [[*dacz, "decompress", packed, "-o", back, *device]])
    if opus:
        yield _row(job, "opus", "decompress", audio, list(_opusdec(sorted((job.work / "opus").glob("*.opus")))))


def _row(job: Job, tool: str, what: str, audio: float, commands: Sequence[Sequence[object]]) -> Row:
    """Run commands, one a core, and return what they took together; the peak is that of the first one."""
    if len(commands) > 1:
        peak = _run([*LAUNCHER, *commands[0]])[1]
    else:
        commands = [[*LAUNCHER, *commands[0]]]
    wall = time.perf_counter()
    with ThreadPoolExecutor(cores()) as pool:
        spent = list(pool.map(_run, commands))
    wall = time.perf_counter() - wall
    if len(commands) == 1:
        peak = spent[0][1]
    return Row(job.title, tool, what, audio, wall, sum(cpu for cpu, _ in spent), peak)


def _run(command: Sequence[object]) -> tuple[float, float]:
    """Run a command; return its CPU seconds, and the peak memory in MiB that a launcher reports, else 0."""
    process = subprocess.Popen([str(part) for part in command], stdout=subprocess.PIPE)
    output = process.stdout.read() if process.stdout else b""
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{command[0]} failed with {process.returncode}")
    peak = int(output.split()[-1]) / 1024 if list(command[:3]) == LAUNCHER else 0.0
    return usage.ru_utime + usage.ru_stime, peak


def _opusenc(files: Sequence[Path], folder: Path) -> Iterator[list[object]]:
    folder.mkdir(parents=True)
    for path in files:
        yield ["opusenc", "--quiet", "--bitrate", 2 * OPUS_KBPS, path, folder / f"{path.stem}.opus"]


def _opusdec(files: Sequence[Path]) -> Iterator[list[object]]:
    for path in files:
        yield ["opusdec", "--quiet", path, path.with_suffix(".wav")]


def _material(audio: Path) -> np.ndarray:
    """Return all audio below a folder as float32 [samples, 2] at 44.1 kHz."""
    parts = []
    for path in sorted(path for path in audio.rglob("*") if path.suffix in AUDIO_SUFFIXES):
        samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
        parts.append(soxr.resample(samples[:, [0, -1]], rate, RATE))
    if not parts:
        raise SystemExit(f"{audio}: no audio there")
    return np.concatenate(parts)


def _write(path: Path, samples: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.clip(samples, -1, 1), RATE, subtype="PCM_16")
