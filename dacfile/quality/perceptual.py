"""Perceptual metrics by the packages of the extra `metrics`: PESQ, STOI and ViSQOL.

All take float arrays [samples] of equal length and any sample rate, and resample them to what the metric is defined
for. Higher is better. NaN means that the metric does not apply: a silent reference, or one shorter than a second.
A silent estimate of a sound gets the metric's lowest value.
"""

from __future__ import annotations

import importlib
import logging
import math
import warnings
from functools import lru_cache
from types import ModuleType
from typing import Any

import numpy as np
import soxr

from dacfile.errors import UsageError

PESQ_RATE = 16000
VISQOL_RATES = {"audio": 48000, "speech": 16000}
# Shorter clips may have no patch to compare (ViSQOL), no utterance (PESQ) or no segment (STOI).
SHORTEST_SECONDS = 1.0


def pesq_wideband(reference: np.ndarray, estimate: np.ndarray, rate: int) -> float:
    """Return wide-band PESQ (ITU-T P.862.2, 1.0 to 4.64) at 16 kHz; meant for speech.

    Raises UsageError when the package `pesq` is missing or the lengths differ.
    """
    module = _module("pesq")
    reference, estimate = _prepared(reference, estimate, rate, PESQ_RATE)
    if not _comparable(reference, estimate, PESQ_RATE):
        return _lowest(reference, PESQ_RATE, 1.0)
    try:
        return float(module.pesq(PESQ_RATE, reference, estimate, "wb"))
    except (module.NoUtterancesError, module.BufferTooShortError):
        return math.nan


def stoi(reference: np.ndarray, estimate: np.ndarray, rate: int) -> float:
    """Return the short-time objective intelligibility (Taal et al. 2011, about 0 to 1); meant for speech.

    Raises UsageError when the package `pystoi` is missing or the lengths differ.
    """
    module = _module("pystoi")
    reference, estimate = _prepared(reference, estimate, rate, PESQ_RATE)
    if not _comparable(reference, estimate, PESQ_RATE):
        return _lowest(reference, PESQ_RATE, 0.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        try:
            return float(module.stoi(reference, estimate, PESQ_RATE))
        except RuntimeWarning:  # too little of the clip is louder than silence
            return math.nan


def visqol(reference: np.ndarray, estimate: np.ndarray, rate: int, mode: str = "audio") -> float:
    """Return the ViSQOL score (MOS-LQO, 1 to about 4.73): mode "audio" at 48 kHz or "speech" at 16 kHz.

    Raises UsageError when the package `visqol-python` is missing, the mode is unknown or the lengths differ.
    """
    if mode not in VISQOL_RATES:
        raise UsageError(f"ViSQOL has no mode {mode!r}: use {' or '.join(VISQOL_RATES)}")
    api = _visqol_api(mode)
    reference, estimate = _prepared(reference, estimate, rate, VISQOL_RATES[mode])
    if not _comparable(reference, estimate, VISQOL_RATES[mode]):
        return _lowest(reference, VISQOL_RATES[mode], 1.0)
    return float(api.measure_from_arrays(reference, estimate, VISQOL_RATES[mode]).moslqo)


@lru_cache(maxsize=2)
def _visqol_api(mode: str) -> Any:
    """Return a ready scorer: its models are read once."""
    api = _module("visqol").VisqolApi()
    logging.getLogger("visqol").setLevel(logging.ERROR)
    api.create(mode=mode)
    return api


def _module(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UsageError(f"the package {name} is not installed: pip install 'dacfile[metrics]'") from error


def _prepared(reference: np.ndarray, estimate: np.ndarray, rate: int, target: int) -> tuple[np.ndarray, np.ndarray]:
    """Check the lengths and resample both signals to float64 at `target` Hz."""
    if reference.shape != estimate.shape or reference.ndim != 1:
        raise UsageError(f"reference {reference.shape} and estimate {estimate.shape} must be one channel, equally long")
    left, right = (np.asarray(x, dtype=np.float64) for x in (reference, estimate))
    if rate == target:
        return left, right
    return soxr.resample(left, rate, target), soxr.resample(right, rate, target)


def _comparable(reference: np.ndarray, estimate: np.ndarray, rate: int) -> bool:
    return _applies(reference, rate) and bool(estimate.any())


def _applies(reference: np.ndarray, rate: int) -> bool:
    return len(reference) >= SHORTEST_SECONDS * rate and bool(reference.any())


def _lowest(reference: np.ndarray, rate: int, worst: float) -> float:
    """Return the value of a pair that the metric cannot compare: `worst` where the estimate is at fault, else NaN."""
    return worst if _applies(reference, rate) else math.nan
