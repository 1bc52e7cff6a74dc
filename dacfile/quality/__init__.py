"""How close decoded audio is to its source: spectral and waveform distances, and perceptual metrics as an extra.

Needs torch; `perceptual` needs the packages of the extra `metrics` as well.
"""

from dacfile.quality.spectral import mel_distance, stft_distance
from dacfile.quality.waveform import find_delay, si_sdr

__all__ = ["find_delay", "mel_distance", "si_sdr", "stft_distance"]
