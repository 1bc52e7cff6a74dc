"""Long tests by hand: kill -9 in a loop, and hours of audio in constant memory, both with the stub codec.

`python tests/soak.py --kills 200` kills a batch at random moments, as often as asked, and checks after every kill that
each file is complete, or absent, or (replaced in place) the one before; at the end a rerun has to complete, byte for
byte what an undisturbed run writes, and leave no temporary file. `python tests/soak.py --hours 10` compresses and
decompresses that much stereo at 44.1 kHz (or `--rate 16000 --channels 1`), each in a process of its own, and prints the
largest memory of each.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path[:0] = [str(Path(__file__).parent)]

import numpy as np  # noqa: E402
import soundfile  # noqa: E402
from stub_codec import StubCodec  # noqa: E402

from dacfile.atomic import PREFIX  # noqa: E402
from dacfile.installed import Codecs  # noqa: E402
from dacz.app import run  # noqa: E402

FILES = 24
CODECS: dict[str, StubCodec] = {}


class Slow(StubCodec):
    """Takes its time, so that there is a moment to be killed at."""

    def encode_windows(self, x, first_frames, channels) -> np.ndarray:
        time.sleep(0.002)
        return super().encode_windows(x, first_frames, channels)

    def decode_windows(self, codes, first_frames, channels) -> np.ndarray:
        time.sleep(0.002)
        return super().decode_windows(codes, first_frames, channels)


def contents(folder: Path) -> dict[str, bytes]:
    """Return the bytes of all files below a folder, by relative name."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def without_temporary(found: dict[str, bytes]) -> dict[str, bytes]:
    return {name: data for name, data in found.items() if PREFIX not in name}


def make_music(folder: Path) -> None:
    rng = np.random.default_rng(0)
    for number in range(FILES):
        name = folder / f"{number % 4}" / f"{number}{('.wav', '.flac')[number % 2]}"
        name.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(name, rng.uniform(-0.5, 0.5, (int(rng.integers(1, 6000)), 1 + number % 2)), 8000)


class Case:
    """A command over a tree: `arguments(out)`, the tree it starts from, and what an undisturbed run makes of it."""

    def __init__(self, folder: Path, name: str, arguments: Callable[[Path], list[str]], start: Path | None) -> None:
        self.name, self.arguments, self.start, self.out = name, arguments, start, folder / f"out-{name}"
        self.reset()
        self.before = contents(self.out) if start else {}
        self.work()
        self.expected = contents(self.out)

    def reset(self) -> None:
        """Put the output back to where the command starts."""
        shutil.rmtree(self.out, ignore_errors=True)
        if self.start:
            shutil.copytree(self.start, self.out)

    def work(self) -> None:
        """Run the command to its end."""
        code = run([*self.arguments(self.out), "-q"])
        if code:
            raise AssertionError(f"{self.name}: exit code {code}")

    def check(self) -> int:
        """Check what a kill has left behind; return the number of temporary files."""
        found = contents(self.out) if self.out.exists() else {}
        whole = without_temporary(found)
        for name, data in whole.items():
            if data not in (self.expected.get(name), self.before.get(name)):
                raise AssertionError(f"{self.name}: {name} is neither complete nor as before")
        if not whole.keys() >= self.before.keys():
            raise AssertionError(f"{self.name}: a file is lost")
        return len(found) - len(whole)


def kill_once(case: Case, after: float) -> bool:
    """Run the command in a child and kill it after so many seconds; say whether it was still running."""
    child = os.fork()
    if child == 0:
        os._exit(1 if run([*case.arguments(case.out), "-q"]) else 0)
    time.sleep(after)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if os.WIFEXITED(status) and os.WEXITSTATUS(status):
        raise AssertionError(f"{case.name}: exit code {os.WEXITSTATUS(status)}")
    return os.WIFSIGNALED(status)


def kill_often(folder: Path, kills: int, seed: int) -> None:
    """Kill until it is enough, then let every command complete."""
    music, packed = folder / "music", folder / "packed"
    make_music(music)
    if run(["compress", str(music), "-o", str(packed), "-q"]):
        raise AssertionError("the first run has failed")
    cases = [
        Case(folder, "compress", lambda out: ["compress", str(music), "-o", str(out), "-j", "2"], None),
        Case(folder, "decompress", lambda out: ["decompress", str(packed), "-o", str(out), "-j", "2"], None),
        Case(folder, "repack", lambda out: ["repack", str(out), "--codebooks", "1", "--in-place"], packed),
    ]
    rng, counts, left, began = random.Random(seed), Counter[str](), 0, time.monotonic()
    longest = {case.name: 0.5 for case in cases}
    for case in cases:
        case.reset()
    while sum(counts.values()) < kills:
        case = cases[sum(counts.values()) % len(cases)]
        if kill_once(case, rng.random() * longest[case.name]):
            counts[case.name] += 1
            longest[case.name] *= 1.05
        else:
            longest[case.name] *= 0.8  # it was done before
            case.reset()
        left += case.check()
        if rng.random() < 0.1:
            case.reset()
    for case in cases:
        case.work()
        if contents(case.out) != case.expected:
            raise AssertionError(f"{case.name}: the tree differs from an undisturbed one")
    print(f"{sum(counts.values())} kills {dict(counts)} in {time.monotonic() - began:.0f} s, seed {seed}:")
    print(f"no partial file; {left} temporary files seen on the way, none left; all trees identical after a rerun")


def run_apart(arguments: list[str]) -> float:
    """Run a command in a child process; return the largest memory of that process in MiB."""
    child = os.fork()
    if child == 0:
        os._exit(1 if run([*arguments, "-q"]) else 0)
    _, status, usage = os.wait4(child, 0)
    if status:
        raise AssertionError(f"{arguments[0]} has failed: status {status}")
    return usage.ru_maxrss / 1024


def long_audio(folder: Path, hours: float, rate: int, channels: int) -> None:
    """Compress and decompress a long file, check its length; print the time and the largest memory of each."""
    noise = np.random.default_rng(0).integers(-8000, 8000, (rate * 60, channels), dtype=np.int16)
    CODECS["all"] = StubCodec(rate=rate, hop=2048)
    source, packed, back = folder / "long.w64", folder / "long.w64.dacz", folder / "back"
    with soundfile.SoundFile(source, "w", rate, channels, "PCM_16") as file:
        for _ in range(round(hours * 60)):
            file.write(noise)
    for command in (["compress", str(source)], ["decompress", str(packed), "-o", str(back)]):
        began = time.monotonic()
        peak = run_apart(command)
        print(f"{command[0]} of {hours:g} h: {time.monotonic() - began:.0f} s, at most {peak:.0f} MiB", flush=True)
    found = [soundfile.info(path).frames for path in (back.rglob("*") if back.is_dir() else [back]) if path.is_file()]
    if found != [len(noise) * round(hours * 60)]:
        raise AssertionError(f"another length came back: {found}")


def main() -> None:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=0)
    parser.add_argument("--hours", type=float, default=0.0)
    parser.add_argument("--rate", type=int, default=44_100, help="of the hours of audio, in Hz")
    parser.add_argument("--channels", type=int, default=2, help="of the hours of audio")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    CODECS["all"] = Slow()
    Codecs.load = lambda self, key: CODECS["all"]  # type: ignore[method-assign]
    with tempfile.TemporaryDirectory(prefix="dacz-soak-") as folder:
        if options.kills:
            kill_often(Path(folder), options.kills, options.seed)
        if options.hours:
            long_audio(Path(folder), options.hours, options.rate, options.channels)


if __name__ == "__main__":
    main()
