"""Small audio files for tests, made by formula."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import soundfile


def tone(samples: int, channels: int = 1, rate: int = 8000, level: float = 0.4) -> np.ndarray:
    """Return float32 [samples, channels]: a different pair of partials in each channel, no two samples alike."""
    seconds = np.arange(samples)[:, None] / rate
    hertz = 0.05 * rate * (1 + 0.37 * np.arange(channels)[None, :] / max(channels, 1))
    wave = np.sin(2 * np.pi * hertz * seconds) + 0.5 * np.sin(2 * np.pi * 1.618 * hertz * seconds + 1)
    return (level * wave / 1.5).astype(np.float32)


def write(path: Path, samples: np.ndarray, rate: int = 8000, container: str = "WAV", subtype: str = "PCM_16") -> Path:
    """Write an audio file in small pieces: libsndfile's Vorbis encoder overflows the stack on large ones."""
    with soundfile.SoundFile(path, "w", rate, samples.shape[1], subtype, format=container) as file:
        for start in range(0, len(samples), 4096):
            file.write(samples[start : start + 4096])
    return path


def wav(samples: np.ndarray, rate: int) -> io.BytesIO:
    """Return a WAV file of float samples in memory."""
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format="WAV", subtype="FLOAT")
    file.seek(0)
    return file


def read(source: object) -> tuple[np.ndarray, int]:
    """Return float32 [samples, channels] and the rate."""
    return soundfile.read(source, dtype="float32", always_2d=True)
