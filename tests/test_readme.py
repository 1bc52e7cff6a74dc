"""The README and docs/commands.md are true: commands parse, Python runs, links lead somewhere, tables fit the code."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import pytest
import soundfile
import typer

from dacfile import errors
from dacz.app import app

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
MORE = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
COMMANDS = sorted(set(re.findall(r"(?:^    |\| )(dacz [^#|>\n]+)", README + MORE, re.MULTILINE)))
IN_DOCS = sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))
DOCUMENTS = ["README.md", "SECURITY.md", "examples/README.md", *IN_DOCS]


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_have_these_options(command):
    group = typer.main.get_command(app)
    words = shlex.split(command)[1:]
    with group.make_context("dacz", words) as context:
        name, _, rest = group.resolve_command(context, words)
        sub = group.commands[name]
        if hasattr(sub, "commands"):
            name, sub, rest = sub.resolve_command(context, rest)
        sub.make_context(name, list(rest), parent=context).close()


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_lead_somewhere(document):
    text = (ROOT / document).read_text(encoding="utf-8")
    for link in re.findall(r"\]\(([^)#]+)\)", text):
        assert link.startswith("https://") or (ROOT / document).parent.joinpath(link).exists(), link


def test_the_table_of_exit_codes_is_that_of_the_errors():
    table = {int(code) for code in re.findall(r"^\| (\d+) \|", README, re.MULTILINE)}
    raised = {
        error.exit_code
        for error in vars(errors).values()
        if isinstance(error, type) and issubclass(error, errors.DaczError)
    }
    assert raised | {0, 130} == table


def test_the_make_targets_exist():
    for target in set(re.findall(r"`make (\w+)`|^    make (\w+)", README, re.MULTILINE)):
        name = next(filter(None, target))
        subprocess.run(["make", "-n", name], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)


def test_the_extras_exist():
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    for extra in re.findall(r"pip install '\.\[(\w+)\]'", README):
        assert re.search(rf"^{extra} = \[", project, re.MULTILINE), extra


def test_the_python_example_runs(tmp_path, monkeypatch):
    """With the bundled model and a short clip."""
    samples, rate = soundfile.read(ROOT / "examples" / "music" / "tabla_mono.flac", frames=2 * 44_100)
    soundfile.write(tmp_path / "song.flac", samples, rate)
    monkeypatch.chdir(tmp_path)
    example = re.search(r"```python\n(.*?)```", README, re.DOTALL)
    assert example is not None
    names: dict[str, object] = {}
    exec(example.group(1), names)
    assert names["rate"] == 44_100
    assert names["audio"].shape[1] == 1
    assert (tmp_path / "again.flac").exists()
