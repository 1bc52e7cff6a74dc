"""What a run leaves behind in its folder: losses and scores as text, sample audio, and a plot of both."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import soundfile

LOSSES = ("mel", "stft", "loudness", "similarity", "commitment", "discriminator", "adversarial", "matching", "level")
LOSS_LOG = "log.csv"
SCORE_LOG = "validation.jsonl"
SAMPLES = "samples"
PLOT = "log.png"


def log_losses(folder: Path, row: Mapping[str, object], losses: Mapping[str, float]) -> None:
    """Append a row (step, seconds, rate) and its mean losses to `folder`/log.csv, with a heading if it is the first."""
    path = folder / LOSS_LOG
    new = not path.exists()
    with path.open("a", newline="") as handle:
        writer = csv.DictWriter(handle, [*row, *LOSSES])
        if new:
            writer.writeheader()
        writer.writerow({**row, **{name: f"{value:.4f}" for name, value in losses.items()}})


def log_scores(folder: Path, step: int, scores: Mapping[str, float]) -> None:
    """Append validation scores to `folder`/validation.jsonl."""
    with (folder / SCORE_LOG).open("a") as handle:
        handle.write(json.dumps({"step": step, **scores}) + "\n")


def write_samples(folder: Path, rate: int, pairs: Mapping[str, Sequence[np.ndarray]]) -> None:
    """Write each name's reference and latest reconstruction, float32 [n], one after the other as one FLAC file."""
    target = folder / SAMPLES
    target.mkdir(exist_ok=True)
    pause = np.zeros(rate // 2, np.float32)
    for name, (reference, estimate) in pairs.items():
        both = np.concatenate([reference, pause, estimate])
        soundfile.write(target / f"{name.replace('/', '-').replace(':', '-')}.flac", np.clip(both, -1, 1), rate)


def read_losses(folder: Path) -> dict[str, list[float]]:
    """Return the columns of `folder`/log.csv that have values, "step" among them."""
    with (folder / LOSS_LOG).open(newline="") as handle:
        rows = list(csv.DictReader(handle))
    names = [name for name in ("step", *LOSSES) if rows and rows[0].get(name)]
    return {name: [float(row[name] or "nan") for row in rows] for name in names}


def read_scores(folder: Path) -> list[dict[str, float]]:
    """Return the lines of `folder`/validation.jsonl."""
    return [json.loads(line) for line in (folder / SCORE_LOG).read_text().splitlines()]


def plot(folder: Path) -> Path:
    """Draw the mel loss in training and the validation scores over the steps; return the picture's path.

    Needs matplotlib (the `metrics` extra).
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    losses, scores = read_losses(folder), read_scores(folder)
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(10, 4), layout="constrained")
    left.plot(losses["step"], losses["mel"], linewidth=0.8, label="training loss")
    steps = [row["step"] for row in scores]
    for name in sorted(name for name in scores[0] if name.startswith("mel")):
        left.plot(steps, [row[name] for row in scores], marker=".", label=f"validation, {name}")
    left.set(xlabel="step", ylabel="mel distance")
    left.legend(fontsize="small")
    right.plot(steps, [row["si_sdr"] for row in scores], marker=".")
    right.set(xlabel="step", ylabel="SI-SDR on validation, dB")
    figure.savefig(folder / PLOT, dpi=120)
    pyplot.close(figure)
    return folder / PLOT
