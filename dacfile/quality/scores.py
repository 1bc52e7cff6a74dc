"""All metrics of one pair of recordings at once, averaged over the channels."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch

from dacfile.errors import UsageError
from dacfile.quality.perceptual import pesq_wideband, stoi, visqol
from dacfile.quality.spectral import mel_distance, stft_distance
from dacfile.quality.waveform import si_sdr

OneChannel = Callable[[np.ndarray, np.ndarray, int], float]
# Names as they stand in tables, in table order. The first three need nothing but torch.
METRICS: dict[str, OneChannel] = {
    "mel": lambda ref, est, rate: float(mel_distance(_tensor(ref), _tensor(est), rate)),
    "stft": lambda ref, est, rate: float(stft_distance(_tensor(ref), _tensor(est))),
    "si_sdr": lambda ref, est, rate: float(si_sdr(_tensor(ref), _tensor(est))),
    "visqol": visqol,
    "pesq": pesq_wideband,
    "stoi": stoi,
}
BASIC = ("mel", "stft", "si_sdr")
# Long recordings are measured piece by piece, which keeps memory bounded; the pieces are of equal length.
PIECE_SECONDS = 60


def measure(reference: np.ndarray, estimate: np.ndarray, rate: int, metrics: Sequence[str] = BASIC) -> dict[str, float]:
    """Return {metric: value} of float arrays [samples, channels], each the mean over channels where it is defined.

    Recordings of more than about a minute are cut into pieces, except for SI-SDR, which is taken over the whole.
    Both sides must have been rounded to the same word length (see `stft_distance`).
    Raises UsageError for an unknown metric, a missing extra, or arrays of different shapes.
    """
    unknown = [name for name in metrics if name not in METRICS]
    if unknown:
        raise UsageError(f"unknown metric {unknown[0]!r}: choose from {', '.join(METRICS)}")
    if reference.shape != estimate.shape or reference.ndim != 2:
        raise UsageError(f"cannot compare recordings of shapes {reference.shape} and {estimate.shape}")
    return {
        name: mean_of_defined([_one(name, reference[:, c], estimate[:, c], rate) for c in range(reference.shape[1])])
        for name in metrics
    }


def _one(name: str, reference: np.ndarray, estimate: np.ndarray, rate: int) -> float:
    """Return one metric of one channel."""
    count = 1 if name == "si_sdr" else max(1, round(len(reference) / (PIECE_SECONDS * rate)))
    pieces = zip(np.array_split(reference, count), np.array_split(estimate, count), strict=True)
    return mean_of_defined([METRICS[name](left, right, rate) for left, right in pieces])


def mean_of_defined(values: Sequence[float]) -> float:
    """Return the mean of the values that are not NaN, or NaN when there are none."""
    defined = [value for value in values if not math.isnan(value)]
    return sum(defined) / len(defined) if defined else math.nan


def _tensor(x: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(x, dtype=np.float32))
