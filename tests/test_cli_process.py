"""`dacz` as a process of its own: kill -9, Ctrl-C once and twice, closed pipes, two processes on one folder."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import files_below

STUB_CLI = Path(__file__).with_name("stub_cli.py")
PATIENCE = 60.0  # seconds after which a process that should do something is taken for hung


def start(*arguments: object, delay: float = 0.0) -> subprocess.Popen:
    command = [sys.executable, STUB_CLI, *[str(argument) for argument in arguments]]
    environment = os.environ | {"STUB_DELAY": str(delay)}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "nothing happened"
        time.sleep(0.005)


def in_flight(folder: Path) -> bool:
    return folder.exists() and any(name.startswith(".dacz-tmp-") for name in os.listdir(folder))


@pytest.fixture
def music(tmp_path, make_wav):
    for i in range(12):
        make_wav(tmp_path / "in" / f"{i:02d}.wav", seconds=0.2, seed=i)
    return tmp_path / "in"


@pytest.fixture
def expected(music, tmp_path):
    done = start("compress", music, "-o", tmp_path / "expected")
    _, err = done.communicate()
    assert done.returncode == 0, err
    return {name: (tmp_path / "expected" / name).read_bytes() for name in files_below(tmp_path / "expected")}


def contents(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in files_below(folder)}


def test_kill_9_leaves_nothing_partial_and_the_next_run_completes(music, expected, tmp_path):
    out = tmp_path / "out"
    chance = random.Random(1)
    for _ in range(5):
        child = start("compress", music, "-o", out, "-j", 2, delay=0.02)
        wait_for(lambda child=child: in_flight(out) or child.poll() is not None)
        time.sleep(chance.random() * 0.1)
        child.kill()
        child.communicate()
        finished = {name: data for name, data in contents(out).items() if not name.startswith(".dacz-tmp-")}
        assert finished.items() <= expected.items()
    child = start("compress", music, "-o", out)
    child.communicate()
    assert child.returncode == 0
    assert contents(out) == expected


def test_ctrl_c_finishes_what_is_in_flight(music, expected, tmp_path):
    out = tmp_path / "out"
    child = start("compress", music, "-o", out, "-j", 1, delay=1)
    wait_for(lambda: in_flight(out))
    child.send_signal(signal.SIGINT)
    _, err = child.communicate(timeout=PATIENCE)
    assert child.returncode == 130
    assert "press Ctrl-C again" in err
    assert "Traceback" not in err
    assert 0 < len(contents(out)) < 12
    assert contents(out).items() <= expected.items()


def test_ctrl_c_twice_stops_now(music, expected, tmp_path):
    out = tmp_path / "out"
    child = start("compress", music, "-o", out, "-j", 2, delay=5)
    wait_for(lambda: in_flight(out))
    child.send_signal(signal.SIGINT)
    assert "again" in child.stderr.readline()
    child.send_signal(signal.SIGINT)
    _, err = child.communicate(timeout=PATIENCE)
    assert child.returncode == 130
    assert "Traceback" not in err
    assert contents(out) == {}


def test_two_processes_share_a_folder(music, expected, tmp_path):
    out = tmp_path / "out"
    children = [start("compress", music, "-o", out, "-j", 2, delay=0.02) for _ in range(2)]
    for child in children:
        _, err = child.communicate(timeout=PATIENCE)
        assert child.returncode == 0, err
    assert contents(out) == expected


def test_a_closed_pipe_is_no_traceback(music, tmp_path):
    child = start("compress", music, "-o", tmp_path / "out", "--json", delay=0.02)
    child.stdout.readline()
    child.stdout.close()
    child.wait(timeout=PATIENCE)
    assert child.returncode == 141
    assert "Traceback" not in child.stderr.read()
    child.stderr.close()
    assert not in_flight(tmp_path / "out")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_a_full_disk_behind_standard_output_is_one_line(music):
    with open("/dev/full", "wb") as full:
        command = [sys.executable, STUB_CLI, "compress", music / "00.wav", "-o", "-"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 2
    assert done.stderr == "dacz: No space left on device\n"


def test_pipes_work_both_ways(music, expected):
    packed = subprocess.run(
        [sys.executable, STUB_CLI, "compress", "-"], input=(music / "00.wav").read_bytes(), stdout=subprocess.PIPE
    )
    assert packed.stdout == expected["00.wav.dacz"]
    back = subprocess.run([sys.executable, STUB_CLI, "decompress", "-"], input=packed.stdout, stdout=subprocess.PIPE)
    assert back.stdout[:4] == b"RIFF"
    assert len(back.stdout) == (music / "00.wav").stat().st_size


def heed_ctrl_c():
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_ctrl_c_without_a_batch_is_told_too(tmp_path):
    command = [sys.executable, STUB_CLI, "compress", "-", "-o", tmp_path / "out" / "x.dacz"]
    pipes = {"stdin": subprocess.PIPE, "stderr": subprocess.PIPE}
    # Tests that run in the background of a script have Ctrl-C ignored, and so would what they start.
    with subprocess.Popen(command, **pipes, text=True, preexec_fn=heed_ctrl_c) as child:
        wait_for(lambda: in_flight(tmp_path / "out"))
        child.send_signal(signal.SIGINT)
        assert (child.wait(PATIENCE), child.stderr.read()) == (130, "dacz: interrupted\n")
    assert not (tmp_path / "out").exists()


def with_closed(streams: str, *arguments: object) -> subprocess.CompletedProcess:
    """Run `dacz` with standard streams closed, as "<&-" and the like have it."""
    command = ["sh", "-c", f'exec "$@" {streams}', "sh", sys.executable, STUB_CLI, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)


def test_closed_streams_are_no_internal_error(music, tmp_path):
    source, packed = music / "00.wav", tmp_path / "x.dacz"
    for streams, arguments, code, err in [
        ("<&-", ("compress", "-", "-o", tmp_path / "y.dacz"), 1, "dacz: standard input is closed\n"),
        ("<&-", ("compress", "--files-from", "-"), 1, "dacz: standard input is closed\n"),
        ("<&-", ("compress", source, "--rm"), 1, "dacz: --rm deletes the sources and .dacz is lossy: add --yes"),
        (">&-", ("compress", source, "-o", "-"), 1, "dacz: standard output is closed\n"),
        ("<&- >&- 2>&-", ("compress", source, "-o", packed, "--coders", "1"), 0, ""),
        (">&-", ("info", packed), 0, ""),
        ("2>&-", ("info", tmp_path / "missing"), 1, ""),
    ]:
        done = with_closed(streams, *arguments)
        assert (done.returncode, done.stdout) == (code, ""), arguments
        assert done.stderr.startswith(err)
        assert bool(done.stderr) == bool(err)
    assert not (tmp_path / "y.dacz").exists()
    assert source.exists()
