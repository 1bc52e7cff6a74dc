"""Find the equaliser of a block: gains that bring the levels of decoded samples to those of the sound that was coded.

Codes are chosen frame by frame, and what they get wrong for most of a second - a band a little too loud, noise in the
gaps between steady partials - is cheap to tell once. The gains P of a stretch minimise, for levels of the mel distance
(`dacfile.quality`),

    7 x mean over mel bands and frames of |e - J P| + price x loss of SI-SDR in dB + weight x bits,

where e is the natural logarithm of the ratio of wanted to decoded mel magnitudes, and J P what the gains add to them:
J is the mean share of each point in a band. One window stands for all seven. The absolute value is replaced by its
parabola at the median m of e, (m - J P)^2 / 2 s, s being the mean absolute deviation from m: of a Laplace distribution
that is its curvature. But what is loud and short hardly moves a median: where the ratio of mean powers is far from it,
m goes there half of the way. And what is loud is to keep its power even where it was decoded beside its place: wide
bands, sums of mel bands, pull by the same parabola and their share of all power, and are followed as gains shift power
from one mel band to another. A small square of the gains is added. The SI-SDR, of the whole block, is taken from powers
and cross-powers of single bins, of what was decoded times its correlation with what was wanted, the scale at which a
sound of the right level fits best: a waveform that is wrong anyway is no reason to turn a sound down. Newton's method
finds gains without their bits, and then every point takes the level that is best beside those around it and before it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from dacfile.equaliser import NEPERS, interpolation
from dacfile.equaliser_code import FIRST, POINTS, bits
from dacfile.quality.spectra import magnitude, real_transform
from dacfile.quality.spectral import FLOOR, MEL_SCALES, mel_filters

# Of the seven of the mel distance: with two, three or four of them the gains are no better, with any other one worse.
WINDOW, WIDE_WINDOW = 512, 1024  # for models of up to 32 kHz, and above
WIDE = 32_000  # Hz
SPECTRA = 40  # of a stretch, about: with more gains are hardly better
# Of what powers are away from a median by more than the tolerance, in nepers, so much counts: attacks, glides and gusts
# have their levels then, and the mel distance stays as it is.
POWER_SHARE, POWER_TOLERANCE = 0.5, 0.3
FAINTEST = 1e-6  # is added to mean powers of bands
# Wide bands overlap, each a seventh of the mel scale. One that holds all the power weighs this, in the unit of mel
# distance above: without them the gaps beside a lone tone, or the silence around a voice, decide over what is heard.
WIDE_BANDS, LOUDEST = 14, 2.0
NARROWEST = 0.05  # mean absolute deviation that a band has at least: else a few steady ones would decide everything
RIDGE = 1e-2  # pulls gains to 0 dB where nothing is known
STEPS = 2  # of Newton's method: with more gains are no better
# What a dB of SI-SDR is worth, in mel distance, to the same models: chosen so that equalisers leave the mean SI-SDR of
# the bundled ones about as it is.
PRICE, WIDE_PRICE = 0.08, 0.19
SMALLEST_ERROR = 1e-3  # of the wanted power: beyond 30 dB nothing is worth more
TINY = 1e-12
LARGEST_GAIN = 2.0  # nepers, at which costs are still bent as they are
BIT_WEIGHT = 0.6e-3  # in the mel distance of a stretch, natural logarithms
WORTH_FINDING = 0.03  # in the same unit: gain by levels of its own that makes all of a block worth being decoded
SWEEPS = 1  # over the points, in which each takes its best level: with more they are no better


@dataclass(frozen=True)
class Statistics:
    """What is known of the levels of S stretches of a channel, float64."""

    shares: Tensor  # J: [S, bands, POINTS]
    targets: Tensor  # m: [S, bands]
    weights: Tensor  # 7 / (s x bands): [S, bands]
    band_powers: Tensor  # of the decoded samples, means of mel magnitudes squared: [S, bands]
    wide_targets: Tensor  # m of wide bands: [S, WIDE_BANDS]
    wide_weights: Tensor  # LOUDEST / s, by the share of the wanted power: [S, WIDE_BANDS]
    power: Tensor  # of the decoded samples, scaled by correlation, in the bins of the window: [S, bins]
    cross: Tensor  # mean real part of wanted times conjugate decoded, scaled as well: [S, bins]
    wanted: Tensor  # power of the wanted samples: [S]


def find_levels(statistics: Statistics, rate: int) -> np.ndarray:
    """Return the levels uint8 [S, POINTS] of stretches that follow each other."""
    return choose_levels(*solve(statistics, rate))


def steady_levels(gains: np.ndarray, bends: np.ndarray, own: np.ndarray) -> np.ndarray | None:
    """Return the levels uint8 [POINTS] that do for all of a block, of which some stretches are known.

    `gains` and `bends` are what `solve` found for these, `own` [S, POINTS] the levels that each would have. None where
    these would do the stretches so much more good that they are worth finding for all.
    """
    common = np.linalg.solve(bends.sum(0), (bends @ gains[..., None]).sum(0))[:, 0]
    levels = choose_levels(common[None], bends.mean(0, keepdims=True))[0]
    before = np.vstack([np.full(POINTS, FIRST), own[:-1]])
    bit_cost = BIT_WEIGHT * bits()[before, own].sum(-1)
    saved = _costs(NEPERS[levels] - gains, bends) - _costs(NEPERS[own] - gains, bends) - bit_cost
    return None if saved.mean() > WORTH_FINDING else levels


def _costs(away: np.ndarray, bends: np.ndarray) -> np.ndarray:
    """Return what gains cost that are [S, POINTS] away from the best, [S]."""
    return np.asarray(np.einsum("sp,spq,sq->s", away, bends, away) / 2)


@torch.inference_mode()
def gather(wanted: np.ndarray, decoded: np.ndarray, rate: int) -> Statistics:
    """Return the statistics of S stretches of decoded samples float32 [S, n] and of the wanted ones."""
    x, y = (_spectra(torch.from_numpy(np.ascontiguousarray(z)), _window(rate)) for z in (wanted, decoded))
    heard, made = magnitude(x), magnitude(y)
    power, whole = (z.square().mean(1) for z in (made, heard))
    cross = (torch.view_as_real(x) * torch.view_as_real(y)).sum(-1).mean(1)
    alike = (cross.sum(-1).clamp_min(0) / (power.sum(-1) * whole.sum(-1)).sqrt().clamp_min(TINY))[:, None]
    found = *_levels(heard, made, rate), alike**2 * power, alike * cross, whole.sum(-1)
    return Statistics(*(tensor.double() for tensor in found))


def _levels(heard: Tensor, made: Tensor, rate: int) -> tuple[Tensor, ...]:
    """Return what `Statistics` says of levels, of magnitudes [S, frames, bins]."""
    filters, wide = _filters(rate), _wide_bands(rate)
    wanted, level = ((magnitudes @ filters).clamp_min_(FLOOR) for magnitudes in (heard, made))
    shares = (made.transpose(1, 2) @ level.reciprocal()).mul_(filters / made.shape[1])
    wanted, level = wanted.square_(), level.square_()
    targets, spreads, _ = _targets(wanted, level)
    wide_targets, wide_spreads, loudness = _targets(wanted @ wide, level @ wide)
    weights, wide_weights = len(MEL_SCALES) / (spreads * len(wide)), LOUDEST * loudness / wide_spreads
    return shares.transpose(1, 2) @ _points(rate).T, targets, weights, level.mean(1), wide_targets, wide_weights


def _targets(wanted: Tensor, decoded: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return m, s and the share of the wanted power, each [S, bands], of powers [S, frames, bands]."""
    error = (wanted / decoded).log_().mul_(0.5)
    median = error.median(1).values
    spread = (error - median[:, None]).abs_().mean(1).clamp_min_(NARROWEST)
    meant, made = wanted.mean(1), decoded.mean(1)
    target = median + POWER_SHARE * F.softshrink(_power_error(meant, made) - median, POWER_TOLERANCE)
    return target, spread, meant / meant.sum(-1, keepdim=True)


# In PyTorch, since NumPy takes a thread for every core wherever it likes.
@torch.inference_mode()
def solve(statistics: Statistics, rate: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the gains float64 [S, POINTS], in nepers, and how costs bend there, [S, POINTS, POINTS].

    They may be larger than any level: where one point cannot have what would be best, it depends on the bends what is
    best for the others. Gains are 0 in stretches in which they come to nothing: no samples are too large to be tried.
    """
    s, points, price = statistics, _points(rate).double(), WIDE_PRICE if rate > WIDE else PRICE
    weighted = s.shares.transpose(1, 2) * s.weights[:, None]
    mel_bend = weighted @ s.shares + RIDGE * torch.eye(POINTS)
    mel_pull = _times(weighted, s.targets)
    gains, bend = torch.zeros_like(mel_pull), mel_bend
    for _ in range(STEPS):
        near = gains.clamp(-LARGEST_GAIN, LARGEST_GAIN)
        wide_pull, wide_bend = _wide_levels(s, near, _wide_bands(rate).double())
        slope, waveform_bend = _waveform(s, (near @ points).exp(), price)
        bend = mel_bend + wide_bend + _between_points(waveform_bend, points)
        pull = mel_pull - _times(mel_bend, near) + wide_pull - slope @ points.T
        gains = near + torch.linalg.solve_ex(bend, pull).result
    known = gains.isfinite().all(-1) & bend.isfinite().flatten(1).all(-1)
    gains, bend = torch.where(known[:, None], gains, 0), torch.where(known[:, None, None], bend, torch.eye(POINTS))
    return gains.numpy(), bend.numpy()


def choose_levels(gains: np.ndarray, bends: np.ndarray) -> np.ndarray:
    """Return the levels uint8 [S, POINTS] near gains [S, POINTS] in nepers, from whose best costs bend up so."""
    before, chosen = np.full(POINTS, FIRST), []
    for wanted, bend in zip(gains, bends, strict=True):
        before = _levels_after(before, wanted, bend)
        chosen.append(before)
    return np.stack(chosen).astype(np.uint8)


def _levels_after(before: np.ndarray, wanted: np.ndarray, bend: np.ndarray) -> np.ndarray:
    """Return the levels of a stretch: those of every other point in turn, the ones between as they are."""
    bit_costs, own = BIT_WEIGHT * bits()[before], np.diag(bend)
    levels = np.abs(wanted[:, None] - NEPERS).argmin(-1)
    for turn in range(2 * SWEEPS):
        part = slice(turn % 2, None, 2)
        away = NEPERS[levels] - wanted
        best = wanted[part] - (bend[part] @ away - own[part] * away[part]) / own[part]
        costs = own[part, None] / 2 * (NEPERS - best[:, None]) ** 2 + bit_costs[part]
        levels[part] = costs.argmin(-1)
    return levels


def _waveform(s: Statistics, factor: Tensor, price: float) -> tuple[Tensor, Tensor]:
    """Return first and second derivative, [S, bins], of the price of SI-SDR by the gains of bins now at `factor`."""
    own, both = s.power * factor**2, s.cross * factor
    wanted = s.wanted.mean()
    error = wanted + (own - 2 * both).sum(-1).mean()
    # The price is in log10, as mel distances are: ln 10 nepers. 10 log10(error) has the derivative 10 / ln 10 / error.
    unit = price * 10 / error.clamp_min(SMALLEST_ERROR * wanted).clamp_min(TINY)
    return unit * 2 * (own - both), unit * (4 * own - 2 * both).clamp_min(0)


def _wide_levels(s: Statistics, gains: Tensor, wide: Tensor) -> tuple[Tensor, Tensor]:
    """Return how wide bands pull at gains [S, POINTS], and how their costs bend there, [S, POINTS, POINTS].

    `wide` [bands, WIDE_BANDS] adds up powers of mel bands.
    """
    powers = s.band_powers * (2 * _times(s.shares, gains)).exp()
    sums = powers @ wide
    shares = wide.T @ (powers[..., None] * s.shares) / sums[..., None]
    away = s.wide_targets - (sums / (s.band_powers @ wide)).log() / 2
    weighted = shares.transpose(1, 2) * s.wide_weights[:, None]
    return _times(weighted, away), weighted @ shares


def _times(matrices: Tensor, vectors: Tensor) -> Tensor:
    """Return the products [S, n] of matrices [S, n, m] and vectors [S, m]."""
    return (matrices @ vectors[..., None])[..., 0]


def _between_points(bend: Tensor, points: Tensor) -> Tensor:
    """Return [S, POINTS, POINTS], how costs bend by gains of points, from how they bend by those of bins, [S, bins].

    A bin lies between two points, so that only neighbours have to do with each other.
    """
    beside = bend @ (points[:-1] * points[1:]).T
    return torch.diag_embed(bend @ points.square().T) + torch.diag_embed(beside, 1) + torch.diag_embed(beside, -1)


def _power_error(wanted: Tensor, decoded: Tensor) -> Tensor:
    """Return the nepers that powers are apart."""
    return ((wanted + FAINTEST) / (decoded + FAINTEST)).log() / 2


def _spectra(samples: Tensor, size: int) -> Tensor:
    """Return the spectra [S, frames, bins] of samples [S, n] under windows of this size."""
    return real_transform(samples.unfold(1, size, samples.shape[1] // SPECTRA) * torch.hann_window(size))


def _window(rate: int) -> int:
    return WIDE_WINDOW if rate > WIDE else WINDOW


@lru_cache(maxsize=16)
def _filters(rate: int) -> Tensor:
    size = _window(rate)
    return mel_filters(rate, size, dict(MEL_SCALES)[size]).T.float().contiguous()


@lru_cache(maxsize=16)
def _wide_bands(rate: int) -> Tensor:
    """Return the matrix float32 [bands, WIDE_BANDS] that adds up powers of neighbouring mel bands."""
    position = torch.linspace(0, WIDE_BANDS - 1, _filters(rate).shape[1])
    return (1 - (position[:, None] - torch.arange(WIDE_BANDS)).abs()).clamp_min(0)


@lru_cache(maxsize=16)
def _points(rate: int) -> Tensor:
    """Return the matrix float32 [POINTS, bins] that interpolates gains to the bins of the window."""
    size = _window(rate)
    return torch.from_numpy(interpolation(np.arange(size // 2 + 1) * rate / size, rate)).float()
