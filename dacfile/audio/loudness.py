"""Integrated loudness after ITU-R BS.1770-4, in blocks and with little memory: 80 bytes a second and signal.

The K-weighting filters are those of the recommendation's annex 1, re-derived for any rate from their analogue
parameters (De Man, "Evaluation of implementations of the EBU R128 loudness measurement", AES 145, 2018).
"""

from __future__ import annotations

import numpy as np

ABSOLUTE_GATE = -70.0  # LUFS
RELATIVE_GATE = -10.0  # LU below the mean of what passed the absolute gate
OFFSET = -0.691  # dB; makes a 997 Hz sine of full scale read -3.01 LUFS
STEPS = 4  # steps of 100 ms in a gating block of 400 ms: an overlap of 75 %
SHELF = (1681.974450955533, 0.7071752369554196, 3.999843853973347)  # Hz, Q, dB
HIGH_PASS = (38.13547087602444, 0.5003270373238773)  # Hz, Q
JOIN_AFTER = 1_000  # small arrays cost more memory than what is in them
RING_SECONDS = 0.04  # after this the impulse response has fallen by 86 dB


def k_weighting(rate: int, length: int) -> np.ndarray:
    """Return the impulse response of the K-weighting filter, float64 [length], cut off there."""
    n = 1 << (max(length, rate) * 2 - 1).bit_length()  # long enough that nothing wraps around
    z = np.exp(-2j * np.pi * np.arange(n // 2 + 1) / n)
    response = np.ones(len(z), np.complex128)
    for b, a in (_shelf(rate), _high_pass(rate)):
        response *= np.polynomial.polynomial.polyval(z, b) / np.polynomial.polynomial.polyval(z, a)
    return np.fft.irfft(response, n)[:length]


def _shelf(rate: int) -> tuple[np.ndarray, np.ndarray]:
    hertz, q, gain = SHELF
    k = np.tan(np.pi * min(hertz / rate, 0.49))
    vh = 10 ** (gain / 20)
    vb = vh**0.4996667741545416
    norm = 1 + k / q + k * k
    b = np.array([vh + vb * k / q + k * k, 2 * (k * k - vh), vh - vb * k / q + k * k])
    return b / norm, np.array([norm, 2 * (k * k - 1), 1 - k / q + k * k]) / norm


def _high_pass(rate: int) -> tuple[np.ndarray, np.ndarray]:
    hertz, q = HIGH_PASS
    k = np.tan(np.pi * min(hertz / rate, 0.49))
    norm = 1 + k / q + k * k
    return np.array([1.0, -2.0, 1.0]), np.array([norm, 2 * (k * k - 1), 1 - k / q + k * k]) / norm


class LoudnessMeter:
    """Measure the integrated loudness of several signals, each on its own as a mono programme.

    With `mid_side` two channels come in and four signals are measured: left, right, mid (L + R) / 2, side (L - R) / 2.
    """

    def __init__(self, rate: int, channels: int, mid_side: bool = False) -> None:
        self.step = max(round(rate / 10), 1)
        ring = max(round(RING_SECONDS * rate), 1)
        size = 16_384  # the FFT; three steps of 4,410 samples and the filter fit in
        while size < self.step + ring:
            size *= 2
        self._size, self._steps = size, (size - ring) // self.step
        self._valid = self._steps * self.step
        self._lead = size - self._valid  # samples before the valid ones: the filter's memory
        self._filter = np.fft.rfft(k_weighting(rate, self._lead + 1), size).astype(np.complex64)
        self._mid_side = mid_side
        self._held = np.zeros((channels, self._lead), np.float32)
        self._energies: list[np.ndarray] = []  # float64 [signals, steps] each
        self._samples = 0

    def push(self, samples: np.ndarray) -> None:
        """Take float32 samples [n, C]."""
        self._samples += len(samples)
        self._held = np.concatenate([self._held, samples.T], axis=1)
        while self._held.shape[1] >= self._size:
            self._energies.append(self._measure(self._held[:, : self._size]))
            self._held = self._held[:, self._valid :]
        if len(self._energies) > JOIN_AFTER:
            self._energies = [np.concatenate(self._energies, axis=1)]

    def integrated(self) -> np.ndarray:
        """Return the loudness of each signal in LUFS, float64 [signals]; call it once, after the last block.

        Digital silence is -inf. Where nothing passes the absolute gate, or less than 400 ms were heard, it is the
        loudness without gates: the recommendation has no number there, but a gain must come from somewhere.
        """
        steps = np.concatenate([*self._energies, self._measure_rest()], axis=1)
        whole = self._samples // self.step
        return np.array([_gated(row[:whole], row.sum(), self.step, self._samples) for row in steps])

    def _measure_rest(self) -> np.ndarray:
        rest = np.zeros((self._held.shape[0], self._size), np.float32)
        rest[:, : self._held.shape[1]] = self._held
        return self._measure(rest)

    def _measure(self, window: np.ndarray) -> np.ndarray:
        """Return the energies of the steps of one window [C, size]."""
        weighted = np.fft.irfft(np.fft.rfft(window, axis=1) * self._filter, axis=1)[:, self._lead :]
        if self._mid_side:
            left, right = weighted
            weighted = np.stack([left, right, (left + right) / 2, (left - right) / 2])
        parts = weighted.reshape(len(weighted), self._steps, self.step)
        return np.einsum("cst,cst->cs", parts, parts).astype(np.float64)


def _gated(steps: np.ndarray, energy: float, step: int, samples: int) -> float:
    blocks = np.convolve(steps, np.ones(STEPS), "valid") / (STEPS * step) if len(steps) >= STEPS else steps[:0]
    loud = blocks[blocks > _power(ABSOLUTE_GATE)]
    if not len(loud):
        return _lufs(energy / max(samples, 1))
    return _lufs(loud[loud > loud.mean() * 10 ** (RELATIVE_GATE / 10)].mean())


def _power(lufs: float) -> float:
    return 10 ** ((lufs - OFFSET) / 10)


def _lufs(power: float) -> float:
    return float(OFFSET + 10 * np.log10(power)) if power > 0 else -np.inf
