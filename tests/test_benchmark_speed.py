"""The report of benchmarks/speed.py."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import pytest

pytest.importorskip("matplotlib")
sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))

from speed_report import BEGIN, END, Row, markdown, write_results

ROWS = [
    Row("2 songs", "dacz", "compress", 100.0, 2.0, 3.0, 500.0),
    Row("2 songs", "opus", "compress", 100.0, 1.0, 2.0, 10.0),
    Row("stage, 44k", "dacfile", "encode", 30.0, 0.5),
]


def test_ours_is_compared_with_the_reference_of_the_same_work():
    lines = markdown(ROWS).splitlines()[2:]
    assert lines[0] == "| 2 songs: compress | dacz | 50 | 30.0 | 500 |  |"
    assert lines[1] == "| 2 songs: compress | opus | 100 | 20.0 | 10 | 0.50 |"
    assert lines[2] == "| stage, 44k: encode | dacfile | 60 |  |  |  |"


def test_results_are_written_and_put_between_the_marks(tmp_path):
    document = tmp_path / "performance.md"
    document.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    write_results(ROWS, "a machine", tmp_path, "speed", document)
    with (tmp_path / "speed.csv").open() as file:
        assert [row["speed"] for row in csv.DictReader(file)] == ["50.0", "100.0", "60.0"]
    text = document.read_text()
    assert text.startswith("before\n")
    assert text.endswith(f"{END}\nafter\n")
    assert "a machine" in text
    assert "old" not in text
    assert (tmp_path / "speed.png").stat().st_size > 1000
