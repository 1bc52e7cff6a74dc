"""Spectrograms of a clip and of what codecs make of it, side by side.

python benchmarks/spectrograms.py --codec 44k:9 --codec opus:12 CLIP... --out docs/images
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from coders import ROOT, Clip, find_codec
from scoreboard import label

from dacfile.quality.spectral import magnitudes

FLOOR_DB, TOP_DB = -100, 0
COLUMNS = 500


def draw(signals: Mapping[str, np.ndarray], rate: int, path: Path) -> None:
    """Write one PNG with a spectrogram (window 2,048, dB relative to a full-scale tone) per named signal [samples]."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, len(signals), figsize=(4.2 * len(signals), 3.2), sharey=True, squeeze=False)
    for axis, (name, samples) in zip(axes.flat, signals.items(), strict=True):
        extent = (0, len(samples) / rate, 0, rate / 2000)
        axis.imshow(picture(samples), origin="lower", aspect="auto", vmin=FLOOR_DB, vmax=TOP_DB, extent=extent)
        axis.set_title(name, fontsize=10)
        axis.set_xlabel("s")
    axes.flat[0].set_ylabel("kHz")
    figure.tight_layout()
    figure.savefig(path, dpi=80, metadata={"Software": None})
    pyplot.close(figure)


def picture(samples: np.ndarray) -> np.ndarray:
    """Return dB values [513, at most about 500], the loudest of the neighbours that fall together."""
    spectrum = magnitudes(torch.from_numpy(np.ascontiguousarray(samples, dtype=np.float32)), 2048) / 512
    width = -(-spectrum.shape[1] // COLUMNS)
    pooled = torch.nn.functional.max_pool2d(spectrum[None], (2, width), ceil_mode=True)[0]
    return (20 * pooled.clamp(min=1e-6).log10()).numpy()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", type=Path, nargs="+")
    parser.add_argument("--codec", action="append", required=True, metavar="NAME:SETTING")
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "spectrograms")
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.out.mkdir(parents=True, exist_ok=True)
    for path in options.clips:
        clip = Clip.of(path)
        signals = {"source": clip.read()[:, 0]}
        for name in options.codec:
            with tempfile.TemporaryDirectory() as folder:
                signals[label(name)] = find_codec(name).run(clip, Path(folder))[1][:, 0]
        draw(signals, clip.rate, options.out / f"{path.stem}.png")


if __name__ == "__main__":
    main()
