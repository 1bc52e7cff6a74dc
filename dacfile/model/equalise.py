"""Find the equaliser of a block: gains that bring the levels of decoded samples to those of the sound that was coded.

Codes are chosen frame by frame, and what they get wrong all along - a band a little too loud, noise in the gaps between
steady partials - is cheap to tell once. The gains P minimise, for levels of the mel distance (`dacfile.quality`),

    sum over windows and mel bands of mean |e - J P| / bands + price x loss of SI-SDR in dB,

where e is the natural logarithm of the ratio of wanted to decoded mel magnitudes of a frame, and J P what the gains
add to them: J is the mean share of each point in a band. The absolute value is replaced by its parabola at the median
of e, (m - J P)^2 / 2 s, s being the mean absolute deviation from m: of a Laplace distribution that is its curvature. A
small square of the gains is added. The SI-SDR is taken from powers and cross-powers of single bins, of what was decoded
times its correlation with what was wanted, the scale at which a sound of the right level fits best: a waveform that is
wrong anyway is no reason to turn a sound down. Newton's method solves it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from dacfile.equaliser import POINTS, interpolation, nearest_levels
from dacfile.quality.spectra import frames, magnitude, real_transform
from dacfile.quality.spectral import FLOOR, MEL_SCALES, mel_filters

WINDOWS = (1024, 128)  # of the seven of the mel distance: with all of them the gains are no better
NARROWEST = 0.05  # mean absolute deviation that a band has at least: else a few steady ones would decide everything
RIDGE = 1e-2  # pulls gains to 0 dB where nothing is known
STEPS = 6  # of Newton's method
# What a dB of SI-SDR is worth, in mel distance, to models of up to 32 kHz and above: chosen so that equalisers leave
# the mean SI-SDR of the bundled models as it is.
PRICE, WIDE_PRICE = 0.04, 0.07
WIDE = 32_000  # Hz
SMALLEST_ERROR = 1e-3  # of the wanted power: beyond 30 dB nothing is worth more
TINY = 1e-12
LARGEST_GAIN = 2.0  # nepers


@dataclass(frozen=True)
class Statistics:
    """What is known of the levels of a channel: float64 arrays, bands of all windows one after another."""

    shares: np.ndarray  # J: [bands, POINTS]
    medians: np.ndarray  # m: [bands]
    weights: np.ndarray  # 1 / (s x bands of the window), times 7 / 2 for the windows that are left out: [bands]
    power: np.ndarray  # of the decoded samples, scaled by correlation, in the bins of the largest window: [bins]
    cross: np.ndarray  # mean real part of wanted times conjugate decoded, scaled as well: [bins]
    wanted: float  # power of the wanted samples


def find_levels(wanted: Tensor, decoded: Tensor, rate: int) -> np.ndarray:
    """Return the levels uint8 [POINTS] for decoded samples float32 [S, n] in place of wanted ones, S stretches."""
    with np.errstate(all="ignore"):  # no samples are too large to be tried
        gains = solve(gather(wanted, decoded, rate), rate)
    return nearest_levels(gains if np.isfinite(gains).all() else np.zeros(POINTS))


def gather(wanted: Tensor, decoded: Tensor, rate: int) -> Statistics:
    """Return the statistics of decoded samples float32 [S, n] and of the wanted ones."""
    spectra = {size: (_spectrum(wanted, size), _spectrum(decoded, size)) for size in WINDOWS}
    parts = [_band_statistics(magnitude(x), magnitude(y), size, rate) for size, (x, y) in spectra.items()]
    shares, medians, weights = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    x, y = spectra[max(WINDOWS)]
    power, whole = (z.abs().square().mean(0).double().numpy() for z in (y, x))
    cross = (x * y.conj()).real.mean(0).double().numpy()
    alike = max(float(cross.sum()), 0.0) / max(math.sqrt(float(power.sum()) * float(whole.sum())), TINY)
    return Statistics(shares, medians, weights, alike**2 * power, alike * cross, float(whole.sum()))


def solve(statistics: Statistics, rate: int) -> np.ndarray:
    """Return the gains float64 [POINTS], in nepers."""
    s, points = statistics, _points(max(WINDOWS), rate)
    mel_bend = (s.shares.T * s.weights) @ s.shares + RIDGE * np.eye(POINTS)
    mel_pull = s.shares.T @ (s.weights * s.medians)
    price = WIDE_PRICE if rate > WIDE else PRICE
    gains = np.zeros(POINTS)
    for _ in range(STEPS):
        slope, bend = _waveform(s, np.exp(points.T @ gains), price)
        step = mel_pull - mel_bend @ gains - points @ slope
        gains += np.linalg.solve(mel_bend + (points * bend) @ points.T, step)
        gains = np.clip(gains, -LARGEST_GAIN, LARGEST_GAIN)
    return gains


def _waveform(s: Statistics, factor: np.ndarray, price: float) -> tuple[np.ndarray, np.ndarray]:
    """Return first and second derivative, [bins], of the price of SI-SDR by the gains of bins that are `factor` now."""
    own, both = s.power * factor**2, s.cross * factor
    error = s.wanted + float((own - 2 * both).sum())
    # The price is in log10, as mel distances are: ln 10 nepers. 10 log10(error) has the derivative 10 / ln 10 / error.
    unit = price * 10 / max(error, SMALLEST_ERROR * s.wanted, TINY)
    return unit * 2 * (own - both), unit * np.maximum(4 * own - 2 * both, 0)


def _spectrum(samples: Tensor, size: int) -> Tensor:
    return real_transform(frames(samples, torch.hann_window(size))).flatten(0, 1)


def _band_statistics(x: Tensor, y: Tensor, size: int, rate: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return J, m and the weights of one window size from wanted and decoded magnitudes [frames, bins]."""
    filters = _filters(size, rate)
    level = (y @ filters).clamp_min(FLOOR)
    error = ((x @ filters).clamp_min(FLOOR) / level).log()
    shares = (y.T @ level.reciprocal()) / len(y) * filters
    median = error.median(0).values
    spread = (error - median).abs().mean(0).clamp_min(NARROWEST)
    weights = len(MEL_SCALES) / len(WINDOWS) / (spread * filters.shape[1])
    shares_of_points = shares.double().T.numpy() @ _points(size, rate).T
    return shares_of_points, median.double().numpy(), weights.double().numpy()


@lru_cache(maxsize=16)
def _filters(size: int, rate: int) -> Tensor:
    return mel_filters(rate, size, dict(MEL_SCALES)[size]).T.float().contiguous()


@lru_cache(maxsize=16)
def _points(size: int, rate: int) -> np.ndarray:
    """Return the matrix [POINTS, bins] that interpolates gains to the bins of a window."""
    return interpolation(np.arange(size // 2 + 1) * rate / size, rate)
