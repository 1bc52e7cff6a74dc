"""How close decoded audio is to its source: spectral and waveform distances, and perceptual metrics as an extra.

Needs torch; `perceptual` needs the packages of the extra `metrics` as well, imported only when they are used.
"""

from dacfile.quality.measure import measure
from dacfile.quality.perceptual import pesq_wideband, stoi, visqol
from dacfile.quality.spectral import mel_distance, stft_distance
from dacfile.quality.waveform import find_delay, si_sdr

__all__ = [
    "find_delay",
    "measure",
    "mel_distance",
    "pesq_wideband",
    "si_sdr",
    "stft_distance",
    "stoi",
    "visqol",
]
