"""`dacz compare`: how close copies of a recording are to it, in numbers."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from dacfile.container.wire import MAGIC
from dacfile.errors import DaczError, UnsupportedAudio
from dacz.common import complain_about, exit_code
from dacz.text import clock, escape, kbps, plural, ratio, size, table

if TYPE_CHECKING:
    import numpy as np

HEADINGS = {
    "mel": "mel",
    "stft": "STFT",
    "si_sdr": "SI-SDR dB",
    "visqol": "ViSQOL",
    "pesq": "PESQ",
    "stoi": "STOI",
}
BASIC = ("mel", "stft", "si_sdr")
RULE = "mel and STFT distance: lower is better, 0 is equal; the others: higher is better"


def command(
    reference: Path = typer.Argument(help="The source: an audio file.", show_default=False),
    files: list[Path] = typer.Argument(help="Its copies: .dacz or audio files.", show_default=False, readable=False),
    perceptual: bool = typer.Option(
        False,
        "--perceptual",
        help="ViSQOL, PESQ and STOI (the last two for speech) too: slow; needs dacfile[metrics].",
    ),
    as_json: bool = typer.Option(False, "--json", help="One JSON object per file."),
) -> int:
    """Compare copies of a recording with it: mel and STFT distance as in the DAC paper, SI-SDR, real bit rate.

    A copy is resampled to the rate of the source, moved by its delay if it has one, and rounded to the word length of
    the source; the scores are means over channels.
    """
    audio, rate, subtype = _read_audio(reference)
    metrics = tuple(HEADINGS) if perceptual else BASIC
    codes: list[int] = []
    results = []
    for path in files:
        try:
            results.append(_compare(path, audio, rate, subtype, metrics))
        except (DaczError, OSError) as error:
            complain_about(path, error, codes, as_json)
            continue
        if as_json:
            print(json.dumps(_finite(results[-1])))
    if results and not as_json:
        print(_as_text(reference, len(audio) / rate, audio.shape[1], results, metrics))
    return exit_code(codes, len(results))


def _compare(path: Path, audio: np.ndarray, rate: int, subtype: str, metrics: tuple[str, ...]) -> dict[str, Any]:
    from dacfile.quality import measure, pair_up

    copy, copy_rate, _ = _read_audio(path)
    pair = pair_up(audio, rate, subtype, copy, copy_rate)
    file_bytes = path.stat().st_size
    return {
        "path": str(path),
        "ok": True,
        "bytes": file_bytes,
        "bits_per_second": file_bytes * 8 * rate / len(audio),
        "delay": pair.delay,
        "missing": max(pair.missing, 0),
        **measure(pair.reference, pair.estimate, rate, metrics),
    }


def _read_audio(path: Path) -> tuple[np.ndarray, int, str]:
    """Return float32 [samples, channels], rate and subtype of an audio or `.dacz` file; raises UnsupportedAudio."""
    import numpy as np

    import dacfile
    from dacfile.audio.files import AudioReader

    if _starts_as_dacz(path):
        audio, rate = dacfile.read(path)
        return _some(audio, path), rate, ""
    with AudioReader(path) as reader:
        nothing = np.zeros((0, reader.info.channels), np.float32)
        audio = np.concatenate([nothing, *reader.blocks()])
        return _some(audio, path), reader.info.rate, reader.info.subtype


def _some(audio: np.ndarray, path: Path) -> np.ndarray:
    if not len(audio):
        raise UnsupportedAudio(f"{path}: holds no samples: there is nothing to compare")
    return audio


def _starts_as_dacz(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(MAGIC)) == MAGIC


def _finite(result: dict[str, Any]) -> dict[str, Any]:
    """JSON has no NaN: a metric that does not apply is null."""
    return {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in result.items()}


def _as_text(
    reference: Path, seconds: float, channels: int, results: list[dict[str, Any]], metrics: tuple[str, ...]
) -> str:
    source_bytes = reference.stat().st_size
    kind = {1: "mono", 2: "stereo"}.get(channels, f"{channels} channels")
    rows: list[list[str]] = [["file", "size", "ratio", "bit rate", *(HEADINGS[m] for m in metrics), ""]]
    for result in results:
        scores = ["-" if math.isnan(result[m]) else f"{result[m]:.{1 if m == 'si_sdr' else 3}f}" for m in metrics]
        cost = [size(result["bytes"]), ratio(source_bytes, result["bytes"]), kbps(result["bits_per_second"])]
        rows.append([escape(result["path"]), *cost, *scores, _remarks(result)])
    title = f"{escape(reference)}: {clock(seconds)}, {kind}, {size(source_bytes)}"
    return f"{title}\n{table(rows, right=range(1, 4 + len(metrics)))}\n{RULE}"


def _remarks(result: dict[str, Any]) -> str:
    remarks = []
    if result["delay"]:
        direction = "late" if result["delay"] > 0 else "early"
        remarks.append(f"{plural(abs(result['delay']), 'sample')} {direction}, made good")
    if result["missing"]:
        remarks.append(f"{plural(result['missing'], 'sample')} short")
    return ", ".join(remarks)
