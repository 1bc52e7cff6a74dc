"""What must stay cheap stays cheap: torch is imported only by what runs a network."""

from __future__ import annotations

import subprocess
import sys

import pytest
from stub_codec import StubCodec

PRELUDE = "import sys; sys.modules['torch'] = None; "  # any import of torch now fails


def run_without_torch(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", PRELUDE + code, *arguments], capture_output=True, text=True)


@pytest.fixture
def packed(tmp_path, make_wav):
    """A .dacz file of the stub codec."""
    from dacfile.pipeline import compress_file

    path = tmp_path / "a.wav.dacz"
    with path.open("wb") as stream:
        compress_file(make_wav(tmp_path / "a.wav"), stream, StubCodec())
    return path


@pytest.mark.parametrize(
    "module",
    ["dacfile", "dacfile.container", "dacfile.entropy", "dacfile.batch", "dacfile.pipeline", "dacfile.installed",
     "dacfile.api", "dacfile.verification", "dacfile.report", "dacfile.model.store", "dacz.app"],
)  # fmt: skip
def test_importing_needs_no_torch(module):
    done = run_without_torch(f"import {module}")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--help"], "compress"),
        (["compress", "--help"], "--codebooks"),
        (["models", "list"], "codebooks"),
        (["info", "{file}"], "real bit rate"),
        (["verify", "{file}"], "ok"),
        (["compress", "{source}", "--dry-run"], "skipped, is done"),
    ],
)
def test_these_commands_need_no_torch(packed, arguments, expected):
    names = {"file": str(packed), "source": str(packed.with_suffix(""))}
    done = run_without_torch("from dacz.app import main; main()", *[a.format(**names) for a in arguments])
    assert done.returncode == 0, done.stderr
    assert expected in done.stdout


def test_codes_can_be_read_without_torch(packed):
    done = run_without_torch("import dacfile; print(dacfile.open(sys.argv[1]).codes().shape)", str(packed))
    assert done.stdout == "(1, 3, 251)\n"


def test_a_missing_model_is_known_before_torch(packed, tmp_path):
    done = run_without_torch("from dacz.app import main; main()", "decompress", str(packed), "-o", str(tmp_path / "x"))
    assert done.returncode == 5
    assert "000102030405060708090a0b0c0d0e0f" in done.stderr
    assert done.stderr.count("\n") == 1


def test_help_and_info_start_light(packed):
    """The heavy libraries stay out; 0.3 s of start-up are spent on typer as it is."""
    code = (
        "from dacz.app import run; run(sys.argv[1:]); "
        "print(*({'numpy', 'soundfile', 'rich', 'scipy', 'constriction'} & sys.modules.keys()), file=sys.stderr)"
    )
    for arguments in (["--help"], ["info", str(packed)], ["models", "list"]):
        assert run_without_torch(code, *arguments).stderr.strip() == "", arguments
