"""How close decoded audio is to its source: spectral and waveform distances, and perceptual metrics as an extra.

Needs torch; `perceptual` needs the packages of the extra `metrics` as well, imported only when they are used.
"""

from dacfile.quality.pairing import Pair, pair_up
from dacfile.quality.perceptual import pesq_wideband, stoi, visqol
from dacfile.quality.scores import measure
from dacfile.quality.spectral import mel_distance, stft_distance
from dacfile.quality.waveform import find_delay, round_to_word, si_sdr

__all__ = [
    "Pair",
    "find_delay",
    "measure",
    "mel_distance",
    "pair_up",
    "pesq_wideband",
    "round_to_word",
    "si_sdr",
    "stft_distance",
    "stoi",
    "visqol",
]
