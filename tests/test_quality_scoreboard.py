"""The scoreboard's arithmetic, its tables, and the numbers for artefacts, on made-up data."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "benchmarks"))
import artefacts
import hard_cases
import quality
import scoreboard

RATE = 44100


def row(codec: str, category: str, clip: str, size: int, **scores: float) -> dict:
    fixed = {"codec": codec, "category": category, "clip": f"{category}/{clip}", "rate": RATE}
    return {**fixed, "channels": 1, "seconds": 10.0, "bytes": size, "kbps_per_channel": size * 8 / 10000, **scores}


ROWS = [
    row("44k:9", "music", "a", 9000, mel=1.0, visqol=4.0),
    row("44k:9", "speech", "b", 8000, mel=2.0, visqol=3.0, pesq=3.5),
    row("44k:1", "music", "a", 1000, mel=3.0, visqol=2.0),
    row("44k:1", "speech", "b", 1000, mel=4.0, visqol=1.0, pesq=math.nan),
    row("opus:12", "music", "a", 16000, mel=1.5, visqol=3.9),
]


def test_means_are_over_clips_and_rates_over_all_seconds() -> None:
    means = {(m["codec"], m["category"]): m for m in scoreboard.summarise(ROWS)}
    assert means["44k:9", "all"] == {
        "codec": "44k:9", "category": "all", "clips": 2, "kbps_per_channel": 6.8, "mel": 1.5, "visqol": 3.5,
    }  # fmt: skip
    assert means["44k:9", "speech"]["pesq"] == 3.5
    assert "pesq" not in means["44k:1", "speech"]
    assert ("opus:12", "speech") not in means


def test_there_is_no_mean_over_a_part_of_the_clips() -> None:
    rows = [ROWS[0], row("44k:9", "music", "c", 9000, mel=3.0)]
    mean = scoreboard.summarise(rows)[0]
    assert mean["mel"] == 2.0
    assert "visqol" not in mean


def test_stereo_counts_twice_in_the_rate() -> None:
    rows = [{**ROWS[0], "channels": 2, "bytes": 20000}]
    assert scoreboard.summarise(rows)[0]["kbps_per_channel"] == pytest.approx(8.0)


def test_the_tables_name_the_worst_clips_of_the_best_setting() -> None:
    assert scoreboard.label("44k@10:9") == "44k, 9 codebooks, refined in 10 passes"
    assert scoreboard.label("44k@1:9") == "44k, 9 codebooks, refined in 1 pass"
    text = scoreboard.markdown(ROWS, scoreboard.summarise(ROWS))
    assert "| 44k, 9 codebooks | 6.80 | 1.50 | 3.50 |" in text
    assert "| 44k, 1 codebook | 0.80 |" in text
    assert "Worst clips of 44k, 9 codebooks" in text
    assert "- mel: speech/b 2.00, music/a 1.00" in text
    assert "Worst clips of Opus" not in text


def test_tables_are_put_between_the_marks_again_and_again(tmp_path: Path) -> None:
    document = tmp_path / "quality.md"
    document.write_text(f"before\n{scoreboard.BEGIN.format('a')}\nold\n{scoreboard.END}\nafter\n")
    for text in ("one", "two"):
        scoreboard.update_document(document, "a", text)
    assert document.read_text() == f"before\n{scoreboard.BEGIN.format('a')}\n\ntwo\n{scoreboard.END}\nafter\n"
    document.write_text("no marks")
    with pytest.raises(ValueError, match="has no line"):
        scoreboard.update_document(document, "a", "one")


def test_rows_survive_the_csv_file_and_old_codecs_are_kept(tmp_path: Path) -> None:
    table = tmp_path / "clips.csv"
    quality.write_rows(table, ROWS)
    read = list(quality.read_rows(table))
    assert read[:3] == ROWS[:3]
    assert math.isnan(read[3]["pesq"])
    assert "pesq" not in read[2]
    rows = quality.merged(read, [{**ROWS[2], "mel": 2.5}], quality.default_codecs(None))
    assert [(r["codec"], r["mel"]) for r in rows] == [("44k:1", 2.5), ("44k:9", 1.0), ("44k:9", 2.0), ("opus:12", 1.5)]


def test_the_cache_key_depends_on_codec_and_content(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"one")
    (tmp_path / "b.wav").write_bytes(b"two")
    keys = [quality.cache_key(i, tmp_path / n) for i, n in (("x", "a.wav"), ("y", "a.wav"), ("x", "b.wav"))]
    (tmp_path / "c.wav").write_bytes(b"one")
    assert len(set(keys)) == 3
    assert quality.cache_key("x", tmp_path / "c.wav") == keys[0]


def test_hard_cases_are_the_same_every_time_and_use_the_whole_range(tmp_path: Path) -> None:
    t = np.arange(RATE) / RATE
    for number, case in enumerate(hard_cases.CASES):
        first, second = (np.broadcast_to(case(t, np.random.default_rng(number)), t.shape) for _ in range(2))
        assert np.array_equal(first, second)
        assert np.isfinite(first).all()
        assert 0 < np.abs(first).max() <= 1.5


def attack(before: float) -> np.ndarray:
    """Return half a second of `before`-loud noise, then a loud tone that decays."""
    t = np.arange(RATE) / RATE
    hit = np.where(t >= 0.5, np.sin(5000 * t) * np.exp(-(t - 0.5) * 5), 0)
    return (hit + before * np.sin(9000 * t) * (t < 0.5) * (t > 0.49))[:, None]


def test_pre_echo_is_the_level_before_an_attack() -> None:
    assert artefacts.pre_echo(attack(0), attack(0), RATE) < -100
    assert artefacts.pre_echo(attack(0), attack(0.1), RATE) == pytest.approx(-20, abs=1.5)
    assert math.isnan(artefacts.pre_echo(0 * attack(0), attack(0.1), RATE))


def test_level_errors_are_signed_and_ignore_what_cannot_be_heard() -> None:
    tone = np.sin(np.arange(4 * RATE) / 10)[:, None]
    tone[3 * RATE :] *= 1e-5
    quieter = tone.copy()
    quieter[: RATE // 2] *= 0.5
    mean, worst = artefacts.level_errors(tone, quieter, RATE)
    assert worst == pytest.approx(-6, abs=0.1)
    assert 0 < mean < 2
    assert artefacts.level_errors(tone, tone, RATE) == (0.0, 0.0)


def test_floor_in_silence_is_measured_away_from_sound() -> None:
    source = np.zeros((2 * RATE, 1))
    source[:RATE] = 0.5
    decoded = np.where(source > 0, 0.5, 0.001)
    assert artefacts.floor_in_silence(source, decoded, RATE) == pytest.approx(-60, abs=0.1)
    assert math.isnan(artefacts.floor_in_silence(source[:RATE], decoded[:RATE], RATE))
