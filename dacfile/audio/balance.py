"""How unlike left and right are in level, by frequency and from moment to moment.

Where the decoder makes noise, mid and side have unrelated noise: left and right then get the energy of both, each as
much as the other. So what a recording loses in mid/side is how its own left and right depart from that.
"""

from __future__ import annotations

import numpy as np

WINDOW = 1024
EVERY = 4096  # samples: a quarter of a recording tells enough
BANDS = 12  # of equal width on the mel scale
FLOOR = 1e-2  # of the magnitudes of a band, 88 dB below a full-scale tone: there is nothing to be heard


class BalanceMeter:
    """Measure two channels block by block; how they are cut into blocks makes no difference."""

    def __init__(self, rate: int) -> None:
        mel = np.log1p(np.fft.rfftfreq(WINDOW, 1 / rate) / 700)
        self._starts = np.searchsorted(mel, mel[-1] / BANDS * np.arange(BANDS))
        self._window = np.hanning(WINDOW + 1)[:-1].astype(np.float32)
        self._held = np.zeros((0, 2), np.float32)
        self._sum, self._count = 0.0, 0

    def push(self, samples: np.ndarray) -> None:
        """Take float32 samples [n, 2]."""
        held = np.concatenate([self._held, samples])
        whole = len(held) // EVERY
        if whole:
            windows = held[: whole * EVERY].reshape(whole, EVERY, 2)[:, :WINDOW]
            for value in self._departures(windows.transpose(2, 0, 1)):
                self._sum += float(value)
            self._count += whole
        self._held = held[whole * EVERY :]

    def departure(self) -> float:
        """Return by how much the levels of left and right depart from the level of both.

        It is the mean absolute log10 of the ratio of magnitudes, over windows, bands and the two channels; 0 for
        channels of one level, and for fewer than 4,096 samples.
        """
        return self._sum / max(self._count, 1)

    def _departures(self, windows: np.ndarray) -> np.ndarray:
        """Return the value of each window, [n], of [2, n, WINDOW]."""
        powers = np.square(np.abs(np.fft.rfft(windows * self._window)))
        energies: np.ndarray = np.add.reduceat(powers, self._starts, axis=-1) + FLOOR**2
        departures: np.ndarray = np.abs(0.5 * np.log10(energies / energies.mean(0))).mean((0, 2))
        return departures
