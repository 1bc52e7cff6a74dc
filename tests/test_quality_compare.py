"""`dacz compare` from the command line: figures, remarks, errors, exit codes."""

from __future__ import annotations

import json
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import soundfile
from stub_codec import StubCodec

from dacfile.installed import Codecs
from dacfile.pipeline import compress_file
from dacz.app import run

RATE = 16000


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Write a second of two noisy channels."""
    noise = np.random.default_rng(0).standard_normal((RATE, 2))
    return write(tmp_path / "source.wav", 0.1 * noise)


def write(path: Path, samples: np.ndarray) -> Path:
    soundfile.write(path, samples, RATE, subtype="PCM_16")
    return path


def test_a_copy_that_is_late_and_noisy(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    samples, _ = soundfile.read(source)
    late = np.pad(samples + 0.01 * np.random.default_rng(1).standard_normal(samples.shape), ((100, 0), (0, 0)))
    copy = write(source.with_name("late.wav"), late)
    assert run(["compare", "--json", str(source), str(copy)]) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["delay"], result["missing"], result["bytes"]) == (100, 0, copy.stat().st_size)
    assert result["bits_per_second"] == pytest.approx(copy.stat().st_size * 8)
    assert result["si_sdr"] == pytest.approx(20, abs=0.5)
    assert 0 < result["mel"] < 1


def test_the_table_for_people(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    short = write(source.with_name("short.wav"), soundfile.read(source)[0][:-5])
    assert run(["compare", str(source), str(source), str(short)]) == 0
    title, heading, same, cut, rule = capsys.readouterr().out.splitlines()
    assert title.endswith("source.wav: 0:01.00, stereo, 64.0 kB")
    assert heading.split()[-2:] == ["SI-SDR", "dB"]
    assert same.split()[-3:] == ["0.000", "0.000", "100.0"]
    assert cut.endswith("5 samples short")
    assert "lower is better" in rule


def test_what_is_no_copy_is_one_line_and_the_others_are_compared(
    source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mono = write(source.with_name("mono.wav"), np.zeros(RATE))
    text = source.with_name("text.wav")
    text.write_text("not audio")
    assert run(["compare", str(source), str(mono), str(text), str(source)]) == 2
    captured = capsys.readouterr()
    assert "source.wav" in captured.out.splitlines()[2]
    errors = captured.err.splitlines()
    assert len(errors) == 2
    assert "has 1 channels, the reference has 2" in errors[0]


def test_json_has_an_object_for_what_fails_too(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    missing = source.with_name("missing.wav")
    assert run(["compare", "--json", str(source), str(missing), str(source)]) == 2
    captured = capsys.readouterr()
    failed, good = map(json.loads, captured.out.splitlines())
    assert (failed["path"], failed["ok"], good["ok"]) == (str(missing), False, True)
    assert captured.err.count("\n") == 1


def test_a_silent_source_has_scores_that_json_can_hold(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    silence = write(source.with_name("silence.wav"), np.zeros((RATE, 2)))
    assert run(["compare", "--json", str(silence), str(silence)]) == 0
    assert json.loads(capsys.readouterr().out)["si_sdr"] is None


def test_an_empty_source_cannot_be_compared(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    empty = write(source.with_name("empty.wav"), np.zeros((0, 2)))
    packed = empty.with_name("empty.dacz")
    with packed.open("wb") as stream:
        compress_file(empty, stream, StubCodec())
    with mock.patch("dacfile.api._codecs", return_value=Codecs(only=StubCodec())):
        for path in (empty, packed):
            assert run(["compare", str(path), str(source)]) == 4
            assert "holds no samples" in capsys.readouterr().err
