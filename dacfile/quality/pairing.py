"""Make two recordings comparable: one rate, no delay, one length, one word length."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import soxr
import torch

from dacfile.errors import UsageError
from dacfile.quality.waveform import find_delay, round_to_word

# Delays of encoders and decoders lie below this; what is looked for within it, a few seconds are enough to tell.
LARGEST_DELAY_SECONDS = 0.15
PROBE_SECONDS = 20
# A copy that is too short by more than this is not the same recording.
LARGEST_LOSS = 0.1


@dataclass(frozen=True)
class Pair:
    """Two recordings, float32 [samples, channels] of one shape, at the reference's rate.

    `delay` is the number of samples that the estimate lagged, `missing` how many it is shorter; both were made good.
    """

    reference: np.ndarray
    estimate: np.ndarray
    rate: int
    delay: int
    missing: int


def pair_up(reference: np.ndarray, rate: int, subtype: str, estimate: np.ndarray, estimate_rate: int) -> Pair:
    """Return the two as a pair: `estimate` resampled, shifted, cut or padded, and rounded to the reference's subtype.

    Takes float arrays [samples, channels]. Raises UsageError when they cannot be the same recording: other channels,
    or more than a tenth shorter.
    """
    if reference.shape[1] != estimate.shape[1]:
        raise UsageError(f"has {estimate.shape[1]} channels, the reference has {reference.shape[1]}")
    if estimate_rate != rate:
        estimate = soxr.resample(estimate, estimate_rate, rate)
    probe = slice(0, PROBE_SECONDS * rate)
    left, right = (torch.from_numpy(x[probe].mean(1)) for x in (reference, estimate))
    delay = find_delay(left, right, round(LARGEST_DELAY_SECONDS * rate))
    estimate = estimate[delay:] if delay >= 0 else np.pad(estimate, ((-delay, 0), (0, 0)))
    missing = len(reference) - len(estimate)
    if missing > LARGEST_LOSS * len(reference):
        raise UsageError(f"is {missing / rate:.1f} s shorter than the reference: is it the same recording?")
    estimate = np.pad(estimate[: len(reference)], ((0, max(missing, 0)), (0, 0)))
    return Pair(reference, round_to_word(estimate, subtype), rate, delay, missing)
