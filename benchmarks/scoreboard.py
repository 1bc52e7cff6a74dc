"""Tables and plots of the rows that quality.py measured."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

Row = dict[str, Any]
HEADINGS = {
    "mel": "mel",
    "stft": "STFT",
    "si_sdr": "SI-SDR dB",
    "visqol": "ViSQOL",
    "pesq": "PESQ",
    "stoi": "STOI",
}
ARROWS = {"mel": "↓", "stft": "↓", "si_sdr": "↑", "visqol": "↑", "pesq": "↑", "stoi": "↑"}
FAMILY_NAMES = {"opus": "Opus", "mp3": "MP3 (LAME)", "aac": "AAC (ffmpeg)"}
WORST = 6


def write_report(rows: list[Row], out: Path, images: Path) -> None:
    """Write quality.csv and quality.md to `out`, and the plots to `images`."""
    means = summarise(rows)
    with (out / "quality.csv").open("w", newline="") as file:
        writer = csv.DictWriter(
            file, ["codec", "category", "clips", "kbps_per_channel", *HEADINGS], lineterminator="\n"
        )
        writer.writeheader()
        writer.writerows({k: round(v, 4) if isinstance(v, float) else v for k, v in row.items()} for row in means)
    (out / "quality.md").write_text(markdown(rows, means))
    images.mkdir(parents=True, exist_ok=True)
    plot_overall(means, images / "quality.png")
    plot_categories(means, images / "quality-categories.png")


def summarise(rows: Sequence[Row]) -> list[Row]:
    """Return means per codec and category ("all" first): rates over all seconds of all channels, scores over clips."""
    codecs = list(dict.fromkeys(row["codec"] for row in rows))
    categories = ["all", *sorted({row["category"] for row in rows})]
    means = []
    for codec in codecs:
        for category in categories:
            group = [r for r in rows if r["codec"] == codec and category in ("all", r["category"])]
            if group:
                means.append(_mean_row(codec, category, group))
    return means


def _mean_row(codec: str, category: str, group: Sequence[Row]) -> Row:
    seconds = sum(row["seconds"] * row["channels"] for row in group)
    row: Row = {
        "codec": codec,
        "category": category,
        "clips": len(group),
        "kbps_per_channel": sum(r["bytes"] for r in group) * 8 / seconds / 1000,
    }
    for metric in HEADINGS:
        values = [r[metric] for r in group if metric in r and not math.isnan(r[metric])]
        if values and (category == "speech" or metric not in ("pesq", "stoi")):
            row[metric] = sum(values) / len(values)
    return row


def markdown(rows: list[Row], means: list[Row]) -> str:
    """Return one table per category, and the worst clips of each model at its highest rate."""
    parts = []
    for category in dict.fromkeys(row["category"] for row in means):
        group = [row for row in means if row["category"] == category]
        parts.append(f"### {category.capitalize()}: {group[0]['clips']} clips\n\n{_table(group)}")
    for codec in _best_settings(means):
        parts.append(_worst_clips(codec, [row for row in rows if row["codec"] == codec]))
    return "\n\n".join(parts) + "\n"


def _table(group: list[Row]) -> str:
    metrics = [m for m in HEADINGS if any(m in row for row in group)]
    lines = [
        "| codec | kbit/s per channel | " + " | ".join(f"{HEADINGS[m]} {ARROWS[m]}" for m in metrics) + " |",
        "|---" + "|---:" * (len(metrics) + 1) + "|",
    ]
    for row in group:
        cells = [f"{row['kbps_per_channel']:.2f}", *(_number(m, row.get(m, math.nan)) for m in metrics)]
        lines.append(f"| {label(row['codec'])} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _number(metric: str, value: float) -> str:
    if math.isnan(value):
        return ""
    return f"{value:.1f}" if metric == "si_sdr" else f"{value:.3f}" if metric == "stoi" else f"{value:.2f}"


def label(codec: str) -> str:
    """Return the codec's name as people read it."""
    family, _, setting = codec.rpartition(":")
    if family in FAMILY_NAMES:
        return f"{FAMILY_NAMES[family]} {setting}"
    return f"{Path(family).stem}, {setting} codebook{'s' if setting != '1' else ''}" if family else codec


def _best_settings(means: Iterable[Row]) -> list[str]:
    """Return the setting of the highest rate of every model."""
    best: dict[str, Row] = {}
    for row in means:
        family = row["codec"].rpartition(":")[0]
        if row["category"] == "all" and family not in FAMILY_NAMES:
            best[family] = max(row, best.get(family, row), key=lambda r: r["kbps_per_channel"])
    return [row["codec"] for row in best.values()]


def _worst_clips(codec: str, rows: list[Row]) -> str:
    lines = [f"### Worst clips of {label(codec)}\n"]
    for metric, sign in (("mel", -1), ("visqol", 1), ("si_sdr", 1), ("pesq", 1)):
        known = [row for row in rows if metric in row and not math.isnan(row[metric])]
        worst = sorted(known, key=lambda row: sign * row[metric])[:WORST]
        if worst:
            cells = ", ".join(f"{row['clip']} {_number(metric, row[metric])}" for row in worst)
            lines.append(f"- {HEADINGS[metric]}: {cells}")
    return "\n".join(lines)


def plot_overall(means: list[Row], path: Path) -> None:
    """Plot four metrics over the real rate, all categories together (PESQ: speech)."""
    panels = [("mel", "all"), ("visqol", "all"), ("si_sdr", "all"), ("pesq", "speech")]
    _plot(means, panels, 2, path)


def plot_categories(means: list[Row], path: Path) -> None:
    """Plot mel, STFT distance and ViSQOL for each category."""
    categories = [c for c in dict.fromkeys(row["category"] for row in means) if c != "all"]
    if categories:
        _plot(means, [(m, c) for m in ("mel", "stft", "visqol") for c in categories], len(categories), path)


def _plot(means: list[Row], panels: list[tuple[str, str]], columns: int, path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    rows = math.ceil(len(panels) / columns)
    figure, axes = pyplot.subplots(rows, columns, figsize=(4.2 * columns, 3.2 * rows), squeeze=False)
    for axis, (metric, category) in zip(axes.flat, panels, strict=False):
        for number, (family, points) in enumerate(_curves(means, metric, category).items()):
            axis.plot(*zip(*points, strict=True), marker="o", markersize=4, label=family, color=f"C{number}")
        axis.set_xscale("log")
        axis.set_xticks([1, 2, 4, 8, 16, 32, 64], labels=["1", "2", "4", "8", "16", "32", "64"])
        axis.minorticks_off()
        axis.set_title(
            f"{HEADINGS[metric]} ({'lower' if ARROWS[metric] == '↓' else 'higher'} is better), {category}", fontsize=10
        )
        axis.grid(alpha=0.3)
    for axis in axes[-1]:
        axis.set_xlabel("kbit/s per channel, real file size")
    axes.flat[0].legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=110, metadata={"Software": None})
    pyplot.close(figure)


def _curves(means: list[Row], metric: str, category: str) -> dict[str, list[tuple[float, float]]]:
    """Return {family: points (rate, value) by rate}; every family is there, so that colours agree between panels."""
    curves: dict[str, list[tuple[float, float]]] = {}
    for row in means:
        family = row["codec"].rpartition(":")[0] or row["codec"]
        points = curves.setdefault(FAMILY_NAMES.get(family, Path(family).stem), [])
        if row["category"] == category and metric in row:
            points.append((row["kbps_per_channel"], row[metric]))
    return {family: sorted(points) or [(math.nan, math.nan)] for family, points in curves.items()}
