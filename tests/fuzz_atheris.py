"""Coverage-guided fuzzing of the container reader with atheris (libFuzzer), by hand; not part of the suite.

`pip install atheris`, then `python tests/fuzz_atheris.py -max_total_time=180`, or with `--no-crc` to look behind the
checksums. Each input goes the six ways of `fuzz_reader.py`; anything but `DaczError` that escapes ends the run and
leaves the input in a file `crash-*`. Other arguments are libFuzzer's, and a file among them is run alone, once. The
corpus starts as a copy of `spec/vectors/*.dacz`, and stays: libFuzzer ends the process without clearing up.
"""

from __future__ import annotations

import argparse
import importlib
import shutil
import sys
import tempfile
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent.parent)]

VECTORS = Path(__file__).parent.parent / "spec" / "vectors"
# One slow input or an allocation from an unchecked number is a finding too; arguments given by hand come later and win.
LIMITS = ["-timeout=30", "-rss_limit_mb=1024", "-max_len=65536", "-print_final_stats=1"]


def load_atheris() -> Any:
    """Import atheris, which is no dependency of anything else here."""
    try:
        return importlib.import_module("atheris")
    except ImportError:
        raise SystemExit("atheris is not installed: pip install atheris (tests/fuzz_reader.py does without)") from None


def seed(corpus: Path) -> int:
    """Copy the conformance vectors, good, bad and unsupported, into the corpus; return how many."""
    corpus.mkdir(parents=True, exist_ok=True)
    vectors = sorted(VECTORS.glob("*.dacz"))
    for vector in vectors:
        shutil.copyfile(vector, corpus / vector.name)
    return len(vectors)


def fuzz(atheris: Any, exercise: Callable[[bytes], str], arguments: list[str]) -> None:
    """Hand over to libFuzzer, which ends the process when it is done."""

    def one_input(data: bytes) -> None:
        exercise(data)

    atheris.Setup([sys.argv[0], *LIMITS, *arguments], one_input)
    atheris.Fuzz()


def main() -> None:
    """Take the own arguments off, seed the corpus and fuzz."""
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--no-crc", action="store_true", help="make every checksum match")
    parser.add_argument("--corpus", type=Path, help="folder of the corpus, to go on with (default: a new one)")
    options, arguments = parser.parse_known_args()
    atheris = load_atheris()
    with atheris.instrument_imports(include=["dacfile"]):
        reader = importlib.import_module("fuzz_reader")
    if not any(Path(argument).is_file() for argument in arguments):
        corpus = options.corpus or Path(tempfile.mkdtemp(prefix="dacz-atheris-"))
        arguments.append(str(corpus))
        print(f"{seed(corpus)} vectors in {corpus}, CRC checks {'off' if options.no_crc else 'on'}", flush=True)
    with reader.crc_checks_off() if options.no_crc else nullcontext():
        fuzz(atheris, reader.exercise, arguments)


if __name__ == "__main__":
    main()
